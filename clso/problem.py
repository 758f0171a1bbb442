"""What a search sees of a model family: a space of genomes and an evaluation of each.

`search/` knows nothing of the models but this module, so every family that offers a `Problem`
can be searched. There is no way from here to the test split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Literal, Protocol, runtime_checkable

from clso.energy import Measurement
from clso.errors import SearchError
from clso.genome import Genome, GenomeSpace

__all__ = [
    "CostedProblem",
    "Evaluation",
    "Extendable",
    "GenomeCost",
    "Problem",
    "Result",
    "Screened",
]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of scoring one genome.

    Attributes:
        loss: mean negative log-likelihood in nats per token; `None` if the evaluation failed.
        status: `"failed"` when the loss is not a finite number.
        tokens: targets scored; by `Extendable.extend`: targets that had not been scored before.
        measurement: this genome's share of the time and energy of its batch.
        batch_nats: of an evaluation on a part of the batches, the summed negative log-likelihood
            of each batch (or of smaller pieces), the same pieces in the same order for every
            genome; `None`: all batches were scored, or the problem does not report it.
    """

    loss: float | None
    status: Literal["evaluated", "failed"]
    tokens: int = 0
    measurement: Measurement = field(default_factory=lambda: Measurement(0.0))
    batch_nats: tuple[float, ...] | None = None

    @classmethod
    def of(cls, result: Result, genome: Genome) -> Evaluation:
        """Return the result of a genome as an evaluation.

        Raises:
            SearchError: the result is no number.
        """
        if isinstance(result, Evaluation):
            return result
        if result is None:
            return cls(None, "failed")
        if not isinstance(result, Real) or isinstance(result, bool):
            raise SearchError(
                f"the result of genome {genome} is {result!r}, expected a number, None or an "
                "Evaluation"
            )
        loss = float(result)
        return cls(loss, "evaluated") if math.isfinite(loss) else cls(None, "failed")

    @property
    def finite_loss(self) -> float | None:
        """The loss; `None` if the evaluation failed or the loss is not finite."""
        if self.status == "failed" or self.loss is None or not math.isfinite(self.loss):
            return None
        return float(self.loss)


Result = Evaluation | float | None
"""What a loss function may return: a loss, or `None`, NaN or an infinity where it failed."""


@runtime_checkable
class Problem(Protocol):
    """A model family on a data set.

    A loss is a pure function of genome and fidelity: neither the rest of the population nor the
    number of workers changes a bit of it.
    """

    @property
    def space(self) -> GenomeSpace:
        """The genomes that `evaluate` accepts."""

    @property
    def fidelities(self) -> tuple[float, ...]:
        """Shares of the fixed batches that can be asked for, ascending, ending in 1.0.

        The lowest may be another share of the work; see `Screened`.
        """

    @property
    def fingerprint(self) -> str:
        """Names everything a loss depends on besides the genome; guards resumption."""

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes on a `fidelity` share of the fixed batches, the same for all genomes."""


@runtime_checkable
class Extendable(Problem, Protocol):
    """A problem that can score a genome on more batches without repeating the earlier ones."""

    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        """Score genomes at a higher fidelity, on the batches that were not scored before.

        The losses equal those of `evaluate` to the last bit.

        Args:
            genomes: as in `evaluate`.
            begun: their evaluations, all at one lower fidelity.
            fidelity: the higher one.
        """


@runtime_checkable
class Screened(Problem, Protocol):
    """A problem whose lowest fidelity may be an approximation.

    Attributes:
        screening: that fidelity, the share of a whole evaluation that it costs; nothing of it is
            of use to a higher one. `None`: all fidelities are exact.
    """

    screening: float | None


@dataclass(frozen=True, slots=True)
class GenomeCost:
    """The bytes and operations of a genome's model, counted, not measured.

    Attributes:
        stored_bytes: `stored_bytes` of the built model.
        flops_per_token: operations that score one target given its context, averaged over the
            positions of a block. A multiplication and an addition are two, a comparison in
            a search through a table is one.
    """

    stored_bytes: int
    flops_per_token: int


class CostedProblem(Problem, Protocol):
    """A problem that counts what its models cost, for searches for small and fast models.

    A cost is a pure function of the genome: no clock and no meter is read.
    """

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        """Return the cost of a genome's model, equal for all genomes of one canonical form."""

"""What the search sees of a model family: a space of genomes and a price for each.

`search/` knows this module and nothing else of the models, so every family that offers a
`Problem` gets the whole search. There is no way from here to the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from clso.energy.measurement import Measurement
from clso.genome import Genome, GenomeSpace

__all__ = ["CostedProblem", "Evaluation", "Extendable", "GenomeCost", "Problem"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one real evaluation of one genome gave and cost.

    Attributes:
        loss: mean negative log-likelihood in nats per token; `None` if it failed.
        status: `"failed"` when the loss is not a finite number.
        tokens: targets scored; by `Extendable.extend`: those that had not been scored before.
        measurement: this genome's share of the time and energy of its batch.
        batch_nats: of an evaluation on a part of the batches, the summed negative log-likelihood
            of each of them (or of smaller pieces), the same pieces in the same order for every
            genome; `None`: all batches were scored, or the problem does not tell.
    """

    loss: float | None
    status: Literal["evaluated", "failed"]
    tokens: int = 0
    measurement: Measurement = field(default_factory=lambda: Measurement(0.0))
    batch_nats: tuple[float, ...] | None = None


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
        """Shares of the fixed batches that can be asked for, ascending, ending in 1.0."""

    @property
    def fingerprint(self) -> str:
        """Names everything a loss depends on besides the genome; guards resumption."""

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes on a `fidelity` share of the fixed batches, the same for all genomes."""


@runtime_checkable
class Extendable(Problem, Protocol):
    """A problem whose smaller shares of the batches are parts of the larger ones."""

    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        """Score genomes at a higher fidelity, on the batches that were not scored before.

        The losses are those that `evaluate` gives, to the last bit.

        Args:
            genomes: as in `evaluate`.
            begun: their evaluations, all at one lower fidelity.
            fidelity: the higher one.
        """


@dataclass(frozen=True, slots=True)
class GenomeCost:
    """What a genome's model costs to keep and to use, counted, not measured.

    Attributes:
        stored_bytes: the built model's own `stored_bytes`.
        flops_per_token: operations that price one target given its context, averaged over the
            positions of a block. A multiplication and an addition are two, a comparison in
            a search through a table is one.
    """

    stored_bytes: int
    flops_per_token: int


class CostedProblem(Problem, Protocol):
    """A problem that knows what its models cost; what searches for small and fast ones needs.

    A cost is a pure function of the genome: no clock and no meter is read.
    """

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        """Return what a genome's model costs; all genomes of one canonical form cost the same."""

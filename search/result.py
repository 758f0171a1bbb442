"""What a search hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from clso.energy import Measurement
from clso.errors import WorkError
from clso.genome import Genome
from search.archive import Archive
from search.records import SearchCounts
from search.state import SearchState, StopReason

__all__ = ["Finalist", "LowestPrediction", "SearchResult"]


@dataclass(frozen=True, slots=True)
class Finalist:
    """One of the best evaluated genomes.

    Attributes:
        genome: its slots as bred.
        canonical: the representative that was evaluated.
        loss: nats per token on the search's fixed batches, measured, never predicted.
    """

    genome: Genome
    canonical: Genome
    loss: float


@dataclass(frozen=True, slots=True)
class LowestPrediction:
    """The lowest loss that the surrogate ever claimed, and what became of it.

    Attributes:
        evaluated_loss: the genome's loss if it was ever evaluated; `None` if it never was, or
            its evaluation failed.
    """

    canonical: Genome
    generation: int
    predicted_loss: float
    evaluated_loss: float | None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The outcome of a search; every loss in it but `lowest_prediction`'s was measured.

    Attributes:
        finalists: best first; empty if every evaluation failed.
        n_generations: how many were run.
        stop_reason: why no more were.
        counts: individuals by status.
        surrogate_start: the first generation (from 0) that the surrogate filtered; `None`: it
            never did.
        surrogate_cost: time and energy of fitting and predicting; `None`: it never ran.
        n_predictions: genomes that it was asked about, a genome once for every time.
        n_random: evaluations spent on the random control.
        lowest_prediction: `None` if nothing was predicted.
        table: reads the records; `None`: they cannot be read back.
    """

    finalists: tuple[Finalist, ...]
    n_generations: int
    stop_reason: StopReason
    counts: SearchCounts
    surrogate_start: int | None
    surrogate_cost: Measurement | None
    n_predictions: int
    n_random: int
    lowest_prediction: LowestPrediction | None
    table: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    @property
    def best(self) -> Finalist:
        """The incumbent.

        Raises:
            WorkError: no evaluation gave a finite loss.
        """
        if not self.finalists:
            raise WorkError(
                f"none of the {self.counts.n_failed} evaluated genomes has a finite loss",
                remedy="look at what the loss returns; where a crystalline GPT overflows, lower "
                "gpt.library.gain",
            )
        return self.finalists[0]

    @property
    def genome(self) -> list[int]:
        """The best genome, in canonical form: the one that `loss` was measured of.

        Raises:
            WorkError: as `best`.
        """
        return list(self.best.canonical)

    @property
    def loss(self) -> float:
        """The lowest loss that was measured.

        Raises:
            WorkError: as `best`.
        """
        return self.best.loss

    @property
    def evaluations(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        """A `pyarrow.Table` with a row for each individual of each generation."""
        return self._read("evaluations")

    @property
    def generations(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        """A `pyarrow.Table` with a row for each generation."""
        return self._read("generations")

    def _read(self, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
        if self.table is None:
            raise WorkError(
                f"the table {name} was written elsewhere", remedy="read it from the run's folder"
            )
        return self.table(name)

    @property
    def surrogate_energy_j(self) -> float | None:
        """Joules of fitting and predicting; `None` = not measured, or the surrogate never ran."""
        return None if self.surrogate_cost is None else self.surrogate_cost.energy_j

    @classmethod
    def of(
        cls,
        state: SearchState,
        archive: Archive,
        finalists: int,
        stop_reason: StopReason,
        table: Callable[[str], Any] | None = None,
    ) -> SearchResult:
        """Sum up a search's state.

        Args:
            state: between two generations.
            archive: every genome scored so far.
            finalists: how many of the best genomes to name.
            stop_reason: why no more generations were run.
            table: reads the records; `None`: they cannot be read back.
        """
        guess = state.lowest_guess
        lowest = None
        if guess is not None:
            scored = archive.get(guess.canonical)
            lowest = LowestPrediction(
                guess.canonical,
                guess.generation,
                guess.predicted_loss,
                None if scored is None else scored.loss,
            )
        return cls(
            finalists=tuple(
                Finalist(scored.genome, scored.canonical, scored.loss)
                for scored in archive.best(finalists)
                if scored.loss is not None
            ),
            n_generations=state.generations,
            stop_reason=stop_reason,
            counts=state.counts,
            surrogate_start=state.surrogate_start,
            surrogate_cost=state.surrogate_cost,
            n_predictions=state.n_predictions,
            n_random=state.screened[1],
            lowest_prediction=lowest,
            table=table,
        )

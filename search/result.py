"""The outcome of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from clso.energy import Measurement
from clso.errors import WorkError
from search.archive import Archive, Finalist
from search.generation import SearchCounts
from search.state import LowestPrediction, SearchState, StopReason

__all__ = ["SearchResult", "no_finite_loss"]


def no_finite_loss(n_failed: int) -> WorkError:
    """Return the error of a search whose evaluations all failed."""
    return WorkError(
        f"none of the {n_failed} evaluated genomes has a finite loss",
        remedy="look at what the loss returns; where a crystalline GPT overflows, lower "
        "gpt.library.gain",
    )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The outcome of a search; all losses are measured, except `lowest_prediction`.

    Attributes:
        finalists: the best genomes, best first; empty if every evaluation failed.
        n_generations: number of finished generations.
        stop_reason: why there were no more.
        counts: individuals by status.
        surrogate_start: the first generation (from 0) that the surrogate filtered; `None`: none.
        surrogate_cost: time and energy of fitting and predicting; `None`: the surrogate never ran.
        n_predictions: number of predicted losses, a genome counted at each prediction.
        n_random: evaluations of the random control.
        lowest_prediction: `None` if nothing was predicted.
        table: reads a table by its name; `None`: the tables cannot be read back.
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
            raise no_finite_loss(self.counts.n_failed)
        return self.finalists[0]

    @property
    def genome(self) -> list[int]:
        """The best genome, in canonical form, as it was evaluated.

        Raises:
            WorkError: as `best`.
        """
        return list(self.best.canonical)

    @property
    def loss(self) -> float:
        """The lowest measured loss.

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
        """Sum up a search between two generations, with this number of finalists."""
        lowest = state.lowest_guess
        if lowest is not None:
            scored = archive.get(lowest.canonical)
            lowest = replace(lowest, evaluated_loss=None if scored is None else scored.loss)
        return cls(
            finalists=tuple(archive.best(finalists)),
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

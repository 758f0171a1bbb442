"""The state of a search between two generations, and the end of the search.

The state is of constant size. Together with the evaluations so far (`search.journal`) and the seed
it decides all later generations: a search resumed from its state equals an unbroken one bit for
bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pydantic import TypeAdapter

from clso.energy import Measurement
from clso.genome import Genome
from search.archive import Archive
from search.generation import Individual, SearchCounts
from search.ladder import Rung
from search.settings import SearchSettings
from search.toolbox import WORST_LOSS, Parent

__all__ = ["LowestPrediction", "SearchState", "StopReason"]

StopReason = Literal["generations", "patience", "max_evaluations", "exhausted", "interrupted"]


@dataclass(frozen=True, slots=True)
class LowestPrediction:
    """The lowest loss that the surrogate ever predicted.

    Attributes:
        canonical: its genome.
        generation: the generation of the prediction.
        predicted_loss: the prediction.
        evaluated_loss: in a result, the genome's measured loss; `None`: the genome was never
            evaluated, or its evaluation failed.
    """

    canonical: Genome
    generation: int
    predicted_loss: float
    evaluated_loss: float | None = None


@dataclass(slots=True, kw_only=True)
class SearchState:
    """The state of a search between two generations.

    Attributes:
        random_state: of the genetic operators.
        population: places of the next generation.
        generations: number of finished generations; also the number of the next one.
        parents: individuals that may breed the next generation.
        n_known: genomes scored so far.
        incumbent_rungs: losses of the incumbent on parts of the batches.
        spent: whole evaluations so far; a screened genome counts by its cost.
        reference_loss: loss of the last improvement that counted for patience.
        stale: number of generations in a row without an improvement.
        counts: individuals so far.
        screened: evaluations where the surrogate could choose, local search included, and how many
            of them were drawn at random.
        surrogate_start: the first generation that the surrogate filtered; `None`: none so far.
        surrogate_cost: of fitting and predicting; `None`: the surrogate never ran.
        n_predictions: number of predicted losses, a genome counted at each prediction.
        lowest_guess: the lowest prediction; `None`: nothing was predicted.
        least_limit: the least `max_evaluations` under which the search would be the same so far
            as without a limit.
        limited: the state before the first generation that `max_evaluations` cut short; a search
            with a larger limit continues from there. `None`: no generation was cut short.
        stop_reason: why the search is over; `None`: it goes on.
    """

    random_state: list[Any]
    population: int
    generations: int = 0
    parents: list[Parent] = field(default_factory=list)
    n_known: int = 0
    incumbent_rungs: tuple[Rung, ...] = ()
    spent: float = 0.0
    reference_loss: float | None = None
    stale: int = 0
    counts: SearchCounts = field(default_factory=SearchCounts)
    screened: tuple[int, int] = (0, 0)
    surrogate_start: int | None = None
    surrogate_cost: Measurement | None = None
    n_predictions: int = 0
    lowest_guess: LowestPrediction | None = None
    least_limit: float = 0.0
    limited: SearchState | None = None
    stop_reason: StopReason | None = None

    def count_screened(self, n_best: int, n_random: int) -> None:
        """Add evaluations of this generation that the surrogate chose, and the random control."""
        evaluations, at_random = self.screened
        self.screened = (evaluations + n_best + n_random, at_random + n_random)
        if self.surrogate_start is None:
            self.surrogate_start = self.generations

    def charge_surrogate(self, measurement: Measurement, n_predictions: int = 0) -> None:
        """Add the cost of fitting or predicting, and the number of predicted losses."""
        cost = self.surrogate_cost
        self.surrogate_cost = (
            measurement if cost is None else Measurement.total((cost, measurement))
        )
        self.n_predictions += n_predictions

    def finish_generation(
        self, archive: Archive, individuals: Sequence[Individual], settings: SearchSettings
    ) -> None:
        """Go on to the next generation; all individuals of this one are scored."""
        best_loss = archive.incumbent_loss
        self.parents = [
            Parent(individual.genome, _selection_loss(individual, archive))
            for individual in individuals
        ]
        for individual in individuals:
            predicted, lowest = individual.predicted_loss, self.lowest_guess
            if predicted is not None and (lowest is None or predicted < lowest.predicted_loss):
                self.lowest_guess = LowestPrediction(
                    individual.canonical, self.generations, predicted
                )
        if best_loss is not None and (
            self.reference_loss is None or best_loss < self.reference_loss - settings.min_delta
        ):
            self.reference_loss, self.stale = best_loss, 0
        else:
            self.stale += 1
        self.counts += SearchCounts.of(individual.status for individual in individuals)
        self.population = settings.adaptive_population.next_population(
            self.population, generation=self.generations, stale=self.stale
        )
        self.generations += 1
        self.n_known = archive.n_known
        self.incumbent_rungs = archive.incumbent_rungs

    def find_stop_reason(
        self, settings: SearchSettings, *, space_size: int, evaluations_left: int | None
    ) -> None:
        """Note whether the search is over, and why.

        Args:
            space_size: number of genomes, all those of one canonical form counted. So a space is
                known to be exhausted only if each genome is a canonical form.
            evaluations_left: genomes that the budget still pays for; `None`: any number.
        """
        self.stop_reason = None
        if self.generations >= settings.generations:
            self.stop_reason = "generations"
        elif evaluations_left == 0:
            self.stop_reason = "max_evaluations"
        elif self.n_known >= space_size:
            self.stop_reason = "exhausted"
        elif settings.patience is not None and self.stale >= settings.patience:
            self.stop_reason = "patience"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reverses it."""
        values: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SearchState:
        """Make a state of the values of `to_json`; other values are ignored.

        Raises:
            ValueError: a value is missing or of another kind.
        """
        missing = [field.name for field in fields(cls) if field.name not in value]
        if missing:
            raise ValueError(f"no {', '.join(missing)}")
        return _ADAPTER.validate_python(value)


_ADAPTER = TypeAdapter(SearchState)


def _selection_loss(individual: Individual, archive: Archive) -> float:
    """Return the finite loss that selection uses.

    It is the measured loss, or a prediction plus its spread, or an estimate from a part of the
    batches; the last two are never below the incumbent's loss.
    """
    if individual.evaluated_loss is not None:
        return individual.evaluated_loss
    loss, best_loss = None, archive.incumbent_loss
    if individual.status == "predicted" and individual.predicted_loss is not None:
        loss = individual.predicted_loss + (individual.predicted_std or 0.0)
    elif individual.screening_loss is not None and individual.fidelity is not None:
        loss = archive.estimated_loss(individual.fidelity, individual.screening_loss)
    if loss is None or best_loss is None:
        return WORST_LOSS
    return min(max(loss, best_loss), WORST_LOSS)

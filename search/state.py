"""What a search carries from one generation to the next, and whether there is a next one.

The state is of constant size. With the evaluations so far (`search.journal`) and the seed it
decides all that follows: a search that is resumed from it equals an unbroken one bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from clso.energy import Measurement
from clso.genome import Genome
from search.archive import Archive
from search.ladder import Rung
from search.records import Individual, SearchCounts
from search.settings import AdaptivePopulationSettings, SearchSettings
from search.toolbox import WORST_LOSS, Parent

__all__ = ["LowestGuess", "SearchState", "StopReason", "next_population", "stop_reason", "succeed"]

StopReason = Literal["generations", "patience", "max_evaluations", "exhausted", "interrupted"]
_ROUNDING = 1e-9  # a product such as 10 * 1.1, a little above 11, must not become 12


@dataclass(frozen=True, slots=True)
class LowestGuess:
    """The lowest recorded prediction: its genome, generation and loss."""

    canonical: Genome
    generation: int
    predicted_loss: float


@dataclass(slots=True, kw_only=True)
class SearchState:
    """What a search carries from one generation to the next.

    Attributes:
        random_state: of the genetic operators.
        population: places of the next generation.
        generations: how many are finished; also the number of the next one.
        parents: individuals that may breed the next generation.
        n_known: genomes scored so far.
        incumbent_rungs: what the incumbent scored on parts of the batches.
        spent: whole evaluations so far, screened genomes counted by what they cost.
        reference_loss: the last improvement that counted for patience.
        stale: generations in a row without one.
        counts: individuals so far.
        screened: evaluations where the surrogate could choose, local search included, and those
            of them that were drawn at random.
        surrogate_start: the first generation where it could; `None`: none so far.
        surrogate_cost: of fitting and predicting; `None`: it never ran.
        n_predictions: genomes that it was asked about, a genome once for every time.
        lowest_guess: `None`: nothing was predicted.
        least_limit: the least `max_evaluations` under which the search would be the same so far
            as without any.
        limited: the state before the first generation that `max_evaluations` cut short; a larger
            limit continues from there. `None`: none was.
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
    lowest_guess: LowestGuess | None = None
    least_limit: float = 0.0
    limited: SearchState | None = None
    stop_reason: StopReason | None = None

    def count_screened(self, n_best: int, n_random: int) -> None:
        """Add evaluations that the surrogate chose in this generation, and its random control."""
        evaluations, at_random = self.screened
        self.screened = (evaluations + n_best + n_random, at_random + n_random)
        if self.surrogate_start is None:
            self.surrogate_start = self.generations

    def charge_surrogate(self, measurement: Measurement, n_predictions: int = 0) -> None:
        """Add what fitting or predicting took, and how many genomes were asked about."""
        cost = self.surrogate_cost
        self.surrogate_cost = (
            measurement if cost is None else Measurement.total((cost, measurement))
        )
        self.n_predictions += n_predictions

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reverses it."""
        cost = self.surrogate_cost
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {
            "parents": [[list(parent.genome), parent.loss] for parent in self.parents],
            "incumbent_rungs": [asdict(rung) for rung in self.incumbent_rungs],
            "counts": asdict(self.counts),
            "screened": list(self.screened),
            "surrogate_cost": None if cost is None else cost.to_record(),
            "lowest_guess": None if self.lowest_guess is None else asdict(self.lowest_guess),
            "limited": None if self.limited is None else self.limited.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SearchState:
        """Make a state of the values of `to_json`; others among them are ignored.

        Raises:
            KeyError: a value is missing.
            TypeError: a value is of another kind.
            ValueError: likewise.
        """
        cost, guess, limited = (
            value[name] for name in ("surrogate_cost", "lowest_guess", "limited")
        )
        evaluations, at_random = value["screened"]
        return cls(
            **{name: value[name] for name in _PLAIN},
            parents=[Parent(tuple(genome), loss) for genome, loss in value["parents"]],
            incumbent_rungs=tuple(
                Rung(
                    rung["fidelity"],
                    rung["loss"],
                    None if rung["batch_nats"] is None else tuple(rung["batch_nats"]),
                )
                for rung in value["incumbent_rungs"]
            ),
            counts=SearchCounts(**value["counts"]),
            screened=(int(evaluations), int(at_random)),
            surrogate_cost=None if cost is None else Measurement.from_record(cost),
            lowest_guess=None
            if guess is None
            else LowestGuess(
                tuple(guess["canonical"]), guess["generation"], guess["predicted_loss"]
            ),
            limited=None if limited is None else cls.from_json(limited),
        )


_PLAIN = (
    "random_state",
    "population",
    "generations",
    "n_known",
    "spent",
    "reference_loss",
    "stale",
    "surrogate_start",
    "n_predictions",
    "least_limit",
    "stop_reason",
)


def succeed(
    state: SearchState,
    archive: Archive,
    individuals: Sequence[Individual],
    settings: SearchSettings,
) -> None:
    """Bring a state from a generation whose individuals are all scored to the next."""
    best_loss = archive.incumbent_loss
    state.parents = [
        Parent(individual.genome, _believed_loss(individual, archive, best_loss))
        for individual in individuals
    ]
    for individual in individuals:
        guess, lowest = individual.predicted_loss, state.lowest_guess
        if guess is not None and (lowest is None or guess < lowest.predicted_loss):
            state.lowest_guess = LowestGuess(individual.canonical, state.generations, guess)
    if best_loss is not None and (
        state.reference_loss is None or best_loss < state.reference_loss - settings.min_delta
    ):
        state.reference_loss, state.stale = best_loss, 0
    else:
        state.stale += 1
    state.counts += SearchCounts.of(individual.status for individual in individuals)
    state.population = next_population(
        state.population,
        settings.adaptive_population,
        generation=state.generations,
        stale=state.stale,
    )
    state.generations += 1
    state.n_known = archive.n_known
    state.incumbent_rungs = archive.incumbent_rungs


def stop_reason(
    state: SearchState, settings: SearchSettings, *, space_size: int, evaluations_left: int | None
) -> StopReason | None:
    """Return why the search is over; `None`: it goes on.

    Args:
        state: between two generations.
        settings: of the search.
        space_size: genomes, those that mean the same model included; only where none do is a
            space known to be exhausted.
        evaluations_left: genomes whose evaluation the budget still allows; `None`: any number.
    """
    if state.generations >= settings.generations:
        return "generations"
    if evaluations_left == 0:
        return "max_evaluations"
    if state.n_known >= space_size:
        return "exhausted"
    if settings.patience is not None and state.stale >= settings.patience:
        return "patience"
    return None


def _believed_loss(individual: Individual, archive: Archive, best_loss: float | None) -> float:
    """Return the finite loss that selection uses; a guess is never below the incumbent's."""
    if individual.evaluated_loss is not None:
        return individual.evaluated_loss
    guess = _guess(individual, archive)
    if guess is None or best_loss is None:
        return WORST_LOSS
    return min(max(guess, best_loss), WORST_LOSS)


def _guess(individual: Individual, archive: Archive) -> float | None:
    if individual.status == "predicted" and individual.predicted_loss is not None:
        return individual.predicted_loss + (individual.predicted_std or 0.0)
    if individual.screening_loss is not None and individual.fidelity is not None:
        return archive.estimated_loss(individual.fidelity, individual.screening_loss)
    return None


def next_population(
    population: int, settings: AdaptivePopulationSettings, *, generation: int, stale: int
) -> int:
    r"""Return the places of the next generation: fewer on progress, more on stagnation.

    .. math::
        n' = \max(n_{min}, \lfloor shrink \cdot n \rfloor) \text{ after an improvement}, \qquad
        n' = \min(n_{max}, \lceil grow \cdot n \rceil)
        \text{ after every } patience \text{ generations without}

    and n otherwise. While few individuals suffice for progress, more only cost; without progress
    more are tried at once. Generation 0 has nothing to improve on and changes nothing. Diversity
    plays no part: the individuals of a generation are distinct anyway, and they become alike just
    when progress ends, which asks for more of them, not fewer.

    Args:
        population: places of the generation that has ended, n.
        settings: of the rule.
        generation: its number, from 0.
        stale: generations in a row without an improvement, it included.

    Source: the success rule for population sizes of Doerr and Doerr 2018 (Optimal static and
    self-adjusting parameter choices for the (1+(lambda, lambda)) genetic algorithm, section 1).
    """
    if not settings.enabled or generation == 0:
        return population
    if stale == 0:
        return max(settings.min, math.floor(settings.shrink * population + _ROUNDING))
    if stale % settings.patience == 0:
        return min(settings.max, math.ceil(settings.grow * population - _ROUNDING))
    return population

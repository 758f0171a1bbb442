"""What a search is told: one frozen value per section of `search` in the configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from clso.errors import ConfigError

__all__ = [
    "Acquisition",
    "AdaptivePopulationSettings",
    "FidelitySettings",
    "LocalSearchSettings",
    "SearchSettings",
    "SurrogateKind",
    "SurrogateSettings",
]

SurrogateKind = Literal[
    "mlp", "random_forest", "ridge", "gaussian_process", "gradient_boosting", "auto", "none"
]
Acquisition = Literal["mean", "lower_confidence_bound", "expected_improvement"]


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value!r}, expected {expected}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateSettings:
    """Who gets a real evaluation.

    Attributes:
        kind: the write-up's embedding + MLP, a random forest, ridge regression, a
            Gaussian process, gradient boosting, in each generation the one that ranks
            evaluations well which it was not shown (auto), or none.
        start: generations evaluated in full; generation number `start` (from 0) is the first
            that the surrogate filters, so a search of `start` generations never is.
        full_eval_fraction: share of a filtered generation's new individuals that are evaluated.
        random_fraction: share of all evaluations since then, local search included, that are
            drawn at random, as a control.
        pool_factor: offspring bred per place in a filtered generation.
        acquisition: what ranks candidates for evaluation: the predicted mean, that mean less
            `optimism` spreads, or the improvement expected below the incumbent.
        optimism: spreads by which the lower confidence bound lies below the mean: above 0, what
            is little known is tried earlier. The other acquisitions have no use for it.
        min_correlation: rank correlation with evaluations it was not shown, below which `auto`
            steps aside: that generation is evaluated in full. The other kinds never do.
        features: whether it sees what the problem knows of its options beforehand
            (`GenomeSpace.describe`), where it knows anything.
        neighbour_pool: neighbours of the incumbent at most that it ranks in a local search, drawn
            uniformly; `None`: all of them, which may cost more than what they spare.
        distinct_steps: whether the steps of local search that it chooses at once must each bring
            in another option, so that more is learned from them.

    Raises:
        ConfigError: a value out of its range.
    """

    kind: SurrogateKind = "mlp"
    start: int = 5
    full_eval_fraction: float = 0.2
    random_fraction: float = 0.1
    pool_factor: float = 1.0
    acquisition: Acquisition = "lower_confidence_bound"
    optimism: float = 0.0
    min_correlation: float = 0.2
    features: bool = False
    neighbour_pool: int | None = None
    distinct_steps: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("kind", SurrogateKind), ("acquisition", Acquisition)):
            value, known = getattr(self, name), get_args(choices)
            _require(value in known, f"surrogate.{name}", value, f"one of {', '.join(known)}")
        _require(self.start >= 1, "surrogate.start", self.start, "at least 1")
        _require(
            0 < self.full_eval_fraction <= 1,
            "surrogate.full_eval_fraction",
            self.full_eval_fraction,
            "more than 0, at most 1",
        )
        _require(
            0.1 <= self.random_fraction <= 1,
            "surrogate.random_fraction",
            self.random_fraction,
            "0.1 to 1",
        )
        _require(
            1 <= self.pool_factor < math.inf,
            "surrogate.pool_factor",
            self.pool_factor,
            "a finite number of at least 1",
        )
        _require(
            self.neighbour_pool is None or self.neighbour_pool >= 1,
            "surrogate.neighbour_pool",
            self.neighbour_pool,
            "at least 1, or none",
        )
        _require(
            0 <= self.optimism < math.inf,
            "surrogate.optimism",
            self.optimism,
            "a finite number of at least 0",
        )
        _require(
            0 <= self.min_correlation <= 1,
            "surrogate.min_correlation",
            self.min_correlation,
            "0 to 1",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSearchSettings:
    """One-gene neighbours of the incumbent, tried after every `every`-th generation.

    Raises:
        ConfigError: a value out of its range.
    """

    enabled: bool = True
    every: int = 1
    neighbours: int = 4

    def __post_init__(self) -> None:
        _require(self.every >= 1, "local_search.every", self.every, "at least 1")
        _require(self.neighbours >= 1, "local_search.neighbours", self.neighbours, "at least 1")

    def due(self, generation: int) -> bool:
        """Return whether generation number `generation` (from 0) ends with local search."""
        return self.enabled and (generation + 1) % self.every == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelitySettings:
    """On how many of the batches a genome is scored; see `search.ladder`.

    Attributes:
        kind: all batches for everyone, the best 1/eta of every rung to the next, or everyone to
            the next who is not significantly worse than the best.
        eta: one in so many climbs on (`successive_halving`).
        alpha: level of the test (`racing`).

    Raises:
        ConfigError: a value out of its range.
    """

    kind: Literal["none", "successive_halving", "racing"] = "none"
    eta: float = 4.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        kinds = ("none", "successive_halving", "racing")
        _require(self.kind in kinds, "fidelity.kind", self.kind, f"one of {', '.join(kinds)}")
        _require(1 < self.eta < math.inf, "fidelity.eta", self.eta, "a finite number above 1")
        _require(0 < self.alpha < 0.5, "fidelity.alpha", self.alpha, "between 0 and 0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptivePopulationSettings:
    """A population that shrinks on progress and grows on stagnation; see `search.population`.

    Attributes:
        min: places at least.
        max: places at most.
        shrink: factor after a generation that lowered the loss.
        grow: factor after every `patience` generations in a row that did not.

    Raises:
        ConfigError: a value out of its range.
    """

    enabled: bool = False
    min: int = 8
    max: int = 64
    shrink: float = 0.9
    grow: float = 1.5
    patience: int = 3

    def __post_init__(self) -> None:
        _require(self.min >= 2, "adaptive_population.min", self.min, "at least 2")
        _require(
            self.max >= self.min,
            "adaptive_population.max",
            self.max,
            f"at least adaptive_population.min, {self.min}",
        )
        _require(0 < self.shrink <= 1, "adaptive_population.shrink", self.shrink, "0 to 1, not 0")
        _require(
            1 <= self.grow < math.inf,
            "adaptive_population.grow",
            self.grow,
            "a finite number of at least 1",
        )
        _require(self.patience >= 1, "adaptive_population.patience", self.patience, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """The genetic algorithm.

    Attributes:
        mutation_rate: probability per gene.
        crossover_rate: probability per pair of parents.
        elites: best evaluated individuals that enter the next generation unchanged.
        patience: generations in a row without a lower loss (by more than `min_delta`) before
            the search stops; `None`: never.
        max_evaluations: whole evaluations, failed ones included, after which the search stops,
            or before the next that it could not pay for; a genome scored on some batches only
            counts by their share (`search.ladder`); `None`: no limit.
        finalists: how many of the best evaluated genomes the result names.

    Raises:
        ConfigError: a value out of its range, or two that contradict each other.
    """

    population: int = 32
    generations: int = 50
    crossover: Literal["uniform", "two_point"] = "uniform"
    crossover_rate: float = 0.75
    mutation_rate: float = 0.08
    tournament_size: int = 3
    elites: int = 2
    patience: int | None = None
    min_delta: float = 0.0
    max_evaluations: int | None = None
    finalists: int = 3
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    local_search: LocalSearchSettings = field(default_factory=LocalSearchSettings)
    fidelity: FidelitySettings = field(default_factory=FidelitySettings)
    adaptive_population: AdaptivePopulationSettings = field(
        default_factory=AdaptivePopulationSettings
    )

    def __post_init__(self) -> None:
        _require(self.population >= 2, "population", self.population, "at least 2")
        for name in ("generations", "tournament_size", "finalists"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("patience", "max_evaluations"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "at least 1, or none")
        for name in ("crossover_rate", "mutation_rate"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        _require(
            self.crossover in ("uniform", "two_point"),
            "crossover",
            self.crossover,
            "uniform or two_point",
        )
        _require(0 <= self.min_delta < math.inf, "min_delta", self.min_delta, "at least 0")
        _require(
            0 <= self.elites < self.population,
            "elites",
            self.elites,
            f"0 to {self.population - 1} (fewer than the population)",
        )
        _require(
            self.tournament_size <= self.population,
            "tournament_size",
            self.tournament_size,
            f"at most the population, {self.population}",
        )
        adaptive = self.adaptive_population
        if adaptive.enabled:
            _require(
                adaptive.min <= self.population <= adaptive.max,
                "population",
                self.population,
                f"{adaptive.min} to {adaptive.max} (adaptive_population.min and max)",
            )
            _require(
                adaptive.min > self.elites and adaptive.min >= self.tournament_size,
                "adaptive_population.min",
                adaptive.min,
                f"more than the elites, {self.elites}, and at least the tournament_size, "
                f"{self.tournament_size}",
            )

    def lasting(self, evaluations: int, *, patience: int | None = None) -> SearchSettings:
        """Return a search that ends when so many evaluations are spent, or by this patience."""
        # a generation without anything new to evaluate ends no search, so bound their number
        return replace(
            self, generations=evaluations, patience=patience, max_evaluations=evaluations
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> SearchSettings:
        """Build settings from nested plain values, such as a dumped configuration section."""
        plain = dict(values)
        for name, section in _SECTIONS.items():
            if isinstance(plain.get(name), Mapping):
                plain[name] = section(**plain[name])
        return cls(**plain)

    def to_mapping(self) -> dict[str, Any]:
        """Return the settings as nested plain values; `from_mapping` reverses it."""
        return asdict(self)


_SECTIONS: dict[str, Callable[..., Any]] = {
    "surrogate": SurrogateSettings,
    "local_search": LocalSearchSettings,
    "fidelity": FidelitySettings,
    "adaptive_population": AdaptivePopulationSettings,
}

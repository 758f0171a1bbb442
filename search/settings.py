"""The settings of a search; in a configuration, its section `search`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from clso.errors import ConfigError, SearchError
from clso.section import Count, NotNegative, Positive, Probability, Section, Share
from search.surrogates.factory import SURROGATES

__all__ = [
    "BETWEEN_GENERATIONS",
    "METHODS",
    "Acquisition",
    "AdaptivePopulationSettings",
    "Budget",
    "FidelitySettings",
    "LocalSearchSettings",
    "ParetoSettings",
    "PrunerName",
    "SamplerName",
    "SearchSettings",
    "SurrogateKind",
    "SurrogateSettings",
]


def _known_kind(kind: str) -> str:
    if kind != "none" and kind not in SURROGATES.names():
        try:
            SURROGATES.get(kind)
        except ConfigError as error:
            raise ValueError(f"{error.message}, or none; {error.remedy}") from error
    return kind


SurrogateKind = Annotated[str, AfterValidator(_known_kind)]
Acquisition = Literal["mean", "lower_confidence_bound", "expected_improvement"]

# of a study that tunes a search; here because Optuna takes long to load
SamplerName = Literal["tpe", "gp", "cmaes", "nsgaii", "random"]
PrunerName = Literal["hyperband", "median", "wilcoxon", "none"]
BETWEEN_GENERATIONS = ("hyperband", "median")
"""The pruners that look at a trial between the generations of its searches."""

METHODS = ("predicted_best", "tpe", "smac")
"""Ways to search in place of the genetic algorithm (`search.methods`)."""

# The limit on generations of a search with a budget in joules that evaluates very little.
_MOST_GENERATIONS = 10_000
_THOUSANDTHS = 1000
_ROUNDING = 1e-9  # a product such as 10 * 1.1, a little above 11, must not become 12

_AtLeastTwo = Annotated[int, Field(ge=2)]


class SurrogateSettings(Section):
    """The model that predicts losses, and the genomes that are evaluated in spite of it.

    Attributes:
        kind: `mlp` is the write-up's embedding and MLP; `auto` takes, in each generation, the
            kind that ranks held-out evaluations best; `none` evaluates everything. Other
            packages may add kinds (`search.surrogates`).
        start: generations evaluated in full. Generation number `start` (from 0) is the first that
            the surrogate filters.
        full_eval_fraction: share of a filtered generation's new individuals that are evaluated.
        random_fraction: share of all evaluations from then on, local search included, that are
            drawn at random, as a control.
        pool_factor: offspring bred per place in a filtered generation.
        acquisition: rule that ranks candidates for evaluation: by the predicted mean, by the mean
            less `optimism` standard deviations, or by the expected improvement on the incumbent.
        optimism: standard deviations by which the lower confidence bound lies below the mean;
            above 0, uncertain candidates are evaluated earlier. Used by that acquisition only.
        min_correlation: rank correlation with held-out evaluations below which `auto` evaluates
            the generation in full. Used by `auto` only.
        features: whether the surrogate sees the features of options (`GenomeSpace.describe`), such
            as the similarity of a mixture's functions. Not used by `mlp`.
        normal_scores: whether the surrogate learns the order of the losses instead of the losses
            (`search.surrogates.normal_scores`).
        tuned_on: genomes that the prior of `gaussian_process` is chosen on; with fewer it learns
            sooner, and from less. Used by that kind only.
        neighbour_pool: maximum number of neighbours of the incumbent that are predicted with their
            spreads in a local search: those of the lowest means, if the surrogate ranks all
            changes at once (`gaussian_process`), otherwise uniformly drawn ones. `None`: all,
            which may cost more than it saves.
        distinct_steps: whether each step of a local search tries an option that the other steps do
            not, so that more is learned from them.
    """

    kind: SurrogateKind = "mlp"
    start: Annotated[int, Field(ge=1)] = 5
    full_eval_fraction: Share = 0.2
    random_fraction: Annotated[float, Field(ge=0.1, le=1.0)] = 0.1
    pool_factor: Annotated[float, Field(ge=1.0, le=100.0)] = 1.0
    acquisition: Acquisition = "lower_confidence_bound"
    optimism: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    min_correlation: Probability = 0.2
    features: bool = False
    normal_scores: bool = False
    tuned_on: Annotated[int, Field(ge=16, le=4096)] = 192
    neighbour_pool: Count | None = None
    distinct_steps: bool = False


class LocalSearchSettings(Section):
    """Neighbours of the incumbent in one gene, evaluated after every `every`-th generation."""

    enabled: bool = True
    every: Count = 1
    neighbours: Count = 4

    def due(self, generation: int) -> bool:
        """Return whether generation number `generation` (from 0) ends with local search."""
        return self.enabled and (generation + 1) % self.every == 0


class FidelitySettings(Section):
    """How many of the batches a genome is evaluated on; see `search.ladder`.

    Attributes:
        kind: `none`: all. Otherwise genomes are evaluated on growing shares of the batches, which
            the problem offers, and only a genome evaluated on all has a result.
            `successive_halving` evaluates the best 1/eta of every rung on the next; `racing`
            evaluates every genome that is not significantly worse than the best.
        eta: ratio of a rung's size to the next (`successive_halving`).
        alpha: level of the paired t test (`racing`).
    """

    kind: Literal["none", "successive_halving", "racing"] = "none"
    eta: Annotated[float, Field(gt=1.0, le=100.0)] = 4.0
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05


class AdaptivePopulationSettings(Section):
    """A population that shrinks on progress and grows on stagnation.

    Attributes:
        min: fewest individuals.
        max: most individuals.
        shrink: factor after a generation that lowered the best loss.
        grow: factor after every `patience` generations in a row without progress.
    """

    enabled: bool = False
    min: _AtLeastTwo = 8
    max: _AtLeastTwo = 64
    shrink: Share = 0.9
    grow: Annotated[float, Field(ge=1.0, le=100.0)] = 1.5
    patience: Count = 3

    @model_validator(mode="after")
    def _in_order(self) -> AdaptivePopulationSettings:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")
        return self

    def next_population(self, population: int, *, generation: int, stale: int) -> int:
        r"""Return the places of the next generation.

        .. math::
            n' = \max(n_{min}, \lfloor shrink \cdot n \rfloor) \text{ after progress}, \qquad
            n' = \min(n_{max}, \lceil grow \cdot n \rceil)
            \text{ after every } patience \text{ generations without}

        and n otherwise, with n the `population` of the generation that has ended, and `stale`
        generations in a row without progress. While there is progress, few individuals suffice.
        Without progress more are tried at once. Generation 0 changes nothing. The rule does not
        look at diversity: all individuals of a generation are distinct, and they become alike just
        when progress ends.

        Source: the success rule for population sizes of Doerr and Doerr 2018 (Optimal static and
        self-adjusting parameter choices for the (1+(lambda, lambda)) genetic algorithm, section 1).
        """
        if not self.enabled or generation == 0:
            return population
        if stale == 0:
            return max(self.min, math.floor(self.shrink * population + _ROUNDING))
        if stale % self.patience == 0:
            return min(self.max, math.ceil(self.grow * population - _ROUNDING))
        return population


class SearchSettings(Section):
    """The genetic algorithm.

    Attributes:
        mutation_rate: probability per gene.
        crossover_rate: probability per pair of parents.
        elites: best evaluated individuals that enter the next generation unchanged.
        patience: the search stops after so many generations in a row without a loss that is lower
            by more than `min_delta`; `None`: never.
        max_evaluations: limit of whole evaluations, failed ones included. An evaluation on a part
            of the batches counts as that part (`search.ladder`). `None`: no limit.
        finalists: number of the best genomes that are evaluated again on the whole split.
    """

    population: _AtLeastTwo = 32
    generations: Count = 50
    crossover: Literal["uniform", "two_point"] = "uniform"
    crossover_rate: Probability = 0.75
    mutation_rate: Probability = 0.08
    tournament_size: Count = 3
    elites: Annotated[int, Field(ge=0)] = 2
    patience: Count | None = None
    min_delta: NotNegative = 0.0
    max_evaluations: Count | None = None
    finalists: Count = 3
    surrogate: SurrogateSettings = SurrogateSettings()
    local_search: LocalSearchSettings = LocalSearchSettings()
    fidelity: FidelitySettings = FidelitySettings()
    adaptive_population: AdaptivePopulationSettings = AdaptivePopulationSettings()

    @model_validator(mode="after")
    def _fits_population(self) -> SearchSettings:
        if self.elites >= self.population:
            raise ValueError(
                f"elites {self.elites} must be fewer than population {self.population}"
            )
        if self.tournament_size > self.population:
            raise ValueError(
                f"tournament_size {self.tournament_size} exceeds population {self.population}"
            )
        adaptive = self.adaptive_population
        if adaptive.enabled:
            if not adaptive.min <= self.population <= adaptive.max:
                raise ValueError(
                    f"population {self.population} must be within adaptive_population.min "
                    f"{adaptive.min} and max {adaptive.max}"
                )
            if adaptive.min <= self.elites or adaptive.min < self.tournament_size:
                raise ValueError(
                    f"adaptive_population.min {adaptive.min} must exceed elites {self.elites} and "
                    f"be at least tournament_size {self.tournament_size}"
                )
        return self

    def lasting(self, evaluations: int, *, patience: int | None = None) -> SearchSettings:
        """Return settings of a search that ends after so many evaluations, or by this patience."""
        # a generation may evaluate nothing new, so the number of generations needs a bound
        return self.replaced(
            generations=evaluations, patience=patience, max_evaluations=evaluations
        )

    def extended(
        self, *, evaluations: int | None, generations: int | None, spent: float
    ) -> SearchSettings:
        """Return settings with a larger budget; see `Search.extend`.

        Raises:
            SearchError: a budget below the present one, or below the evaluations spent.
        """
        settings = self
        if evaluations is not None:
            least = self.max_evaluations or spent
            if evaluations < least:
                raise SearchError(
                    f"evaluations is {evaluations}, expected at least {least:g}, which the search "
                    "may have used already"
                )
            settings = settings.replaced(
                max_evaluations=evaluations, generations=max(self.generations, evaluations)
            )
        if generations is not None:
            if generations < self.generations:
                raise SearchError(
                    f"generations is {generations}, expected at least {self.generations}"
                )
            settings = settings.replaced(generations=generations)
        return settings


class ParetoSettings(Section):
    """NSGA-II.

    Attributes:
        population: places of a generation; each later generation evaluates as many children.
        generations: number of generations, the initial population included.
        crossover_rate: probability per pair of parents.
        mutation_rate: probability per gene.
    """

    population: _AtLeastTwo = 40
    generations: Count = 15
    crossover: Literal["uniform", "two_point"] = "uniform"
    crossover_rate: Probability = 0.75
    mutation_rate: Probability = 0.08


class Budget(Section):
    """The budget of one search: evaluations or joules.

    Attributes:
        evaluations: number of evaluations.
        energy_j: joules, measured between generations. Meters do not repeat their readings
            exactly, so such a search is not repeatable to the last bit.
    """

    evaluations: Count | None = None
    energy_j: Positive | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Budget:
        if (self.evaluations is None) == (self.energy_j is None):
            raise ValueError("give either evaluations or energy_j")
        return self

    def settings(self, settings: SearchSettings) -> SearchSettings:
        """Return settings of a search that ends when the budget is spent, and not before."""
        lasting = settings.lasting(self.evaluations or _MOST_GENERATIONS)
        return lasting.replaced(max_evaluations=self.evaluations, finalists=1)

    @property
    def whole(self) -> int:
        """The value of `spent` at the end: evaluations, or thousandths of the joules."""
        return self.evaluations or _THOUSANDTHS

    def spent(self, evaluations: int, energy_j: float | None) -> int:
        """Return how much of `whole` is used up."""
        if self.evaluations is not None:
            return min(evaluations, self.evaluations)
        assert self.energy_j is not None
        return min(int(_THOUSANDTHS * (energy_j or 0.0) / self.energy_j), _THOUSANDTHS)

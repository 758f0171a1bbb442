"""The section `search`: the genetic algorithm, and who of its genomes is scored on what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clso.config.section import Count, NotNegative, Probability, Section, Share

__all__ = [
    "AdaptivePopulationConfig",
    "FidelityConfig",
    "LocalSearchConfig",
    "SearchConfig",
    "SurrogateConfig",
]


class SurrogateConfig(Section):
    """Who gets a real evaluation.

    Attributes:
        kind: the write-up's embedding + MLP, a random forest, ridge regression, a
            Gaussian process, gradient boosting, in each generation the one that ranks
            evaluations well which it was not shown (auto), or none.
        start: generations evaluated in full before the surrogate filters.
        full_eval_fraction: share of a generation's new individuals that are evaluated.
        random_fraction: share of all evaluations since then, local search included, that are
            drawn at random, as a control.
        pool_factor: offspring bred per place in the population, before filtering.
        acquisition: what ranks candidates for evaluation: the predicted mean, that mean less
            `optimism` spreads, or the improvement expected below the incumbent.
        optimism: spreads by which the lower confidence bound lies below the mean: above 0, what
            is little known is tried earlier. The other acquisitions have no use for it.
        min_correlation: rank correlation with evaluations it was not shown, below which `auto`
            steps aside: that generation is evaluated in full. The other kinds never do.
        features: whether it sees what is known of the library's entries beforehand: of a mixture's
            functions, which are alike. The perceptron has no use for it, nor have other families.
        neighbour_pool: neighbours of the incumbent at most that it ranks in a local search, drawn
            uniformly; `None`: all of them, which may cost more than what they spare.
        distinct_steps: whether the steps of local search that it chooses at once must each bring
            in another entry, so that more is learned from them.
    """

    kind: Literal[
        "mlp", "random_forest", "ridge", "gaussian_process", "gradient_boosting", "auto", "none"
    ] = "mlp"
    start: Annotated[int, Field(ge=1)] = 5
    full_eval_fraction: Share = 0.2
    random_fraction: Annotated[float, Field(ge=0.1, le=1.0)] = 0.1
    pool_factor: Annotated[float, Field(ge=1.0, le=100.0)] = 1.0
    acquisition: Literal["mean", "lower_confidence_bound", "expected_improvement"] = (
        "lower_confidence_bound"
    )
    optimism: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    min_correlation: Probability = 0.2
    features: bool = False
    neighbour_pool: Count | None = None
    distinct_steps: bool = False


class LocalSearchConfig(Section):
    """One-gene neighbours of the incumbent, tried after every `every`-th generation."""

    enabled: bool = True
    every: Count = 1
    neighbours: Count = 4


class FidelityConfig(Section):
    """On how many of the batches a genome is scored.

    Attributes:
        kind: `none`: on all. Else genomes climb a ladder of shares that the model family offers,
            and only who reaches the whole has a result: `successive_halving` lets the best 1/eta
            of every rung climb on, `racing` everyone who is not significantly worse than the best.
        eta: one in so many climbs on.
        alpha: level of the race's paired t test.
    """

    kind: Literal["none", "successive_halving", "racing"] = "none"
    eta: Annotated[float, Field(gt=1.0, le=100.0)] = 4.0
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05


class AdaptivePopulationConfig(Section):
    """A population that shrinks on progress and grows on stagnation.

    Attributes:
        min: individuals at least.
        max: individuals at most.
        shrink: factor after a generation that lowered the best loss.
        grow: factor after every `patience` generations in a row that did not.
    """

    enabled: bool = False
    min: Annotated[int, Field(ge=2)] = 8
    max: Annotated[int, Field(ge=2)] = 64
    shrink: Share = 0.9
    grow: Annotated[float, Field(ge=1.0, le=100.0)] = 1.5
    patience: Count = 3

    @model_validator(mode="after")
    def _in_order(self) -> AdaptivePopulationConfig:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")
        return self


class SearchConfig(Section):
    """The genetic algorithm.

    Attributes:
        mutation_rate: probability per gene.
        crossover_rate: probability per pair of parents.
        patience: generations without improvement by `min_delta` before stopping; `None`: never.
        max_evaluations: whole evaluations after which the search stops, a genome scored on some
            batches only counted by their share; `None`: no limit.
        finalists: evaluated individuals that are scored again on the whole validation split.
    """

    population: Annotated[int, Field(ge=2)] = 32
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
    surrogate: SurrogateConfig = SurrogateConfig()
    local_search: LocalSearchConfig = LocalSearchConfig()
    fidelity: FidelityConfig = FidelityConfig()
    adaptive_population: AdaptivePopulationConfig = AdaptivePopulationConfig()

    @model_validator(mode="after")
    def _fits_population(self) -> SearchConfig:
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

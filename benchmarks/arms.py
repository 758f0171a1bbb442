"""Ways to search a discrete problem: our search with each surrogate, and the field's samplers.

An arm is given a loss, the number of options of each gene, a number of evaluations and a seed. It
calls the loss that often, or more: what it asks for beyond the budget is not counted. All arms keep
one setting for all problems. Settings that an arm does not name are the package's own.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import optuna
from deap import algorithms, base, tools

from clso.genome import GenomeSpace
from search import SearchSettings, minimize
from search.evolution import SEARCH_VERSION
from search.function import Function
from search.rivals import N_DRAWN, predicted_best
from search.samplers import smac
from search.settings import LocalSearchSettings, SurrogateSettings
from search.tuning import CrystallineSampler
from search.watched import Standing

__all__ = ["ARMS", "Arm", "Loss"]

Loss = Callable[[Sequence[int]], float]
_Search = Callable[[Loss, Sequence[int], int, int], None]

_POPULATION = 20
_CHANGED_GENES = 1.5  # of a child, on average
_MORE = 20


@dataclass(frozen=True)
class Arm:
    """One way to search.

    Attributes:
        name: of its files, and on the command line.
        title: as the tables call it.
        search: called with a loss, the options of each gene, a number of evaluations and a seed.
        identity: what the outcome depends on besides; stored outcomes of another identity are not
            taken.
        slow: takes minutes a search, so that the tables have fewer seeds of it.
        times: how many times the evaluations of the others it may spend.
    """

    name: str
    title: str
    search: _Search
    identity: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False
    times: int = 1


# -- our search


def _settings(genes: int, **surrogate: Any) -> SearchSettings:  # noqa: ANN401
    kept = {"start": 1, "full_eval_fraction": 0.15, "pool_factor": 8.0, "optimism": 1.0}
    return SearchSettings(
        population=_POPULATION,
        mutation_rate=min(_CHANGED_GENES / genes, 0.5),
        surrogate=SurrogateSettings(**(kept | surrogate)),
        local_search=LocalSearchSettings(every=2),
    )


def _ours(
    name: str,
    title: str,
    kind: str,
    *,
    crossover_rate: float | None = None,
    slow: bool = False,
    **surrogate: Any,  # noqa: ANN401
) -> Arm:
    changed = {} if crossover_rate is None else {"crossover_rate": crossover_rate}

    def settings(genes: int) -> SearchSettings:
        return _settings(genes, kind=kind, **surrogate).replaced(**changed)

    def search(loss: Loss, cardinalities: Sequence[int], evaluations: int, seed: int) -> None:
        minimize(
            loss,
            list(cardinalities),
            evaluations=evaluations,
            settings=settings(len(cardinalities)),
            seed=seed,
        )

    identity = {"version": SEARCH_VERSION, "settings": settings(1).model_dump(mode="json")}
    return Arm(name, f"our search, {title}", search, identity, slow)


def _predicted_best(
    kind: str, loss: Loss, cardinalities: Sequence[int], evaluations: int, seed: int
) -> None:
    _spend(
        predicted_best(
            Function(GenomeSpace.of(list(cardinalities)), "", loss),
            SurrogateSettings(kind=kind),
            seed=seed,
            limit=evaluations,
        )
    )


def _spend(standings: Iterator[Standing]) -> None:
    """Run a search to its end."""
    for _ in standings:
        pass


# -- others


def _drawn(loss: Loss, cardinalities: Sequence[int], evaluations: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(evaluations):
        loss(rng.integers(cardinalities).tolist())


class _Spent(Exception):
    """The budget is used up."""


def _limited(loss: Loss, evaluations: int) -> Loss:
    left = iter(range(evaluations))

    def limited(genome: Sequence[int]) -> float:
        if next(left, None) is None:
            raise _Spent
        return loss(genome)

    return limited


def _iterated(loss: Loss, cardinalities: Sequence[int], evaluations: int, seed: int) -> None:
    """Descend to a local optimum, change some genes of the best one so far, descend again.

    Every tenth descent begins at a random genome. No genome is evaluated twice.
    """
    rng = np.random.default_rng(seed)
    counted, known = _limited(loss, evaluations), dict[tuple[int, ...], float]()

    def value(genome: tuple[int, ...]) -> float:
        if genome not in known:
            known[genome] = counted(genome)
        return known[genome]

    def random_genome() -> tuple[int, ...]:
        return tuple(rng.integers(cardinalities).tolist())

    best = random_genome()
    with suppress(_Spent):
        for descent in range(evaluations):  # the space may have fewer genomes
            genes = list(best)
            for gene in rng.choice(len(genes), size=min(int(rng.integers(2, 6)), len(genes))):
                genes[gene] = int(rng.integers(cardinalities[gene]))
            start = random_genome() if descent % 10 == 0 else tuple(genes)
            found = _descended(start, value, rng, cardinalities)
            best = min(best, found, key=value)


def _descended(
    genome: tuple[int, ...],
    value: Callable[[tuple[int, ...]], float],
    rng: np.random.Generator,
    cardinalities: Sequence[int],
) -> tuple[int, ...]:
    """Return a genome that no change of one gene betters."""
    better = True
    while better:
        better = False
        for gene in rng.permutation(len(genome)).tolist():
            for option in range(cardinalities[gene]):
                changed = (*genome[:gene], option, *genome[gene + 1 :])
                if value(changed) < value(genome):
                    genome, better = changed, True
    return genome


class _Fitness(base.Fitness):  # type: ignore[misc]  # DEAP has no types
    weights = (-1.0,)


class _Individual(list[int]):
    def __init__(self, genes: Sequence[int]) -> None:
        super().__init__(genes)
        self.fitness = _Fitness()


def _deap(loss: Loss, cardinalities: Sequence[int], evaluations: int, seed: int) -> None:
    """DEAP's `eaSimple`: tournaments, uniform crossover, uniform mutation, no elite."""
    random.seed(seed)  # the generator of all of DEAP's operators
    counted = _limited(loss, evaluations)
    toolbox = base.Toolbox()
    toolbox.register("evaluate", lambda individual: (counted(list(individual)),))
    toolbox.register("mate", tools.cxUniform, indpb=0.5)
    toolbox.register(
        "mutate",
        tools.mutUniformInt,
        low=[0] * len(cardinalities),
        up=[count - 1 for count in cardinalities],
        indpb=_CHANGED_GENES / len(cardinalities),
    )
    toolbox.register("select", tools.selTournament, tournsize=3)
    population = [
        _Individual([random.randrange(count) for count in cardinalities])
        for _ in range(_POPULATION)
    ]
    with suppress(_Spent):
        algorithms.eaSimple(
            population, toolbox, cxpb=0.75, mutpb=1.0, ngen=evaluations, verbose=False
        )


def _optuna(
    sampler: Callable[[int], optuna.samplers.BaseSampler],
    loss: Loss,
    cardinalities: Sequence[int],
    evaluations: int,
    seed: int,
) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {f"gene{gene:02d}": range(count) for gene, count in enumerate(cardinalities)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(sampler=sampler(seed))
        study.optimize(
            lambda trial: loss(
                [trial.suggest_categorical(name, values) for name, values in options.items()]
            ),
            n_trials=evaluations,
        )


def _sampled(
    name: str, sampler: Callable[..., optuna.samplers.BaseSampler], *, slow: bool = False
) -> Arm:
    search = partial(_optuna, lambda seed: sampler(seed=seed))
    title = f"Optuna, {sampler.__name__}"
    return Arm(name, title, search, {"optuna": version("optuna")}, slow)


def _smac(loss: Loss, cardinalities: Sequence[int], evaluations: int, seed: int) -> None:
    problem = Function(GenomeSpace.of(list(cardinalities)), "", loss)
    _spend(smac(problem, seed=seed, limit=evaluations))


def _smac_version() -> str | None:
    try:
        return version("smac")
    except PackageNotFoundError:
        return None


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        _ours("gaussian_process", "Gaussian process", "gaussian_process"),
        _ours("ridge", "ridge", "ridge"),
        _ours("auto", "auto", "auto", slow=True),
        _ours("random_forest", "random forest", "random_forest"),
        _ours("none", "no surrogate", "none"),
        _ours(
            "mutation_only",
            "Gaussian process, mutation only",
            "gaussian_process",
            crossover_rate=0.0,
        ),
        _ours(
            "expected_improvement",
            "Gaussian process, expected improvement",
            "gaussian_process",
            acquisition="expected_improvement",
        ),
        _ours("optimism_2", "Gaussian process, optimism 2", "gaussian_process", optimism=2.0),
        Arm(
            "predicted_best",
            "half at random, then the best of a Gaussian process",
            partial(_predicted_best, "gaussian_process"),
            {"drawn": N_DRAWN},
        ),
        _sampled("optuna_crystalline", CrystallineSampler),
        _sampled("optuna_gp", optuna.samplers.GPSampler, slow=True),
        _sampled("optuna_tpe", optuna.samplers.TPESampler),
        _sampled("optuna_nsgaii", optuna.samplers.NSGAIISampler),
        Arm("smac", "SMAC3, random forest", _smac, {"smac": _smac_version()}, slow=True),
        Arm("deap", "DEAP, eaSimple", _deap, {"deap": version("deap")}),
        Arm("random", "random", _drawn),
        Arm(
            "iterated",
            f"iterated local search, {_MORE} times the evaluations",
            _iterated,
            times=_MORE,
        ),
    )
}
"""All ways to search by name, ours first."""

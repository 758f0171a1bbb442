"""Pest control: a search problem of the field, beside Optuna's samplers.

Pests spread along 25 stations. At each station one of four pesticides may be applied, or none. A
pesticide has a price, which falls with its use, and it works less the more often it was used. The
loss is the sum of prices paid and, over the stations, of the share of simulations whose share of
pests exceeds 0.1. The random numbers of the 100 simulations are the same for all genomes, so that
the loss is a function of the genome.

Source: Oh, Tomczak, Gavves and Welling 2019 (Combinatorial Bayesian optimization using the graph
Cartesian product; the constants are those of the authors' code).
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from search import SearchSettings, minimize
from search.settings import LocalSearchSettings, SurrogateSettings
from search.tuning import CrystallineSampler

__all__ = ["BUDGETS", "SAMPLERS", "SEARCHES", "SLOWEST", "Standing", "loss", "run"]

STATIONS, OPTIONS = 25, 5
BUDGETS = (50, 100, 200, 320)
_SIMULATIONS = 100
_MOST_PESTS = 0.1
_PRICES = (1.0, 0.8, 0.7, 0.5)
_DISCOUNTS = (0.2, 0.3, 0.3, 0.0)  # at use at all stations
_RESISTANCES = (1 / 7, 2.5 / 7, 2 / 7, 0.5 / 7)  # added at use at all stations
_BETAS = (2 / 7, 3 / 7, 3 / 7, 5 / 7)  # of the Beta(1, b) that a pesticide kills


# the numbers of a start, and of spread and effect at each station
_UNIFORM = np.random.default_rng(0).random((1 + 2 * STATIONS, _SIMULATIONS))


def _beta(uniform: np.ndarray, b: float) -> np.ndarray:
    """Return the quantiles of Beta(1, b)."""
    return 1.0 - (1.0 - uniform) ** (1.0 / b)


def loss(genome: Sequence[int]) -> float:
    """Return the loss of the options of all stations; 0 is no pesticide."""
    pests = _beta(_UNIFORM[0], 30.0)
    betas = list(_BETAS)
    total = 0.0
    for station, option in enumerate(genome):
        total += float(np.mean(pests > _MOST_PESTS))
        if option == 0:
            pests = pests + _beta(_UNIFORM[1 + station], 17 / 3) * (1.0 - pests)
            continue
        kind = option - 1
        pests = pests * (1.0 - _beta(_UNIFORM[1 + STATIONS + station], betas[kind]))
        betas[kind] += _RESISTANCES[kind] / STATIONS
        share = sum(other == option for other in genome) / STATIONS
        total += _PRICES[kind] * (1.0 - _DISCOUNTS[kind] * share)
    return total


def _settings(surrogate: str) -> SearchSettings:
    return SearchSettings(
        population=20,
        mutation_rate=0.06,
        surrogate=SurrogateSettings(
            kind=surrogate, start=1, full_eval_fraction=0.15, pool_factor=8.0, optimism=1.0
        ),
        local_search=LocalSearchSettings(every=2),
    )


class _Counted:
    """Keeps the losses in the order of their evaluation."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def __call__(self, genome: Sequence[int]) -> float:
        self.losses.append(loss(genome))
        return self.losses[-1]


def _search(surrogate: str) -> Callable[[int], list[float]]:
    def run(seed: int) -> list[float]:
        counted = _Counted()
        minimize(
            counted,
            [OPTIONS] * STATIONS,
            evaluations=BUDGETS[-1],
            settings=_settings(surrogate),
            seed=seed,
        )
        return counted.losses

    return run


def _sampled(sampler: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[[int], list[float]]:
    names = [f"station{number:02d}" for number in range(STATIONS)]

    def run(seed: int) -> list[float]:
        counted = _Counted()
        study = optuna.create_study(sampler=sampler(seed))
        study.optimize(
            lambda trial: counted(
                [trial.suggest_categorical(name, range(OPTIONS)) for name in names]
            ),
            n_trials=BUDGETS[-1],
        )
        return counted.losses

    return run


SEARCHES: dict[str, Callable[[int], list[float]]] = {
    f"our search, {title}": _search(kind)
    for kind, title in (
        ("gaussian_process", "Gaussian process"),
        ("ridge", "ridge"),
        ("auto", "auto"),
        ("gradient_boosting", "gradient boosting"),
        ("random_forest", "random forest"),
        ("mlp", "MLP"),
        ("none", "no surrogate"),
    )
}
"""Our search with each surrogate; a run takes a seed and returns the losses in order."""

SAMPLERS: dict[str, Callable[[int], list[float]]] = {
    "CrystallineSampler": _sampled(lambda seed: CrystallineSampler(seed=seed)),
    "TPESampler": _sampled(lambda seed: optuna.samplers.TPESampler(seed=seed)),
    "NSGAIISampler": _sampled(lambda seed: optuna.samplers.NSGAIISampler(seed=seed)),
    "RandomSampler": _sampled(lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "GPSampler": _sampled(lambda seed: optuna.samplers.GPSampler(seed=seed)),
}
"""Samplers of Optuna, ours the first."""

SLOWEST = "GPSampler"
"""The sampler that takes minutes a search."""


@dataclass(frozen=True)
class Standing:
    """The best losses of one way to search.

    Attributes:
        name: of the search or sampler.
        best: after each of `BUDGETS` evaluations, for each seed, `(seeds, budgets)`.
        cpu_s: CPU seconds of a search, the mean over seeds.
    """

    name: str
    best: list[list[float]]
    cpu_s: float

    @property
    def means(self) -> list[float]:
        """The mean best loss after each budget."""
        return [statistics.fmean(values) for values in zip(*self.best, strict=True)]

    @property
    def standard_error(self) -> float | None:
        """Of the last mean; `None` with one seed."""
        last = [values[-1] for values in self.best]
        return statistics.stdev(last) / len(last) ** 0.5 if len(last) > 1 else None


def run(name: str, seeds: int) -> Standing:
    """Search with each seed from 0."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = (SEARCHES | SAMPLERS)[name]
    best, started = [], time.process_time()
    for seed in range(seeds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            losses = search(seed)
        best.append([min(losses[:budget]) for budget in BUDGETS])
    return Standing(name, best, (time.process_time() - started) / seeds)

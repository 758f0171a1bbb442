"""Tune the settings of a search for a problem of your own, with Optuna.

The losses are random sums in which the best option of a gene depends on its neighbour. A trial is
judged by the mean loss that its settings reach with two seeds.

Run: python examples/tune_own_problem.py
"""

from statistics import fmean

import numpy as np
import optuna

from search import SearchSettings, minimize
from search.tuning import Choices, Range, SearchSpace

TABLE = np.random.default_rng(0).normal(size=(10, 6, 6))
SPACE = SearchSpace(
    {
        "population": Range(6, 24),
        "mutation_rate": Range(0.02, 0.4, log=True),
        "surrogate.kind": Choices(("none", "ridge")),
        "surrogate.start": Range(1, 4),
    },
    SearchSettings(),  # what is not tuned
)


def loss(genome: list[int]) -> float:
    """Return the sum over neighbours in a ring."""
    return float(TABLE[range(10), genome, np.roll(genome, -1)].sum())


def objective(trial: optuna.Trial) -> float:
    """Return the mean loss of two searches with the settings of a trial."""
    settings = SPACE.settings_of(trial)
    results = (
        minimize(loss, [6] * 10, evaluations=50, settings=settings, seed=s) for s in range(2)
    )
    return fmean(result.loss for result in results)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=6)
    print(round(study.best_value, 3), SPACE.settings_of(study.best_trial))

"""Optuna tunes the settings of a search; only `search.samplers` imports Optuna besides.

A problem of your own can use any Optuna study:

    space = SearchSpace({"population": Range(8, 48)}, SearchSettings())

    def objective(trial):
        settings = space.settings_of(trial)
        return minimize(loss, [8] * 12, evaluations=100, settings=settings).loss

    study = optuna.create_study()
    study.optimize(objective, n_trials=20)
    best = space.settings_of(study.best_trial)

`open_tuning` opens a study that is stored, resumed and pruned; its searches read one half of the
data and are judged by the other. `known_genomes` reads a study over genomes as a search's start.
`CrystallineSampler` is our search as a sampler of any Optuna study.
"""

from search.tuning.history import known_genomes
from search.tuning.sampler import CrystallineSampler
from search.tuning.settings import TuningSettings
from search.tuning.space import Choices, Params, Range, SearchSpace
from search.tuning.study import Tuning, open_tuning

__all__ = [
    "Choices",
    "CrystallineSampler",
    "Params",
    "Range",
    "SearchSpace",
    "Tuning",
    "TuningSettings",
    "known_genomes",
    "open_tuning",
]

"""Optuna tunes the settings of a search; nothing outside this package knows Optuna.

For a problem of one's own, any study of Optuna will do:

    space = SearchSpace({"population": Range(8, 48)}, SearchSettings())

    def objective(trial):
        settings = space.settings_of(trial)
        return minimize(loss, [8] * 12, evaluations=100, settings=settings).loss

    study = optuna.create_study()
    study.optimize(objective, n_trials=20)
    best = space.settings_of(study.best_trial)

`open_tuning` has a study that is kept, resumed and pruned, of searches on one half of the data
judged by the other. `known_genomes` takes a study over genomes as the start of a search.
"""

from search.tuning.history import known_genomes
from search.tuning.settings import TuningSettings, check_budget
from search.tuning.space import Choices, Params, Range, SearchSpace
from search.tuning.study import Tuning, open_tuning

__all__ = [
    "Choices",
    "Params",
    "Range",
    "SearchSpace",
    "Tuning",
    "TuningSettings",
    "check_budget",
    "known_genomes",
    "open_tuning",
]

"""Optuna tunes the evolution's hyperparameters; nothing outside this package knows Optuna."""

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
    "open_tuning",
]

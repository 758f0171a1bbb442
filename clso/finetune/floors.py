"""What a classifier must beat: the most frequent label, and a linear model of single words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from clso.finetune.metrics import Predictions
from clso.finetune.task import Examples, Task

__all__ = ["FLOORS", "floor_predictions"]

_STRENGTHS: Final = (1.0, 10.0, 100.0)  # C of the logistic regression: inverse regularisation
_WORDS: Final = r"(?u)\b\w+\b"

FloatArray = npt.NDArray[np.float64]


def _majority(train: Examples, scored: Examples, n_labels: int) -> FloatArray:
    """Return the shares of the labels in train, smoothed, for every example."""
    counts = np.bincount(train.labels, minlength=n_labels) + 1.0
    return np.tile(np.log(counts / counts.sum()), (len(scored), 1))


def _bag_of_words(train: Examples, scored: Examples, n_labels: int, strength: float) -> FloatArray:
    """Return log-probabilities `(n, K)` of a logistic regression on weighted counts of words."""
    # late: takes a second
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, token_pattern=_WORDS),
        LogisticRegression(C=strength, max_iter=2000),
    )
    model.fit([" ".join(text) for text in train.texts], train.labels)
    found = np.full((len(scored), n_labels), -np.inf)
    found[:, model.classes_] = model.predict_log_proba([" ".join(t) for t in scored.texts])
    return found


def _chosen_bag_of_words(task: Task) -> FloatArray:
    """Choose the regularisation on the examples that are held out, then learn from all of train."""
    n_labels = len(task.labels)
    fitted, held_out = task.train.take(~task.held_out), task.train.take(task.held_out)
    scores = {
        strength: Predictions.of(
            _bag_of_words(fitted, held_out, n_labels, strength), held_out
        ).score(task.metric, n_labels)
        for strength in _STRENGTHS
    }
    best = max(_STRENGTHS, key=scores.__getitem__)
    return _bag_of_words(task.train, task.reported, n_labels, best)


_FITS: Final[Mapping[str, Callable[[Task], FloatArray]]] = {
    "majority": lambda task: _majority(task.train, task.reported, len(task.labels)),
    "bag_of_words": _chosen_bag_of_words,
}

FLOORS: Final = tuple(_FITS)
"""The names of the floors, the weakest first."""


def floor_predictions(name: str, task: Task) -> Predictions:
    """Return what a floor says about the examples to report on; it learns from all of train."""
    return Predictions.of(_FITS[name](task), task.reported)

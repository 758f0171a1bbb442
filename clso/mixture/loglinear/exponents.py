r"""The exponents of a log-linear model: Newton's method on the concave likelihood of held-out text.

Notation: contexts i in groups of m outcomes, J features f_j; y_i is the outcome that came, n_o the
number of equal outcomes that outcome o stands for. Maximised is

.. math::
    \sum_i \Bigl( \sum_j \lambda_j f_j(y_i, i)
        - \log \sum_o n_o \exp \sum_j \lambda_j f_j(o, i) \Bigr)
    - \tfrac12 \sum_j (\lambda_j - \lambda^0_j)^2

The prior keeps a feature that says nothing at its value in lambda^0.

Source: Boyd and Vandenberghe 2004, section 9.5 (Newton's method with backtracking).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array
from clso.scoring import Int64Array

__all__ = ["Choices", "fit_exponents"]

_STEPS: Final = 25
_SMALLEST_GAIN: Final = 1e-5  # nats per context
_SMALLEST_SHARE: Final = 1e-9  # of a step; where the likelihood is flat, a whole one leads far away


class Choices(NamedTuple):
    """Contexts with the same outcomes.

    Attributes:
        features: `(J, n, m)`.
        log_multiplicity: log n_o, `(m,)`.
        chosen: the outcome that came, `(n,)`.
    """

    features: Float32Array
    log_multiplicity: Float32Array
    chosen: Int64Array


def fit_exponents(groups: Sequence[Choices], start: FloatArray) -> FloatArray:
    """Return the exponents lambda, `(J,)`; `start` is lambda^0."""
    n = sum(len(group.chosen) for group in groups)
    exponents, best = start.copy(), _Likelihood.at(groups, start, start)
    for _ in range(_STEPS if n else 0):
        step = np.linalg.solve(best.curvature, best.gradient)
        share, found = 1.0, None
        while share > _SMALLEST_SHARE:
            candidate = _Likelihood.at(groups, exponents + share * step, start)
            if candidate.value > best.value:
                found = candidate
                break
            share /= 2
        if found is None:
            break
        gain, best = found.value - best.value, found
        exponents = exponents + share * step
        if gain < _SMALLEST_GAIN * n:
            break
    return exponents


class _Likelihood(NamedTuple):
    """The penalised log-likelihood, its gradient and the negative of its second derivative."""

    value: float
    gradient: FloatArray
    curvature: FloatArray

    @classmethod
    def at(cls, groups: Sequence[Choices], exponents: FloatArray, start: FloatArray) -> _Likelihood:
        away = exponents - start
        value = -0.5 * float(away @ away)
        gradient, curvature = -away, np.eye(len(exponents))
        for features, log_multiplicity, chosen in groups:
            contexts = np.arange(len(chosen))
            scores = np.tensordot(exponents.astype(np.float32), features, 1) + log_multiplicity
            scores -= scores.max(axis=1, keepdims=True)
            p = np.exp(scores)
            total = p.sum(axis=1, keepdims=True)
            p /= total
            value += float((scores[contexts, chosen] - np.log(total[:, 0])).sum(dtype=np.float64))
            weighted = features * p
            expected = weighted.sum(axis=2, dtype=np.float64)
            gradient += (features[:, contexts, chosen] - expected).sum(axis=1)
            flat = len(exponents), -1
            curvature += weighted.reshape(flat) @ features.reshape(flat).T - expected @ expected.T
        return cls(value, gradient, curvature)

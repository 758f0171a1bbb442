"""The share of one of two models that are interpolated, fitted on targets."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

__all__ = ["Probabilities", "best_share", "mixed_nll"]

Probabilities = npt.NDArray[np.float64]


def best_share(first: Probabilities, second: Probabilities) -> float:
    r"""Return the second model's share that gives the targets the highest likelihood.

    .. math:: \arg\max_{0 \le s \le 1} \sum_i \log((1 - s) \, p_i + s \, q_i)

    Args:
        first: p, the targets' probabilities of the first model alone, `(n,)`, above 0.
        second: q, those of the second alone, `(n,)`.
    """
    loss = partial(mixed_nll, first, second)
    # the likelihood is concave in s; the bounded search is open, so its ends are tried apart
    inside = float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)
    return min((0.0, inside, 1.0 if second.all() else inside), key=loss)


def mixed_nll(first: Probabilities, second: Probabilities, share: float) -> float:
    """Return the mean loss of the targets with this share of the second model, nats."""
    return -float(np.log((1.0 - share) * first + share * second).mean())

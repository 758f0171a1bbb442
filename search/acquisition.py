r"""Who is evaluated first, by the guesses of a surrogate.

Notation: n candidates, each with a loss guessed to be normal with mean :math:`\mu` and spread
:math:`\sigma`; b the lowest loss evaluated so far, the incumbent's; :math:`z = (b - \mu)/\sigma`;
:math:`\varphi` and :math:`\Phi` the standard normal density and distribution.

Source: Jones, Schonlau and Welch 1998 (expected improvement); Cox and John 1992 (the bound).
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from search.settings import Acquisition

__all__ = ["expected_improvement", "precedence"]

FloatArray = npt.NDArray[np.float64]


def expected_improvement(mean: FloatArray, std: FloatArray, incumbent: float) -> FloatArray:
    r"""Return how far candidates are expected to fall below the incumbent, `(n,)`, >= 0.

    .. math:: E[\max(b - y, 0)] = \sigma (z \Phi(z) + \varphi(z))

    Args:
        mean: guessed losses, `(n,)`.
        std: their spreads, `(n,)`; where 0, the improvement is that of the mean.
        incumbent: the lowest loss evaluated so far.
    """
    gap = incumbent - mean
    certain = std == 0
    with np.errstate(over="ignore"):  # an infinite z has the right limits
        z = gap / np.where(certain, 1.0, std)
        density = np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi)
    # rounding may leave a little less than nothing of a difference of equals
    gain = np.maximum(gap * ndtr(z) + std * density, 0.0)
    return np.where(certain, np.maximum(gap, 0.0), gain)


def precedence(
    acquisition: Acquisition,
    mean: FloatArray,
    std: FloatArray,
    *,
    incumbent: float,
    optimism: float,
) -> FloatArray:
    r"""Return a number per candidate, `(n,)`: the lower, the earlier it is evaluated.

    `mean` is :math:`\mu`; `lower_confidence_bound` is :math:`\mu - k \sigma` with k the optimism,
    which the others have no use for; `expected_improvement` is the place in the order of falling
    improvement, and of rising mean where nothing tells improvements apart.

    Args:
        acquisition: which of them.
        mean: guessed losses, `(n,)`, finite.
        std: their spreads, `(n,)`, finite, >= 0.
        incumbent: the lowest loss evaluated so far.
        optimism: spreads by which the bound lies below the mean.
    """
    match acquisition:
        case "mean":
            return mean
        case "lower_confidence_bound":
            return mean - optimism * std
        case "expected_improvement":
            # far above the incumbent all improvements are 0 in floating point
            order = np.lexsort((mean, -expected_improvement(mean, std, incumbent)))
            places = np.empty(len(mean))
            places[order] = np.arange(len(mean))
            return places
        case _:
            assert_never(acquisition)

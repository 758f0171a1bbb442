r"""What is known of a library's functions before any mixture is scored: which of them are alike.

Notation: N functions, n targets; p_i(t) the probability that function i gives target t.

.. math:: x_i(t) = \log \max(p_i(t), 10^{-5})

Features are the first d principal coordinates of the centred x_i, scaled to a mean square norm of
1: the inner products of two functions' features are, up to that scale and what the d coordinates
leave out, those of the centred x_i. Two functions that agree on every target have the same
features, whatever their names say.

Source: Gower 1966 (principal coordinates).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clso.threads import one_thread

__all__ = ["function_features"]

# Changing either changes searches: raise `search.evolution.SEARCH_VERSION`.
_COORDINATES = 30
_LOWEST = 1e-5  # below, a probability says nothing but that a function did not expect the target
_ROUNDING = 1e-9


def function_features(
    probabilities: npt.NDArray[np.float32], *, coordinates: int = _COORDINATES
) -> npt.NDArray[np.float64]:
    """Return the features of functions, `(N, min(N, coordinates))`.

    Args:
        probabilities: of the targets, `(N, n)`.
        coordinates: d.
    """
    logs = np.maximum(probabilities, _LOWEST, dtype=np.float64)
    np.log(logs, out=logs)
    logs -= logs.mean(axis=0)
    with one_thread():
        # of far more targets than functions, the functions' inner products are the smaller matrix
        values, vectors = np.linalg.eigh(logs @ logs.T)
    first = np.argsort(-values, kind="stable")[:coordinates]
    found = vectors[:, first] * np.sqrt(np.maximum(values[first], 0.0))
    # an eigenvector's sign is arbitrary, and trees would see it
    largest = np.abs(found).argmax(axis=0)
    found *= np.where(found[largest, np.arange(found.shape[1])] < 0, -1.0, 1.0)
    power = float(np.square(found).sum(axis=1).mean())
    return np.asarray(found / np.sqrt(power) if power > _ROUNDING else np.zeros_like(found))

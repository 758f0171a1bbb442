r"""Features of basis functions, which say how similar they are before any mixture is scored.

Notation: N functions, n targets; p_i(t) is the probability of target t under function i.

.. math:: x_i(t) = \log \max(p_i(t), 10^{-5})

The features are the first d principal coordinates of the centred x_i, scaled to a mean square norm
of 1. Inner products of features are those of the centred x_i, up to the scale and the coordinates
left out. Two functions that agree on every target have the same features, whatever their names.

Source: Gower 1966 (principal coordinates).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clso.threads import one_thread

__all__ = ["function_features"]

# Changing either changes searches: raise `search.evolution.SEARCH_VERSION`.
_COORDINATES = 30
_LOWEST = 1e-5  # differences between smaller probabilities do not matter
_ROUNDING = 1e-9


def function_features(
    probabilities: npt.NDArray[np.float32], *, coordinates: int = _COORDINATES
) -> npt.NDArray[np.float64]:
    """Return `(N, min(N, coordinates))` features from the targets' probabilities, `(N, n)`."""
    logs = np.maximum(probabilities, _LOWEST, dtype=np.float64)
    np.log(logs, out=logs)
    logs -= logs.mean(axis=0)
    with one_thread():
        # with far more targets than functions, this is the smaller matrix of inner products
        values, vectors = np.linalg.eigh(logs @ logs.T)
    first = np.argsort(-values, kind="stable")[:coordinates]
    features = vectors[:, first] * np.sqrt(np.maximum(values[first], 0.0))
    # the sign of an eigenvector is arbitrary, but changes what surrogates learn
    largest = np.abs(features).argmax(axis=0)
    features *= np.where(features[largest, np.arange(features.shape[1])] < 0, -1.0, 1.0)
    power = float(np.square(features).sum(axis=1).mean())
    return np.asarray(features / np.sqrt(power) if power > _ROUNDING else np.zeros_like(features))

r"""The cache of a network: tokens of the block come again where the network is in a like state.

.. math::
    p(y \mid ctx_t) = (1 - \lambda) \, p_{net}(y \mid ctx_t)
    + \lambda \sum_{s < t,\, x_{s+1} = y} a_{ts}, \qquad
    a_t = \mathrm{softmax}_s(\theta \, h_t \cdot h_s)

h_t is the network's state after the tokens x_1 .. x_t of the block, so that h_s stands for the
token x_{s+1} that came after it. At t = 1 there is no earlier state, and no cache. Nothing is
trained: theta and lambda are fitted on validation. Source: Grave, Joulin and Usunier 2017,
"Improving neural language models with a continuous cache", equation 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from clso.interpolation import best_share, mixed_nll
from clso.scoring import Int64Array

__all__ = ["NO_CACHE", "Cache", "Scored"]

FloatArray = npt.NDArray[np.float64]
States = Sequence[torch.Tensor]
# The scales that are tried, in units of 1 / the root mean square of h_t . h_s.
_SCALES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

Scored = tuple[States, Int64Array, Int64Array, FloatArray]
"""States of each member `(B, T, d)`, inputs and targets `(B, T)`, p_net of the targets."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The two numbers of a cache.

    Attributes:
        scale: theta.
        share: lambda; 0: there is no cache.
    """

    scale: float
    share: float

    @classmethod
    def fit(cls, parts: Iterable[Scored]) -> Self:
        """Return the cache with the lowest loss of the targets, or none if none gains."""
        kept = [
            (_products(states), inputs, targets, p[:, 1:].ravel())
            for states, inputs, targets, p in parts
        ]
        earlier = _earlier(kept[0][0])
        squares = sum(float(products.square().mul(earlier).sum()) for products, *_ in kept)
        count = sum(int(earlier.sum()) * len(products) for products, *_ in kept)
        if not count:  # blocks of one token have nothing to look back at
            return cls(0.0, 0.0)
        unit = math.sqrt(squares / count) or 1.0
        network = np.concatenate([p for *_, p in kept])
        best = (mixed_nll(network, network, 0.0), cls(0.0, 0.0))
        for step in _SCALES:
            scale = step / unit
            cached = np.concatenate(
                [
                    _of_targets(_weights(products, scale), inputs, targets)[:, 1:].ravel()
                    for products, inputs, targets, _ in kept
                ]
            )
            share = best_share(network, cached)
            loss = mixed_nll(network, cached, share)
            best = min(best, (loss, cls(scale, share)), key=lambda found: found[0])
        return best[1]

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def of_targets(self, states: States, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return the cache's probability of the targets, `(B, T)`; 0 at the first position."""
        return _of_targets(_weights(_products(states), self.scale), inputs, targets)

    def mix(self, p: FloatArray, cached: FloatArray) -> FloatArray:
        """Return both interpolated, `(B, T)`; the first position has the network alone."""
        mixed = (1.0 - self.share) * p + self.share * cached
        mixed[:, 0] = p[:, 0]
        return mixed

    def add(self, p: FloatArray, states: States, inputs: Int64Array) -> None:
        """Interpolate the distributions at the last t positions in place, `(B, t, V)`."""
        start = inputs.shape[1] - p.shape[1]
        weights = _weights(_products(states), self.scale).double().cpu().numpy()
        for position in range(max(start, 1), inputs.shape[1]):
            row = p[:, position - start]
            row *= 1.0 - self.share
            for block, tokens in enumerate(inputs[:, 1 : position + 1]):
                np.add.at(row[block], tokens, self.share * weights[block, position, :position])


NO_CACHE = Cache(0.0, 0.0)


def _products(states: States) -> torch.Tensor:
    """Return h_t . h_s, `(B, T, T)`, the mean over the members of an average."""
    each = [torch.bmm(state, state.transpose(1, 2)) for state in states]
    return torch.stack(each).mean(0)


def _weights(products: torch.Tensor, scale: float) -> torch.Tensor:
    """Return a_ts, `(B, T, T)`; the first row is 0."""
    weights = (products * scale).masked_fill(~_earlier(products), -torch.inf)
    weights[:, 0] = 0.0
    weights = weights.softmax(-1)
    weights[:, 0] = 0.0
    return weights


def _of_targets(weights: torch.Tensor, inputs: Int64Array, targets: Int64Array) -> FloatArray:
    same = torch.from_numpy(inputs[:, None, 1:] == targets[:, :, None]).to(weights.device)
    return np.asarray((weights[:, :, :-1] * same).sum(-1, dtype=torch.float64).cpu().numpy())


def _earlier(products: torch.Tensor) -> torch.Tensor:
    """Return whether s < t, `(T, T)`."""
    length = products.shape[-1]
    return torch.ones(length, length, dtype=torch.bool, device=products.device).tril(-1)

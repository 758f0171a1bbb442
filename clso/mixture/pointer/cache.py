r"""Caches: tokens of the block come again; recent, rare and fitting tokens are the likeliest.

Notation: lambda = 2^(-1 / half-life), p the unigram, c a class map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array, UnsignedArray, stored_array
from clso.mixture.pointer.base import Pointer
from clso.mixture.pointer.names import CacheName, GatedName
from clso.mixture.pointer.pairs import BlockView
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["Cache", "Gated"]


def _recency(half_life: float, n_lags: int) -> FloatArray:
    """Return lambda^lag for lags 0 .. n_lags - 1."""
    return np.exp2(np.arange(n_lags) / -half_life)


def _decay(half_life: float, start: int, stop: int) -> FloatArray:
    """Return lambda^(t - s) of queries from `start` to `stop` - 1, 0 for s > t."""
    lags = np.subtract.outer(np.arange(start, stop), np.arange(stop))
    return np.where(lags >= 0, _recency(half_life, stop)[np.abs(lags)], 0.0)


def _rarity(unigram: FloatArray, idf: float) -> FloatArray:
    """Return p^-idf, `(V,)`."""
    return np.ones_like(unigram) if idf == 0 else unigram**-idf


class Cache(Pointer):
    r"""A recency cache: :math:`w(t, s) = \lambda^{t - s} \, p(x_s)^{-\mathrm{idf}}`.

    p is the unigram, `(V,)`.

    Source: Kuhn and De Mori 1990 (cache); Clarkson and Robinson 1997 (decay).
    """

    settings: CacheName
    parse = staticmethod(CacheName.parse)
    flops_per_source = 3  # the comparison with the target, the weight and the sum

    def __init__(self, settings: CacheName, unigram: FloatArray) -> None:
        super().__init__(settings, unigram)
        self._rarity = _rarity(unigram, settings.idf)

    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the summed weight of the sources with the target, and of all; each `(B, T)`."""
        recency = _recency(self.settings.half_life, view.shape[1] + 1)
        rarity = self._rarity[view.inputs]
        hit = view.sums(view.hits, recency[view.lags] * self._rarity[view.hit_tokens])
        total = np.empty(view.shape)
        total_before = np.zeros(view.shape[0])  # at the last query of the strip before
        for strip in view.strips():
            length = strip.stop - strip.start
            lags = np.subtract.outer(np.arange(length), np.arange(length))
            decay = np.where(lags >= 0, recency[np.abs(lags)], 0.0)  # (t, s)
            total[:, strip] = rarity[:, strip] @ decay.T
            total[:, strip] += np.outer(total_before, recency[1 : length + 1])
            total_before = total[:, strip.stop - 1]
        return hit, total

    def weights(self, history: Int64Array, start: int) -> FloatArray:
        """Return the weight of each source; see `Pointer.weights`."""
        return _decay(self.settings.half_life, start, len(history)) * self._rarity[history]


class Gated(Pointer):
    r"""A cache whose sources are weighted by how likely their class is after the last token's.

    .. math:: w(t, s) = \lambda^{t - s} \, p(x_s)^{-\mathrm{idf}} \,
        \mathrm{lift}(c(x_s) \mid c(x_t))^{\mathrm{power}}

    Args:
        unigram: p, `(V,)`.
        classes: c, `(V,)`.
        lift: the lift of neighbouring classes, `(C, C)`; see `FittingText.lift`.
    """

    settings: GatedName
    parse = staticmethod(GatedName.parse)
    flops_per_source = 4  # those of a cache, and the gate

    def __init__(
        self,
        settings: GatedName,
        unigram: FloatArray,
        classes: UnsignedArray,
        lift: Float32Array,
    ) -> None:
        super().__init__(settings, unigram)
        self.classes = classes
        self.lift = lift
        self._rarity = _rarity(unigram, settings.idf)
        self._gate = lift if settings.power == 1 else lift ** np.float32(settings.power)

    @classmethod
    def from_text(cls, settings: GatedName, text: FittingText) -> Self:
        """Count what the settings need in a text; see `BlockFunction.from_text`."""
        name = settings.classes
        return cls(settings, text.unigram.p, text.class_map(name), text.lift(name, name, 1))

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild the stored function; see `BlockFunction.from_arrays`."""
        settings = cls.parse(spec["name"])
        name, per_token = settings.classes, (spec["vocab_size"],)
        classes = stored_array(arrays, f"classes({name})", per_token)
        n_classes = int(classes.max()) + 1
        lift = stored_array(arrays, f"lift({name},1,{name})", (n_classes, n_classes))
        return cls(settings, stored_array(arrays, "unigram", per_token), classes, lift)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return `unigram` and `classes(NAME)`, `(V,)` each, and `lift(NAME,1,NAME)`, `(C, C)`."""
        name = self.settings.classes
        arrays = {f"classes({name})": self.classes, f"lift({name},1,{name})": self.lift}
        return {**super().to_arrays(), **arrays}

    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the summed weight of the sources with the target, and of all; each `(B, T)`."""
        recency = _recency(self.settings.half_life, view.shape[1])
        rarity = self._rarity[view.inputs]
        classes = self.classes[view.inputs].astype(np.intp)
        gate_rows = classes * len(self._gate)  # where the row of a query's class begins
        gate = self._gate.reshape(-1)

        places = gate_rows.reshape(-1)[view.hits.query] + classes.reshape(-1)[view.hits.source]
        weights = gate[places] * recency[view.lags] * self._rarity[view.hit_tokens]
        total = np.empty(view.shape)
        for strip in view.strips():
            queries, sources = np.arange(strip.start, strip.stop), np.arange(strip.stop)
            lags = np.subtract.outer(queries, sources)
            decay = np.where(lags >= 0, recency[np.abs(lags)], 0.0)  # (t, s)
            for blocks in view.chunks():
                places = gate_rows[blocks, strip, None] + classes[blocks, None, : strip.stop]
                weighted = gate.take(places) * decay  # (B, t, s)
                total[blocks, strip] = (weighted @ rarity[blocks, : strip.stop, None])[..., 0]
        return view.sums(view.hits, weights), total

    def weights(self, history: Int64Array, start: int) -> FloatArray:
        """Return the weight of each source; see `Pointer.weights`."""
        classes = self.classes[history]
        gate = self._gate[classes[start:, None], classes]
        return gate * _decay(self.settings.half_life, start, len(history)) * self._rarity[history]

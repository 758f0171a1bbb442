r"""Caches: what was said before is said again, the sooner the more recent, rare and fitting it is.

Notation: lambda = 2^(-1 / half-life), p the unigram, c a class map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array, UnsignedArray, stored_array
from clso.mixture.pointer.base import Pointer, flops_over_sources
from clso.mixture.pointer.names import CacheName, GatedName
from clso.mixture.pointer.pairs import BlockView, block_chunks, strips
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["Cache", "Gated"]


def _recency(half_life: float, n_lags: int) -> FloatArray:
    """Return lambda^lag for lags 0 .. n_lags - 1."""
    return np.exp2(np.arange(n_lags) / -half_life)


def _rarity(unigram: FloatArray, idf: float) -> FloatArray:
    return np.ones_like(unigram) if idf == 0 else unigram**-idf


class Cache(Pointer):
    r"""A recency cache: :math:`w(t, s) = \lambda^{t - s} \, p(x_s)^{-\mathrm{idf}}`.

    Args:
        settings: half-life and idf.
        unigram: p, `(V,)`.

    Source: Kuhn and De Mori 1990 (cache); Clarkson and Robinson 1997 (decay).
    """

    def __init__(self, settings: CacheName, unigram: FloatArray) -> None:
        super().__init__(settings, unigram)
        self.settings = settings
        self._rarity = _rarity(unigram, settings.idf)

    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the weight on the target and the weight on all sources, each `(B, T)`."""
        recency = _recency(self.settings.half_life, view.shape[1] + 1)
        rarity = self._rarity[view.inputs]
        hit = view.sums(view.hits, recency[view.lags] * self._rarity[view.hit_tokens])
        total = np.empty(view.shape)
        carried = np.zeros(view.shape[0])
        for strip in strips(view.shape[1]):
            length = strip.stop - strip.start
            lags = np.subtract.outer(np.arange(length), np.arange(length))
            decay = np.where(lags >= 0, recency[np.abs(lags)], 0.0)  # (t, s)
            total[:, strip] = rarity[:, strip] @ decay.T
            total[:, strip] += np.outer(carried, recency[1 : length + 1])
            carried = total[:, strip.stop - 1]
        return hit, total

    def weights(self, history: Int64Array) -> FloatArray:
        """Return the weight of each source after the history's last token, `(t,)`."""
        recency = _recency(self.settings.half_life, len(history))[::-1]
        return np.asarray(recency * self._rarity[history])

    @classmethod
    def parse(cls, text: str) -> CacheName:
        """Read the name; see `CacheName.parse`."""
        return CacheName.parse(text)

    @classmethod
    def from_text(cls, settings: CacheName, text: FittingText) -> Cache:
        """Count what the settings need in a text.

        Raises:
            ConfigError: a class map is missing or not `(V,)`.
        """
        return cls(settings, text.unigram.p)

    def flops_per_token(self, block_size: int) -> int:
        """Return 3 per source (is it the target, its weight, the sum) and 1 for the quotient."""
        return flops_over_sources(3, block_size) + 1

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Make the function again, equal to the last bit.

        Raises:
            ArtifactError: an array is missing or of another shape.
        """
        settings = cls.parse(spec["name"])
        return cls(settings, stored_array(arrays, "unigram", (spec["vocab_size"],)))


class Gated(Pointer):
    r"""A cache whose sources are weighted by how well their class follows the last token's.

    .. math:: w(t, s) = \lambda^{t - s} \, p(x_s)^{-\mathrm{idf}} \,
        \mathrm{lift}(c(x_s) \mid c(x_t))^{\mathrm{power}}

    Args:
        settings: class map, half-life, idf and power.
        unigram: p, `(V,)`.
        classes: c, `(V,)`.
        lift: as `class_lift` returns it, `(C, C)`.
    """

    def __init__(
        self,
        settings: GatedName,
        unigram: FloatArray,
        classes: UnsignedArray,
        lift: Float32Array,
    ) -> None:
        super().__init__(settings, unigram)
        self.settings = settings
        self.classes = classes
        self.lift = lift
        self._rarity = _rarity(unigram, settings.idf)
        self._gate = lift if settings.power == 1 else lift ** np.float32(settings.power)

    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the weight on the target and the weight on all sources, each `(B, T)`."""
        n_blocks, block_size = view.shape
        recency = _recency(self.settings.half_life, block_size)
        rarity = self._rarity[view.inputs]
        classes = self.classes[view.inputs].astype(np.intp)
        rows = classes * len(self._gate)
        gate = self._gate.reshape(-1)

        places = rows.reshape(-1)[view.hits.query] + classes.reshape(-1)[view.hits.source]
        weights = gate[places] * recency[view.lags] * self._rarity[view.hit_tokens]
        total = np.empty(view.shape)
        for strip in strips(block_size):
            queries, sources = np.arange(strip.start, strip.stop), np.arange(strip.stop)
            lags = np.subtract.outer(queries, sources)
            decay = np.where(lags >= 0, recency[np.abs(lags)], 0.0)  # (t, s)
            for blocks in block_chunks(n_blocks, block_size):
                fits = gate.take(rows[blocks, strip, None] + classes[blocks, None, : strip.stop])
                weighted = fits * decay  # (B, t, s)
                total[blocks, strip] = (weighted @ rarity[blocks, : strip.stop, None])[..., 0]
        return view.sums(view.hits, weights), total

    def weights(self, history: Int64Array) -> FloatArray:
        """Return the weight of each source after the history's last token, `(t,)`."""
        classes = self.classes[history]
        recency = _recency(self.settings.half_life, len(history))[::-1]
        return np.asarray(self._gate[classes[-1], classes] * recency * self._rarity[history])

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return `unigram` and `classes(NAME)`, `(V,)` each, and `lift(NAME,1,NAME)`, `(C, C)`."""
        name = self.settings.classes
        arrays = {f"classes({name})": self.classes, f"lift({name},1,{name})": self.lift}
        return {**super().to_arrays(), **arrays}

    @classmethod
    def parse(cls, text: str) -> GatedName:
        """Read the name; see `GatedName.parse`."""
        return GatedName.parse(text)

    @classmethod
    def from_text(cls, settings: GatedName, text: FittingText) -> Gated:
        """Count what the settings need in a text.

        Raises:
            ConfigError: a class map is missing or not `(V,)`.
        """
        name = settings.classes
        lift = text.lift(name, name, 1)
        return cls(settings, text.unigram.p, text.class_map(name), lift)

    def flops_per_token(self, block_size: int) -> int:
        """Return 4 per source (the gate too) and 1 for the quotient."""
        return flops_over_sources(4, block_size) + 1

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Make the function again, equal to the last bit.

        Raises:
            ArtifactError: an array is missing or does not fit.
        """
        settings = cls.parse(spec["name"])
        classes = stored_array(arrays, f"classes({settings.classes})", (spec["vocab_size"],))
        n_classes = int(classes.max()) + 1
        name = f"lift({settings.classes},1,{settings.classes})"
        lift = stored_array(arrays, name, (n_classes, n_classes))
        return cls(settings, stored_array(arrays, "unigram", (spec["vocab_size"],)), classes, lift)

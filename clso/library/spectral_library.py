"""A library with spectral entries beside the drawn ones.

Every body slot keeps its drawn entries and gets the same number of derived entries after them. In
the slots of attention three quarters of these are structured; all others are zero, for a layer
that adds nothing. With memories of token pairs the heads of attention copy what memories need, and
the slots of the MLP have detectors and memories. `embedding` and `readout` have only spectral
entries, and after them those of the reweighted factors, if there are any. The parameters of an
entry are drawn log-uniformly from their ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from clso.errors import ConfigError
from clso.library.basis_library import SLOTS, TOKEN_SLOTS, BasisLibrary
from clso.library.cooccurrence import SpectralFactors
from clso.library.derived import ContextAttention, ContextMerge, HeadMerge, RecencyAttention
from clso.library.entry import FloatMatrix, LibraryEntry
from clso.library.pair_counts import PairVectors
from clso.library.pair_memory import PairDetector, PairMemory
from clso.library.settings import MemorySettings, ReweightedSettings, SpectralSettings
from clso.library.spectral import (
    ReweightedEmbedding,
    ReweightedReadout,
    SpectralEmbedding,
    SpectralReadout,
)
from clso.library.zero import Zero
from clso.scoring import Int64Array

__all__ = ["typical_rates", "weight_of_previous", "with_spectral"]

# Separates these random streams from all others of the same seed.
_STREAM = int.from_bytes(b"spec")

_Maker = Callable[[np.random.Generator], LibraryEntry]


def typical_rates(spec: SpectralSettings) -> tuple[float, float]:
    """Return the decay per position in the middle of the ranges of recent and of topic."""
    recent, topic = (math.sqrt(low * high) for low, high in (spec.recent_rate, spec.topic_rate))
    return recent, topic


def weight_of_previous(spec: SpectralSettings) -> float:
    """Return the factor on recent of the token before, for a gain and a rate in the middle."""
    low, high = spec.reweighted.recent_gain
    return -math.expm1(-typical_rates(spec)[0]) * math.sqrt(low * high)


def with_spectral(
    library: BasisLibrary,
    factors: SpectralFactors,
    spec: SpectralSettings,
    *,
    n_head: int,
    seed: int,
    reweighted: SpectralFactors | None = None,
    memories: PairVectors | None = None,
) -> BasisLibrary:
    """Return a library with derived entries after its own, and with the two token slots.

    Args:
        reweighted: the factors of the further entries; `None`: there are none.
        memories: pairs and vectors for the sets of `spec.memory`; `None`: there are none.

    Raises:
        ConfigError: the factors have another width, or the heads cannot carry the layout.
    """
    if factors.layout.n_embd != library.n_embd:
        raise ConfigError(
            f"the factors are for n_embd {factors.layout.n_embd}, the library for {library.n_embd}",
            remedy="use one width for both",
        )
    makers = _makers(factors, reweighted, memories, spec, n_head)
    entries = {slot: list(library[slot]) for slot in SLOTS} | {slot: [] for slot in TOKEN_SLOTS}
    for slot_number, (slot, slot_makers) in enumerate(makers.items()):
        for index, make in enumerate(slot_makers):
            rng = np.random.default_rng([seed, _STREAM, slot_number, index])
            entries[slot].append(make(rng))
    for slot in SLOTS:
        n_zeros = library.size + spec.size - len(entries[slot])
        entries[slot] += [Zero.of(library[slot][0].shape)] * n_zeros
    return BasisLibrary(library.n_embd, entries)


def _makers(
    factors: SpectralFactors,
    reweighted: SpectralFactors | None,
    memories: PairVectors | None,
    spec: SpectralSettings,
    n_head: int,
) -> dict[str, list[_Maker]]:
    """Return, per slot, the functions that make the derived entries."""
    # The heads return -w'/w times a mean of the earlier tokens, with w the weight of the current
    # token and w' = 1 - w; the readout's gains undo this for a rate in the middle of its range.
    scales = [1.0, *(-math.expm1(rate) for rate in typical_rates(spec))]

    def attention(rng: np.random.Generator) -> LibraryEntry:
        rates = (spec.recent_rate, spec.topic_rate)
        family = RecencyAttention if memories is None else ContextAttention
        return family.of(factors.layout, n_head, [_draw(rng, bounds) for bounds in rates])

    def merge(rng: np.random.Generator) -> LibraryEntry:
        family = HeadMerge if memories is None else ContextMerge
        return family.of(factors.layout, n_head, _draw(rng, spec.merge_gain))

    def gains(
        rng: np.random.Generator, ranges: SpectralSettings | ReweightedSettings
    ) -> list[float]:
        bounds = (ranges.near_gain, ranges.recent_gain, ranges.topic_gain)
        return [_draw(rng, pair) * scale for pair, scale in zip(bounds, scales, strict=True)]

    n_structured = max(1, 3 * spec.size // 4)
    makers: dict[str, list[_Maker]] = {
        "attn_qkv": [attention] * n_structured,
        "attn_out": [merge] * n_structured,
        "embedding": [lambda rng: SpectralEmbedding.of(factors, _draw(rng, spec.shrinkage))]
        * spec.embeddings,
        "readout": [lambda rng: SpectralReadout.of(factors, gains(rng, spec))] * spec.readouts,
    }
    if reweighted is not None:
        better, ranges = reweighted, spec.reweighted
        makers["embedding"] += [
            lambda rng: ReweightedEmbedding.of(better, _draw(rng, ranges.shrinkage))
        ] * ranges.embeddings
        makers["readout"] += [
            lambda rng: ReweightedReadout.of(better, gains(rng, ranges))
        ] * ranges.readouts
    if memories is not None:
        makers["mlp_up"], makers["mlp_down"] = _memory_makers(factors, memories, spec.memory)
    return makers


def _memory_makers(
    factors: SpectralFactors, memories: PairVectors, spec: MemorySettings
) -> tuple[list[_Maker], list[_Maker]]:
    layout = factors.layout
    n_units = 4 * layout.n_embd
    detectors: list[_Maker] = []
    kept: list[_Maker] = []

    def detector(pairs: Int64Array, rng: np.random.Generator) -> LibraryEntry:
        return PairDetector.of(layout, pairs, _draw(rng, spec.strength))

    def memory(vectors: FloatMatrix, _: np.random.Generator) -> LibraryEntry:
        return PairMemory.of(layout, vectors, factors.source)

    for start in range(0, spec.sets * n_units, n_units):
        part = slice(start, start + n_units)
        detectors += [partial(detector, memories.pairs[part])] * spec.detectors
        kept.append(partial(memory, memories.vectors[part]))
    return detectors, kept


def _draw(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))

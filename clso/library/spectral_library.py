"""A library with spectral entries beside the drawn ones.

Every body slot keeps its drawn entries and gets the same number of derived entries after them. In
the slots of attention three quarters of these are structured; all others are zero, for a layer
that adds nothing. `embedding` and `readout` have only spectral entries. The parameters of an entry
are drawn log-uniformly from their ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from clso.errors import ConfigError
from clso.library.basis_library import SLOTS, TOKEN_SLOTS, BasisLibrary
from clso.library.cooccurrence import SpectralFactors
from clso.library.derived import HeadMerge, RecencyAttention
from clso.library.entry import LibraryEntry
from clso.library.settings import SpectralSettings
from clso.library.spectral import SpectralEmbedding, SpectralReadout
from clso.library.zero import Zero

__all__ = ["with_spectral"]

# Separates these random streams from all others of the same seed.
_STREAM = int.from_bytes(b"spec")

_Maker = Callable[[np.random.Generator], LibraryEntry]


def with_spectral(
    library: BasisLibrary,
    factors: SpectralFactors,
    spec: SpectralSettings,
    *,
    n_head: int,
    seed: int,
) -> BasisLibrary:
    """Return a library with derived entries after its own, and with the two token slots.

    Raises:
        ConfigError: the factors have another width, or the heads cannot carry the layout.
    """
    if factors.layout.n_embd != library.n_embd:
        raise ConfigError(
            f"the factors are for n_embd {factors.layout.n_embd}, the library for {library.n_embd}",
            remedy="use one width for both",
        )
    makers = _makers(factors, spec, n_head)
    entries = {slot: list(library[slot]) for slot in SLOTS} | {slot: [] for slot in TOKEN_SLOTS}
    for slot_number, (slot, (count, make)) in enumerate(makers.items()):
        for index in range(count):
            rng = np.random.default_rng([seed, _STREAM, slot_number, index])
            entries[slot].append(make(rng))
    for slot in SLOTS:
        n_zeros = library.size + spec.size - len(entries[slot])
        entries[slot] += [Zero.of(library[slot][0].shape)] * n_zeros
    return BasisLibrary(library.n_embd, entries)


def _makers(
    factors: SpectralFactors, spec: SpectralSettings, n_head: int
) -> dict[str, tuple[int, _Maker]]:
    """Return, per slot, the number of derived entries and the function that makes one."""
    # The heads return -w'/w times a mean of the earlier tokens, with w the weight of the current
    # token and w' = 1 - w; the readout's gains undo this for a rate in the middle of its range.
    rates = (spec.recent_rate, spec.topic_rate)
    scales = [1.0, *(-math.expm1(math.sqrt(low * high)) for low, high in rates)]

    def attention(rng: np.random.Generator) -> LibraryEntry:
        return RecencyAttention.of(factors.layout, n_head, [_draw(rng, bounds) for bounds in rates])

    def readout(rng: np.random.Generator) -> LibraryEntry:
        ranges = (spec.near_gain, spec.recent_gain, spec.topic_gain)
        gains = [_draw(rng, bounds) * scale for bounds, scale in zip(ranges, scales, strict=True)]
        return SpectralReadout.of(factors, gains)

    n_structured = max(1, 3 * spec.size // 4)
    return {
        "attn_qkv": (n_structured, attention),
        "attn_out": (
            n_structured,
            lambda rng: HeadMerge.of(factors.layout, n_head, _draw(rng, spec.merge_gain)),
        ),
        "embedding": (
            spec.embeddings,
            lambda rng: SpectralEmbedding.of(factors, _draw(rng, spec.shrinkage)),
        ),
        "readout": (spec.readouts, readout),
    }


def _draw(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))

"""A library with spectral entries: what the search may choose among them.

Every body slot keeps its drawn entries and gets as many derived ones after them: attention's
three quarters structured, all the rest zero, for a layer that stays idle. `embedding` and
`readout` hold spectral entries alone. What varies from entry to entry is drawn log-uniformly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from clso.errors import ConfigError
from clso.library.basis_library import SLOTS, BasisLibrary, slot_shape
from clso.library.cooccurrence import SpectralFactors
from clso.library.derived import HeadMerge, RecencyAttention
from clso.library.entry import LibraryEntry
from clso.library.settings import SpectralSettings
from clso.library.spectral import SpectralEmbedding, SpectralReadout
from clso.library.zero import Zero

__all__ = ["with_spectral"]

# Sets these streams apart from every other use of the same seed.
_STREAM = int.from_bytes(b"spec")


def with_spectral(
    library: BasisLibrary,
    factors: SpectralFactors,
    spec: SpectralSettings,
    *,
    n_head: int,
    seed: int,
) -> BasisLibrary:
    """Return a library with derived entries after its own, and the two slots of the data.

    Args:
        library: the drawn entries.
        factors: of the training tokens, for the library's width.
        spec: how many entries, from which ranges.
        n_head: heads of the models.
        seed: all randomness comes from here.

    Raises:
        ConfigError: factors of another width, or heads that cannot carry the layout.
    """
    layout = factors.layout
    if layout.n_embd != library.n_embd:
        raise ConfigError(
            f"the factors are for n_embd {layout.n_embd}, the library for {library.n_embd}",
            remedy="use one width for both",
        )
    # The heads bring -w'/w times a mean of the earlier tokens, w the weight of the current one
    # and w' that of the rest; at a range's middle the readout's gains take this back.
    undo = [-math.expm1(_middle(rate)) for rate in (spec.recent_rate, spec.topic_rate)]
    makers: Mapping[str, Callable[[np.random.Generator], LibraryEntry]] = {
        "attn_qkv": lambda rng: RecencyAttention.of(
            layout, n_head, [_draw(rng, spec.recent_rate), _draw(rng, spec.topic_rate)]
        ),
        "attn_out": lambda rng: HeadMerge.of(layout, n_head, _draw(rng, spec.merge_gain)),
        "embedding": lambda rng: SpectralEmbedding.of(factors, _draw(rng, spec.shrinkage)),
        "readout": lambda rng: SpectralReadout.of(
            factors,
            [
                _draw(rng, spec.near_gain),
                _draw(rng, spec.recent_gain) * undo[0],
                _draw(rng, spec.topic_gain) * undo[1],
            ],
        ),
    }
    counts = {
        "attn_qkv": max(1, 3 * spec.size // 4),
        "attn_out": max(1, 3 * spec.size // 4),
        "embedding": spec.embeddings,
        "readout": spec.readouts,
    }
    made = {
        slot: [
            make(np.random.default_rng([seed, _STREAM, number, index]))
            for index in range(counts[slot])
        ]
        for number, (slot, make) in enumerate(makers.items())
    }
    entries: dict[str, list[LibraryEntry]] = {}
    for slot in SLOTS:
        idle = spec.size - len(made.get(slot, ()))
        zeros = [Zero.of(slot_shape(slot, library.n_embd)) for _ in range(idle)]
        entries[slot] = [*library[slot], *made.get(slot, ()), *zeros]
    entries |= {slot: made[slot] for slot in ("embedding", "readout")}
    return BasisLibrary(library.n_embd, entries)


def _middle(bounds: tuple[float, float]) -> float:
    return math.sqrt(bounds[0] * bounds[1])


def _draw(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))

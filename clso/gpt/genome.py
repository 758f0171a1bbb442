"""The genomes of crystalline GPTs: one gene per matrix, or one per slot for all layers.

Notation: L layers. With shared layers a genome has 4 genes named as `SLOTS`; without, 4 L genes
`layer0.attn_qkv`, ..., in the order in which a forward pass meets them.
"""

from __future__ import annotations

from clso.genome import Genome, GenomeSpace, Slot
from clso.library import SLOTS, BasisLibrary

__all__ = ["gpt_space", "matrices"]


def gpt_space(library: BasisLibrary, n_layer: int, *, share_layers: bool) -> GenomeSpace:
    """Return the space of all models over a library."""
    names = (
        SLOTS
        if share_layers
        else tuple(f"layer{layer}.{slot}" for layer in range(n_layer) for slot in SLOTS)
    )
    return GenomeSpace(tuple(Slot(name, library.size) for name in names))


def matrices(genome: Genome, n_layer: int) -> tuple[tuple[str, int], ...]:
    """Return the model's 4 L matrices as (slot, index), in the order of a forward pass.

    A genome of 4 genes repeats in every layer.
    """
    repeats = 4 * n_layer // len(genome)
    return tuple(zip(SLOTS * n_layer, genome * repeats, strict=True))

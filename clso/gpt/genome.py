"""The genomes of crystalline GPTs: one gene per matrix, or one per slot for all layers.

Notation: L layers. With shared layers the body has 4 genes named as `SLOTS`; without, 4 L genes
`layer0.attn_qkv`, ..., in the order in which a forward pass meets them. A library with the slots
`embedding` and `readout` adds a gene for each: the first of all and the last.
"""

from __future__ import annotations

from clso.genome import Genome, GenomeSpace, Slot
from clso.library import SLOTS, TOKEN_SLOTS, BasisLibrary

__all__ = ["gpt_space", "matrices", "token_entries", "token_genes"]


def gpt_space(library: BasisLibrary, n_layer: int, *, share_layers: bool) -> GenomeSpace:
    """Return the space of all models over a library.

    Where a library holds a matrix more than once (the zero matrix above all), the canonical form
    takes the first of them.
    """
    names = (
        SLOTS
        if share_layers
        else tuple(f"layer{layer}.{slot}" for layer in range(n_layer) for slot in SLOTS)
    )
    if library.vocab_size is not None:
        names = ("embedding", *names, "readout")
    maps = [library.first_alike[name.rpartition(".")[2]] for name in names]
    slots = tuple(Slot(name, len(found)) for name, found in zip(names, maps, strict=True))
    if all(found == tuple(range(len(found))) for found in maps):
        return GenomeSpace(slots)

    def canonicalize(genome: Genome) -> Genome:
        return tuple(found[gene] for found, gene in zip(maps, genome, strict=True))

    return GenomeSpace(slots, canonicalize)


def matrices(genome: Genome, n_layer: int) -> tuple[tuple[str, int], ...]:
    """Return the body's 4 L matrices as (slot, index), in the order of a forward pass.

    A genome of 4 body genes repeats in every layer.
    """
    body = genome if token_genes(genome) is None else genome[1:-1]
    repeats = 4 * n_layer // len(body)
    return tuple(zip(SLOTS * n_layer, body * repeats, strict=True))


def token_genes(genome: Genome) -> tuple[int, int] | None:
    """Return the genes of embedding and readout; `None` for a genome of body genes alone."""
    return (genome[0], genome[-1]) if len(genome) % len(SLOTS) else None


def token_entries(genome: Genome) -> tuple[tuple[str, int], ...]:
    """Return embedding and readout as (slot, index); nothing for a genome of body genes alone."""
    genes = token_genes(genome)
    return () if genes is None else tuple(zip(TOKEN_SLOTS, genes, strict=True))

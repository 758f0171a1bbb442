r"""What a crystalline GPT costs, told from its genome without building it.

Notation: d = `n_embd`, L layers, T positions per block, V tokens. Counted are the products, each
in the structured form of its library entry, as a kernel for that family would run it:

.. math::
    \sum_{l=1}^{L} \bigl( flops(W^{qkv}_l) + 2 d (T + 1) + flops(W^{out}_l) \bigr)
        + \bigl( flops(W^{up}_l) + flops(W^{down}_l) \bigr) + head

The term in T is attention: position t = 0 .. T - 1 sees t + 1 keys, a product with each and a
weighted sum of as many values, 4 d (t + 1), which is 2 d (T + 1) on average. A branch (either pair
of brackets) with a zero matrix adds nothing to the residual stream and is not run. The head is
2 V d, or the readout entry's own. The embedding is looked up, and what acts element by element
(LayerNorm, activation, softmax, residual sums) is the same for all genomes of a shape; neither is
counted.

Source: Kaplan et al. 2020, section 2.1 (the convention).
"""

from __future__ import annotations

from clso.genome import Genome
from clso.gpt.frame import GptFrame
from clso.gpt.genome import matrices, token_entries, token_genes
from clso.library import TOKEN_SLOTS, BasisLibrary
from clso.problem import GenomeCost

__all__ = ["gpt_cost", "stored_bytes"]

_GENE_BYTES = 4


def gpt_cost(library: BasisLibrary, frame: GptFrame, genome: Genome) -> GenomeCost:
    """Return what a genome's model costs.

    Args:
        library: where the matrices come from.
        frame: what the model has besides.
        genome: of this library's space, each gene in range.
    """
    shape = frame.shape
    attention = 2 * shape.n_embd * (shape.block_size + 1)
    body = 0
    flops = [library[slot][index].flops for slot, index in matrices(genome, shape.n_layer)]
    for layer in range(shape.n_layer):
        qkv, out, up, down = flops[4 * layer : 4 * layer + 4]
        body += qkv + attention + out if qkv and out else 0
        body += up + down if up and down else 0
    genes = token_genes(genome)
    head = (
        2 * shape.vocab_size * shape.n_embd
        if genes is None
        else library[TOKEN_SLOTS[1]][genes[1]].flops
    )
    return GenomeCost(stored_bytes(library, frame, genome), body + head)


def stored_bytes(library: BasisLibrary, frame: GptFrame, genome: Genome) -> int:
    """Return the compact size of the distinct entries in use, the frame and the genome."""
    entries = {*matrices(genome, frame.shape.n_layer), *token_entries(genome)}
    in_use = sum(library[slot][index].stored_bytes for slot, index in entries)
    return in_use + frame.stored_bytes + _GENE_BYTES * len(genome)

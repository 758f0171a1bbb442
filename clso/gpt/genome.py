r"""The genomes of crystalline GPTs, the matrices that each picks, and their costs.

Notation: d = `n_embd`, L layers, T positions per block, V tokens. With shared layers the body has
4 genes named as `SLOTS`; without, 4 L genes `layer0.attn_qkv`, ..., in the order of a forward
pass. A library with the slots `embedding` and `readout` adds one gene for each: the first gene of
all and the last.

The cost counts the products of a forward pass, each in the structured form of its library entry,
as a kernel for that family would run it:

.. math::
    \sum_{l=1}^{L} \bigl( flops(W^{qkv}_l) + 2 d (T + 1) + flops(W^{out}_l) \bigr)
        + \bigl( flops(W^{up}_l) + flops(W^{down}_l) \bigr) + head

The term in T is attention: position t = 0 .. T - 1 sees t + 1 keys, a product with each and a
weighted sum of as many values, 4 d (t + 1), which is 2 d (T + 1) on average. A branch (either pair
of brackets) with a zero matrix adds nothing to the residual stream and is not run. The head is
2 V d, or the flops of the readout entry. The embedding is a look-up, and element-wise operations
(LayerNorm, activation, softmax, residual sums) are the same for all genomes of a shape; neither is
counted.

Source: Kaplan et al. 2020, section 2.1 (the convention).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from clso.errors import ConfigError
from clso.genome import Genome, GenomeSpace, Slot
from clso.gpt.frame import GptFrame
from clso.library import SLOTS, TOKEN_SLOTS, BasisLibrary
from clso.problem import GenomeCost

__all__ = ["GENE_BYTES", "Entry", "GptGenomes"]

Entry = tuple[str, int]
"""A library entry: slot and index."""

GENE_BYTES = 4
_RECENCY = ("recency_attention", "head_merge")


class GptGenomes:
    """The genomes of all models over one library.

    Args:
        share_layers: one gene per slot for all layers, or one per layer and slot.

    Attributes:
        space: the space of genomes. Where a library holds a matrix more than once (the zero
            matrix above all), the canonical form picks the first copy.

    Raises:
        ConfigError: library and frame differ in width or vocabulary, or not exactly one of them
            has embedding and readout.
    """

    def __init__(self, library: BasisLibrary, frame: GptFrame, *, share_layers: bool) -> None:
        _check_fit(library, frame)
        self._library = library
        self._frame = frame
        names = SLOTS
        if not share_layers:
            names = tuple(f"layer{i}.{slot}" for i in range(frame.shape.n_layer) for slot in SLOTS)
        if frame.has_token_genes:
            names = ("embedding", *names, "readout")
        self.space = _space(library, names)

    def matrices(self, genome: Genome) -> tuple[Entry, ...]:
        """Return the body's 4 L matrices, in the order of a forward pass."""
        body = genome[1:-1] if self._frame.has_token_genes else genome
        slots = SLOTS * self._frame.shape.n_layer
        return tuple(zip(slots, body * (len(slots) // len(body)), strict=True))

    def token_entries(self, genome: Genome) -> tuple[Entry, ...]:
        """Return embedding and readout; nothing where they are the frame's."""
        if not self._frame.has_token_genes:
            return ()
        return tuple(zip(TOKEN_SLOTS, (genome[0], genome[-1]), strict=True))

    def assembled(self) -> list[Genome]:
        """Return genomes whose entries are made for each other, one for each reweighted readout.

        The first layer has the attention that reads earlier tokens, and each layer one set of
        memories with a detector of that set, the best sets first, if there are memories. There are
        none without reweighted factors, nor where several layers share their genes.
        """
        readouts = self._of_family("readout", "reweighted_readout")
        layers = self._frame.shape.n_layer
        if not readouts or (layers > 1 and len(self.space.slots) != 4 * layers + 2):
            return []
        memories = self._of_family("mlp_down", "pair_memory")
        detectors = self._of_family("mlp_up", "pair_detector")
        idle = [self._of_family(slot, "zero")[0] for slot in SLOTS]
        attention = ("context_attention", "context_merge") if memories else _RECENCY
        body: list[int] = []
        for layer in range(layers):
            picked = list(idle)
            if layer == 0:
                for slot, family in enumerate(attention):
                    picked[slot] = self._of_family(SLOTS[slot], family)[0]
            if layer < len(memories):
                picked[2:] = detectors[layer * len(detectors) // len(memories)], memories[layer]
            body += picked
        embedding = self._of_family("embedding", "reweighted_embedding")[0]
        return [(embedding, *body, readout) for readout in readouts]

    def _of_family(self, slot: str, family: str) -> list[int]:
        entries = self._library.get(slot, ())
        return [i for i, entry in enumerate(entries) if entry.family == family]

    def stored_bytes(self, genome: Genome) -> int:
        """Return the compact size of the distinct entries in use, the frame and the genome."""
        entries = {*self.matrices(genome), *self.token_entries(genome)}
        in_use = sum(self._library[slot][index].stored_bytes for slot, index in entries)
        return in_use + self._frame.stored_bytes + GENE_BYTES * len(genome)

    def cost(self, genome: Genome) -> GenomeCost:
        """Return the cost of a validated genome's model."""
        shape = self._frame.shape
        attention = 2 * shape.n_embd * (shape.block_size + 1)
        flops = [self._library[slot][index].flops for slot, index in self.matrices(genome)]
        total = 2 * shape.vocab_size * shape.n_embd
        for slot, index in self.token_entries(genome)[1:]:
            total = self._library[slot][index].flops
        for layer in range(shape.n_layer):
            qkv, out, up, down = flops[4 * layer : 4 * layer + 4]
            total += qkv + attention + out if qkv and out else 0
            total += up + down if up and down else 0
        return GenomeCost(self.stored_bytes(genome), total)


def _space(library: BasisLibrary, names: Sequence[str]) -> GenomeSpace:
    first_alike = [library.first_alike[name.rpartition(".")[2]] for name in names]
    slots = tuple(Slot(name, len(first)) for name, first in zip(names, first_alike, strict=True))
    if all(first == tuple(range(len(first))) for first in first_alike):
        return GenomeSpace(slots)

    return GenomeSpace(slots, partial(_first_copies, tuple(first_alike)))


def _first_copies(first_alike: Sequence[Sequence[int]], genome: Genome) -> Genome:
    return tuple(first[gene] for first, gene in zip(first_alike, genome, strict=True))


def _check_fit(library: BasisLibrary, frame: GptFrame) -> None:
    if library.n_embd != frame.shape.n_embd:
        raise ConfigError(
            f"the library is for n_embd {library.n_embd}, the model has {frame.shape.n_embd}",
            remedy="generate a library for the model's width",
        )
    if frame.has_token_genes != (library.vocab_size is not None):
        raise ConfigError(
            "embedding and readout are either in the library or in the frame, not in "
            + ("both" if library.vocab_size is not None else "neither"),
            remedy="give the frame the positions of the library's layout, or no positions",
        )
    if library.vocab_size not in (None, frame.shape.vocab_size):
        raise ConfigError(
            f"the library's embeddings have {library.vocab_size} tokens, the model has "
            f"{frame.shape.vocab_size}",
            remedy="generate the library with the data of the model",
        )

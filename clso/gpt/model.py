"""One crystalline GPT: the model that a genome stands for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from clso.errors import ConfigError
from clso.gpt.body import first_state, step
from clso.gpt.cost import stored_bytes
from clso.gpt.frame import GptFrame
from clso.gpt.genome import gpt_space, matrices, token_entries
from clso.gpt.head import TiledHead
from clso.library import BasisLibrary
from clso.scoring import Int64Array, NllArray

__all__ = ["CrystallineGpt", "check_widths"]

_CHUNK_TOKENS = 4096


class CrystallineGpt:
    """A GPT-2 whose every linear layer is a library entry, W = library[slot][gene].

    A `clso.scoring.LanguageModel`.

    Args:
        library: where the matrices come from; its width must be the frame's.
        genome: 4 genes (shared by all layers) or 4 per layer; one before and one after them where
            the library has embeddings and readouts.
        frame: positions, and embeddings and readout where the library has none.
        share_layers: which of the two.

    Attributes:
        matrices: (slot, index) of each matrix of the body, in the order of a forward pass, 4 L.
        weights: the matrices themselves, `(in, out)` float32 each.
        wte: the embedding, `(V, d)`.
        head: the readout.

    Raises:
        ConfigError: library and frame differ in width.
        GenomeError: a genome of the wrong length or with a gene out of range.
    """

    name = "gpt"

    def __init__(
        self, library: BasisLibrary, genome: Iterable[int], frame: GptFrame, *, share_layers: bool
    ) -> None:
        check_widths(library, frame)
        self.library = library
        self.frame = frame
        self.share_layers = share_layers
        n_layer = frame.shape.n_layer
        self.genome = gpt_space(library, n_layer, share_layers=share_layers).validate(genome)
        self.matrices = matrices(self.genome, n_layer)
        dense = {
            (slot, index): torch.from_numpy(library[slot][index].dense()).to(frame.device)
            for slot, index in self.matrices
        }
        self.weights = tuple(dense[key] for key in self.matrices)
        self.wte, self.head = frame.wte, frame.head
        self._token_entries = token_entries(self.genome)
        if self._token_entries:
            wte, readout = (
                torch.from_numpy(library[slot][index].dense()).to(frame.device)
                for slot, index in self._token_entries
            )
            self.wte, self.head = wte, TiledHead(readout)

    @property
    def entries(self) -> tuple[tuple[str, int], ...]:
        """(slot, index) of all entries in use, embedding and readout after the body's."""
        return (*self.matrices, *self._token_entries)

    def weight(self, layer: int, slot: str) -> torch.Tensor:
        """Return the matrix of a slot in a layer, `(in, out)` float32."""
        slots = [name for name, _ in self.matrices[4 * layer : 4 * layer + 4]]
        return self.weights[4 * layer + slots.index(slot)]

    @property
    def stored_bytes(self) -> int:
        """Compact size of the distinct entries in use, plus the frame and the genome."""
        return stored_bytes(self.library, self.frame, self.genome)

    def _hidden(self, inputs: Int64Array) -> torch.Tensor:
        """Return what the head takes, `(B T, d)`."""
        tokens = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.frame.device)
        state = first_state(self.frame.embed(tokens, self.wte))
        n_head, length = self.frame.shape.n_head, inputs.shape[1]
        for (slot, _), weight in zip(self.matrices, self.weights, strict=True):
            state = step(slot, state, weight, n_head=n_head, length=length)
        return self.frame.readout(state.branch)

    @torch.inference_mode()
    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(targets | inputs)` in nats, `(B, T)` float64.

        Raises:
            DataError: blocks longer than the model's, or tokens outside its vocabulary.
        """
        self.frame.check_tokens(inputs, targets)
        blocks = max(1, _CHUNK_TOKENS // max(1, inputs.shape[1]))
        scratch = self.head.scratch()
        nll = np.empty(inputs.shape, dtype=np.float64)
        for start in range(0, len(inputs), blocks):
            part = slice(start, start + blocks)
            wanted = torch.from_numpy(np.ascontiguousarray(targets[part])).to(self.frame.device)
            values = self.head.nll(self._hidden(inputs[part]), wanted.view(-1), scratch)
            nll[part] = values.view(wanted.shape).cpu().numpy()
        return nll

    @torch.inference_mode()
    def probabilities(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        """Return the full next-token distributions, `(B, T, V)`; each sums to 1.

        Raises:
            DataError: as for `token_nll`.
        """
        self.frame.check_tokens(inputs)
        logits = self._hidden(inputs) @ self.head.weight.t()
        distribution = torch.softmax(logits.double(), dim=1)
        return np.asarray(distribution.view(*inputs.shape, -1).cpu().numpy(), dtype=np.float64)


def check_widths(library: BasisLibrary, frame: GptFrame) -> None:
    """Refuse a library for other models than the frame's.

    Raises:
        ConfigError: library and frame differ in width, or in vocabulary, or only one of them is
            for genomes that pick embedding and readout.
    """
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

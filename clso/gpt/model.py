"""One crystalline GPT: the model that a genome stands for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from clso.gpt.body import State
from clso.gpt.frame import GptFrame
from clso.gpt.genome import Entry, GptGenomes
from clso.gpt.head import TiledHead
from clso.library import SLOTS, BasisLibrary
from clso.library.entry import FloatMatrix
from clso.library.weight import RowsOfTokens, aligned, applied
from clso.scoring import Int64Array, NllArray

__all__ = ["CrystallineGpt"]

_CHUNK_TOKENS = 4096


class CrystallineGpt:
    """A GPT-2 whose every linear layer is a library entry, W = library[slot][gene].

    A `clso.scoring.LanguageModel`.

    Args:
        genome: of the space of `GptGenomes`.
        frame: positions, and embedding and readout where the library has none.

    Attributes:
        matrices: the library entries of the body, in the order of a forward pass, 4 L.
        entries: all library entries in use, embedding and readout after the body's.
        wte: the embedding, `(V, d)`.

    Raises:
        ConfigError: library and frame do not fit; see `GptGenomes`.
        GenomeError: a genome of the wrong length or with a gene out of range.
    """

    name = "gpt"

    def __init__(
        self, library: BasisLibrary, genome: Iterable[int], frame: GptFrame, *, share_layers: bool
    ) -> None:
        self.library = library
        self.frame = frame
        self.share_layers = share_layers
        self._genomes = GptGenomes(library, frame, share_layers=share_layers)
        self.genome = self._genomes.space.validate(genome)
        self.matrices = self._genomes.matrices(self.genome)
        tokens = self._genomes.token_entries(self.genome)
        self.entries = (*self.matrices, *tokens)
        weights = {
            (slot, index): applied(library[slot][index], frame.device)
            for slot, index in self.matrices
        }
        self._weights = tuple(weights[entry] for entry in self.matrices)
        self.wte, self.head = frame.wte, frame.head
        if tokens:
            embedding, (slot, index) = tokens
            self.wte = aligned(self._dense(embedding), frame.device)
            self.head = TiledHead(*RowsOfTokens.of(library[slot][index], frame.device))

    def _dense(self, entry: Entry) -> FloatMatrix:
        slot, index = entry
        return self.library[slot][index].dense()

    def weight(self, layer: int, slot: str) -> torch.Tensor:
        """Return the matrix of a slot in a layer, `(in, out)` float32."""
        return torch.from_numpy(self._dense(self.matrices[4 * layer + SLOTS.index(slot)]))

    @property
    def stored_bytes(self) -> int:
        """Compact size of the distinct entries in use, plus the frame and the genome."""
        return self._genomes.stored_bytes(self.genome)

    def _hidden(self, inputs: Int64Array) -> torch.Tensor:
        """Return the head's input, `(B T, d)`."""
        tokens = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.frame.device)
        state = State.first(self.frame.embed(tokens, self.wte))
        n_head, length = self.frame.shape.n_head, inputs.shape[1]
        for (slot, _), weight in zip(self.matrices, self._weights, strict=True):
            state = state.step(slot, weight, n_head=n_head, length=length)
        return self.frame.readout(state.normed)

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
            labels = torch.from_numpy(np.ascontiguousarray(targets[part])).to(self.frame.device)
            values = self.head.nll(self._hidden(inputs[part]), labels.view(-1), scratch)
            nll[part] = values.view(labels.shape).cpu().numpy()
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

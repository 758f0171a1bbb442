"""One crystalline GPT: the model that a genome stands for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from clso.errors import ConfigError
from clso.gpt.body import first_state, step
from clso.gpt.frame import GptFrame
from clso.gpt.genome import gpt_space, matrices
from clso.library import BasisLibrary
from clso.scoring import Int64Array, NllArray

__all__ = ["CrystallineGpt", "check_widths"]

_CHUNK_TOKENS = 4096


class CrystallineGpt:
    """A GPT-2 whose every linear layer is a library entry, W = library[slot][gene].

    A `clso.scoring.LanguageModel`.

    Args:
        library: where the matrices come from; its width must be the frame's.
        genome: 4 genes (shared by all layers) or 4 per layer.
        frame: embeddings and readout.
        share_layers: which of the two.

    Attributes:
        matrices: (slot, index) of each matrix, in the order of a forward pass, 4 L.
        weights: the matrices themselves, `(in, out)` float32 each.

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

    def weight(self, layer: int, slot: str) -> torch.Tensor:
        """Return the matrix of a slot in a layer, `(in, out)` float32."""
        slots = [name for name, _ in self.matrices[4 * layer : 4 * layer + 4]]
        return self.weights[4 * layer + slots.index(slot)]

    @property
    def stored_bytes(self) -> int:
        """Compact size of the distinct entries in use, plus embeddings, bias and genome."""
        entries = sum(self.library[slot][index].stored_bytes for slot, index in set(self.matrices))
        return entries + self.frame.stored_bytes + 4 * len(self.genome)

    def _hidden(self, inputs: Int64Array) -> torch.Tensor:
        """Return what the head takes, `(B T, d)`."""
        tokens = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.frame.device)
        state = first_state(self.frame.embed(tokens))
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
        scratch = self.frame.head.scratch()
        nll = np.empty(inputs.shape, dtype=np.float64)
        for start in range(0, len(inputs), blocks):
            part = slice(start, start + blocks)
            wanted = torch.from_numpy(np.ascontiguousarray(targets[part])).to(self.frame.device)
            values = self.frame.head.nll(self._hidden(inputs[part]), wanted.view(-1), scratch)
            nll[part] = values.view(wanted.shape).cpu().numpy()
        return nll

    @torch.inference_mode()
    def probabilities(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        """Return the full next-token distributions, `(B, T, V)`; each sums to 1.

        Raises:
            DataError: as for `token_nll`.
        """
        self.frame.check_tokens(inputs)
        logits = self._hidden(inputs) @ self.frame.head.weight.t()
        distribution = torch.softmax(logits.double(), dim=1)
        return np.asarray(distribution.view(*inputs.shape, -1).cpu().numpy(), dtype=np.float64)


def check_widths(library: BasisLibrary, frame: GptFrame) -> None:
    """Refuse a library for models of another width.

    Raises:
        ConfigError: library and frame differ in width.
    """
    if library.n_embd != frame.shape.n_embd:
        raise ConfigError(
            f"the library is for n_embd {library.n_embd}, the model has {frame.shape.n_embd}",
            remedy="generate a library for the model's width",
        )

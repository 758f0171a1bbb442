"""The GPT-2 that AdamW trains: new, from a checkpoint, and scoring tokens.

A branch is the attention or the MLP of a layer: an inner matrix, a function, an outer matrix. Where
one of the matrices is zero, the branch adds nothing and the other matrix gets no gradient.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from clso.checkpoint import load_gpt2
from clso.gpt import GptShape
from clso.gpt.head import TiledHead
from clso.scoring import Int64Array, NllArray

__all__ = ["AdamwGpt2", "Blocks"]

_CHUNK_TOKENS = 4096
_CHUNK_BLOCKS = 64
# The standard deviation of GPT-2's initial weights.
_INITIAL_STD = 0.02
# Separates this random stream from all others of the same seed.
_STREAM = int.from_bytes(b"wake")
# AdamW changes every weight by about the learning rate. In a residual stream this much larger, the
# change is as small beside a spectral embedding as beside a trained one.
_LOUDNESS = 16.0


class Blocks(Protocol):
    """Packed blocks of a split."""

    @property
    def name(self) -> str:
        """Name of the split."""

    @property
    def block_size(self) -> int:
        """T, targets per block."""

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets of B blocks, each `(B, T)`."""


class AdamwGpt2:
    """A GPT-2, its head tied or not, that scores tokens; a `clso.scoring.LanguageModel`."""

    def __init__(self, model: GPT2LMHeadModel, name: str = "adamw") -> None:
        self.name = name
        self.model = model
        self.model.eval()  # type: ignore[no-untyped-call]  # transformers leaves it untyped

    @classmethod
    def new(
        cls,
        shape: GptShape,
        *,
        dropout: float = 0.0,
        end_token_id: int,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Return an untrained GPT-2 with GPT-2's own initialisation, a function of the seed alone.

        Its activation is `gelu_pytorch_tanh`, the same function as GPT-2's `gelu_new` in one kernel
        of PyTorch instead of eight.
        """
        config = GPT2Config(
            vocab_size=shape.vocab_size,
            n_positions=shape.block_size,
            n_embd=shape.n_embd,
            n_layer=shape.n_layer,
            n_head=shape.n_head,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=end_token_id,
            eos_token_id=end_token_id,
            tie_word_embeddings=True,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = GPT2LMHeadModel(config)
        return cls(torch.nn.Module.to(model, device))  # in place; GPT2LMHeadModel.to lacks types

    @classmethod
    def load(cls, path: Path, *, name: str = "adamw", device: str | torch.device = "cpu") -> Self:
        """Open a folder with a GPT-2 checkpoint, such as a sweep's.

        Raises:
            ArtifactError: there is no GPT-2 checkpoint, or it is damaged.
        """
        model = load_gpt2(path, remedy="run `clso baseline CONFIG` to train it")
        return cls(torch.nn.Module.to(model, device), name)

    @classmethod
    def trainable(
        cls, path: Path, *, dropout: float, seed: int, device: str | torch.device = "cpu"
    ) -> Self:
        """Open a crystalline GPT with every branch trainable; it computes the same function.

        A branch that adds nothing gets inner weights as GPT-2 initialises them, and a zero outer
        matrix. The residual stream becomes 16 times as large throughout; LayerNorm divides by this
        factor again, up to its epsilon.

        Raises:
            ArtifactError: there is no GPT-2 checkpoint, or it is damaged.
            ValueError: the head is tied, so its logits would grow with the residual stream.
        """
        model = load_gpt2(path, remedy="run `clso search CONFIG` to find it")
        if model.config.tie_word_embeddings:
            raise ValueError("the head is tied to the embedding, expected a head of its own")
        for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
            setattr(model.config, name, dropout)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        _wake(model, np.random.default_rng([seed, _STREAM]))
        return cls(torch.nn.Module.to(model, device))

    @property
    def stored_bytes(self) -> int:
        """Size of the parameters as float32; a tied embedding counts once."""
        return sum(4 * parameter.numel() for parameter in self.model.parameters())

    @property
    def _readout(self) -> torch.Tensor:
        weight = self.model.lm_head.weight
        assert isinstance(weight, torch.Tensor)
        return weight.detach()

    def _hidden(self, inputs: Int64Array) -> torch.Tensor:
        tokens = torch.from_numpy(np.ascontiguousarray(inputs)).to(self._readout.device)
        hidden = self.model.transformer(input_ids=tokens, use_cache=False).last_hidden_state
        assert isinstance(hidden, torch.Tensor)
        return hidden.reshape(-1, hidden.shape[-1])

    @torch.inference_mode()
    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(targets | inputs)` in nats, `(B, T)` float64."""
        head = TiledHead(self._readout)
        scratch = head.scratch()
        result = np.empty(inputs.shape, np.float64)
        step = max(1, _CHUNK_TOKENS // max(1, inputs.shape[1]))
        for start in range(0, inputs.shape[0], step):
            blocks = slice(start, start + step)
            labels = torch.from_numpy(np.ascontiguousarray(targets[blocks]).reshape(-1))
            nll = head.nll(self._hidden(inputs[blocks]), labels.to(scratch.device), scratch)
            result[blocks] = nll.cpu().numpy().reshape(targets[blocks].shape)
        return result

    def mean_nll(self, split: Blocks) -> float:
        """Return the mean loss over all blocks of a split, nats per token."""
        sums = []
        for start in range(0, split.n_blocks, _CHUNK_BLOCKS):
            index = np.arange(start, min(start + _CHUNK_BLOCKS, split.n_blocks))
            sums.append(float(self.token_nll(*split.blocks(index)).sum()))
        return math.fsum(sums) / (split.n_blocks * split.block_size)

    @torch.inference_mode()
    def probabilities(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        """Return the full next-token distributions, `(B, T, V)`; each sums to 1."""
        logits = self._hidden(inputs).double() @ self._readout.double().t()
        distributions: npt.NDArray[np.float64] = logits.softmax(-1).cpu().numpy()
        return distributions.reshape(*inputs.shape, -1)

    @torch.inference_mode()
    def distribution(self, history: Int64Array) -> npt.NDArray[np.float64]:
        """Return `p(. | history)` after the `(t,)` tokens of a block, `(V,)`; it sums to 1.

        It equals the last row of `probabilities`, up to logits that are rounded to float32.
        """
        logits = self._readout @ self._hidden(history[None])[-1]
        distribution: npt.NDArray[np.float64] = logits.double().softmax(-1).cpu().numpy()
        return distribution


@torch.no_grad()
def _wake(model: GPT2LMHeadModel, rng: np.random.Generator) -> None:
    """Make every branch of a model trainable, in place."""
    for name in ("wte.weight", "wpe.weight"):
        model.transformer.get_parameter(name).mul_(_LOUDNESS)
    for block in model.transformer.h:
        for inner, outer in (("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj")):
            inner_weight = block.get_parameter(f"{inner}.weight")
            outer_weight = block.get_parameter(f"{outer}.weight")
            if not (inner_weight.any() and outer_weight.any()):
                drawn = rng.normal(0.0, _INITIAL_STD, tuple(inner_weight.shape))
                inner_weight.copy_(torch.from_numpy(drawn.astype(np.float32)))
                outer_weight.zero_()
            outer_weight.mul_(_LOUDNESS)
            block.get_parameter(f"{outer}.bias").mul_(_LOUDNESS)

"""The GPT-2 that AdamW trains: new, from a checkpoint, and scoring tokens.

A branch is the attention or the MLP of a layer: an inner matrix, a function, an outer matrix. Where
one of the matrices is zero, the branch adds nothing and the other matrix gets no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN

from clso.baseline.gpt2_gradients import Gpt2Gradients
from clso.baseline.trainable import check_length
from clso.checkpoint import load_gpt2, save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.gpt import GptShape
from clso.gpt.head import TiledHead
from clso.scoring import Int64Array, NllArray

__all__ = ["AdamwGpt2"]

_CHUNK_TOKENS = 4096
# The standard deviation of GPT-2's initial weights.
_INITIAL_STD = 0.02
# Separates this random stream from all others of the same seed.
_STREAM = int.from_bytes(b"wake")
# AdamW changes every weight by about the learning rate. In a residual stream this much larger, the
# change is as small beside a spectral embedding as beside a trained one.
_LOUDNESS = 16.0
_ACTIVATION = "gelu_pytorch_tanh"


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
            activation_function=_ACTIVATION,
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
        factor again, up to its epsilon. The activation is as in `new`.

        Raises:
            ArtifactError: there is no GPT-2 checkpoint, or it is damaged.
            ValueError: the head is tied, so its logits would grow with the residual stream.
        """
        model = load_gpt2(path, remedy="run `clso search CONFIG` to find it")
        if model.config.tie_word_embeddings:
            raise ValueError("the head is tied to the embedding, expected a head of its own")
        _set_dropout(model, dropout)
        _set_activation(model, _ACTIVATION)
        _wake(model, np.random.default_rng([seed, _STREAM]))
        return cls(torch.nn.Module.to(model, device))

    @classmethod
    def further(cls, path: Path, *, dropout: float, device: str | torch.device = "cpu") -> Self:
        """Open a trained GPT-2 with another dropout, to train it further.

        Raises:
            ArtifactError: there is no GPT-2 checkpoint, or it is damaged.
        """
        trained = cls.load(path, device=device)
        _set_dropout(trained.model, dropout)
        return trained

    @property
    def stored_bytes(self) -> int:
        """Size of the parameters as float32; a tied embedding counts once."""
        return sum(4 * parameter.numel() for parameter in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._readout.device

    @cached_property
    def gradients(self) -> Gpt2Gradients:
        """Sets every parameter's `grad` from blocks, and returns their mean loss."""
        return Gpt2Gradients(self.model)

    def matrices(self) -> list[torch.nn.Parameter]:
        """Return the matrices of attention and MLP in all layers."""
        return [p for p in self.model.transformer.h.parameters() if p.ndim == 2]

    def save(
        self,
        path: Path,
        tokenizer: Tokenizer | None,
        descriptions: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an ordinary GPT-2 checkpoint; see `clso.checkpoint.save_gpt2`.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        save_gpt2(self.model, tokenizer, path, descriptions)

    @property
    def _readout(self) -> torch.Tensor:
        weight = self.model.lm_head.weight
        assert isinstance(weight, torch.Tensor)
        return weight.detach()

    def _hidden(self, inputs: Int64Array) -> torch.Tensor:
        check_length(self.model.config.n_positions, inputs.shape[1])
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


def _set_dropout(model: GPT2LMHeadModel, dropout: float) -> None:
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        setattr(model.config, name, dropout)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout


def _set_activation(model: GPT2LMHeadModel, name: str) -> None:
    model.config.activation_function = name
    for block in model.transformer.h:
        block.get_submodule("mlp").act = ACT2FN[name]


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

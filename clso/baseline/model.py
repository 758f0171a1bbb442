"""The GPT-2 that AdamW trains, and what is left of it: an ordinary checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from clso.checkpoint import load_gpt2
from clso.gpt import GptShape
from clso.gpt.head import TiledHead
from clso.scoring import Int64Array, NllArray

__all__ = ["AdamwGpt2", "new_gpt2"]

_CHUNK_TOKENS = 4096


def new_gpt2(
    shape: GptShape,
    *,
    dropout: float = 0.0,
    end_token_id: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> GPT2LMHeadModel:
    """Return an untrained GPT-2 with GPT-2's own initialisation, a function of the seed alone.

    Its activation is the tanh approximation of GELU under the name that `transformers` gives to
    PyTorch's own kernel; GPT-2's `gelu_new` is the same function in eight.

    Args:
        shape: layers, heads, width, block and vocabulary.
        dropout: on embeddings, attention and residuals.
        end_token_id: begins and ends texts.
        seed: of the initial weights.
        device: where the model goes.
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
    return torch.nn.Module.to(model, device)  # in place; GPT2LMHeadModel.to lacks types


class AdamwGpt2:
    """A GPT-2 checkpoint that prices tokens; a `clso.scoring.LanguageModel`.

    Args:
        model: a GPT-2, its head tied to the embedding or not.
        name: the model's name in tables.
    """

    def __init__(self, model: GPT2LMHeadModel, name: str = "adamw") -> None:
        self.name = name
        self.model = model
        self.model.eval()  # type: ignore[no-untyped-call]  # transformers leaves it untyped

    @classmethod
    def load(
        cls, path: Path, *, name: str = "adamw", device: str | torch.device = "cpu"
    ) -> AdamwGpt2:
        """Open a folder that `run_sweep` wrote, or any other GPT-2 checkpoint.

        Raises:
            ArtifactError: there is no GPT-2 checkpoint, or it is damaged.
        """
        model = load_gpt2(path, remedy="run `clso baseline CONFIG` to train it")
        return cls(torch.nn.Module.to(model, device), name)

    @property
    def stored_bytes(self) -> int:
        """The parameters as float32, the tied embedding once."""
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
            wanted = torch.from_numpy(np.ascontiguousarray(targets[blocks]).reshape(-1))
            nll = head.nll(self._hidden(inputs[blocks]), wanted.to(scratch.device), scratch)
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

        It is the last row of `probabilities`, the logits rounded to float32.
        """
        logits = self._readout @ self._hidden(history[None])[-1]
        distribution: npt.NDArray[np.float64] = logits.double().softmax(-1).cpu().numpy()
        return distribution

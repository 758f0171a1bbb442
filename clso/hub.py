"""Mixtures in `transformers`: importing this module makes its Auto classes load them.

    import clso.hub
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("artifacts/runs/RUN/models/mixture")
    tokenizer = AutoTokenizer.from_pretrained("artifacts/runs/RUN/models/mixture")
    inputs = tokenizer("In the beginning", return_tensors="pt")
    print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))

A mixture has counts, not parameters: it runs on the CPU in float64 on any device and in any type,
and has no gradients. Logits are log p(y | context), float32, on the device of the input.
In a text longer than `config.n_positions`, each token sees the last `n_positions` tokens alone.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from clso.mixture.model import FORMAT_VERSION, MODEL_TYPE, CrystallineMixture

__all__ = ["CrystallineMixtureConfig", "CrystallineMixtureForCausalLM"]


class CrystallineMixtureConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]  # as below
    """The `config.json` of a mixture; `clso.mixture.model` writes it.

    Attributes:
        name: `mixture` or `hybrid`.
        n_positions: the longest context.
        bucketing: which contexts share weights.
        functions: specification and array names of each basis function.
        history: array names of the bucket counts.
        weights: array names of the weights.
    """

    model_type = MODEL_TYPE
    format_version: int = FORMAT_VERSION
    name: str = "mixture"
    vocab_size: int = 0
    n_positions: int = 0
    bucketing: str = "none"
    functions: list[dict[str, Any]] | None = None
    history: dict[str, str] | None = None
    weights: dict[str, str] | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None


class CrystallineMixtureForCausalLM(PreTrainedModel, GenerationMixin):
    """A crystalline mixture or hybrid that `transformers` runs and generates with."""

    config_class = CrystallineMixtureConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _device_marker: torch.Tensor

    def __init__(self, config: CrystallineMixtureConfig, mixture: CrystallineMixture) -> None:
        super().__init__(config)
        self.mixture = mixture
        self.register_buffer("_device_marker", torch.empty(0), persistent=False)
        self.generation_config.use_cache = False
        self.post_init()  # type: ignore[no-untyped-call]  # transformers leaves it untyped

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no Hub, no tensors: few of its options
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: PreTrainedConfig | None = None,
        subfolder: str = "",
        **options: object,
    ) -> Self:
        """Open a folder that a run or `save_pretrained` wrote; names on the Hub are not looked up.

        `config` is the folder's configuration, if it was read before; `subfolder` is in the folder.
        Options on tensors (`dtype`, `device_map`, ...) have no effect on counts.

        Raises:
            ArtifactError: the mixture is missing, damaged, or of another version.
        """
        path = Path(pretrained_model_name_or_path, subfolder)
        mixture = CrystallineMixture.load(path)
        if not isinstance(config, CrystallineMixtureConfig):
            config = CrystallineMixtureConfig.from_pretrained(path)
        model = cls(config, mixture)
        if (path / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(path)
        model.eval()  # type: ignore[no-untyped-call]  # as above
        return model

    def save_pretrained(  # type: ignore[override]  # as above
        self, save_directory: str | os.PathLike[str], **options: object
    ) -> None:
        """Write the model to a folder and keep its other files; the tokenizer is saved apart.

        The folder is made if it is missing. Options on tensors (`max_shard_size`, ...) have no
        effect on counts.

        Raises:
            ValueError: `push_to_hub` is set; call the method of that name instead.
        """
        if options.get("push_to_hub"):
            raise ValueError("call model.push_to_hub(...) to upload a mixture")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in self.mixture.write_arrays(folder).items():
            setattr(self.config, name, value)
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(folder)
        self.generation_config.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        """The device that the model was moved to; it still computes on the CPU."""
        return self._device_marker.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the logits."""
        return torch.float32

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutput | tuple[torch.Tensor, ...]:
        """Return log p of every next token, `(B, T, V)` float32.

        Args:
            input_ids: tokens, `(B, T)`.
            attention_mask: 0 where a text is padded, before its start or after its end, `(B, T)`.
                Padding is not read, and at a padded position all tokens have equal probability.
            labels: tokens to score, `(B, T)`, usually `input_ids`: not shifted, as everywhere in
                `transformers`. Labels of -100 are left out of the loss.
            logits_to_keep: how many of the last positions get logits, 0 for all; or a tensor of
                positions.
            use_cache: ignored; nothing is cached.
            return_dict: `False` returns a tuple.

        Raises:
            ValueError: a mask with a gap inside a text, or labels without all logits.
        """
        n_texts, length = input_ids.shape
        positions = np.arange(length)
        if isinstance(logits_to_keep, torch.Tensor):
            positions = positions[logits_to_keep.cpu().numpy()]
        elif logits_to_keep:
            positions = positions[-logits_to_keep:]
        if labels is not None and len(positions) < length:
            raise ValueError("labels need the logits of all positions: leave out logits_to_keep")
        tokens = input_ids.detach().cpu().numpy().astype(np.int64)
        starts, stops = _spans(tokens.shape, attention_mask)
        vocab_size = self.config.vocab_size
        logits = torch.full((n_texts, len(positions), vocab_size), -math.log(vocab_size))
        for text, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            for row, position in enumerate(positions):
                if start <= position < stop:
                    first = max(start, position + 1 - self.config.n_positions)
                    p = self.mixture.distribution(tokens[text, first : position + 1])
                    logits[text, row] = torch.from_numpy(np.log(p))
        logits = logits.to(input_ids.device)
        loss = None if labels is None else _loss(logits, labels)
        output = CausalLMOutput(loss=loss, logits=logits)
        return output.to_tuple() if return_dict is False else output

    def prepare_inputs_for_generation(  # type: ignore[override]  # called by names alone
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        logits_to_keep: int = 1,
        **kwargs: object,
    ) -> dict[str, Any]:
        """Return the arguments of `forward` at each step: the whole text, nothing cached."""
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "logits_to_keep": logits_to_keep,
        }

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False


def _spans(shape: tuple[int, ...], mask: torch.Tensor | None) -> tuple[list[int], list[int]]:
    """Return the first position of each text, and the position after its last."""
    n_texts, length = shape
    if mask is None:
        return [0] * n_texts, [length] * n_texts
    if tuple(mask.shape) != shape:
        raise ValueError(f"attention_mask is {tuple(mask.shape)}, expected {shape}")
    seen = mask.detach().cpu().numpy() != 0
    lengths = seen.sum(1)
    starts = seen.argmax(1)
    stops = starts + lengths
    if any(not text[a:b].all() for text, a, b in zip(seen, starts, stops, strict=True)):
        raise ValueError("attention_mask has a gap inside a text: pad on the left to generate")
    return starts.tolist(), stops.tolist()


def _loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log p of the labels; logits at t score the label at t + 1."""
    log_p = logits[:, :-1].reshape(-1, logits.shape[-1])
    return torch.nn.functional.nll_loss(log_p, labels[:, 1:].reshape(-1).to(log_p.device))


AutoConfig.register(MODEL_TYPE, CrystallineMixtureConfig, exist_ok=True)
AutoModelForCausalLM.register(
    CrystallineMixtureConfig, CrystallineMixtureForCausalLM, exist_ok=True
)

"""Mixtures and networks in `transformers`: importing this module makes its Auto classes load them.

    import clso.hub
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("artifacts/runs/RUN/models/mixture")
    tokenizer = AutoTokenizer.from_pretrained("artifacts/runs/RUN/models/mixture")
    inputs = tokenizer("In the beginning", return_tensors="pt")
    print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))

Without the import, `from_pretrained(folder, trust_remote_code=True)` runs the folder's own
`modeling_clso.py`, which does no more than this import.

A mixture has counts, not parameters. A network is one of the gradient models that it is compared
with: an LSTM or a GPT-2 with a readout of its own, or an average of several. Here both only give
probabilities: on the CPU in any type on any device, without gradients. Logits are
log p(y | context), float32, on the device of the input. In a text longer than `config.n_positions`,
each token sees the last `n_positions` tokens alone.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping
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

from clso.artifacts import CHECKSUMS, atomic_write_json, read_json
from clso.baseline import network_model
from clso.baseline.network_model import NetworkModel
from clso.checkpoint import MODEL_CODE, save_tokenizer
from clso.errors import ArtifactError, first_line
from clso.mixture.model import AUTO_MAP, FORMAT_VERSION, MODEL_TYPE, CrystallineMixture
from clso.models import StoredModel
from clso.scoring import GenerativeModel, Int64Array

__all__ = [
    "CrystallineMixtureConfig",
    "CrystallineMixtureForCausalLM",
    "NetworkConfig",
    "NetworkForCausalLM",
    "prepare_folder",
]

# Arguments of other models' `forward`: without effect here, or refused with the reason.
_WITHOUT_EFFECT = frozenset({"cache_position", "position_ids", "token_type_ids", "use_cache"})
_HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only", "force_download")
_REFUSED = {
    "inputs_embeds": "it has no embeddings; give input_ids",
    "past_key_values": "it keeps no cache; give the whole text as input_ids",
    "output_hidden_states": "it has no hidden states",
    "output_attentions": "it has no attention",
}


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

    @classmethod
    def register_for_auto_class(cls, auto_class: object = "AutoConfig") -> None:
        """Do nothing: a model's folder names its own `modeling_clso.py`, never this module."""


class NetworkConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]  # as below
    """The `config.json` of a network; `clso.baseline.network_model` writes it.

    Attributes:
        name: `opponent`.
        n_positions: the longest context.
        n_members: networks whose probabilities are averaged.
        reserve: probability of all tokens together that training has not seen.
        cache: see `clso.baseline.cache`.
        shape: kind and size of each network.
    """

    model_type = network_model.MODEL_TYPE
    format_version: int = network_model.FORMAT_VERSION
    name: str = "opponent"
    vocab_size: int = 0
    n_positions: int = 0
    n_members: int = 1
    reserve: float = 0.0
    cache: dict[str, float] | None = None
    shape: dict[str, Any] | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    @classmethod
    def register_for_auto_class(cls, auto_class: object = "AutoConfig") -> None:
        """Do nothing: a model's folder names its own `modeling_clso.py`, never this module."""


class _OfProbabilities(PreTrainedModel, GenerationMixin):
    """A model that only gives probabilities, which `transformers` runs and generates with."""

    base_model_prefix = ""
    main_input_name = "input_ids"
    _device_marker: torch.Tensor
    _noun = "model"

    def __init__(self, config: PreTrainedConfig, inside: GenerativeModel | None = None) -> None:
        if inside is None:
            raise ValueError(
                f"a {self._noun} has arrays, which no configuration holds: open a folder with "
                "from_pretrained"
            )
        super().__init__(config)
        self._inside = inside
        self.register_buffer("_device_marker", torch.empty(0), persistent=False)
        self.generation_config.use_cache = False
        self.post_init()  # type: ignore[no-untyped-call]  # transformers leaves it untyped

    @classmethod
    def _read(cls, path: Path) -> GenerativeModel:
        raise NotImplementedError

    def _write(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no tensors: few of its options
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: PreTrainedConfig | None = None,
        subfolder: str = "",
        **options: object,
    ) -> Self:
        """Open a folder that a run or `save_pretrained` wrote, or a model of the hub.

        `config` is the folder's configuration, if it was read before; `subfolder` is in the folder.
        `revision`, `cache_dir`, `token`, `local_files_only` and `force_download` are for the hub.
        Options on tensors (`dtype`, `device_map`, ...) have no effect.

        Raises:
            ArtifactError: the model is missing, damaged, another run's, or of another version; or
                it is no folder, and the hub does not give it.
        """
        path = _folder(pretrained_model_name_or_path, options, cls._noun) / subfolder
        inside = cls._read(path)
        assert cls.config_class is not None
        if not isinstance(config, cls.config_class):
            config = cls.config_class.from_pretrained(path)
        model = cls(config, inside)
        if (path / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(path)
        model.eval()  # type: ignore[no-untyped-call]  # as above
        return model

    def save_pretrained(  # type: ignore[override]  # as above
        self, save_directory: str | os.PathLike[str], **options: object
    ) -> None:
        """Write the model to a folder and keep its other files; the tokenizer is saved apart.

        The folder is made if it is missing. A list of checksums in it is removed, because it lists
        other files. Options on tensors (`max_shard_size`, ...) have no effect.

        Raises:
            ValueError: `push_to_hub` is set; call the method of that name instead.
        """
        if options.get("push_to_hub"):
            raise ValueError(f"call model.push_to_hub(...) to upload a {self._noun}")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CHECKSUMS).unlink(missing_ok=True)
        self._write(folder)
        self.config.architectures = [type(self).__name__]
        shutil.copyfile(MODEL_CODE, folder / MODEL_CODE.name)
        self.config.save_pretrained(folder)
        self.generation_config.save_pretrained(folder)

    @classmethod
    def register_for_auto_class(cls, auto_class: object = "AutoModel") -> None:
        """Do nothing: a model's folder names its own `modeling_clso.py`, never this module."""

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
        return_dict: bool | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        **others: object,
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
            return_dict: `False` returns a tuple.
            num_items_in_batch: what the sum of the losses is divided by, in place of the number of
                labels.
            others: `use_cache`, `position_ids`, `cache_position` and `token_type_ids` have no
                effect: nothing is cached, and positions follow from the mask.

        Raises:
            ValueError: `input_ids` are not tokens of the vocabulary, a mask has a gap inside a
                text, labels come without all logits, or an argument cannot be followed:
                `inputs_embeds`, `past_key_values`, `output_hidden_states`, `output_attentions`.
            TypeError: an argument that no model has.
        """
        _check_arguments(others, self._noun)
        if input_ids.ndim != 2:
            raise ValueError(f"input_ids is {tuple(input_ids.shape)}, expected (texts, tokens)")
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
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocab_size:
            raise ValueError(
                f"input_ids are from {tokens.min()} to {tokens.max()}, expected tokens from 0 to "
                f"{vocab_size - 1}"
            )
        logits = torch.empty((n_texts, len(positions), vocab_size))
        for text, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            padded = np.flatnonzero((positions < start) | (positions >= stop))
            logits[text, padded] = -math.log(vocab_size)
            for first, last, rows in _runs(positions, start, stop, self.config.n_positions):
                self._write_logits(tokens[text, first : last + 1], logits[text, rows])
        logits = logits.to(input_ids.device)
        loss = None if labels is None else _loss(logits, labels, num_items_in_batch)
        output = CausalLMOutput(loss=loss, logits=logits)
        return output.to_tuple() if return_dict is False else output

    def _write_logits(self, block: Int64Array, logits: torch.Tensor) -> None:
        """Write log p of every token at the last positions of a block to `(n, V)`."""
        for row, length in enumerate(range(len(block) - len(logits) + 1, len(block) + 1)):
            p = self._inside.distribution(block[:length])
            logits[row] = torch.from_numpy(np.log(p))

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


class CrystallineMixtureForCausalLM(_OfProbabilities):  # type: ignore[no-untyped-call]  # as above
    """A crystalline mixture or hybrid that `transformers` runs and generates with."""

    config_class = CrystallineMixtureConfig
    _noun = "mixture"

    @property
    def mixture(self) -> CrystallineMixture:
        """The mixture itself."""
        assert isinstance(self._inside, CrystallineMixture)
        return self._inside

    def _write_logits(self, block: Int64Array, logits: torch.Tensor) -> None:
        self.mixture.write_log_probabilities(block, logits.numpy())

    @classmethod
    def _read(cls, path: Path) -> CrystallineMixture:
        return CrystallineMixture.load(path)

    def _write(self, folder: Path) -> None:
        for name, value in self.mixture.write_arrays(folder).items():
            setattr(self.config, name, value)
        self.config.auto_map = AUTO_MAP


class NetworkForCausalLM(_OfProbabilities):  # type: ignore[no-untyped-call]  # as above
    """A gradient model of a run that `transformers` runs and generates with."""

    config_class = NetworkConfig
    _noun = "network"

    @property
    def network(self) -> NetworkModel:
        """The network itself, or several."""
        assert isinstance(self._inside, NetworkModel)
        return self._inside

    @classmethod
    def _read(cls, path: Path) -> NetworkModel:
        return NetworkModel.load(path)

    def _write(self, folder: Path) -> None:
        self.network.write(folder, None)
        self.config.auto_map = network_model.AUTO_MAP


def prepare_folder(folder: Path, stored: StoredModel) -> None:
    """Complete a model's folder for `transformers`: pad token, and for a mixture its own code.

    Folders that earlier versions wrote lack them.
    """
    save_tokenizer(stored.tokenizer, stored.n_positions, folder)
    added: dict[str, Any] = {"pad_token_id": stored.tokenizer.end_token_id}
    for name in ("config.json", "generation_config.json"):
        if (folder / name).exists():
            atomic_write_json(folder / name, {**read_json(folder / name), **added})
    if isinstance(stored.model, CrystallineMixture):
        shutil.copyfile(MODEL_CODE, folder / MODEL_CODE.name)
        path = folder / "config.json"
        atomic_write_json(path, {**read_json(path), "auto_map": AUTO_MAP})


def _folder(name: str | os.PathLike[str], options: Mapping[str, Any], noun: str) -> Path:
    """Return a folder as it is; of another name, the folder of the hub's files in its cache."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    known = {option: options[option] for option in _HUB_OPTIONS if option in options}
    try:
        return Path(snapshot_download(str(name), **known))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{name} holds no {noun}: it is no folder, and the hub does not give it: "
            f"{first_line(error)}",
            remedy="give the folder of a model, or a name on the hub; without the network, one "
            "that was downloaded before",
        ) from error


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


def _runs(
    positions: Int64Array, start: int, stop: int, n_positions: int
) -> Iterator[tuple[int, int, slice]]:
    """Yield runs of successive positions of a text that are the ends of one block.

    Each is the block's first and last position, and the run's indices into `positions`. Beyond
    `n_positions` tokens every position has a block of its own.
    """
    row = 0
    while row < len(positions):
        end, last = row + 1, int(positions[row])
        if not start <= last < stop:
            row = end
            continue
        while (
            end < len(positions)
            and positions[end] == last + 1
            and last + 1 < min(stop, start + n_positions)
        ):
            end, last = end + 1, last + 1
        yield max(start, last + 1 - n_positions), last, slice(row, end)
        row = end


def _check_arguments(arguments: Mapping[str, object], noun: str) -> None:
    for name, value in arguments.items():
        if name not in _REFUSED and name not in _WITHOUT_EFFECT:
            raise TypeError(f"forward() of a {noun} has no argument {name!r}")
        if name in _REFUSED and value is not None and value is not False:
            raise ValueError(f"a {noun} cannot follow {name}: {_REFUSED[name]}")


def _loss(
    logits: torch.Tensor, labels: torch.Tensor, n_items: int | torch.Tensor | None
) -> torch.Tensor:
    """Return the mean of -log p of the labels; logits at t score the label at t + 1."""
    log_p = logits[:, :-1].reshape(-1, logits.shape[-1])
    targets = labels[:, 1:].reshape(-1).to(log_p.device)
    if n_items is None:
        return torch.nn.functional.nll_loss(log_p, targets)
    return torch.nn.functional.nll_loss(log_p, targets, reduction="sum") / n_items


AutoConfig.register(MODEL_TYPE, CrystallineMixtureConfig, exist_ok=True)
AutoModelForCausalLM.register(
    CrystallineMixtureConfig, CrystallineMixtureForCausalLM, exist_ok=True
)
AutoConfig.register(network_model.MODEL_TYPE, NetworkConfig, exist_ok=True)
AutoModelForCausalLM.register(NetworkConfig, NetworkForCausalLM, exist_ok=True)

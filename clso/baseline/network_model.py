r"""A trained network, or the average of several, in memory and on disk.

.. math::
    p(y \mid ctx) = \frac{1}{M} \sum_m p_m(y \mid ctx)

The M members have one shape and one text, and differ in their weights. A cache may be interpolated
with them (`clso.baseline.cache`). On disk, arrays are in safetensors and everything else is in
`config.json`. `transformers` loads the folder once `clso.hub` is imported, or with
`trust_remote_code` by its own `modeling_clso.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clso.artifacts import atomic_write_json, check_folder, read_json
from clso.baseline.cache import NO_CACHE, Cache, Scored
from clso.baseline.network import Network, NetworkShape
from clso.baseline.seen_tokens import SeenTokens
from clso.baseline.trainable import check_length
from clso.checkpoint import ARRAYS, MODEL_CODE, REMAKE, new_folder, read_config, save_tokenizer
from clso.data.tokenizer import Tokenizer
from clso.digest import digest_of
from clso.errors import ClsoError, DamageError
from clso.scoring import Int64Array, NllArray

if TYPE_CHECKING:
    from clso.baseline.model import AdamwGpt2

__all__ = [
    "AUTO_MAP",
    "FORMAT_VERSION",
    "MODEL_TYPE",
    "FromNetwork",
    "NetworkModel",
    "load_network",
]

FORMAT_VERSION = 2
MODEL_TYPE = "clso_network"
_ARCHITECTURE = "NetworkForCausalLM"
AUTO_MAP = {
    "AutoConfig": f"{MODEL_CODE.stem}.NetworkConfig",
    "AutoModelForCausalLM": f"{MODEL_CODE.stem}.{_ARCHITECTURE}",
}
_CHUNK_TOKENS = 4096
# All that the readers raise for a damaged configuration or file.
_DAMAGES = (ClsoError, OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError)


class NetworkModel:
    """Networks whose probabilities are averaged; a `clso.scoring.GenerativeModel`.

    A single one is a `Trainable`.

    Args:
        members: of one shape, for one training text.
        name: in the result table.
        cache: what is interpolated; training leaves it out.
    """

    def __init__(
        self, members: Sequence[Network], name: str = "opponent", cache: Cache = NO_CACHE
    ) -> None:
        self.members = tuple(members)
        self.name = name
        self.cache = cache
        for member in self.members:
            member.eval()

    @classmethod
    def new(
        cls,
        shape: NetworkShape,
        seen: SeenTokens,
        *,
        dropout: float = 0.0,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Return an untrained network, a function of the seed alone.

        Raises:
            ConfigError: the readout has more classes than there are tokens.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cls([Network(shape, seen, dropout=dropout).to(device)])

    @property
    def shape(self) -> NetworkShape:
        """The shape of each member."""
        return self.members[0].shape

    @property
    def seen(self) -> SeenTokens:
        """The tokens of the training text."""
        return self.members[0].seen

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.seen.vocab_size

    @property
    def model(self) -> Network:
        """The only member."""
        (member,) = self.members
        return member

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.members[0].embedding.device

    @property
    def stored_bytes(self) -> int:
        """Size of all parameters as float32, and of the list of seen tokens."""
        parameters = [p for member in self.members for p in member.parameters()]
        arrays = self.seen.tokens.nbytes + self.seen.counts.nbytes
        return arrays + sum(4 * parameter.numel() for parameter in parameters)

    def matrices(self) -> list[torch.nn.Parameter]:
        """Return the matrices of the only member's body."""
        return list(self.model.body.matrices)

    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Set every parameter's `grad` from blocks `(B, T)`; return the mean loss in nats."""
        self.model.zero_grad()
        loss = self.model.loss(inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return float(loss.detach())

    @torch.inference_mode()
    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(targets | inputs)` in nats, `(B, T)` float64."""
        check_length(self.shape.n_positions, inputs.shape[1])
        nll = np.empty(inputs.shape, np.float64)
        for part in _parts(inputs):
            hidden = self._hidden(inputs[part])
            nll[part] = self._network_nll(hidden, targets[part])
            if self.cache.share:
                cached = self.cache.of_targets(
                    self._states(hidden, inputs[part]), inputs[part], targets[part]
                )
                nll[part] = -np.log(self.cache.mix(np.exp(-nll[part]), cached))
        return nll

    @torch.inference_mode()
    def with_cache(self, inputs: Int64Array, targets: Int64Array) -> Self:
        """Return the model with the cache that fits these blocks best, `(B, T)` both."""

        def scored() -> Iterator[Scored]:
            for part in _parts(inputs):
                hidden = self._hidden(inputs[part])
                p = np.exp(-self._network_nll(hidden, targets[part]))
                yield self._states(hidden, inputs[part]), inputs[part], targets[part], p

        return type(self)(self.members, self.name, Cache.fit(scored()))

    @torch.inference_mode()
    def probabilities(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        """Return the full next-token distributions, `(B, T, V)`; each sums to 1."""
        check_length(self.shape.n_positions, inputs.shape[1])
        hidden = self._hidden(inputs)
        return self._complete(inputs, hidden, inputs.shape[1])

    @torch.inference_mode()
    def distribution(self, history: Int64Array) -> npt.NDArray[np.float64]:
        """Return `p(. | history)` after the `(t,)` tokens of a block, `(V,)`; it sums to 1."""
        check_length(self.shape.n_positions, len(history))
        block = history[None]
        return np.reshape(self._complete(block, self._hidden(block), 1), self.vocab_size)

    def save(
        self,
        path: Path,
        tokenizer: Tokenizer | None,
        descriptions: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the model, and a tokenizer, to a folder; an existing folder is replaced.

        `descriptions` are the JSON values of further files, by name.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        with new_folder(path) as folder:
            self.write(folder, tokenizer)
            for name, value in (descriptions or {}).items():
                atomic_write_json(folder / name, value)

    def write(self, folder: Path, tokenizer: Tokenizer | None) -> None:
        """Write the model's files into a folder that exists."""
        tensors = {
            f"{index}.{name}": parameter.detach().contiguous()
            for index, member in enumerate(self.members)
            for name, parameter in member.named_parameters()
        }
        tensors["tokens"] = torch.from_numpy(self.seen.tokens.copy())
        tensors["counts"] = torch.from_numpy(self.seen.counts.copy())
        save_file(tensors, folder / ARRAYS, metadata={"format": "pt"})
        end = None if tokenizer is None else tokenizer.end_token_id
        config = {
            "model_type": MODEL_TYPE,
            "architectures": [_ARCHITECTURE],
            "auto_map": AUTO_MAP,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "vocab_size": self.vocab_size,
            "n_positions": self.shape.n_positions,
            "n_members": len(self.members),
            "reserve": self.seen.reserve,
            "cache": self.cache.to_record(),
            "shape": self.shape.to_record(),
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
        }
        if tokenizer is not None:
            save_tokenizer(tokenizer, self.shape.n_positions, folder)
        shutil.copyfile(MODEL_CODE, folder / MODEL_CODE.name)
        atomic_write_json(folder / "config.json", config)

    @classmethod
    def load(
        cls, path: Path, *, name: str | None = None, device: str | torch.device = "cpu"
    ) -> Self:
        """Read a folder that `save` wrote; `name` replaces the stored one.

        Raises:
            ArtifactError: the folder is missing, damaged, or of another version.
        """
        config = read_config(path, "network", MODEL_TYPE, FORMAT_VERSION)
        try:
            tensors = load_file(path / ARRAYS)
            tokens, counts = tensors["tokens"].numpy(), tensors["counts"].numpy()
            seen = SeenTokens(tokens, counts, config["vocab_size"], config["reserve"])
            shape = NetworkShape(**config["shape"])
            members = []
            for index in range(config["n_members"]):
                member = Network(shape, seen)
                prefix = f"{index}."
                named = {
                    key.removeprefix(prefix): tensor
                    for key, tensor in tensors.items()
                    if key.startswith(prefix)
                }
                # copies: see `clso.checkpoint.load_gpt2`
                with torch.no_grad():
                    for key, parameter in member.named_parameters():
                        parameter.copy_(named[key])
                members.append(member.to(device))
            return cls(members, name or config["name"], Cache(**config["cache"]))
        except _DAMAGES as error:
            raise DamageError(
                f"the network {path} is damaged: {error!r}", remedy=f"delete it; {REMAKE}"
            ) from error

    def _hidden(self, inputs: Int64Array) -> list[torch.Tensor]:
        """Return what each member makes of `(B, T)` tokens, `(B * T, d)`."""
        tokens = self._tokens(inputs)
        return [member.hidden(tokens) for member in self.members]

    def _states(self, hidden: Sequence[torch.Tensor], inputs: Int64Array) -> list[torch.Tensor]:
        return [of_member.view(*inputs.shape, -1) for of_member in hidden]

    def _network_nll(
        self, hidden: Sequence[torch.Tensor], targets: Int64Array
    ) -> npt.NDArray[np.float64]:
        """Return the loss of the targets without the cache, `(B, T)`."""
        labels = self._tokens(targets)
        pairs = zip(self.members, hidden, strict=True)
        each = torch.stack([-member.nll(of_member, labels) for member, of_member in pairs])
        nll: npt.NDArray[np.float64] = -(each.logsumexp(0) - np.log(len(each))).cpu().numpy()
        return nll

    def _complete(
        self, inputs: Int64Array, hidden: Sequence[torch.Tensor], last: int
    ) -> npt.NDArray[np.float64]:
        """Return the distributions at the last t positions of `(B, T)` tokens, `(B, t, V)`."""
        states = self._states(hidden, inputs)
        of_last = [state[:, -last:].reshape(-1, state.shape[-1]) for state in states]
        pairs = zip(self.members, of_last, strict=True)
        each = torch.stack([member.probabilities(of_member) for member, of_member in pairs])
        mean: npt.NDArray[np.float64] = each.mean(0).cpu().numpy()
        p = mean.reshape(len(inputs), last, self.vocab_size)
        if self.cache.share:
            self.cache.add(p, states, inputs)
        return p

    def _tokens(self, values: Int64Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def _parts(inputs: Int64Array) -> Iterator[slice]:
    """Yield the blocks that are read at once."""
    step = max(1, _CHUNK_TOKENS // max(1, inputs.shape[1]))
    for start in range(0, len(inputs), step):
        yield slice(start, start + step)


@dataclass(frozen=True)
class FromNetwork:
    """The initial weights of a network; a `clso.baseline.task.Start`.

    Attributes:
        data: names the training text.
    """

    shape: NetworkShape
    seen: SeenTokens
    data: str
    seed: int
    device: str

    @property
    def fingerprint(self) -> str:
        """Names the weights: shape, text, seed and device."""
        return digest_of({**self.identity, "device": self.device})

    @property
    def identity(self) -> dict[str, Any]:
        """What the weights depend on, as JSON values."""
        return {"network": self.shape.to_record(), "data": self.data, "seed": self.seed}

    def model(self, dropout: float) -> NetworkModel:
        """Return an untrained network.

        Raises:
            ConfigError: the readout has more classes than there are tokens.
        """
        return NetworkModel.new(
            self.shape, self.seen, dropout=dropout, seed=self.seed, device=self.device
        )


def load_network(
    path: Path, *, name: str | None = None, device: str | torch.device = "cpu"
) -> AdamwGpt2 | NetworkModel:
    """Open a folder with a gradient model of either kind: a GPT-2 checkpoint, or a network.

    Raises:
        ArtifactError: the model is missing, damaged, or of another kind.
    """
    check_folder(path, remedy=REMAKE)
    config = read_json(path / "config.json")
    if isinstance(config, dict) and config.get("model_type") == MODEL_TYPE:
        return NetworkModel.load(path, name=name, device=device)
    from clso.baseline.model import AdamwGpt2  # only here: it loads transformers

    return AdamwGpt2.load(path, name=name or path.name, device=device)

r"""The model that a mixture's genome stands for, in memory and on disk.

.. math::
    p(y \mid ctx) = \sum_k w_k(b(ctx)) \, p_k(y \mid ctx), \qquad
    \sum_k w_k(b) = 1 \text{ for every bucket } b

Function 0 is the uniform one, so that no token is ever impossible.

On disk, arrays are in safetensors and everything else is in `config.json`. `transformers` loads
the folder once `clso.hub` is imported, or with `trust_remote_code` by its own `modeling_clso.py`.
Arrays that functions share are stored once. A neural function is a checkpoint of its own in a
folder inside.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clso.artifacts import atomic_write_json
from clso.checkpoint import ARRAYS, MODEL_CODE, REMAKE, new_folder, read_config, save_tokenizer
from clso.counting import FloatArray
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, ClsoError, DamageError
from clso.floors import Uniform
from clso.mixture.arrays import Float32Array
from clso.mixture.buckets import Bucketing
from clso.mixture.full import DistributionSum, Layout, Summed
from clso.mixture.function import BasisFunction, Neural
from clso.mixture.history import History, HistoryCounts
from clso.mixture.specification import FunctionSpec
from clso.mixture.together import Together
from clso.mixture.weights import MixtureWeights
from clso.scoring import Int64Array, NllArray
from clso.threads import one_thread, thread_count

__all__ = ["AUTO_MAP", "FORMAT_VERSION", "MODEL_TYPE", "CrystallineMixture"]

FORMAT_VERSION = 1
MODEL_TYPE = "clso_mixture"
_ARCHITECTURE = "CrystallineMixtureForCausalLM"
# The classes that `transformers` finds in the folder's own code.
AUTO_MAP = {
    "AutoConfig": f"{MODEL_CODE.stem}.CrystallineMixtureConfig",
    "AutoModelForCausalLM": f"{MODEL_CODE.stem}.{_ARCHITECTURE}",
}
# All that the readers raise for a damaged configuration or file.
_DAMAGES = (
    ClsoError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    SafetensorError,
)
_BLOCKS_AT_ONCE = 64  # of targets that a thread prices; their arrays stay in its cache
# Families of functions that may use memory again, or have threads of their own.
_OF_OTHERS = frozenset({"neural", "plain"})
# Positions times slots that are summed together, and the fewest positions. With fewer, the calls
# take longer than what they compute. Some ten such arrays, of 12 MB each, are in memory.
_ELEMENTS_AT_ONCE = 3 << 19
_FEWEST_AT_ONCE = 32

Arrays = dict[str, npt.NDArray[Any]]


class CrystallineMixture:
    """Functions and weights; a `clso.scoring.LanguageModel`.

    Args:
        name: `mixture` or `hybrid`.
        functions: the picked functions; the uniform function is added before them.
        weights: of the uniform function and the picked functions, in this order.
        history: counts that the buckets are computed from.

    Raises:
        ValueError: weights for another number of functions or buckets.
    """

    def __init__(
        self,
        name: str,
        functions: Sequence[BasisFunction],
        weights: MixtureWeights,
        bucketing: str,
        history: HistoryCounts,
        vocab_size: int,
    ) -> None:
        expected = (Bucketing(bucketing).n_buckets, 1 + len(functions))
        if weights.table.shape != expected:
            raise ValueError(f"weights are {weights.table.shape}, expected {expected}")
        self.name = name
        self.functions: tuple[BasisFunction, ...] = (Uniform(vocab_size), *functions)
        self.weights = weights
        self.bucketing = bucketing
        self.history = history
        self.vocab_size = vocab_size
        self._layout = Layout(vocab_size)
        self._together = Together(self.functions)

    def __repr__(self) -> str:
        picked = ", ".join(function.name for function in self.functions)
        return f"CrystallineMixture({self.name!r}, {self.bucketing!r}, {picked})"

    def save(self, path: Path, tokenizer: Tokenizer, *, block_size: int) -> None:
        """Write the model and its tokenizer to a folder; an existing folder is replaced.

        The folder is written beside its target, then renamed. Contexts have up to
        `block_size` tokens.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        with new_folder(path) as folder:
            config = {
                "model_type": MODEL_TYPE,
                "architectures": [_ARCHITECTURE],
                "auto_map": AUTO_MAP,
                "n_positions": block_size,
                "bos_token_id": tokenizer.end_token_id,
                "eos_token_id": tokenizer.end_token_id,
                "pad_token_id": tokenizer.end_token_id,
                **self.write_arrays(folder),
            }
            save_tokenizer(tokenizer, block_size, folder)
            shutil.copyfile(MODEL_CODE, folder / MODEL_CODE.name)
            atomic_write_json(folder / "config.json", config)

    def write_arrays(self, folder: Path) -> dict[str, Any]:
        """Write arrays and networks into a folder; return the values that `config.json` needs."""
        store: Arrays = {}
        functions = []
        for function in self.functions[1:]:
            functions.append({"spec": function.spec(), "arrays": _put(store, function.to_arrays())})
            if isinstance(function, Neural):
                from clso.baseline.model import AdamwGpt2
                from clso.baseline.network_model import NetworkModel

                network = function.model
                assert isinstance(network, AdamwGpt2 | NetworkModel), "neural functions are saved"
                network.save(folder / function.spec()["checkpoint"], None)
        config = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "vocab_size": self.vocab_size,
            "bucketing": self.bucketing,
            "functions": functions,
            "history": _put(store, self.history.to_arrays()),
            "weights": _put(store, {"shared": self.weights.shared, "table": self.weights.table}),
        }
        save_file(store, folder / ARRAYS, metadata={"format": "np"})
        return config

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a folder that `save` wrote; every array is checked against its name.

        Raises:
            ArtifactError: the folder is missing, damaged, or of another version.
        """
        config = read_config(path, "mixture", MODEL_TYPE, FORMAT_VERSION)
        try:
            store = load_file(path / ARRAYS)
            weights = _get(store, config["weights"])
            return cls(
                config["name"],
                [_load_function(path, store, stored) for stored in config["functions"]],
                MixtureWeights(weights["shared"], weights["table"]),
                config["bucketing"],
                HistoryCounts.from_arrays(config["vocab_size"], _get(store, config["history"])),
                config["vocab_size"],
            )
        except _DAMAGES as error:
            reason = error.message if isinstance(error, ClsoError) else repr(error)
            raise DamageError(
                f"the mixture {path} is damaged: {reason}", remedy=f"delete it; {REMAKE}"
            ) from error

    @property
    def stored_bytes(self) -> int:
        """Size of all distinct arrays of the functions, the bucket counts and the weights."""
        shared: dict[str, int] = {}
        neural = 0
        for function in self.functions:
            arrays = function.to_arrays()
            shared |= {name: array.nbytes for name, array in arrays.items()}
            neural += 0 if arrays else function.stored_bytes
        return sum(shared.values()) + neural + self.history.stored_bytes + self.weights.table.nbytes

    def token_nll(self, inputs: Int64Array, targets: Int64Array) -> NllArray:
        """Return `-log p(targets | inputs)` in nats, `(B, T)` float64."""
        nll = np.empty(targets.shape)
        starts = range(0, len(inputs), _BLOCKS_AT_ONCE)
        parts = [slice(start, start + _BLOCKS_AT_ONCE) for start in starts]
        alone = {i: f for i, f in enumerate(self.functions) if f.family in _OF_OTHERS}
        known = [
            # copied: the next call may use the memory again
            {
                i: np.array(f.target_probabilities(inputs[part], targets[part]))
                for i, f in alone.items()
            }
            for part in parts
        ]

        def score(part: slice, prices: dict[int, FloatArray]) -> None:
            weights = self._weights_of(self.history.of(inputs[part]))
            total = np.zeros(targets[part].shape)
            prices |= self._together.prices(inputs[part], targets[part], without=alone)
            for index in range(len(self.functions)):  # the order of the sum decides on last digits
                total += weights[..., index] * prices[index]
            nll[part] = -np.log(total)

        n_threads = thread_count()
        # blocks do not depend on each other; numpy and compiled loops let other threads run
        with one_thread(), ThreadPoolExecutor(n_threads) as threads:
            list(threads.map(score, parts, known))
        return nll

    def probabilities(self, inputs: Int64Array) -> npt.NDArray[np.float64]:
        """Return the full next-token distributions, `(B, T, V)`."""
        rows = np.empty((*inputs.shape, self.vocab_size))
        for block, of_block in zip(inputs, rows, strict=True):
            for start, summed in self._sums(block, 0):
                summed.write(of_block[start : start + summed.n_positions])
        return rows

    def write_log_probabilities(self, history: Int64Array, rows: Float32Array) -> None:
        """Write log p of every token at the last n positions of a block to `(n, V)` float32."""
        first = len(history) - len(rows)
        for start, summed in self._sums(history, first):
            summed.write_logs(rows[start - first :][: summed.n_positions])

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block."""
        row = np.empty((1, self.vocab_size))
        for _, summed in self._sums(history, len(history) - 1):
            summed.write(row)
        return row.reshape(-1)

    def _sums(self, block: Int64Array, first: int) -> Iterator[tuple[int, Summed]]:
        """Yield sums over all functions, and the position where each begins."""
        size = max(_FEWEST_AT_ONCE, _ELEMENTS_AT_ONCE // self._layout.n_slots)
        weights = self._weights_of(self.history.of(block[None], first))[0]
        for start in range(first, len(block), size):
            out = DistributionSum(self._layout, block[: start + size], start)
            chosen = np.ascontiguousarray(weights[start - first :][:size].T)
            counted = self._together.counted
            if self._together.counts is not None:
                self._together.counts.add_distributions(chosen[counted], out)
            for index, function in enumerate(self.functions):
                if index not in counted:
                    out.add(function, chosen[index])
            yield start, out.total()

    def _weights_of(self, contexts: History) -> npt.NDArray[np.float64]:
        """Return the weights of every context, `(B, T, K)`."""
        buckets = Bucketing(self.bucketing).assign(contexts)
        return np.asarray(self.weights.table[buckets])


def _put(store: Arrays, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """Add arrays under names computed from their contents, and return these names."""
    keys = {}
    for name, array in arrays.items():
        contents = np.ascontiguousarray(array)
        keys[name] = _key(contents)
        store[keys[name]] = contents
    return keys


def _get(store: Arrays, keys: Mapping[str, str]) -> Arrays:
    """Return the arrays that `_put` added, checked against their names."""
    for name, key in keys.items():
        if key not in store:
            raise ArtifactError(f"the array {name} is missing")
        if _key(store[key]) != key:
            raise ArtifactError(f"the array {name} is not what was written")
    return {name: store[key] for name, key in keys.items()}


def _key(array: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).data)
    return digest.hexdigest()[:20]


def _load_function(path: Path, store: Arrays, stored: Mapping[str, Any]) -> BasisFunction:
    spec = stored["spec"]
    if "checkpoint" in spec:
        folder = str(spec["checkpoint"])
        if (path / folder).resolve().parent != path.resolve():  # "..", a path, or a link
            raise ArtifactError(f"the network's folder is named {folder!r}")
        from clso.baseline.network_model import load_network  # only here: it takes seconds

        return Neural(load_network(path / folder, name=folder.removeprefix("neural-")))
    return FunctionSpec.load(spec, _get(store, stored["arrays"]))

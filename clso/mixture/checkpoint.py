"""A mixture on disk: arrays in safetensors, everything else in `config.json`.

The folder is what `transformers` loads once `clso.hub` is imported. Arrays that functions share
are stored once; a neural function is a checkpoint of its own in a folder beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clso.artifacts import atomic_write_json, read_json
from clso.baseline.model import AdamwGpt2
from clso.checkpoint import new_folder, save_gpt2, save_tokenizer
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError, ClsoError
from clso.mixture.function import BasisFunction
from clso.mixture.history import HistoryCounts
from clso.mixture.model import CrystallineMixture
from clso.mixture.neural import Neural
from clso.mixture.specification import load_function
from clso.mixture.weights import MixtureWeights

__all__ = [
    "ARCHITECTURE",
    "FORMAT_VERSION",
    "MODEL_TYPE",
    "load_mixture",
    "save_mixture",
    "write_arrays",
]

FORMAT_VERSION = 1
MODEL_TYPE = "clso_mixture"
ARCHITECTURE = "CrystallineMixtureForCausalLM"
_REMEDY = "make it again with the command that made the run"
# All that a damaged configuration or file makes its readers raise.
_DAMAGES = (
    ClsoError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    SafetensorError,
)

Arrays = dict[str, npt.NDArray[Any]]


def save_mixture(
    model: CrystallineMixture, tokenizer: Tokenizer, path: Path, *, block_size: int
) -> None:
    """Write a model and its tokenizer to a folder; one that is there is replaced.

    Args:
        model: what to save.
        tokenizer: saved beside it.
        path: the folder; written beside its target, then renamed.
        block_size: T, the longest context.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    with new_folder(path) as folder:
        config = {
            "model_type": MODEL_TYPE,
            "architectures": [ARCHITECTURE],
            "n_positions": block_size,
            "bos_token_id": tokenizer.end_token_id,
            "eos_token_id": tokenizer.end_token_id,
            **write_arrays(model, folder),
        }
        save_tokenizer(tokenizer, block_size, folder)
        atomic_write_json(folder / "config.json", config)


def write_arrays(model: CrystallineMixture, folder: Path) -> dict[str, Any]:
    """Write a model's arrays and networks into a folder that is there.

    Returns:
        What `config.json` must say of them: JSON values by name.
    """
    store: Arrays = {}
    functions = []
    for function in model.functions[1:]:
        functions.append({"spec": function.spec(), "arrays": _put(store, function.to_arrays())})
        if isinstance(function, Neural):
            _save_neural(function, folder)
    described = {
        "format_version": FORMAT_VERSION,
        "name": model.name,
        "vocab_size": model.vocab_size,
        "bucketing": model.bucketing,
        "functions": functions,
        "history": _put(store, model.history.to_arrays()),
        "weights": _put(store, {"shared": model.weights.shared, "table": model.weights.table}),
    }
    save_file(store, folder / "model.safetensors", metadata={"format": "np"})
    return described


def load_mixture(path: Path) -> CrystallineMixture:
    """Open a folder that `save_mixture` wrote; every array is checked against its name.

    Raises:
        ArtifactError: it is missing, damaged, or of another version.
    """
    config = _read_config(path)
    try:
        store = load_file(path / "model.safetensors")
        weights = _get(store, config["weights"])
        return CrystallineMixture(
            config["name"],
            [_function(path, store, stored) for stored in config["functions"]],
            MixtureWeights(weights["shared"], weights["table"]),
            config["bucketing"],
            HistoryCounts.from_arrays(config["vocab_size"], _get(store, config["history"])),
            config["vocab_size"],
        )
    except _DAMAGES as error:
        reason = error.message if isinstance(error, ClsoError) else repr(error)
        raise ArtifactError(
            f"the mixture {path} is damaged: {reason}", remedy=f"delete it; {_REMEDY}"
        ) from error


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / "model.safetensors").is_file():
        raise ArtifactError(f"{path} holds no mixture", remedy=_REMEDY)
    config = read_json(path / "config.json")
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != MODEL_TYPE:
        raise ArtifactError(
            f"{path} holds a model of type {found!r}, expected {MODEL_TYPE!r}", remedy=_REMEDY
        )
    if config.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            f"the mixture {path} has format version {config.get('format_version')}, this CLSO "
            f"reads version {FORMAT_VERSION}",
            remedy=_REMEDY,
        )
    return dict(config)


def _put(store: Arrays, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """Add arrays under names made of their contents; return theirs by name."""
    keys = {}
    for name, array in arrays.items():
        contents = np.ascontiguousarray(array)
        keys[name] = _key(contents)
        store[keys[name]] = contents
    return keys


def _get(store: Arrays, keys: Mapping[str, str]) -> Arrays:
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


def _save_neural(function: Neural, folder: Path) -> None:
    assert isinstance(function.model, AdamwGpt2), "neural functions are GPT-2 checkpoints"
    save_gpt2(function.model.model, None, folder / function.spec()["checkpoint"])


def _function(path: Path, store: Arrays, stored: Mapping[str, Any]) -> BasisFunction:
    spec = stored["spec"]
    if "checkpoint" in spec:
        folder = str(spec["checkpoint"])
        if Path(folder).name != folder:
            raise ArtifactError(f"the network's folder is named {folder!r}")
        return Neural(AdamwGpt2.load(path / folder, name=folder.removeprefix("neural-")))
    return load_function(spec, _get(store, stored["arrays"]))

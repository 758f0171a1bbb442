"""Checkpoint folders of `transformers`, written whole or not at all.

`transformers` takes seconds to load, so functions that need it import it. A mixture does without.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

import clso
from clso.artifacts import (
    atomic_write_json,
    check_folder,
    read_json,
    write_checksums,
    write_error,
)
from clso.data.tokenizer import END_TOKEN, Tokenizer
from clso.errors import ArtifactError, DamageError, StorageError

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

__all__ = [
    "ARRAYS",
    "MODEL_CODE",
    "REMAKE",
    "load_gpt2",
    "new_folder",
    "read_config",
    "save_gpt2",
    "save_tokenizer",
]

ARRAYS = "model.safetensors"
"""The file of a model's folder that holds its arrays."""

REMAKE = "make it again with the command that made the run"
"""The remedy for a model that cannot be read."""

MODEL_CODE = Path(clso.__file__).with_name("modeling_clso.py")
"""The file of a model's folder that `transformers` may run."""


def save_gpt2(
    model: GPT2LMHeadModel,
    tokenizer: Tokenizer | None,
    path: Path,
    descriptions: Mapping[str, Any] | None = None,
) -> None:
    """Write model and tokenizer (`None`: no tokenizer) to a folder; an existing folder is replaced.

    `descriptions` are the JSON values of further files, by name.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    with new_folder(path) as temporary:
        with _no_progress_bar(), _padding(model, tokenizer):
            model.save_pretrained(temporary)
        if tokenizer is not None:
            save_tokenizer(tokenizer, model.config.n_positions, temporary)
        for name, value in (descriptions or {}).items():
            atomic_write_json(temporary / name, value)


@contextmanager
def _padding(model: GPT2LMHeadModel, tokenizer: Tokenizer | None) -> Iterator[None]:
    """Give a model's configurations the pad token while the model is saved, and no longer.

    Blocks are never padded here, but transformers warns of each end token in them that may be one.
    """
    configs = (model.config, model.generation_config)
    for config in configs:
        config.pad_token_id = None if tokenizer is None else tokenizer.end_token_id
    try:
        yield
    finally:
        for config in configs:
            config.pad_token_id = None


@contextmanager
def new_folder(path: Path, *, checksums: bool = True) -> Iterator[Path]:
    """Give a temporary folder to write to; it replaces `path` when the block ends without error.

    With `checksums`, its files are listed, as `check_folder` needs them of a model.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    suffix = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{suffix}.tmp")
    replaced = path.with_name(f".{path.name}.{suffix}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if checksums:
            write_checksums(temporary, path)
        if path.exists():
            os.replace(path, replaced)
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    except SafetensorError as error:
        # safetensors raises this when the disk is full
        raise StorageError(
            f"{path} cannot be written: {error}", remedy="free some space, or use --out DIR"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            if path.exists():
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                os.replace(replaced, path)


def read_config(path: Path, what: str, model_type: str, format_version: int) -> dict[str, Any]:
    """Return the configuration of a folder with a model of one of our own types.

    `what` names such a model in messages, as in "the mixture".

    Raises:
        ArtifactError: the folder holds no model, or one that is damaged, another run's, or of
            another type or version.
    """
    if not (path / ARRAYS).is_file():
        raise ArtifactError(f"{path} holds no {what}", remedy=REMAKE)
    check_folder(path, remedy=REMAKE)
    config = read_json(path / "config.json")
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != model_type:
        raise ArtifactError(
            f"{path} holds a model of type {found!r}, expected {model_type!r}", remedy=REMAKE
        )
    if config.get("format_version") != format_version:
        raise ArtifactError(
            f"the {what} {path} has format version {config.get('format_version')}, this CLSO "
            f"reads version {format_version}",
            remedy=REMAKE,
        )
    return dict(config)


def save_tokenizer(tokenizer: Tokenizer, block_size: int, folder: Path) -> None:
    """Write a tokenizer for `transformers`, for models of `block_size` positions.

    The end token also pads, on the left, where a text's continuation does not see it. Its
    characters typed in a text are characters, as in training.
    """
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it so
        tokenizer_object=tokenizer.backend,
        bos_token=END_TOKEN,
        eos_token=END_TOKEN,
        pad_token=END_TOKEN,
        padding_side="left",
        model_max_length=block_size,
        split_special_tokens=True,
    )
    with _no_progress_bar():
        wrapped.save_pretrained(folder)


def load_gpt2(path: Path, *, remedy: str) -> GPT2LMHeadModel:
    """Open a folder with a GPT-2 checkpoint, without the network; `remedy` says how to make it.

    Raises:
        ArtifactError: there is no checkpoint, or it is damaged or another run's.
    """
    from transformers import GPT2LMHeadModel

    if not (path / ARRAYS).is_file():
        raise ArtifactError(f"{path} holds no GPT-2 checkpoint", remedy=remedy)
    check_folder(path, remedy=remedy)
    try:
        with _no_progress_bar():
            model = GPT2LMHeadModel.from_pretrained(path, local_files_only=True)
    except Exception as error:  # transformers and safetensors share no class of errors
        raise DamageError(
            f"the checkpoint {path} is damaged: {error}", remedy=f"delete it; {remedy}"
        ) from error
    assert isinstance(model, GPT2LMHeadModel)
    model.config.pad_token_id = None  # as in `_padding`
    # Loaded weights are views of the mapped file at any offset. On some processors the last bits
    # of a product depend on the alignment of its operands; copies are aligned.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as above
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # as above

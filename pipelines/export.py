"""Taking a model out of a run: as `transformers` reads it, or its n-grams as ARPA files."""

from __future__ import annotations

import shutil
from pathlib import Path

from clso.artifacts import Run
from clso.checkpoint import new_folder
from clso.errors import ArtifactError, ClsoError
from clso.mixture.counts import KneserNey, write_arpa
from clso.mixture.model import CrystallineMixture
from clso.models import StoredModel
from pipelines.inspect import find_model, is_plugin_model

__all__ = ["export_arpa", "export_model"]


def export_model(run: Run, model: str, to: Path) -> str:
    """Copy a model's checkpoint and tokenizer.

    Returns:
        How to load it.

    Raises:
        ClsoError: the model is a plug-in family's, the target exists, or lies in the run itself.
        ArtifactError: the run has no such model, it is damaged, or the target cannot be written.
    """
    home = find_model(run, model)
    _check_source(run, home)
    _check_target(run, to)
    is_mixture = isinstance(StoredModel.load(home).model, CrystallineMixture)
    try:
        shutil.copytree(home, to)
    except OSError as error:
        shutil.rmtree(to, ignore_errors=True)
        raise ArtifactError(
            f"{to} cannot be written: {error.strerror or error}", remedy="choose another --to"
        ) from error
    first = "`import clso.hub`, then " if is_mixture else ""
    return f"{to}: {first}load it with transformers.AutoModelForCausalLM"


def export_arpa(run: Run, model: str, to: Path) -> str:
    """Write each plain n-gram function of a mixture as an ARPA file: `3-gram.arpa`, ...

    Words are the tokenizer's tokens, so text must be tokenized for it; an n-gram alone is not the
    mixture, whose other functions and weights ARPA has no place for.

    Returns:
        What was written.

    Raises:
        ClsoError: the model is a plug-in family's or has no such functions, or the target exists
            or lies in the run itself.
        ArtifactError: the run has no such model, it is damaged, or the target cannot be written.
    """
    home = find_model(run, model)
    _check_source(run, home)
    _check_target(run, to)
    stored = StoredModel.load(home)
    if not isinstance(stored.model, CrystallineMixture):
        raise ClsoError(
            f"{model} is a GPT-2, and an ARPA file holds n-grams",
            remedy="export a mixture, such as --model mixture",
        )
    plain = [
        function
        for function in stored.model.functions
        if isinstance(function, KneserNey) and function.pattern.is_contiguous
    ]
    if not plain:
        names = ", ".join(function.name for function in stored.model.functions)
        raise ClsoError(
            f"{model} has no plain n-gram function such as kn(1,2), only {names}",
            remedy="search with a library of such functions alone",
        )
    backend = stored.tokenizer.backend
    words = [str(backend.id_to_token(token)) for token in range(stored.tokenizer.vocab_size)]
    files = {f"{len(function.pattern.elements) + 1}-gram.arpa": function for function in plain}
    with new_folder(to) as folder:
        for name, function in files.items():
            write_arpa(function, folder / name, words)
    return f"{to}: {', '.join(files)}; their words are the tokenizer's tokens"


def _check_source(run: Run, home: Path) -> None:
    if is_plugin_model(run, home.name):
        raise ClsoError(
            f"{home.name} is a model of another package, in a form that no other program reads",
            remedy=f"copy its folder {home}",
        )


def _check_target(run: Run, to: Path) -> None:
    if to.exists():
        raise ClsoError(f"{to} exists already", remedy="name a folder that does not exist yet")
    if to.resolve().is_relative_to(run.path.resolve()):
        raise ClsoError(f"{to} lies in the run itself", remedy="name a folder outside of it")

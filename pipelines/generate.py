"""Writing text with a run's model, on standard output as it comes."""

from __future__ import annotations

import io
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.markup import escape

from clso.artifacts import Run
from clso.data.tokenizer import Tokenizer
from clso.errors import ClsoError, DataError
from clso.generation import Sampling, decoded
from pipelines.console import error_console
from pipelines.families import FAMILIES
from pipelines.inspect import find_model, is_plugin_model

if TYPE_CHECKING:  # loads torch
    from clso.models import StoredModel
    from clso.scoring import GenerativeModel

__all__ = ["continue_text"]


def continue_text(run: Run, model: str | None, prompt: str, sampling: Sampling) -> None:
    """Print a prompt and what a model makes of it, up to the end token or the longest length.

    The model sees the last tokens alone, as many as its blocks had.

    Args:
        run: where the model is.
        model: its name; `None`: the best on validation.
        prompt: may be empty: a document's beginning.
        sampling: how tokens are drawn.

    Raises:
        ArtifactError: the run has no such model, or it is damaged.
        ClsoError: the model is a plug-in family's that gives no distribution after a text.
        DataError: the prompt is no text.
    """
    _check_text(prompt)
    home = find_model(run, model)
    if model is None:
        error_console.print(f"[dim]{escape(home.name)} of {escape(run.run_id)}[/]", soft_wrap=True)
    stored = _opened(run, home)
    tokens = sampling.generate(
        stored.model,
        stored.tokenizer.encode(prompt),
        n_positions=stored.n_positions,
        end_token_id=stored.tokenizer.end_token_id,
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal of another encoding shows what it can
        sys.stdout.reconfigure(errors="replace")
    for text in chain([prompt], decoded(tokens, stored.tokenizer.token_texts), ["\n"]):
        sys.stdout.write(text)
        sys.stdout.flush()


def _opened(run: Run, home: Path) -> StoredModel:
    # Late, because it takes seconds: mistakes are told before.
    from clso.models import StoredModel

    if not is_plugin_model(run, home.name):
        return StoredModel.load(home)
    model = FAMILIES.get(home.name).load(home)
    if not hasattr(model, "distribution"):
        raise ClsoError(
            f"the models of the family {home.name} continue no text: they lack the method "
            "distribution(history)",
            remedy="name another model with --model, or add the method to the family's models",
        )
    dataset = run.path.parents[1] / "datasets" / run.manifest["data_fingerprint"]
    return StoredModel(
        cast("GenerativeModel", model),
        Tokenizer.load(dataset / "tokenizer.json"),
        run.config["data"]["block_size"],
    )


def _check_text(prompt: str) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the prompt's character {error.start + 1} is no text: {prompt[error.start]!r}",
            remedy="give the prompt as UTF-8",
        ) from error

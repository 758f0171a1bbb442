"""Writing text with a run's model, on standard output as it comes."""

from __future__ import annotations

import io
import sys
from itertools import chain

from rich.markup import escape

from clso.artifacts import Run
from clso.errors import DataError
from clso.generation import Sampling, decoded, generate
from pipelines.console import error_console
from pipelines.inspect import find_model

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
        DataError: the prompt is no text.
    """
    _check_text(prompt)
    home = find_model(run, model)
    if model is None:
        error_console.print(f"[dim]{escape(home.name)} of {escape(run.run_id)}[/]", soft_wrap=True)
    # Late, because it takes seconds: mistakes are told before.
    from clso.models import load_model

    stored = load_model(home)
    tokens = generate(
        stored.model,
        stored.tokenizer.encode(prompt),
        sampling,
        n_positions=stored.n_positions,
        end_token_id=stored.tokenizer.end_token_id,
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal of another encoding shows what it can
        sys.stdout.reconfigure(errors="replace")
    for text in chain([prompt], decoded(tokens, stored.tokenizer.token_texts), ["\n"]):
        sys.stdout.write(text)
        sys.stdout.flush()


def _check_text(prompt: str) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the prompt's character {error.start + 1} is no text: {prompt[error.start]!r}",
            remedy="give the prompt as UTF-8",
        ) from error

"""The command `clso generate`: a model continues a text, on standard output."""

from __future__ import annotations

import io
import sys
from itertools import chain

from clso.artifacts import Run
from clso.errors import DataError
from clso.generation import Sampling, decoded
from pipelines.console import error_console, visible
from pipelines.run_model import RunModel

__all__ = ["continue_text"]


def continue_text(run: Run, model: str | None, prompt: str, sampling: Sampling) -> None:
    """Print a prompt and a model's continuation, up to the end token or the greatest length.

    The model reads only the last `block_size` tokens. Without a name it is the best on
    validation. The prompt is the beginning of a document, and may be empty.

    Raises:
        ArtifactError: the run has no such model, or it is damaged.
        ClsoError: the model is of a plug-in family and gives no distribution after a text.
        DataError: the prompt is not valid text.
    """
    _check_text(prompt)
    chosen = RunModel.find(run, model)
    if model is None:
        error_console.print(f"{chosen.name} of {run.run_id}", style="dim", soft_wrap=True)
    stored = chosen.open()
    tokens = sampling.generate(
        stored.model,
        stored.tokenizer.encode(prompt),
        n_positions=stored.n_positions,
        end_token_id=stored.tokenizer.end_token_id,
    )
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # a terminal of another encoding shows replacements
        sys.stdout.reconfigure(errors="replace")
    shown = visible if sys.stdout.isatty() else str
    for text in chain([prompt], decoded(tokens, stored.tokenizer.token_texts), ["\n"]):
        sys.stdout.write(shown(text))
        sys.stdout.flush()


def _check_text(prompt: str) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the prompt's character {error.start + 1} is no text: {prompt[error.start]!r}",
            remedy="give the prompt as UTF-8",
        ) from error

"""The command `clso score`: the loss of a model of a run on the text of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy.typing as npt

from clso.artifacts import Run
from clso.data.encoder import StreamEncoder
from clso.data.extents import Extents
from clso.data.files import FileReader
from clso.data.spool import Spool
from clso.errors import DataError
from clso.progress import SILENT, ProgressTask, Reporter
from clso.report.formats import COUNT, LOSS, PERPLEXITY
from clso.report.table import Column, Table
from clso.text_score import TextScore
from pipelines.run_model import RunModel

__all__ = ["score_file", "score_table"]


def score_file(
    run: Run,
    file: Path,
    model: str | None = None,
    *,
    costliest: int = 10,
    text_field: str = "text",
    reporter: Reporter = SILENT,
) -> tuple[str, TextScore]:
    """Return the name of a model of a run, and its score of a file of any size.

    The file is read as those of `data.files` are. A copy of its text is kept in a temporary folder
    meanwhile.

    Args:
        model: a name; `None`: the best on validation.
        costliest: how many of the costliest tokens are kept.
        text_field: the field of the text, where the file has rows.

    Raises:
        ArtifactError: the run has no such model, or it is damaged.
        ClsoError: the model is of a plug-in family and gives no distribution after a text.
        DataError: the file cannot be read, or holds no text.
        WorkError: the model gives a likelihood that is not a finite number.
    """
    if not file.is_file():
        raise DataError(f"{file} is no file", remedy="name a file of text")
    chosen = RunModel.find(run, model)
    stored = chosen.open()
    with (
        TemporaryDirectory(prefix="clso-") as folder,
        Spool(Path(folder) / "text") as spool,
    ):
        with reporter.task(f"read {file.name}") as reading:
            extents = spool.append(FileReader(text_field).read(file), str(file), reading)
        with reporter.task(f"score {file.name}", spool.size_bytes) as scoring:
            score = TextScore.of(
                stored.model,
                stored.tokenizer,
                _tokens(StreamEncoder(stored.tokenizer), spool, extents, scoring),
                block_size=stored.n_positions,
                costliest=costliest,
            )
    return chosen.name, score


def _tokens(
    encoder: StreamEncoder, spool: Spool, extents: Extents, scoring: ProgressTask
) -> Iterator[npt.NDArray[Any]]:
    done = 0
    for tokens, _, runs in encoder.encode_extents(spool, extents):
        yield tokens
        done += sum(len(run.text) for run in runs)
        scoring.update(done)


def score_table(run: Run, file: Path, model: str, score: TextScore) -> Table:
    """Return the loss, and the costliest tokens in their context."""
    totals = score.totals
    table = Table(
        f"{file.name} by {model} of {run.run_id}",
        [
            Column("costliest tokens", text=True),
            "nats",
            Column("token", optional=1),
            Column("document", optional=2),
        ],
        [
            f"Loss {LOSS.text(totals.loss)} nats per token, perplexity "
            f"{PERPLEXITY.text(totals.perplexity)}, {LOSS.text(totals.bits_per_byte)} bits per "
            f"byte, over {COUNT.text(totals.n_tokens)} tokens of {COUNT.text(totals.n_bytes)} "
            "bytes; the ends of documents are tokens.",
            "The costliest token stands in brackets, after the text before it in its block.",
        ],
    )
    for costly in score.costliest:
        shown = repr(costly.token)[1:-1] if costly.token else "end of document"
        before = " ".join(costly.before.split())
        table.add(
            f"{before} [{shown}]".strip(),
            LOSS.text(costly.nll),
            COUNT.text(costly.place),
            COUNT.text(costly.document),
        )
    return table

"""Scoring a split once, in pieces from which means, groups and bootstraps follow.

Notation: B blocks, T positions, V tokens. A *piece* is the targets of one document in one block,
and its `nll` is their summed negative log-likelihood in nats. Every loss is a ratio of sums over
pieces, so a model reads the test split once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import schema
from clso.errors import WorkError
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array, LanguageModel, NllArray

__all__ = ["Totals", "finite_nll", "score_split"]


class _ScoredSplit(Protocol):
    """A split as packed blocks, with the document of each target."""

    @property
    def name(self) -> str:
        """The split's name."""

    @property
    def n_blocks(self) -> int:
        """The number of whole blocks."""

    def blocks(self, index: slice) -> tuple[Int64Array, Int64Array]:
        """Return inputs and targets, each `(B, T)`."""

    def documents(self, index: slice) -> Int64Array:
        """Return the document that each target belongs to, `(B, T)`."""


@dataclass(frozen=True)
class Totals:
    """The sums over a model's pieces of one split.

    Attributes:
        n_tokens: targets scored.
        n_bytes: UTF-8 bytes of these targets; an end token has none.
        nll: summed negative log-likelihood, nats.
    """

    n_tokens: int
    n_bytes: int
    nll: float

    @classmethod
    def of(cls, scores: pa.Table, model: str, split: str = "test") -> Totals | None:
        """Sum a model's pieces of a split; `None` if the model was not scored there."""
        pieces = scores.filter((pc.field("model") == model) & (pc.field("split") == split))
        if pieces.num_rows == 0:
            return None
        n_tokens, n_bytes = (pc.sum(pieces[name]).as_py() for name in ("n_tokens", "n_bytes"))
        return cls(n_tokens=n_tokens, n_bytes=n_bytes, nll=math.fsum(pieces["nll"].to_numpy()))

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nll / self.n_tokens

    @property
    def perplexity(self) -> float:
        r""":math:`\exp(\mathrm{loss})`; infinity beyond the range of a float."""
        return math.exp(self.loss) if self.loss < 709 else math.inf

    @property
    def bits_per_byte(self) -> float | None:
        r""":math:`\mathrm{nll} / (\ln 2 \cdot n_\mathrm{bytes})`; `None` without bytes."""
        return self.nll / math.log(2) / self.n_bytes if self.n_bytes else None


def score_split(
    model: LanguageModel,
    split: _ScoredSplit,
    token_bytes: Int64Array,
    *,
    run_id: str,
    seed: int,
    chunk: int = 512,
    reporter: Reporter = SILENT,
) -> pa.Table:
    """Score every target of a split and return the table `scores`, one row per piece.

    `token_bytes` are the UTF-8 bytes of each token, `(V,)`. The model scores `chunk` blocks per
    call; a piece never spans two calls.

    Raises:
        WorkError: the model gives a likelihood that is not a finite number.
    """
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("document", "block", "n_tokens", "n_bytes", "nll")
    }
    with reporter.task(f"scoring {model.name} on {split.name}", split.n_blocks) as task:
        for start in range(0, split.n_blocks, chunk):
            index = slice(start, min(start + chunk, split.n_blocks))
            inputs, targets = split.blocks(index)
            nll = finite_nll(
                model,
                inputs,
                targets,
                place=f"on {split.name}, blocks {index.start} to {index.stop - 1}",
                remedy="train it with a smaller learning rate, or exclude it from the run",
            )
            documents = split.documents(index)
            # a piece begins with its block and wherever the document changes
            begins = np.ones(targets.shape, dtype=bool)
            begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
            first = np.flatnonzero(begins)
            blocks = np.arange(index.start, index.stop).repeat(targets.shape[1])
            columns["document"].append(documents.ravel()[first])
            columns["block"].append(blocks[first])
            columns["n_tokens"].append(np.diff(first, append=targets.size))
            columns["n_bytes"].append(np.add.reduceat(token_bytes[targets].ravel(), first))
            columns["nll"].append(np.add.reduceat(nll.astype(np.float64).ravel(), first))
            task.update(index.stop)
    n_rows = sum(map(len, columns["nll"]))
    constants = {"run_id": run_id, "seed": seed, "model": model.name, "split": split.name}
    expected = schema("scores")
    arrays = [
        pa.repeat(pa.scalar(constants[field.name], field.type), n_rows)
        if field.name in constants
        else pa.array(_joined(columns[field.name])).cast(field.type)
        for field in expected
    ]
    return pa.Table.from_arrays(arrays, schema=expected)


def finite_nll(
    model: LanguageModel, inputs: Int64Array, targets: Int64Array, *, place: str, remedy: str
) -> NllArray:
    """Return `-log p(targets | inputs)` in nats, `(B, T)`, all of them finite.

    Raises:
        WorkError: one is not; the message names the `place`, and has the `remedy`.
    """
    nll = model.token_nll(inputs, targets)
    if not np.isfinite(nll).all():
        raise WorkError(
            f"model {model.name!r} gives a loss that is not finite {place}", remedy=remedy
        )
    return nll


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int64)

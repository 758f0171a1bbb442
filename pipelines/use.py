"""Joules of models in use: of scoring a token, and of writing one.

A model is used while it is analysed. Tokens and joules are stored as soon as they are known, so
that an analysis that resumes keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from clso.artifacts import RunFolder, read_sealed, remove, write_sealed
from clso.energy import EnergyMonitor, Measurement

__all__ = ["ModelUse"]

_Kind = Literal["scoring", "generation"]
_COLUMNS = (
    "scoring_j_per_token",
    "generation_j_per_token",
    "use_energy_source",
    "use_estimated",
)


class ModelUse:
    """What the use of one model has taken."""

    def __init__(self, folder: RunFolder, model: str) -> None:
        self._path = _folder(folder) / f"{model}.json"
        self._belongs_to = f"{folder.uid}/{model}"

    @staticmethod
    def forget(folder: RunFolder) -> None:
        """Delete what an earlier analysis has stored."""
        remove(_folder(folder))

    @contextmanager
    def measured(self, kind: _Kind, monitor: EnergyMonitor) -> Iterator[list[int]]:
        """Measure the block, which appends the number of its tokens to the list.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        n_tokens: list[int] = []
        with monitor.window() as window:
            yield n_tokens
        stored = self._read()
        parts = [
            *stored.get(kind, []),
            {"n_tokens": sum(n_tokens)} | window.measurement.to_record(),
        ]
        write_sealed(self._path, stored | {kind: parts}, belongs_to=self._belongs_to)

    def columns(self) -> dict[str, Any]:
        """Return the columns of `results` about use; `None` where it was not measured."""
        rates = {kind: self._rate(kind) for kind in ("scoring", "generation")}
        measured = [total for rate, total in rates.values() if rate is not None]
        sources = {total.energy_source for total in measured}
        if len(sources) != 1:  # another meter measured after an interruption
            return dict.fromkeys(_COLUMNS)
        return {
            **{f"{kind}_j_per_token": rate for kind, (rate, _) in rates.items()},
            "use_energy_source": sources.pop(),
            "use_estimated": any(total.estimated for total in measured),
        }

    def _rate(self, kind: str) -> tuple[float | None, Measurement]:
        parts = self._read().get(kind, [])
        total = Measurement.total(map(Measurement.from_record, parts))
        n_tokens = sum(part["n_tokens"] for part in parts)
        joules = total.energy_j
        return (joules / n_tokens if joules is not None and n_tokens else None), total

    def _read(self) -> dict[str, Any]:
        if not self._path.exists():
            return {}
        return read_sealed(self._path, belongs_to=self._belongs_to)


def _folder(folder: RunFolder) -> Path:
    return folder.state / "use"

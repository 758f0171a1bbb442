"""Where a search writes its tables: in memory, in a folder, or in a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clso.artifacts.tables import Parts, table_from_rows
from clso.errors import ArtifactError, ConfigError

__all__ = ["FolderSink", "MemorySink", "RecordSink", "Records"]


class RecordSink(Protocol):
    """Receives a search's tables in parts, one part per generation."""

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store a part of a table whole; the same part again replaces its old rows."""


class MemorySink:
    """Keeps the tables in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, list[dict[str, Any]]]] = {}

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store a part of a table; see `RecordSink.append`."""
        self._parts.setdefault(table, {})[part] = [dict(row) for row in rows]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows in the order of its parts."""
        parts = self._parts.get(table, {})
        return [row for part in sorted(parts) for row in parts[part]]

    def table(self, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Return a table as a `pyarrow.Table`."""
        return table_from_rows(self.rows(name), name)


class FolderSink:
    """Keeps each table as Parquet parts in a folder of its name.

    `belongs_to` is the `uid` of the run that the folder is in; empty: it is in none.
    """

    def __init__(self, folder: Path, belongs_to: str = "") -> None:
        self._folder = folder
        self._belongs_to = belongs_to

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store a part of a table; see `RecordSink.append`."""
        self._parts(table).write(part, rows)

    def table(self, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
        """Return a table as a `pyarrow.Table`.

        Raises:
            ArtifactError: a part is damaged, or one before the last is missing.
        """
        parts = self._parts(name)
        for number, path in enumerate(parts.paths()):
            if path != parts.path(number):
                raise ArtifactError(
                    f"{parts.path(number)} is missing",
                    remedy="restore it, or search again in another folder",
                )
        return parts.read()

    def _parts(self, name: str) -> Parts:
        return Parts(self._folder / name, name, self._belongs_to)


@dataclass(frozen=True, slots=True)
class Records:
    """Where a search writes, and the columns that all of its rows have.

    Attributes:
        run_id, seed, family: columns of every row.
        sink: receives every generation's rows before the state is saved.
        state_path: file of the state; the journal of evaluations is the file beside it that ends
            in `.journal`. `None`: both are in memory.
        belongs_to: the `uid` of the run; state and journal of another run are refused.
    """

    run_id: str
    seed: int
    family: str
    sink: RecordSink
    state_path: Path | None = None
    belongs_to: str = ""

    @classmethod
    def kept_in(cls, folder: str | Path | None, seed: int) -> Records:
        """Return the records of a search outside of a run; `None`: in memory.

        Raises:
            ConfigError: the seed is no integer from 0, or the folder has no name.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"seed is {seed!r}, expected an integer from 0")
        if folder is None:
            return cls("search", seed, "search", MemorySink())
        if not str(folder).strip():
            raise ConfigError(
                f"folder is {str(folder)!r}, expected the path of a folder",
                remedy='write folder="." for the current one, or leave it out to keep nothing',
            )
        path = Path(folder)
        return cls("search", seed, "search", FolderSink(path), path / "state.json")

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that all rows have."""
        return {"run_id": self.run_id, "seed": self.seed, "family": self.family}

    @property
    def identity(self) -> dict[str, Any]:
        """What state and journal carry of it."""
        return {**self.columns, **({"belongs_to": self.belongs_to} if self.belongs_to else {})}

    @property
    def journal_path(self) -> Path | None:
        """File of the journal."""
        return None if self.state_path is None else self.state_path.with_suffix(".journal")

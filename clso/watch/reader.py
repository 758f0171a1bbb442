"""What is new in a run's folder since it was last read, as points of curves.

A curve belongs to the run itself (`""`) or to one of its parts: a search (`search mixture`), a
training (`adamw lr=0.001 constant batch=4 dropout=0`), or a search of a study (`ablations base
seed=3`). Every number of a table's row that is no key is a point of a curve named by its column.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clso.artifacts import Run, RunFolder, load_run, read_table, table_name
from clso.errors import ArtifactError

__all__ = ["Points", "RunReader"]

_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Points:
    """Values of several curves at one step.

    Attributes:
        part: of the run that the curves belong to; empty: the run itself.
        step: generation, training step, or 0 where there is one value only.
        values: by the curve's name.
        settings: of the part, such as the arm of a search.
    """

    part: str
    step: int
    values: Mapping[str, float]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Source:
    """How a table's rows are read: the part, the step, and columns that are neither."""

    part: Callable[[_Row], str]
    step: str | None
    settings: Sequence[str] = ()
    prefix: Callable[[_Row], str] = lambda row: ""


def _training(row: _Row) -> str:
    settings = f"lr={row['lr']:g} {row['schedule']} batch={row['batch_size']}"
    return f"{settings} dropout={row['dropout']:g} passes={row['passes']}"


def _network(row: _Row) -> str:
    made = f"{row['network']} {row['head']} {row['optimizer']} width={row['n_embd']}"
    decay = f"decay={row['weight_decay']:g} seed={row['training_seed']}"
    return f"{made} {_training(row)} {decay}"


_SWEPT = ("lr", "schedule", "batch_size", "dropout", "passes")
_OPPOSED = (
    *_SWEPT,
    *("model_index", "network", "head", "optimizer", "n_layer", "n_embd", "tied"),
    *("weight_decay", "training_seed"),
)
_ARM = ("family", "arm", "factor", "level", "seed")
_SOURCES = {
    "generations": _Source(lambda row: f"search {row['family']}", "generation", ("family",)),
    "pareto_generations": _Source(lambda row: f"pareto {row['family']}", "generation", ("family",)),
    "baseline": _Source(lambda row: f"adamw {_training(row)}", "step", _SWEPT),
    "opponents": _Source(lambda row: f"opponent {_network(row)}", "step", _OPPOSED),
    "warm_start": _Source(lambda row: f"warm start {_training(row)}", "step", _SWEPT),
    "results": _Source(lambda row: "", None, prefix=lambda row: f"{row['model']}/"),
    "energy": _Source(lambda row: "", None, prefix=lambda row: f"{row['stage']}/{row['device']}/"),
    "rivals": _Source(
        lambda row: f"rivals {row['family']} {row['method']} seed={row['seed']}",
        "evaluations",
        ("family", "method", "seed"),
    ),
    "ablations": _Source(
        lambda row: f"ablations {row['family']} {row['arm']} seed={row['seed']}", None, _ARM
    ),
    "savings": _Source(
        lambda row: f"savings {row['family']} {row['arm']} seed={row['seed']}",
        None,
        ("family", "arm", "seed"),
    ),
    "transfer": _Source(
        lambda row: (
            f"transfer {row['family']} {row['source']} to {row['target']} {row['arm']} "
            f"seed={row['seed']}"
        ),
        None,
        ("family", "source", "target", "arm", "seed"),
    ),
    "multitask": _Source(
        lambda row: f"multitask {row['family']} {row['library']} {row['text']} seed={row['seed']}",
        None,
        ("family", "library", "text", "seed"),
    ),
    "continual": _Source(
        lambda row: f"continual {row['family']} {row['method']} {row['text']} seed={row['seed']}",
        "stage",
        ("family", "method", "learned", "text", "seed"),
    ),
    "trials": _Source(lambda row: f"trial {row['number']}", None, ("state", "params")),
    "checks": _Source(lambda row: f"check {row['arm']} seed={row['seed']}", None, ("arm", "seed")),
}
_PART = re.compile(r"part-\d+\.parquet")
_FILES = ("report.html", "best.yaml", "manifest.json")


class RunReader:
    """Reads a run's folder, also while it is written.

    Args:
        path: the run's folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder = RunFolder(Path(path))
        self._read: dict[Path, tuple[int, int]] = {}
        self._names: dict[Path, str] = {}
        self._seen: dict[tuple[str, str, int, str], Mapping[str, float]] = {}

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._folder.path

    @property
    def run(self) -> Run | None:
        """The stored run; `None` while it has no manifest that can be read."""
        try:
            return load_run(self._folder.path)
        except ArtifactError:
            return None

    @property
    def settings(self) -> dict[str, str]:
        """The run's configuration by dotted path."""
        run = self.run
        return {} if run is None else dict(_flat(run.config))

    def points(self) -> Iterator[Points]:
        """Yield what was written since the last call, the oldest file first.

        A row that is written again comes once, unless its values have changed.

        Raises:
            ArtifactError: a table is damaged or another run's.
        """
        for path in self._written():
            name = self._name(path)
            if name not in _SOURCES:
                continue
            source = _SOURCES[name]
            for row in self._new_rows(path, name):
                point = _points(row, source)
                key = (name, point.part, point.step, source.prefix(row))
                if point.values and self._seen.get(key) != point.values:
                    self._seen[key] = point.values
                    yield point

    def files(self) -> list[Path]:
        """Return report, figures, tables, manifest and tuned configuration, as far as there are."""
        folder = self._folder.path
        paths = [folder / name for name in _FILES]
        paths += sorted(folder.glob("*.parquet")) + sorted(self._folder.figures.glob("*.svg"))
        return [path for path in paths if path.is_file()]

    def _written(self) -> list[Path]:
        """Return tables, their parts, and the parts of studies, which are states; oldest first."""
        stamped = []
        paths = [self._folder.table(name) for name in _SOURCES]
        for growing in (self._folder.path / "parts", self._folder.state):
            # unlike `rglob`, it passes over folders that are removed meanwhile
            for folder, _, names in os.walk(growing):
                paths += [Path(folder, name) for name in names if _PART.fullmatch(name)]
        for path in paths:
            with suppress(OSError):
                stamped.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(stamped)]

    def _name(self, path: Path) -> str:
        """Return the name of a file's table; empty: not known yet."""
        if path not in self._names:
            stamp = _stamp(path)
            try:
                self._names[path] = table_name(path)
            except ArtifactError:
                if stamp is not None and _stamp(path) == stamp:
                    raise
                return ""  # as below
        return self._names[path]

    def _new_rows(self, path: Path, name: str) -> list[dict[str, Any]]:
        stamp = _stamp(path)
        if stamp is None or self._read.get(path) == stamp:
            return []
        uid = self._folder.uid
        try:
            rows: list[dict[str, Any]] = read_table(path, name, belongs_to=uid).to_pylist()
        except ArtifactError:
            if _stamp(path) == stamp and self._folder.uid == uid:
                raise
            return []  # removed or replaced meanwhile; the next call finds it
        self._read[path] = stamp
        return rows


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced; `None`: it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _points(row: _Row, source: _Source) -> Points:
    prefix = source.prefix(row)
    left_out = {"run_id", "seed", source.step, *source.settings}
    values = {
        f"{prefix}{name}": float(value)
        for name, value in row.items()
        if name not in left_out and isinstance(value, int | float) and not isinstance(value, bool)
    }
    settings = {name: str(row[name]) for name in source.settings if row.get(name) is not None}
    step = 0 if source.step is None else int(row[source.step])
    return Points(source.part(row), step, values, settings)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner if isinstance(inner, str) else json.dumps(inner)

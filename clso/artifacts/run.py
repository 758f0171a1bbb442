"""One run's folder: where writers put things, and typed reload.

runs/<run_id>/
manifest.json                     config, seed, versions, host, data set, genes
evaluations.parquet ...           one file per table, when its stage has ended
parts/<table>/<family>/part-*     a table that still grows
stages/<stage>.done.json          completion markers
state/                            what an interrupted stage resumes from
models/<model>/                   what can be loaded and used
report.html  figures/*.svg
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts.schemas import SCHEMA_VERSION, empty_table, table_from_rows
from clso.artifacts.store import (
    append_part,
    atomic_write_json,
    compact,
    read_json,
    read_parts,
    read_table,
    remove,
    write_table,
)
from clso.errors import ArtifactError

if TYPE_CHECKING:  # both are optional: only `to_pandas` and `to_polars` need them
    import pandas
    import polars

__all__ = ["Run", "RunFolder", "list_runs", "load_run"]

_MADE_BY = {
    "evaluations": "clso search",
    "generations": "clso search",
    "baseline": "clso baseline",
    "warm_start": "clso run",
    "results": "clso analyze",
    "comparisons": "clso analyze",
    "scores": "clso analyze",
    "energy": "clso run",
    "rivals": "clso rivals",
    "ablations": "clso ablate",
    "selections": "clso ablate",
    "savings": "clso savings",
    "pareto": "clso pareto",
    "pareto_generations": "clso pareto",
    "trials": "clso tune",
    "importances": "clso tune",
    "checks": "clso tune",
}


@dataclass(frozen=True)
class _PartSink:
    """Takes a search's records, one part per generation.

    Args:
        folder: the run's folder.
        family: the model family searched; its parts lie in a folder of that name.
    """

    folder: RunFolder
    family: str

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a generation's rows of one table, replacing what an interrupted try left."""
        append_part(self.folder.parts(table) / self.family, part, rows, table)


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run, and how its writers fill them."""

    path: Path

    @property
    def manifest_path(self) -> Path:
        """What the run is: config, seed, versions, host, data set, genes."""
        return self.path / "manifest.json"

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The report's figures as SVG files."""
        return self.path / "figures"

    @property
    def state(self) -> Path:
        """What interrupted stages resume from."""
        return self.path / "state"

    def model(self, name: str) -> Path:
        """Return the folder of a model that can be loaded and used."""
        return self.path / "models" / name

    def table(self, name: str) -> Path:
        """Return a table's one file, there when its stage has ended."""
        return self.path / f"{name}.parquet"

    def parts(self, name: str) -> Path:
        """Return the folder in which a table grows."""
        return self.path / "parts" / name

    def sink(self, family: str) -> _PartSink:
        """Return where a search of one model family puts its records."""
        return _PartSink(self, family)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, adding the schema version."""
        atomic_write_json(self.manifest_path, {**manifest, "schema_version": SCHEMA_VERSION})

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Write a whole table from rows and return it."""
        table = table_from_rows(rows, name)
        write_table(self.table(name), table, name)
        return table

    def remove_table(self, name: str) -> None:
        """Delete a table and its parts."""
        remove(self.table(name))
        remove(self.parts(name))

    def read(self, name: str) -> pa.Table:
        """Read a table: its one file, and the parts of what still grows."""
        path, parts = self.table(name), self.parts(name)
        if not path.exists():
            return read_parts(parts, name)
        table = read_table(path, name)
        growing = [part.parent.name for part in parts.rglob("part-*.parquet")]
        if not growing or "family" not in table.column_names:
            return table
        # an interrupted compaction leaves rows both in the file and as parts
        finished = table.filter(~pc.field("family").isin(growing))
        return pa.concat_tables([finished, read_parts(parts, name)])

    def compact(self, name: str) -> pa.Table:
        """Turn a table's parts into its one file and return it."""
        return compact(self.parts(name), self.table(name), name)

    def compact_family(self, name: str, family: str) -> pa.Table:
        """Turn one family's parts of a table into rows of its one file, after the others'."""
        return compact(
            self.parts(name) / family, self.table(name), name, self._without(name, family)
        )

    def remove_family(self, name: str, family: str) -> None:
        """Delete one family's rows of a table, and its parts."""
        remove(self.parts(name) / family)
        if self.table(name).exists():
            write_table(self.table(name), self._without(name, family), name)

    def replace_family(self, name: str, family: str, rows: pa.Table) -> None:
        """Write one family's rows of a table, after the others'."""
        table = pa.concat_tables([self._without(name, family), rows])
        write_table(self.table(name), table, name)

    def _without(self, name: str, family: str) -> pa.Table:
        if not self.table(name).exists():
            return empty_table(name)
        return read_table(self.table(name), name).filter(pc.field("family") != family)


class Run:
    """A stored run, each table read when it is first asked for.

    Args:
        path: the run's folder.

    Raises:
        ArtifactError: the folder holds no run, or one of another schema version.
    """

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        manifest_path = self.folder.manifest_path
        if not manifest_path.exists():
            raise ArtifactError(
                f"{path} holds no run: it has no {manifest_path.name}",
                remedy="`clso ls` lists the runs that are there",
            )
        manifest = read_json(manifest_path)
        if not isinstance(manifest, dict) or not {"run_id", "schema_version"} <= manifest.keys():
            raise ArtifactError(
                f"{manifest_path} is not the manifest of a run",
                remedy="delete it; the command that made the run makes it again",
            )
        if manifest["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{manifest_path} has schema version {manifest['schema_version']}, "
                f"this CLSO reads version {SCHEMA_VERSION}",
                remedy="read it with the CLSO that wrote it, or run again with --fresh",
            )
        self.manifest: dict[str, Any] = manifest

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def run_id(self) -> str:
        """The run's name and the hash of what it was asked."""
        return str(self.manifest["run_id"])

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as it was run, as plain values."""
        return dict(self.manifest.get("config", {}))

    def has(self, name: str) -> bool:
        """Return whether there is anything of a table yet."""
        return self.folder.table(name).exists() or any(
            self.folder.parts(name).rglob("part-*.parquet")
        )

    def table(self, name: str) -> pa.Table:
        """Read a table: its one file, or the parts so far while its stage is under way.

        Raises:
            ArtifactError: the stage that makes it has not run, or the file is damaged.
        """
        if name not in _MADE_BY:
            raise ArtifactError(
                f"a run has no table {name!r}", remedy="the tables are " + ", ".join(_MADE_BY)
            )
        if not self.has(name):
            raise ArtifactError(
                f"run {self.run_id} has no {name} yet",
                remedy=f"`{_MADE_BY[name]} CONFIG` makes them",
            )
        return self.folder.read(name)

    @cached_property
    def evaluations(self) -> pa.Table:
        """One row per individual and generation."""
        return self.table("evaluations")

    @cached_property
    def generations(self) -> pa.Table:
        """One row per generation."""
        return self.table("generations")

    @cached_property
    def baseline(self) -> pa.Table:
        """One row per logged step of each AdamW trial."""
        return self.table("baseline")

    @cached_property
    def warm_start(self) -> pa.Table:
        """One row per logged step of each AdamW trial from the found crystalline GPT."""
        return self.table("warm_start")

    @cached_property
    def results(self) -> pa.Table:
        """One row per model."""
        return self.table("results")

    @cached_property
    def comparisons(self) -> pa.Table:
        """One row per pair of models and unit of the bootstrap."""
        return self.table("comparisons")

    @cached_property
    def scores(self) -> pa.Table:
        """One row per model and piece of a scored split."""
        return self.table("scores")

    @cached_property
    def energy(self) -> pa.Table:
        """One row per stage and device."""
        return self.table("energy")

    @cached_property
    def rivals(self) -> pa.Table:
        """One row per step of the best loss of each search that was held against the others."""
        return self.table("rivals")

    @cached_property
    def ablations(self) -> pa.Table:
        """One row per search of an ablation."""
        return self.table("ablations")

    @cached_property
    def selections(self) -> pa.Table:
        """One row per arm of an ablation, gene and family of the library."""
        return self.table("selections")

    @cached_property
    def savings(self) -> pa.Table:
        """One row per search, with and without a surrogate."""
        return self.table("savings")

    @cached_property
    def pareto(self) -> pa.Table:
        """One row per genome that the search for loss and costs evaluated."""
        return self.table("pareto")

    @cached_property
    def pareto_generations(self) -> pa.Table:
        """One row per generation of that search."""
        return self.table("pareto_generations")

    def to_pandas(self, name: str) -> pandas.DataFrame:
        """Return a table as a pandas frame.

        Raises:
            ArtifactError: as for `table`, or pandas is not installed.
        """
        _require("pandas")
        frame: pandas.DataFrame = self.table(name).to_pandas()
        return frame

    def to_polars(self, name: str) -> polars.DataFrame:
        """Return a table as a Polars frame.

        Raises:
            ArtifactError: as for `table`, or Polars is not installed.
        """
        _require("polars")
        import polars as pl

        frame = pl.from_arrow(self.table(name))
        assert isinstance(frame, pl.DataFrame)
        return frame


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ArtifactError(f"{package} is not installed", remedy=f"pip install {package}")


def load_run(path: str | Path) -> Run:
    """Open a stored run.

    Raises:
        ArtifactError: the folder holds no run, or one of another schema version.
    """
    return Run(Path(path))


def list_runs(root: str | Path) -> list[Path]:
    """Return the run folders under `root` (`artifacts/runs`), the oldest manifest first.

    A folder is listed when it has a manifest, readable or not; `load_run` says what ails it.
    """
    manifests = [path for path in Path(root).glob("*/manifest.json") if path.is_file()]
    return [path.parent for path in sorted(manifests, key=lambda p: (p.stat().st_mtime, p))]

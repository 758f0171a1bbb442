"""One run's folder: its paths, its tables and its manifest.

runs/<run_id>/
manifest.json                     config, seed, versions, host, data set, genes; the run's `uid`
evaluations.parquet ...           one file per table, when its stage has ended
parts/<table>/<family>/part-*     a table that still grows
stages/<stage>.done.json          completion markers
state/                            what an interrupted stage resumes from
models/<model>/                   checkpoints that can be loaded
report.html  figures/*.svg

Tables and models say which run they belong to, by the `uid` of the manifest. Those of another run
are refused, also where name and configuration are the same.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts.schemas import SCHEMA_VERSION, schema
from clso.artifacts.store import owner_of, read_sealed, remove, write_sealed
from clso.artifacts.tables import Parts, read_table, table_from_rows, write_table
from clso.errors import ArtifactError, DamageError, shown

if TYPE_CHECKING:  # optional packages that only `to_pandas` and `to_polars` need
    import pandas
    import polars

__all__ = ["Run", "RunFolder", "load_run"]

_MODELS = "models"
_REMAKE = "delete it; the command that made the run makes it again"


@dataclass(frozen=True)
class _PartSink:
    """Stores the records of one family's search, one part per generation."""

    folder: RunFolder
    family: str

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a generation's rows of one table; rows of an interrupted attempt are replaced."""
        self.folder.parts(table, self.family).write(part, rows)


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run, and the writing of its tables.

    Attributes:
        path: the folder.
        known_uid: the run's `uid`; `None`: the manifest is read for it when a table needs it.
    """

    path: Path
    known_uid: str | None = None

    @property
    def manifest_path(self) -> Path:
        """The file of config, seed, versions, host, data set and genes."""
        return self.path / "manifest.json"

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The folder of the report's figures as SVG files."""
        return self.path / "figures"

    @property
    def state(self) -> Path:
        """The folder from which interrupted stages resume."""
        return self.path / "state"

    @property
    def uid(self) -> str:
        """The name that tables and models of the run carry; empty: the manifest has none.

        Raises:
            ArtifactError: the manifest is damaged.
        """
        if self.known_uid is not None:
            return self.known_uid
        if not self.manifest_path.exists():
            return ""
        return str(read_sealed(self.manifest_path, remedy=_REMAKE).get("uid", ""))

    @property
    def uid_of_stages(self) -> str | None:
        """The `uid` that most markers of stages carry; `None`: there are no markers.

        One that is damaged or another run's is refused where it is used.
        """
        owners: Counter[str] = Counter()
        for marker in sorted(self.path.glob("stages/*.json")):
            with suppress(ArtifactError):
                owners[owner_of(marker)] += 1
        return owners.most_common(1)[0][0] if owners else None

    def model(self, name: str) -> Path:
        """Return the folder of a model's checkpoint."""
        return self.path / _MODELS / name

    @classmethod
    def of_model(cls, path: Path) -> RunFolder | None:
        """Return the folder of the run whose model lies in a folder; `None`: it is of no run."""
        path = path.absolute()
        folder = cls(path.parent.parent)
        return folder if path.parent.name == _MODELS and folder._is_run else None

    @property
    def _is_run(self) -> bool:
        """Whether the manifest is a run's, damaged or not; other programs have such files too."""
        try:
            return b'"run_id"' in self.manifest_path.read_bytes()
        except OSError:
            return False

    def table(self, name: str) -> Path:
        """Return a table's one file, which exists when its stage has ended."""
        return self.path / f"{name}.parquet"

    def parts(self, name: str, family: str = "") -> Parts:
        """Return the parts of a table that still grows, of all families or of one."""
        return Parts(self._parts_folder(name, family), name, self.uid)

    def sink(self, family: str) -> _PartSink:
        """Return the sink for the records of a search of one model family."""
        return _PartSink(self, family)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest with the schema version added."""
        write_sealed(self.manifest_path, {**manifest, "schema_version": SCHEMA_VERSION})

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Write a whole table from rows and return it."""
        table = table_from_rows(rows, name)
        self.write(name, table)
        return table

    def write(self, name: str, table: pa.Table) -> None:
        """Write a whole table."""
        write_table(self.table(name), table, name, belongs_to=self.uid)

    def remove_table(self, name: str) -> None:
        """Delete a table and its parts."""
        remove(self.table(name))
        remove(self._parts_folder(name))

    def read(self, name: str) -> pa.Table:
        """Read a table from its one file and its parts; without both, a table without rows."""
        path, parts = self.table(name), self.parts(name)
        if not path.exists():
            return parts.read()
        table = self._file(name)
        growing = [part.parent.name for part in parts.paths()]
        if not growing or "family" not in table.column_names:
            return table
        # an interrupted compaction leaves rows both in the file and as parts
        finished = table.filter(~pc.field("family").isin(growing))
        return pa.concat_tables([finished, parts.read()])

    def compact(self, name: str, family: str | None = None) -> pa.Table:
        """Turn a table's parts into its one file and return it.

        With a family, only this family's parts; its rows come after those of other families.
        """
        if family is None:
            return self.parts(name).compact(self.table(name))
        return self.parts(name, family).compact(self.table(name), self._without(name, family))

    def remove_family(self, name: str, family: str) -> None:
        """Delete one family's rows of a table, and its parts."""
        remove(self._parts_folder(name, family))
        if self.table(name).exists():
            self.write(name, self._without(name, family))

    def replace_family(
        self, name: str, family: str, rows: pa.Table, *, column: str = "family"
    ) -> None:
        """Replace one family's rows of a table; they come after the rows of other families.

        `column` has the families; or it has other names, such as tasks.
        """
        table = pa.concat_tables([self._without(name, family, column), rows])
        self.write(name, table)

    def _without(self, name: str, family: str, column: str = "family") -> pa.Table:
        if not self.table(name).exists():
            return schema(name).empty_table()
        return self._file(name).filter(pc.field(column) != family)

    def _file(self, name: str) -> pa.Table:
        return read_table(self.table(name), name, belongs_to=self.uid)

    def _parts_folder(self, name: str, family: str = "") -> Path:
        return self.path / "parts" / name / family


class _Table(cached_property[pa.Table]):
    """A table of a run, read when first used; `command` makes it, `rows` says what a row is."""

    def __init__(self, command: str, rows: str) -> None:
        super().__init__(lambda run: run.table(self.attrname))
        self.command = command
        self.__doc__ = rows


class Run:
    """A stored run; each table is read when it is first used.

    Args:
        path: the run's folder.

    Raises:
        ArtifactError: the folder holds no run, one that is damaged, another one, or one of another
            schema version.
    """

    def __init__(self, path: Path) -> None:
        manifest_path = RunFolder(path).manifest_path
        if not manifest_path.exists():
            raise ArtifactError(
                f"{path} holds no run: it has no {manifest_path.name}",
                remedy="`clso ls` lists the runs that are there",
            )
        manifest = read_sealed(
            manifest_path, remedy=_REMAKE, known=lambda value: _check_manifest(manifest_path, value)
        )
        if misshapen := _misshapen(manifest):
            raise DamageError(f"{manifest_path} is damaged: {misshapen}", remedy=_REMAKE)
        self.manifest: dict[str, Any] = manifest
        self.folder = RunFolder(path, str(manifest.get("uid", "")))
        owner = self.folder.uid_of_stages
        if owner not in (None, self.folder.uid):
            raise DamageError(
                f"{manifest_path} is the manifest of another run: the stages in {path} belong to "
                f"{owner}",
                remedy=_REMAKE,
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @staticmethod
    def folders(root: str | Path) -> list[Path]:
        """Return the folders of all runs under `root` (`artifacts/runs`), oldest manifest first.

        A folder counts if it has a manifest, readable or not; opening the run reports damage.
        Hidden ones are being deleted.
        """
        manifests = [path for path in Path(root).glob("[!.]*/manifest.json") if path.is_file()]
        return [path.parent for path in sorted(manifests, key=lambda p: (p.stat().st_mtime, p))]

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def run_id(self) -> str:
        """The configuration's name, and a hash of configuration and data set."""
        return str(self.manifest["run_id"])

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration as plain values."""
        return dict(self.manifest.get("config", {}))

    def has(self, name: str) -> bool:
        """Return whether a table has a file or parts."""
        return self.folder.table(name).exists() or bool(self.folder.parts(name).paths())

    def table(self, name: str) -> pa.Table:
        """Read a table; while its stage is running, only the parts written so far.

        Raises:
            ArtifactError: the table's stage has not run, or the file is damaged.
        """
        if name not in _TABLES:
            raise ArtifactError(
                f"a run has no table {name!r}", remedy="the tables are " + ", ".join(_TABLES)
            )
        if not self.has(name):
            raise ArtifactError(
                f"run {self.run_id} has no {name} yet",
                remedy=f"`{_TABLES[name].command} CONFIG` makes them",
            )
        return self.folder.read(name)

    evaluations = _Table("clso search", "One row per individual and generation.")
    generations = _Table("clso search", "One row per generation.")
    baseline = _Table("clso baseline", "One row per logged step of each AdamW trial.")
    opponents = _Table("clso baseline", "As `baseline`, of the other gradient models.")
    warm_start = _Table("clso run", "As `baseline`, of AdamW that starts from the crystalline GPT.")
    results = _Table("clso analyze", "One row per model.")
    comparisons = _Table("clso analyze", "One row per pair of models and unit of the bootstrap.")
    scores = _Table("clso analyze", "One row per model and piece of a scored split.")
    samples = _Table("clso analyze", "One row per model: a text that it writes.")
    energy = _Table("clso run", "One row per stage and device.")
    energy_repeats = _Table("clso energy repeat", "One row per repeat and model made again.")
    rivals = _Table("clso rivals", "One row per evaluation that lowered the loss of a search.")
    ablations = _Table("clso ablate", "One row per search of an ablation.")
    selections = _Table("clso ablate", "One row per arm, gene and library family of an ablation.")
    savings = _Table("clso savings", "One row per search, with and without a surrogate.")
    pareto = _Table("clso pareto", "One row per genome that a search for loss and costs evaluated.")
    pareto_generations = _Table("clso pareto", "One row per generation of the search of `pareto`.")
    transfer = _Table("clso transfer", "One row per seed, target text and arm.")
    multitask = _Table("clso multitask", "One row per seed, text and kind of library.")
    continual = _Table("clso continual", "One row per seed, method, stage and text of a stream.")
    finetunings = _Table("clso finetune", "One row per fit of a classifier, and per floor.")
    trials = _Table("clso tune", "One row per trial of a tuning study.")
    importances = _Table("clso tune", "One row per objective, method and tuned dimension.")
    checks = _Table("clso tune", "One row per search that checks the tuned settings.")

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


def _check_manifest(path: Path, manifest: object) -> None:
    """Check that a JSON value is the manifest of a run, and of a version that can be read."""
    if not isinstance(manifest, dict) or not {"run_id", "schema_version"} <= manifest.keys():
        raise ArtifactError(f"{path} is not the manifest of a run", remedy=_REMAKE)
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {shown(manifest['schema_version'])}, "
            f"this CLSO reads version {SCHEMA_VERSION}",
            remedy="read it with the CLSO that wrote it, or run again with --fresh",
        )


# entries of a manifest that are read without a further look, and their types
_TYPES: dict[str, type] = {
    **dict.fromkeys(("run_id", "uid", "data_fingerprint"), str),
    "seed": int,
    **dict.fromkeys(("config", "versions", "host", "shared", "stages", "models", "arms"), dict),
    **dict.fromkeys(("dataset", "genes", "best", "search", "optimism"), dict),
    **dict.fromkeys(("baseline", "opponents", "warm_start", "hybrid", "tune", "rivals"), dict),
    **dict.fromkeys(("ablations", "savings", "pareto", "transfer", "multitask"), dict),
    **dict.fromkeys(("continual", "finetunings"), dict),
}


def _misshapen(manifest: Mapping[str, Any]) -> str:
    """Return what is wrong with the types of a manifest's entries; empty: nothing."""
    for name, kind in _TYPES.items():
        if name in manifest and not isinstance(manifest[name], kind):
            return f"{name} is {shown(manifest[name])}, expected {_KINDS[kind]}"
    for name, stage in manifest.get("stages", {}).items():
        if not (isinstance(stage, dict) and isinstance(stage.get("status"), str)):
            return f"the stage {name} is {shown(stage)}, expected its status"
    for name, model in manifest.get("models", {}).items():
        if not isinstance(model, dict):
            return f"the model {name} is {shown(model)}, expected its title and family"
    families = manifest.get("config", {}).get("families", [])
    if not (isinstance(families, list) and all(isinstance(name, str) for name in families)):
        return f"config.families is {shown(families)}, expected a list of names"
    return ""


_KINDS = {str: "a text", int: "a whole number", dict: "named values"}


def load_run(path: str | Path) -> Run:
    """Open a stored run.

    Raises:
        ArtifactError: the folder holds no run, or one of another schema version.
    """
    return Run(Path(path))


_TABLES = {name: table for name, table in vars(Run).items() if isinstance(table, _Table)}

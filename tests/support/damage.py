"""Random damages of stored files, and what their readers say then.

A damage is harmless if all that is read is as before, and refused if a reader names the file. Not
damaged are files for people alone: `report.html`, figures, `config.yaml` and `README.md`.
"""

import contextlib
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import clso.digest
from clso.artifacts import Run, load_run, write_sealed
from clso.baseline.state import Progress, read_tensors
from clso.baseline.sweep import trial_of
from clso.baseline.train import TrialResult
from clso.data import Dataset
from clso.energy import Measurement
from clso.errors import ArtifactError, ClsoError
from clso.models import StoredModel
from clso.progress import SILENT
from pipelines.config import RunConfig
from pipelines.context import RunContext
from pipelines.families import FAMILIES
from pipelines.ledger import StageLedger
from pipelines.stage import Stage
from pipelines.stages import through
from pipelines.stages.gpt_library import GptLibrary
from pipelines.stages.mixture_functions import FunctionLibrary
from pipelines.use import ModelUse
from search.loop import Search
from search.records import MemorySink, Records

FOR_PEOPLE = ("report.html", "config.yaml", "README.md", ".svg", ".lock")
Observed = Callable[[Path], object]


@dataclass
class Readers:
    """The readers of a run's files, of its data set and of its libraries; as each command has them.

    What takes long and does not depend on the damaged file is made once: data set and problems.
    """

    run: Run
    context: RunContext
    inputs: Any = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = self.context.experiment.dataset.splits["test"].blocks(slice(0, 2))
        self.searches = {
            name: Records(
                self.run.run_id,
                self.context.config.seed,
                name,
                MemorySink(),
                self.run.folder.state / f"search-{name}.json",
                self.context.uid,
            )
            for name in self.context.config.families
        }

    @property
    def roots(self) -> list[Path]:
        """The folders of run, data set and libraries."""
        return [self.run.path, *sorted({home for home in self.homes.values()})]

    @property
    def homes(self) -> dict[str, Path]:
        """The folders of shared outcomes."""
        shared = self.run.manifest["shared"]
        return {stage: self.context.out / home for stage, home in shared.items()}

    @cached_property
    def stages(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in through("run", self.context.config)}

    @cached_property
    def problems(self) -> dict[str, Any]:
        return {
            name: FAMILIES.get(name).searched_problem(self.context)
            for name in self.context.config.families
        }

    def files(self) -> dict[Path, tuple[str, Observed]]:
        """Return every file that is not for people, with its kind and what reads it."""
        found = {}
        for root in self.roots:
            for path in sorted(root.rglob("*")):
                if path.is_file() and not path.name.endswith(FOR_PEOPLE):
                    found[path] = self._reader(path, path.relative_to(root).parts)
        return found

    def _reader(self, path: Path, parts: tuple[str, ...]) -> tuple[str, Observed]:
        if not path.is_relative_to(self.run.path):
            name, home = parts[0], self.context.out
            if path.is_relative_to(home / "datasets"):
                return ("marker", self.finished) if name == "stages" else ("data set", self.data)
            return ("marker" if name == "stages" else "library"), self.library
        kind = {
            "manifest.json": ("run manifest", self.manifest),
            "models": ("model", partial(self.model, path)),
            "stages": ("marker", self.finished),
            "parts": ("table", self.tables),
        }
        if parts[0] in kind:
            return kind[parts[0]]
        if parts[0] != "state":
            return "table", self.tables
        if parts[1].startswith("search-"):
            return "search state", partial(self.searched, parts[1][len("search-") :])
        if parts[1] == "use":
            return "use of models", self.use
        return self._training(path, parts)

    def _training(self, path: Path, parts: tuple[str, ...]) -> tuple[str, Observed]:
        if parts[2].endswith("-snapshots"):
            return "snapshot", partial(self.snapshot, path)
        if parts[2].startswith("model-"):
            return "model", partial(self.checkpoint, path)
        if path.suffix == ".json":
            return "trial", lambda _: TrialResult.read(path)
        return "training state", lambda _: Progress.load(path)

    def manifest(self, run: Path) -> object:
        return load_run(run).manifest

    def tables(self, run: Path) -> object:
        read = load_run(run)
        return {name: read.table(name).to_pylist() for name in tables_of(read)}

    def model(self, path: Path, run: Path) -> object:
        folder = run / "models" / path.relative_to(run / "models").parts[0]
        stored = StoredModel.load(folder)
        nll = stored.model.token_nll(*self.inputs)
        return nll, stored.n_positions, stored.tokenizer.decode(self.inputs[0][0].tolist())

    def checkpoint(self, path: Path, run: Path) -> object:
        from clso.baseline.network_model import load_network

        folder = run / "state" / "opponents" / path.relative_to(run / "state/opponents").parts[0]
        return load_network(folder).token_nll(*self.inputs), trial_of(folder)

    def snapshot(self, path: Path, run: Path) -> object:
        winner = load_run(run).manifest["opponents"]["winner"]["snapshots"]
        trial = winner.get(path.parent.name) or trial_of(
            path.parent.with_name(path.parent.name.removesuffix("-snapshots"))
        )
        return [
            (name, value.numpy()) for name, value in read_tensors(path, belongs_to=trial)[1].items()
        ]

    def finished(self, run: Path) -> object:
        del run
        self.context.records.clear()
        found = {}
        for name, stage in self.stages.items():
            ledger = self.ledger(stage)
            record = ledger.finished()
            if record is None:
                raise ArtifactError(f"{name} is not finished")
            self.context.records[name] = record
            found[name] = (record.key, record.needs, record.owner, record.measurement, record.notes)
        return found, unfinished(self.run).resumable()

    def ledger(self, stage: Stage) -> StageLedger:
        if stage.home is None:
            return stage._own_ledger(self.context)
        return stage._shared_ledger(self.homes[stage.name])

    def searched(self, name: str, run: Path) -> object:
        del run
        family = name.partition(".")[0]
        search = Search(
            self.problems[family],
            FAMILIES.get(family).search_settings(self.context.config),
            start=FAMILIES.get(family).first_genomes(
                self.problems[family], FAMILIES.get(family).search_settings(self.context.config)
            ),
            records=self.searches[family],
        )
        result = search.result
        return result.best, result.finalists, result.n_generations, result.stop_reason

    def use(self, run: Path) -> object:
        folder = load_run(run).folder
        names = sorted(path.stem for path in (run / "state" / "use").iterdir())
        return {name: ModelUse(folder, name).columns() for name in names}

    def data(self, run: Path) -> object:
        del run
        fingerprint = self.context.experiment.data_fingerprint
        dataset = Dataset.load(
            self.context.experiment.dataset_path, block_size=32, fingerprint=fingerprint
        )
        splits = {
            name: (split.blocks(slice(None)), split.document_ids, split.document_starts)
            for name, split in dataset.splits.items()
        }
        return dataset.manifest, splits, dataset.tokenizer.fingerprint, self.finished(Path())

    def library(self, run: Path) -> object:
        finished = self.finished(run)
        matrices = functions = None
        if "library" in self.stages:
            matrices = GptLibrary(self.context.experiment).load().fingerprint
        if "functions" in self.stages:
            library = FunctionLibrary(self.context.experiment)
            columns = {name: split.columns.values for name, split in library.scored().items()}
            functions = (library.class_maps(), library.chosen(), library.costs(), columns)
        return finished, matrices, functions


def tables_of(run: Run) -> list[str]:
    """Return the names of the tables that a run has."""
    names = {path.stem for path in run.path.glob("*.parquet")}
    return sorted(names | {path.name for path in run.path.glob("parts/*")})


def unfinished(run: Run) -> StageLedger:
    """Return the ledger of a stage that was interrupted."""
    return StageLedger(
        "spare",
        root=run.path,
        begun=run.path / "stages" / "spare.begun.json",
        needs={},
        belongs_to=run.folder.uid,
    )


def interrupt(run: Run) -> None:
    """Add what an interrupted run has: an unfinished stage, a part of a table, a training state."""
    import torch

    begun = {"needs": {}, "attempts": [Measurement(2.5).to_record()], "started": 1}
    write_sealed(run.path / "stages" / "spare.begun.json", begun, belongs_to=run.folder.uid)
    run.folder.sink("gpt").append("rivals", 0, [])
    state = run.folder.state / "baseline" / "0123456789abcdef.safetensors"
    weights = {"model.w": torch.arange(64, dtype=torch.float32)}
    Progress(step=3, best_loss=2.5).save(state, weights)


def digest(value: object) -> str:
    return sha256(pickle.dumps(_plain(value))).hexdigest()


def _plain(value: object) -> object:
    """Return a value whose pickle depends on nothing but the value."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(name, _plain(item)) for name, item in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return repr(value)


def damages(rng: np.random.Generator, content: bytes, others: list[bytes]) -> tuple[str, bytes]:
    """Return the name of a random damage and the damaged content."""
    kinds = ["bit", "byte", "cut", "added", "zeros"]
    if not content:
        kinds = ["added"]
    kind = str(rng.choice([*kinds, "swapped"] if others else kinds))
    changed = bytearray(content)
    place = int(rng.integers(len(content))) if content else 0
    if kind == "bit":
        changed[place] ^= 1 << int(rng.integers(8))
    elif kind == "byte":
        changed[place] ^= int(rng.integers(1, 256))
    elif kind == "cut":
        del changed[place:]
    elif kind == "added":
        changed += rng.bytes(int(rng.integers(1, 9)))
    elif kind == "zeros":
        size = min(int(rng.integers(1, 65)), len(content) - place)
        changed[place : place + size] = bytes(size)
    else:
        changed = bytearray(others[int(rng.integers(len(others)))])
    return kind, bytes(changed)


@dataclass
class Tally:
    """How many damages of each kind of file were tried, refused and harmless."""

    tried: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    harmless: Counter[str] = field(default_factory=Counter)
    why: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [
            f"{kind:16} {self.tried[kind]:5} {self.refused[kind]:5} {self.harmless[kind]:5}"
            for kind in sorted(self.tried)
        ]
        rows += [f"{' '.join(harmless)}: {n} harmless" for harmless, n in self.why.items()]
        return "\n".join(["kind             tried refused harmless", *rows])


def try_damages(
    readers: Readers, twins: Callable[[Path], list[Path]], count: int, seed: int
) -> Tally:
    """Damage one file after the other, and read what depends on it."""
    rng = np.random.default_rng(seed)
    files, tally = readers.files(), Tally()
    by_kind: dict[str, list[Path]] = {}
    for path, (kind, _) in files.items():
        by_kind.setdefault(kind, []).append(path)
    whole: dict[Path, str] = {}
    for number in range(count):
        # every kind as often, although there are many more files of some
        kind = list(by_kind)[number % len(by_kind)]
        path = by_kind[kind][int(rng.integers(len(by_kind[kind])))]
        _, observed = files[path]
        if path not in whole:
            whole[path] = digest(observed(readers.run.path))
        content = path.read_bytes()
        others = [twin.read_bytes() for twin in twins(path) if twin.is_file()]
        name, changed = damages(rng, content, others)
        where = f"{kind}, {path}: {name}"
        tally.tried[kind] += 1
        with replaced(path, changed):
            try:
                same = digest(observed(readers.run.path)) == whole[path]
            except ClsoError as error:
                tally.refused[kind] += 1
                if path.name not in error.message:
                    tally.wrong.append(f"{where}: not named in {error.message}")
            except Exception as error:
                tally.wrong.append(f"{where}: {error!r}")
            else:
                if same:
                    tally.harmless[kind] += 1
                    tally.why[kind, path.name, "same bytes" if changed == content else name] += 1
                else:
                    tally.wrong.append(f"{where}: read as something else")
    return tally


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Give a file another content in the block, as another process finds it."""
    kept = path.with_name(f".{path.name}.kept")
    path.rename(kept)
    path.write_bytes(content)
    clso.digest._sha256.cache_clear()
    try:
        yield
    finally:
        kept.replace(path)
        clso.digest._sha256.cache_clear()


@contextlib.contextmanager
def reading(run: Run) -> Iterator[Readers]:
    """Open a run for its readers."""
    config = RunConfig.parsed(run.config, run.run_id, "")
    with RunContext.reopen(run, config, SILENT) as context:
        yield Readers(run, context)


def made_twice(make: Callable[..., None], root: Path) -> tuple[Run, Callable[[Path], list[Path]]]:
    """Make a run, one of another seed, and the first again elsewhere.

    `make(out, seed)` makes a run. Returns the first, and what finds the files of the same place in
    the other two.
    """
    out, elsewhere = root / "out", root / "elsewhere"
    make(out, 0)
    shutil.copytree(out, elsewhere)
    shutil.rmtree(elsewhere / "runs")
    make(elsewhere, 0)
    make(out, 1)
    by_seed = {run.config["seed"]: run for run in map(load_run, Run.folders(out / "runs"))}
    first, other = by_seed[0], by_seed[1]
    pairs = [(first.path, other.path)]
    pairs += [
        (out / home, out / other.manifest["shared"][stage])
        for stage, home in first.manifest["shared"].items()
    ]

    def twins(path: Path) -> list[Path]:
        found = [elsewhere / path.relative_to(out)]
        found += [there / path.relative_to(here) for here, there in pairs if here in path.parents]
        return found

    return first, twins


__all__ = ["Readers", "interrupt", "made_twice", "reading", "try_damages"]

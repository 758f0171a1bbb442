"""Deletion of runs, and of what no run uses: data sets, libraries, downloads and remains.

A run's manifest names the shared folders that it uses (`shared`); so do the manifests of a study's
arms. A process notes a folder before it takes the folder's lock. So whoever holds the lock and
finds the folder in no manifest may delete it.
"""

from __future__ import annotations

import glob
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clso.artifacts import read_json, remove, write_error
from clso.errors import ArtifactError

__all__ = ["Leftover", "Leftovers", "folder_size", "in_use", "remove_run", "run_folder"]

_SHARED = ("datasets", "libraries")


@dataclass(frozen=True)
class Leftover:
    """Something on disk that no run uses.

    Attributes:
        path: the file or folder.
        reason: why nothing needs it.
        locks: held while it is deleted; files that processes lock when they use it.
    """

    path: Path
    reason: str
    locks: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        """What deleting it frees."""
        return folder_size(self.path)


class Leftovers:
    """What no run of an output folder uses.

    Attributes:
        out: the output folder.
        unknown: sentences on runs that do not say what they use. While there are any, all data
            sets and libraries stay.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()
        self.unknown: list[str] = []
        self._used: set[Path] = set()
        self._read_manifests()

    def find(self) -> list[Leftover]:
        """Return everything that no run uses."""
        return [*self._shared(), *self._arms(), *self._remains(), *self._downloads()]

    def delete(self, leftover: Leftover) -> bool:
        """Delete one, unless a process works with it or a run has begun to use it."""
        with _held(leftover.locks) as free:
            if not free:
                return False
            again = Leftovers(self.out)
            if not any(other.path == leftover.path for other in again.find()):
                return False
            _discard(leftover.path, self.out)
        return True

    def _read_manifests(self) -> None:
        for path in _run_folders(self.out):
            manifest = _manifest(path)
            if manifest is None:
                self.unknown.append(f"{path} has no manifest that can be read")
                continue
            if fingerprint := manifest.get("data_fingerprint"):
                self._used.add(self.out / "datasets" / str(fingerprint))
            self._note(path, manifest)
            for arm in _arm_folders(path, manifest, kept=True):
                self._note(arm, _manifest(arm) or {"stages": "unknown"})

    def _note(self, path: Path, manifest: dict[str, Any]) -> None:
        shared = manifest.get("shared")
        if shared is None and manifest.get("stages"):
            self.unknown.append(f"{path} does not say what it uses: an earlier version made it")
        self._used |= {self.out / name for name in (shared or {}).values()}

    def _shared(self) -> Iterator[Leftover]:
        if self.unknown:
            return
        for kind in _SHARED:
            for path in sorted((self.out / kind).glob("*")):
                if path.is_dir() and not path.name.startswith(".") and path not in self._used:
                    yield Leftover(path, "no run uses it", _locks_of(path))

    def _arms(self) -> Iterator[Leftover]:
        for run in _run_folders(self.out):
            manifest = _manifest(run) or {}
            for path in _arm_folders(run, manifest, kept=False):
                locks = _run_locks(self.out, run)
                yield Leftover(path, "the study has no such arm any more", locks)

    def _remains(self) -> Iterator[Leftover]:
        """Find what killed processes and interrupted deletions have left."""
        reason = "a process that was killed left it"
        for path in sorted((self.out / ".trash").glob("*")):
            yield Leftover(path, "its deletion was interrupted", ())
        for kind in _SHARED:
            root = self.out / kind
            for path in [*sorted(root.glob(".*.partial")), *_temporary(root)]:
                # of the folder `home` in `root` or in it: `.home.partial`, `home/.file.tmp`
                home = path.relative_to(root).parts[0].removeprefix(".").partition(".")[0]
                yield Leftover(path, reason, _locks_of(root / home))
        for run in _run_folders(self.out):
            for path in _temporary(run):
                yield Leftover(path, reason, _run_locks(self.out, run))

    def _downloads(self) -> Iterator[Leftover]:
        cache = self.out / "hub-cache"
        if not cache.is_dir() or self.unknown:
            return
        for run in _run_folders(self.out):
            manifest = _manifest(run) or {}
            prepared = manifest.get("stages", {}).get("prepare", {}).get("status") == "done"
            source = manifest.get("config", {}).get("data", {}).get("source")
            if source == "hub" and not prepared:
                return
        locks = tuple((self.out / "datasets").glob(".*.lock"))
        yield Leftover(cache, "the data sets from these downloads are finished", locks)


def run_folder(name: str, out: Path) -> Path:
    """Return the folder of a run or a tuning study, also one that is damaged or has no manifest.

    Args:
        name: a run id or its beginning, or the folder's path.
        out: the output folder, in which it must lie.

    Raises:
        ArtifactError: nothing or several match the name, or the folder is no run's in `out`.
    """
    runs = _run_folders(out)
    if exact := [path for path in runs if path.name == name and path.parent.name == "runs"]:
        return exact[0]
    if name and Path(name).is_dir():
        inside = [path for path in runs if path.resolve() == Path(name).resolve()]
        if inside:
            return inside[0]
        raise ArtifactError(
            f"{name} is no folder of a run or study in {out}", remedy="`clso ls` lists the runs"
        )
    matches = [path for path in runs if name and path.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ArtifactError(
            f"{name!r} could be {', '.join(str(path) for path in matches)}",
            remedy="give the whole id, or the folder",
        )
    raise ArtifactError(f"there is no run {name!r} in {out}", remedy="`clso ls` lists the runs")


def remove_run(path: Path, out: Path) -> int:
    """Delete the folder of a run or a study; returns the bytes that this frees.

    Data sets and libraries, which other runs share, stay.

    Raises:
        ArtifactError: another process works in it, or it cannot be deleted.
    """
    size = folder_size(path)
    with _held(_run_locks(out, path)) as free:
        if not free:
            raise ArtifactError(
                f"another process works in {path}", remedy="wait for it to end, or stop it"
            )
        _discard(path, out)
    return size


def in_use(path: Path, out: Path) -> bool:
    """Return whether a process works in the folder of a run or a study.

    Raises:
        ArtifactError: its locks cannot be opened.
    """
    with _held([lock for lock in _run_locks(out, path) if lock.exists()]) as free:
        return not free


def folder_size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _run_folders(out: Path) -> list[Path]:
    return sorted(
        path for kind in ("runs", "studies") for path in (out / kind).glob("*") if path.is_dir()
    )


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = read_json(path / "manifest.json")
    except ArtifactError:
        return None
    return manifest if isinstance(manifest, dict) else None


def _arm_folders(run: Path, manifest: dict[str, Any], *, kept: bool) -> list[Path]:
    """Return the folders of arms that a run's studies have, or of those that they had before."""
    noted = manifest.get("arms")
    folders = sorted((run / "state" / "arms").glob("*/"))
    if noted is None:
        return folders if kept else []
    arms = {name for names in noted.values() for name in names}
    return [folder for folder in folders if (folder.name in arms) is kept]


def _temporary(folder: Path) -> list[Path]:
    """Return files and folders that were being written below a folder."""
    return sorted(path for end in ("tmp", "old") for path in folder.rglob(f".*-*.{end}"))


def _run_locks(out: Path, run: Path) -> tuple[Path, ...]:
    """Return the lock of a run's process, or those of all processes of a tuning study."""
    locks = out / ".locks"
    if run.parent.name == "runs":
        return (locks / f"{run.name}.lock",)
    name = f"study-{run.name}"
    return (locks / f"{name}.lock", *sorted(locks.glob(f"{glob.escape(name)}.process-*.lock")))


def _locks_of(home: Path) -> tuple[Path, ...]:
    """Return the locks of a shared folder: of its stages, and of a data set's building."""
    stages = {path.name.partition(".")[0] for path in (home / "stages").glob("*.done.json")}
    locks = {home.with_name(f".{home.name}.{stage}.lock") for stage in stages}
    return tuple(sorted({*locks, *home.parent.glob(f".{home.name}.*lock")}))


@contextmanager
def _held(locks: Sequence[Path]) -> Iterator[bool]:
    """Hold locks without waiting; gives whether all of them were free."""
    with ExitStack() as stack:
        try:
            for path in locks:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(path, timeout=0))
        except Timeout:
            yield False
            return
        except OSError as error:
            raise write_error(path.parent, error) from error
        yield True


def _discard(path: Path, out: Path) -> None:
    """Rename a file or folder away and delete it, so that nobody meets half of it."""
    trash = out / ".trash"
    try:
        if path.parent == trash:
            target = path
        else:
            trash.mkdir(parents=True, exist_ok=True)
            target = path.rename(trash / uuid.uuid4().hex)
        remove(target)
        with suppress(OSError):  # it holds more
            trash.rmdir()
    except OSError as error:
        raise write_error(path, error) from error

"""Deletion of runs, and of what no run uses: data sets, libraries, downloads and remains.

A run's manifest names the shared folders that it uses (`shared`); so do the manifests of a study's
arms. A process notes a folder before it takes the folder's lock. So whoever holds the lock and
finds the folder in no manifest may delete it.
"""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clso.artifacts import read_sealed, remove, write_error
from clso.errors import ArtifactError

__all__ = [
    "Leftover",
    "Leftovers",
    "discard",
    "folder_size",
    "in_use",
    "remove_run",
    "run_folder",
]

_SHARED = ("datasets", "libraries")
_DOWNLOADS = "hub-cache"


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
        linked: sentences on folders that are symbolic links. What they lead to stays, because
            other output folders may lead there too.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()
        self.unknown: list[str] = []
        self.linked: list[str] = []
        self._own: list[str] = []
        for name in (*_SHARED, _DOWNLOADS):
            path = self.out / name
            if path.is_symlink():
                self.linked.append(f"{path} is a link, so what it leads to stays")
            else:
                self._own.append(name)
        self._used: set[Path] = set()
        self._read_manifests()

    def find(self) -> list[Leftover]:
        """Return everything that no run uses."""
        return [*self._shared(), *self._arms(), *self._remains(), *self._downloads()]

    def in_use(self, leftover: Leftover) -> bool:
        """Return whether a process works with one now."""
        # a lock without a file has never been taken, and no file is made for it here
        with _held([lock for lock in leftover.locks if lock.exists()]) as free:
            return not free

    def delete(self, leftover: Leftover) -> bool:
        """Delete one, unless a process works with it or a run has begun to use it."""
        with _held(leftover.locks) as free:
            if not free:
                return False
            again = Leftovers(self.out)
            if not any(other.path == leftover.path for other in again.find()):
                return False
            discard(leftover.path)
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

    def _shared_kinds(self) -> list[str]:
        return [kind for kind in _SHARED if kind in self._own]

    def _shared(self) -> Iterator[Leftover]:
        if self.unknown:
            return
        for kind in self._shared_kinds():
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
        for path in _discarded(self.out):
            yield Leftover(path, "its deletion was interrupted", ())
        for kind in self._shared_kinds():
            root = self.out / kind
            for path in [*sorted(root.glob(".*.partial")), *_temporary(root)]:
                # of the folder `home` in `root` or in it: `.home.partial`, `home/.file.tmp`,
                # `..home.stage.json.tmp`
                home = path.relative_to(root).parts[0].lstrip(".").partition(".")[0]
                yield Leftover(path, reason, _locks_of(root / home))
        for run in _run_folders(self.out):
            for path in _temporary(run):
                yield Leftover(path, reason, _run_locks(self.out, run))

    def _downloads(self) -> Iterator[Leftover]:
        cache = self.out / _DOWNLOADS
        if _DOWNLOADS not in self._own or not cache.is_dir() or self.unknown:
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
    matches = [path for path in runs if name and path.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ArtifactError(
            f"{name!r} could be {', '.join(str(path) for path in matches)}",
            remedy="give the whole id, or the folder",
        )
    if name and Path(name).is_dir():
        raise ArtifactError(
            f"{name} is no folder of a run or study in {out}", remedy="`clso ls` lists the runs"
        )
    raise ArtifactError(f"there is no run {name!r} in {out}", remedy="`clso ls` lists the runs")


def remove_run(path: Path, out: Path) -> int:
    """Delete the folder of a run or a study; returns the bytes that this frees.

    Data sets and libraries, which other runs share, stay. Of a folder that is a symbolic link, only
    the link is deleted.

    Raises:
        ArtifactError: another process works in it, or it cannot be deleted.
    """
    size = folder_size(path)
    with _held(_run_locks(out, path)) as free:
        if not free:
            raise ArtifactError(
                f"another process works in {path}", remedy="wait for it to end, or stop it"
            )
        discard(path)
    return size


def in_use(path: Path, out: Path, *, own: Collection[Path] = ()) -> bool:
    """Return whether another process works in the folder of a run or a study.

    Args:
        own: the locks that this process holds.

    Raises:
        ArtifactError: its locks cannot be opened.
    """
    others = [lock for lock in _run_locks(out, path) if lock not in own and lock.exists()]
    with _held(others) as free:
        return not free


def discard(path: Path) -> None:
    """Delete a file or folder, renamed first, so that nobody meets half of it.

    The new name, in the same folder and so on the same disk, is hidden and ends in `.old`.

    Raises:
        ArtifactError: it cannot be deleted.
    """
    if not path.is_symlink():
        try:
            path = path.rename(
                path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.old")
            )
        except FileNotFoundError:  # another process has deleted it
            return
        except OSError as error:
            raise write_error(path, error) from error
    remove(path)


def folder_size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; what vanishes counts nothing."""
    if path.is_symlink() or not path.is_dir():
        return _file_size(path)
    return sum(
        _file_size(Path(folder, name)) for folder, _, names in os.walk(path) for name in names
    )


def _file_size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _run_folders(out: Path) -> list[Path]:
    return sorted(
        path
        for kind in ("runs", "studies")
        for path in (out / kind).glob("[!.]*")
        if path.is_dir() or path.is_symlink()
    )


def _discarded(out: Path) -> list[Path]:
    """Return runs, studies and downloads whose deletion was interrupted."""
    folders = (out, out / "runs", out / "studies")
    found = [path for folder in folders for path in folder.glob(".*-*.old")]
    return sorted([*found, *out.glob(".trash")])  # where an earlier version put them


def _manifest(path: Path) -> dict[str, Any] | None:
    try:
        return read_sealed(path / "manifest.json")
    except ArtifactError:
        return None


def _arm_folders(run: Path, manifest: dict[str, Any], *, kept: bool) -> list[Path]:
    """Return the folders of arms that a run's studies have, or of those that they had before."""
    noted = manifest.get("arms")
    folders = sorted((run / "state" / "arms").glob("[!.]*/"))
    if noted is None:
        return folders if kept else []
    arms = {name for names in noted.values() for name in names}
    return [folder for folder in folders if (folder.name in arms) is kept]


def _temporary(folder: Path) -> list[Path]:
    """Return files and folders that were being written below a folder."""
    found: list[Path] = []
    for where, folders, files in os.walk(folder):  # goes on where a folder vanishes
        names = [
            name
            for name in (*folders, *files)
            if fnmatch(name, ".*-*.tmp") or fnmatch(name, ".*-*.old")
        ]
        found += (Path(where, name) for name in names)
        folders[:] = [name for name in folders if name not in names]
    return sorted(found)


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

"""The folder of a model: files of several formats, listed with their checksums.

Other programs read these files too, so they have no seals of their own. `checksums.json` lists
them and has a seal; in a run it also says whose model it is.
"""

from __future__ import annotations

from pathlib import Path

from clso.artifacts.run import RunFolder
from clso.artifacts.store import read_sealed, write_sealed
from clso.digest import sha256_of
from clso.errors import ArtifactError, DamageError

__all__ = ["CHECKSUMS", "check_folder", "write_checksums"]

CHECKSUMS = "checksums.json"
# for people, who may change it
_UNLISTED = frozenset({CHECKSUMS, "README.md"})
_ON_PURPOSE = (
    "if a program of yours has changed it on purpose, such as further training, delete "
    f"{CHECKSUMS} beside it"
)


def write_checksums(folder: Path, target: Path) -> None:
    """List the files of a folder, also of those inside; it is, or becomes, the folder `target`.

    Raises:
        ArtifactError: the list cannot be written.
    """
    files = {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in _UNLISTED
    }
    write_sealed(folder / CHECKSUMS, {"files": files}, belongs_to=_owner(target) or "")


def check_folder(path: Path, *, remedy: str) -> None:
    """Check that a model's folder has the files that were written, and is the run's own.

    A folder outside of a run need have no list: other programs write models too.

    Raises:
        ArtifactError: a file is missing or changed, or the model is another one's or another
            run's; `remedy` says how to make it again.
    """
    owner = _owner(path)
    listed = path / CHECKSUMS
    if not listed.is_file():
        if owner is None:
            return
        raise DamageError(
            f"{path} has no {CHECKSUMS}: an older CLSO or another program wrote it, or it is "
            "damaged",
            remedy=f"delete it; {remedy}",
        )
    files = read_sealed(listed, belongs_to=owner, remedy=f"delete {path}; {remedy}")["files"]
    for name, expected in files.items():
        try:
            found = sha256_of(path / name)
        except FileNotFoundError:
            raise ArtifactError(
                f"{path / name} does not exist, and {CHECKSUMS} lists it",
                remedy=f"delete {path}; {remedy}",
            ) from None
        except OSError as error:
            raise ArtifactError(
                f"{path / name} cannot be read: {error.strerror}",
                remedy=f"delete {path}; {remedy}",
            ) from error
        if found != expected:
            own = "" if owner is not None else f"; {_ON_PURPOSE}"
            raise DamageError(
                f"{path / name} is damaged or another one's: it is not the file that {CHECKSUMS} "
                "lists",
                remedy=f"delete {path}; {remedy}{own}",
            )


def _owner(path: Path) -> str | None:
    """Return the `uid` of the run whose model a folder has, and the model's name; else `None`."""
    run = RunFolder.of_model(path)
    return None if run is None else f"{run.uid}/{path.absolute().name}"

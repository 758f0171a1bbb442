"""The file of a search's state: sealed, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from clso.artifacts.store import read_sealed, write_sealed
from clso.errors import ArtifactError, DamageError
from search.journal import REMEDY

__all__ = ["StateFile"]

_VERSION = 5

State = TypeVar("State")


class StateFile:
    """A JSON file with the state of a search and the identity of the search.

    Args:
        path: of the file; `None`: nothing is kept.
        identity: JSON values that name the search; the file of another search is refused.
        free: dotted names of values that may differ; those in the file stay.
    """

    def __init__(
        self, path: Path | None, identity: Mapping[str, Any], *, free: Sequence[str] = ()
    ) -> None:
        self._path = path
        self._identity = dict(identity)
        self._free = free

    def write(self, value: Mapping[str, Any]) -> None:
        """Write a state, as JSON values, in place of an older one.

        Raises:
            ArtifactError: the file cannot be written.
        """
        if self._path is None:
            return
        whole = {"version": _VERSION, "identity": self._identity, **value}
        write_sealed(self._path, whole, indent=None)

    def read(self, parse: Callable[[Mapping[str, Any]], State]) -> State | None:
        """Read the state, which `parse` makes of the JSON values; `None` without a file.

        Raises:
            ArtifactError: the file is damaged, of another version or search, or cannot be read.
        """
        if self._path is None or not self._path.exists():
            return None
        value = read_sealed(self._path, remedy=REMEDY, known=self._check_version)
        self._check_identity(value.get("identity"))
        try:
            return parse(value)
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(f"{type(error).__name__} {error}") from error

    def _check_version(self, value: object) -> None:
        if not isinstance(value, dict) or "version" not in value:
            raise self._damaged("it has no version")
        if value["version"] != _VERSION:
            raise ArtifactError(
                f"{self._path} is a saved state of version {value['version']!r}, expected "
                f"{_VERSION}",
                remedy="start the search anew with --fresh, or finish it with the CLSO that began "
                "it",
            )

    def _check_identity(self, identity: object) -> None:
        if not isinstance(identity, dict):
            raise self._damaged("it names no search")
        before, now = _flat(identity), _flat(self._identity)
        differing = [
            f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name) and name not in self._free
        ]
        if differing:
            raise DamageError(
                f"{self._path} is the state of another search: " + "; ".join(differing),
                remedy=REMEDY,
            )
        self._identity = identity

    def _damaged(self, reason: str) -> DamageError:
        return DamageError(f"{self._path} is damaged: {reason}", remedy=REMEDY)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{name}."))
        else:
            flat[prefix + name] = item
    return flat

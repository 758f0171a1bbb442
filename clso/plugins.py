"""Objects of other installed packages that CLSO finds by name.

A package offers an object under an entry-point group, in its `pyproject.toml`:

    [project.entry-points."clso.matrix_families"]
    toeplitz = "my_package.toeplitz:Toeplitz"

and a configuration names it (`toeplitz`) like CLSO's own objects. Entry points are read from the
metadata of the installed distributions. An object is imported only when its name is used, so a
broken package affects only the runs that use it.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from clso.errors import ConfigError

__all__ = ["Registry"]

T = TypeVar("T")

_OWN = "CLSO"


@lru_cache(maxsize=64)
def _offered(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    # cached, because reading all metadata takes tens of milliseconds; `path` is part of the key
    return tuple(entry_points(group=group))


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"


class Registry(Generic[T]):
    """The objects of one kind that a configuration may name: CLSO's own and those of plug-ins.

    Args:
        group: the entry-point group, such as `clso.matrix_families`.
        builtins: CLSO's own objects by name. An object that is slow to import may be given as an
            `EntryPoint`, which is loaded at its first use.
        check: called with the name and object of a plug-in; raises `TypeError` that names what
            the object lacks.
    """

    def __init__(
        self,
        group: str,
        builtins: Mapping[str, T | EntryPoint],
        *,
        check: Callable[[str, object], None] | None = None,
    ) -> None:
        self.group = group
        self._builtins = dict(builtins)
        self._check = check
        self._loaded: dict[EntryPoint, T] = {}

    def __repr__(self) -> str:
        return f"Registry({self.group!r}: {', '.join(self.names())})"

    def names(self) -> tuple[str, ...]:
        """Return all known names: the built-ins in their order, then the plug-ins' sorted.

        Raises:
            ConfigError: two objects have the same name.
        """
        return (*self._builtins, *sorted(self._plugins()))

    def is_builtin(self, name: str) -> bool:
        """Return whether a name belongs to CLSO itself."""
        return name in self._builtins

    def origin(self, name: str) -> str:
        """Return the distribution that offers a name, for a plug-in with its version.

        Raises:
            ConfigError: the name is unknown, or two objects have the same name.
        """
        plugins = self._plugins()
        if name in self._builtins:
            return _OWN
        if name not in plugins:
            raise self._unknown(name)
        return _distribution(plugins[name])

    def get(self, name: str) -> T:
        """Return the object of a name; a plug-in is imported at its first use.

        Raises:
            ConfigError: the name is unknown, two objects have the same name, or the plug-in's
                object cannot be imported or lacks what its kind needs.
        """
        plugins = self._plugins()
        if name in self._builtins:
            builtin = self._builtins[name]
            return cast(T, builtin.load()) if isinstance(builtin, EntryPoint) else builtin
        if name not in plugins:
            raise self._unknown(name)
        point = plugins[name]
        if point not in self._loaded:
            self._loaded[point] = self._load(point)
        return self._loaded[point]

    def _plugins(self) -> dict[str, EntryPoint]:
        plugins: dict[str, EntryPoint] = {}
        for point in _offered(self.group, tuple(sys.path)):
            other = _distribution(plugins[point.name]) if point.name in plugins else None
            if point.name in self._builtins:
                other = _OWN
            if other is not None:
                raise ConfigError(
                    f"{_distribution(point)} offers {point.name!r} in {self.group}, a name that "
                    f"{other} already has",
                    remedy="rename the entry point, or uninstall one of the packages",
                )
            plugins[point.name] = point
        return plugins

    def _load(self, point: EntryPoint) -> T:
        try:
            loaded = point.load()
            if self._check is not None:
                self._check(point.name, loaded)
        except Exception as error:  # the plug-in's import runs foreign code
            raise ConfigError(
                f"{point.name!r} of {_distribution(point)} ({point.value}, in {self.group}) "
                f"cannot be used: {type(error).__name__}: {error}",
                remedy="mend or reinstall the package, or leave the name out of the configuration",
            ) from error
        return cast(T, loaded)

    def _unknown(self, name: str) -> ConfigError:
        known = [f"{', '.join(self._builtins)} ({_OWN})"] if self._builtins else []
        known += [f"{other} ({_distribution(point)})" for other, point in self._plugins().items()]
        near = difflib.get_close_matches(name, self.names(), n=1)
        return ConfigError(
            f"{name!r} is not known in {self.group}; known are {', '.join(known) or 'none'}",
            remedy=f"did you mean {near[0]!r}?"
            if near
            else "check the spelling, or install the package whose entry point in "
            f"{self.group} has this name",
        )

"""From a function's name to the function: parsed once, then fitted, or loaded.

A name is the kind of function and its settings, such as `kn(1,2)` or `cache(32,idf=0.5)`. What
stands before the parentheses is looked up among the kinds of this package and those of other
packages (entry-point group `clso.basis_functions`; see `clso.mixture.plain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy.typing as npt

from clso.errors import ArtifactError, ConfigError
from clso.floors import Unigram
from clso.mixture.counts import KneserNey
from clso.mixture.function import CountedFunction
from clso.mixture.pointer import Cache, Gated, Induction, Product
from clso.mixture.text import FittingText, FunctionSettings
from clso.plugins import Registry

__all__ = ["FunctionSpec", "class_maps_of", "load_function", "parse"]

Arrays = Mapping[str, npt.NDArray[Any]]


class _FunctionKind(Protocol):
    """Functions that are written alike; a class of functions is the kind of its instances."""

    def parse(self, text: str) -> Any:  # noqa: ANN401 - settings of the kind's own type
        """Return the settings that a name without spaces stands for."""

    def from_text(self, settings: Any, text: FittingText) -> CountedFunction:  # noqa: ANN401
        """Return the function with these settings, fitted on a text."""

    def from_arrays(self, spec: Mapping[str, Any], arrays: Arrays) -> CountedFunction:
        """Return a stored function."""


@dataclass(frozen=True)
class _UnigramSettings:
    name: str = Unigram.name
    class_names: frozenset[str] = frozenset()


class _UnigramKind:
    """The floor `unigram` as a basis function."""

    def parse(self, text: str) -> _UnigramSettings:
        if text != Unigram.name:
            raise ConfigError(f"{text!r}: the unigram has no settings", remedy="write unigram")
        return _UnigramSettings()

    def from_text(self, settings: _UnigramSettings, text: FittingText) -> Unigram:
        return text.unigram

    def from_arrays(self, spec: Mapping[str, Any], arrays: Arrays) -> Unigram:
        return Unigram.from_arrays(spec, arrays)


def _check_kind(name: str, kind: object) -> None:
    del name
    missing = [name for name in ("parse", "from_text", "from_arrays") if not hasattr(kind, name)]
    if missing:
        raise TypeError(f"{kind!r} has no {', '.join(missing)}; derive from PlainFunction")


_KINDS: Registry[_FunctionKind] = Registry(
    "clso.basis_functions",
    {
        Unigram.name: _UnigramKind(),
        "kn": cast(_FunctionKind, KneserNey),
        "cache": cast(_FunctionKind, Cache),
        "gated": cast(_FunctionKind, Gated),
        "induction": cast(_FunctionKind, Induction),
        "product": cast(_FunctionKind, Product),
    },
    check=_check_kind,
)


@dataclass(frozen=True)
class FunctionSpec:
    """A function's parsed name, from which it is fitted or loaded.

    Attributes:
        settings: of the kind's own type.
        kind: what fits and loads it.
    """

    settings: FunctionSettings
    kind: _FunctionKind

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.settings.name

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps that the function needs."""
        return self.settings.class_names

    def fit(self, text: FittingText) -> CountedFunction:
        """Return the function, fitted on a text.

        Raises:
            ConfigError: a class map is missing or not `(V,)`.
            DataError: a token is outside the vocabulary.
            ArtifactError: the text's workspace cannot be written or is full.
        """
        return self.kind.from_text(self.settings, text)


def parse(name: str) -> FunctionSpec:
    """Read a function's name; spaces do not matter.

    Raises:
        ConfigError: no such kind of function, or settings that the kind does not have.
    """
    compact = "".join(name.split())
    kind = _KINDS.get(compact.partition("(")[0])
    return FunctionSpec(kind.parse(compact), kind)


def class_maps_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the class maps that functions need, sorted.

    Raises:
        ConfigError: a name is no function's.
    """
    return tuple(sorted({needed for name in names for needed in parse(name).class_names}))


def load_function(spec: Mapping[str, Any], arrays: Arrays) -> CountedFunction:
    """Make a stored count, pointer, constant or plain function again.

    Raises:
        ArtifactError: an array is missing or does not fit, or the name is no function's.
    """
    name = str(spec.get("name"))
    try:
        return parse(name).kind.from_arrays(spec, arrays)
    except ConfigError as error:
        raise ArtifactError(
            f"a stored function is named {name!r}: {error.message}",
            remedy=error.remedy or "make the model again with its run's command",
        ) from error

"""From a function's name to the function: parsed once, then fitted, or loaded.

A name is the kind of function and its settings, such as `kn(1,2)` or `cache(32,idf=0.5)`. The
word before the parentheses is looked up among the kinds of this package and of other packages
(entry-point group `clso.basis_functions`; see `clso.mixture.plain`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, cast

import numpy.typing as npt

from clso.counting import FloatArray, TokenStream
from clso.errors import ArtifactError, ConfigError
from clso.floors import Unigram
from clso.mixture.counts import KneserNey
from clso.mixture.function import CountedFunction
from clso.mixture.loglinear import LogLinear
from clso.mixture.pointer import Cache, Gated, Induction, Product
from clso.mixture.text import FittingText, FunctionSettings, HeldOut
from clso.mixture.words import WordCounts
from clso.plugins import Registry
from clso.progress import SILENT, Reporter

__all__ = ["FunctionSpec", "fit_functions"]

Arrays = Mapping[str, npt.NDArray[Any]]


class _FunctionKind(Protocol):
    """All functions whose names begin with one word; a class is the kind of its instances."""

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
    del name  # a registry gives it to every check
    methods = ("parse", "from_text", "from_arrays")
    missing = [method for method in methods if not hasattr(kind, method)]
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
        "loglinear": cast(_FunctionKind, LogLinear),
        "word": cast(_FunctionKind, WordCounts),
    },
    check=_check_kind,
)


@dataclass(frozen=True)
class FunctionSpec:
    """A parsed function name: its settings, and the kind that fits and loads the function."""

    settings: FunctionSettings
    kind: _FunctionKind

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a function's name; spaces do not matter.

        Raises:
            ConfigError: no such kind of function, or settings that the kind does not have.
        """
        compact = "".join(name.split())
        kind = _KINDS.get(compact.partition("(")[0])
        return cls(kind.parse(compact), kind)

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.settings.name

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps that the function needs."""
        return self.settings.class_names

    @classmethod
    def load(cls, spec: Mapping[str, Any], arrays: Arrays) -> CountedFunction:
        """Build a stored count, pointer, constant or plain function from `spec` and `to_arrays`.

        Raises:
            ArtifactError: an array is missing or does not fit, or the name is not a function's.
        """
        name = str(spec.get("name"))
        try:
            return cls.parse(name).kind.from_arrays(spec, arrays)
        except ConfigError as error:
            raise ArtifactError(
                f"a stored function is named {name!r}: {error.message}",
                remedy=error.remedy or "make the model again with its run's command",
            ) from error


def fit_functions(
    names: Sequence[str],
    streams: Sequence[TokenStream],
    vocab_size: int,
    class_maps: Arrays,
    *,
    workspace: Path | None = None,
    reporter: Reporter = SILENT,
    held_out: HeldOut | None = None,
    kept: Mapping[str, FloatArray] | None = None,
) -> list[CountedFunction]:
    """Fit functions on a text, in the order of their names; shared counts are made once.

    Args:
        names: as `FunctionSpec.parse` reads them.
        streams: the text; no context spans two streams.
        class_maps: the class of each token, `(V,)` integers per name.
        workspace: a folder for temporary files when the text is large.
        held_out: text on which functions choose a few numbers; `None`: they have default values.
        kept: such numbers from an earlier fit, by the name of the function.

    Raises:
        ConfigError: a name is wrong, or its class map is missing or not `(V,)`.
        DataError: a token is outside the vocabulary.
        ArtifactError: the workspace cannot be written or is full.
    """
    specs = [FunctionSpec.parse(name) for name in names]
    text = FittingText(
        streams,
        vocab_size,
        class_maps,
        wanted=[spec.settings for spec in specs],
        workspace=workspace,
        reporter=reporter,
        held_out=held_out,
        kept=kept,
    )
    return [spec.kind.from_text(spec.settings, text) for spec in specs]

"""The text that a library's functions are fitted on, and what several of them count in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy.typing as npt

from clso.counting import TokenStream
from clso.errors import ConfigError
from clso.floors import Unigram
from clso.progress import SILENT, Reporter

__all__ = ["FittingText", "FunctionSettings"]

T = TypeVar("T")


class FunctionSettings(Protocol):
    """A function's name, parsed."""

    @property
    def name(self) -> str:
        """The canonical name; two functions are equal exactly if their names are."""

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps that the function needs."""


class FittingText:
    """A text with its token classes; what several functions count in it is counted once.

    Args:
        streams: the text; nothing spans two streams.
        vocab_size: V.
        class_maps: the class of each token, `(V,)` integers per name.
        wanted: all functions that are fitted on the text.
        workspace: a folder for temporary files when the text is large.
        reporter: hears how counting goes.
    """

    def __init__(
        self,
        streams: Sequence[TokenStream],
        vocab_size: int,
        class_maps: Mapping[str, npt.NDArray[Any]],
        *,
        wanted: Sequence[FunctionSettings] = (),
        workspace: Path | None = None,
        reporter: Reporter = SILENT,
    ) -> None:
        self.streams = streams
        self.vocab_size = vocab_size
        self.class_maps = class_maps
        self.wanted = wanted
        self.workspace = workspace
        self.reporter = reporter
        self._counted: dict[Hashable, object] = {}

    @cached_property
    def unigram(self) -> Unigram:
        """The tokens' smoothed frequencies."""
        return Unigram.fit(self.streams, self.vocab_size)

    def class_map(self, name: str) -> npt.NDArray[Any]:
        """Return the class of each token, `(V,)` integers from 0.

        Raises:
            ConfigError: there is no such map, or it is not `(V,)`.
        """
        if name not in self.class_maps:
            raise ConfigError(
                f"there is no class map {name!r}, expected one of {sorted(self.class_maps)}",
                remedy="add the classes to the library, or leave the function out",
            )
        classes = self.class_maps[name]
        if classes.shape != (self.vocab_size,):
            raise ConfigError(
                f"class map {name!r} is {classes.shape}, expected ({self.vocab_size},)",
                remedy="fit the classes with the same vocabulary",
            )
        return classes

    def once(self, key: Hashable, count: Callable[[], T]) -> T:
        """Return what `count` returns; it is called for the first function that asks only."""
        if key not in self._counted:
            self._counted[key] = count()
        return cast(T, self._counted[key])

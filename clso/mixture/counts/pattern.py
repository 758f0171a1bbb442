r"""Which earlier tokens a count-based model looks at, and how its name is written.

Notation: an element (o, m) is the token o positions before the next token (o = 1: the last
token), seen as its class under the map m, or as itself without a map. A pattern is a tuple of
elements e_1 .. e_n, the most important first. Its context of length k is h_k = (e_1 .. e_k).
Backing off from h_k drops e_k.

A pattern is written `kn(1,2,3)`: the last three tokens. A class map follows its offset after a
colon, as in `kn(1,2:k64)`. A map after an arrow, as in `kn(1:k64->k64)`, is a class target: first
the class of the next token is predicted, then the token within its class. `kn()` has no context.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from clso.errors import ConfigError
from clso.mixture.text import CLASS_MAP_NAME

__all__ = ["Counted", "Element", "Pattern"]

_ELEMENT: Final = re.compile(rf"([1-9][0-9]*)(?::({CLASS_MAP_NAME.pattern}))?")
_PATTERN: Final = re.compile(rf"kn\(([^()>]*?)(?:->({CLASS_MAP_NAME.pattern}))?\)")
_REMEDY: Final = "write a pattern as kn(1,2), kn(1,3:k64) or kn(1:k64->k64)"


@runtime_checkable
class Counted(Protocol):
    """The settings of a function that Kneser-Ney models belong to."""

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The patterns of the models."""


@dataclass(frozen=True)
class Element:
    """One earlier token of a context.

    Args:
        offset: its distance to the next token, 1 or more.
        classes: the class map that the token is seen through; `None`: the token itself.

    Raises:
        ConfigError: the offset is below 1, or the name of the map has other characters than
            letters, digits, dots and underscores.
    """

    offset: int
    classes: str | None = None

    def __post_init__(self) -> None:
        if self.offset < 1:
            raise ConfigError(
                f"a context element has offset {self.offset}, expected 1 or more",
                remedy="offset 1 is the last token before the token that is predicted",
            )
        _check_map_name(self.classes)

    def __str__(self) -> str:
        return f"{self.offset}" if self.classes is None else f"{self.offset}:{self.classes}"


@dataclass(frozen=True)
class Pattern:
    """The context elements of a model, the most important first.

    Args:
        elements: e_1 .. e_n; none for a unigram. The same offset may stand twice, first with a
            class map and then without (`kn(1:k64,1)`): the token backs off to its class.
        target: the class map m of a class target, p(y | h) = p(m(y) | h) p(y | m(y)); `None`:
            tokens are predicted directly.

    Raises:
        ConfigError: an element follows from an earlier element.
    """

    elements: tuple[Element, ...] = ()
    target: str | None = None

    def __post_init__(self) -> None:
        _check_map_name(self.target)
        for index, element in enumerate(self.elements):
            same_or_finer = {element, Element(element.offset)}
            if same_or_finer & set(self.elements[:index]):
                raise ConfigError(
                    f"the pattern {self.name} has {element} after an element that determines it",
                    remedy="leave it out, or name the class map before the token itself",
                )

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read the name of a pattern; spaces do not matter.

        Raises:
            ConfigError: the text is not the name of a pattern, or the pattern is not valid.
        """
        compact = re.sub(r"\s", "", text)
        match = _PATTERN.fullmatch(compact)
        if match is None:
            raise ConfigError(f"{text!r} is not a pattern of counts", remedy=_REMEDY)
        elements = []
        for part in match[1].split(",") if match[1] else []:
            element = _ELEMENT.fullmatch(part)
            if element is None:
                raise ConfigError(f"{part!r} in {text!r} is not a context element", remedy=_REMEDY)
            elements.append(Element(int(element[1]), element[2]))
        return cls(tuple(elements), match[2])

    @classmethod
    def contiguous(cls, n: int) -> Pattern:
        """Return the pattern of the last `n` tokens, an (n + 1)-gram model."""
        return cls(tuple(Element(offset) for offset in range(1, n + 1)))

    @property
    def is_contiguous(self) -> bool:
        """Whether this is a plain n-gram pattern: the last n tokens and no classes."""
        return self == Pattern.contiguous(len(self.elements))

    @property
    def name(self) -> str:
        """The canonical name; two patterns are equal exactly if their names are equal."""
        return f"kn({self._prefix_name(len(self.elements))}{self._target_name})"

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The pattern itself; see `Counted`."""
        return (self,)

    @property
    def context_names(self) -> list[str]:
        """The names of the tables of contexts of length 1 .. n (`clso.mixture.counts.tables`)."""
        lengths = range(1, len(self.elements) + 1)
        return [f"contexts({self._prefix_name(length)})" for length in lengths]

    @property
    def count_names(self) -> list[str]:
        """The names of the tables of counts after contexts of length 0 .. n."""
        dropped = [*(f"|{element}" for element in self.elements), ""]
        return [
            f"counts({self._prefix_name(length)}{element}{self._target_name})"
            for length, element in enumerate(dropped)
        ]

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps that the pattern needs."""
        names = {element.classes for element in self.elements} | {self.target}
        return frozenset(name for name in names if name is not None)

    def _prefix_name(self, length: int) -> str:
        return ",".join(map(str, self.elements[:length]))

    @property
    def _target_name(self) -> str:
        return "" if self.target is None else f"->{self.target}"


def _check_map_name(name: str | None) -> None:
    if name is not None and CLASS_MAP_NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} cannot name a class map", remedy="use letters, digits, dots and _"
        )

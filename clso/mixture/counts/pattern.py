r"""What a count-based predictor looks at: a few places before the next token, in order of weight.

Notation: an element (o, m) is the token o places before the next one (o = 1: the last token), or
that token's class under the map m; a pattern is a tuple of elements e_1 .. e_n, most important
first. Its k-th context is h_k = (e_1 .. e_k); backing off from h_k drops e_k.

A pattern is written `kn(1,2,3)`; a class map follows its offset after a colon, `kn(1,2:k64)`; a
map that the *next* token is first predicted through follows an arrow, `kn(1:k64->k64)`; `kn()`
looks at nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clso.errors import ConfigError

__all__ = ["Element", "Pattern"]

_CLASSES: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_ELEMENT: Final = re.compile(rf"([1-9][0-9]*)(?::({_CLASSES.pattern}))?")
_PATTERN: Final = re.compile(rf"kn\(([^()>]*?)(?:->({_CLASSES.pattern}))?\)")
_REMEDY: Final = "write a pattern as kn(1,2), kn(1,3:k64) or kn(1:k64->k64)"


@dataclass(frozen=True)
class Element:
    """One place of the context.

    Args:
        offset: how many places before the next token, 1 or more.
        classes: the class map that the token there is seen through; `None`: the token itself.

    Raises:
        ConfigError: the offset is below 1, or the map's name is not a word.
    """

    offset: int
    classes: str | None = None

    def __post_init__(self) -> None:
        if self.offset < 1:
            raise ConfigError(
                f"a context element has offset {self.offset}, expected 1 or more",
                remedy="offset 1 is the last token before the one that is predicted",
            )
        _check_classes(self.classes)

    def __str__(self) -> str:
        return f"{self.offset}" if self.classes is None else f"{self.offset}:{self.classes}"


@dataclass(frozen=True)
class Pattern:
    """The context elements of a predictor, most important first.

    Args:
        elements: e_1 .. e_n, none for a unigram. A place may be seen through a map and then
            again itself (`kn(1:k64,1)`), so that a token backs off to its class.
        target: the class map that the next token is predicted through:
            p(y | h) = p(c(y) | h) p(y | c(y)); `None`: the token itself.

    Raises:
        ConfigError: an element says nothing that an earlier one has not said.
    """

    elements: tuple[Element, ...] = ()
    target: str | None = None

    def __post_init__(self) -> None:
        _check_classes(self.target)
        for place, element in enumerate(self.elements):
            known = {element, Element(element.offset)}
            if known & set(self.elements[:place]):
                raise ConfigError(
                    f"the pattern {self.name} has {element} after an element that determines it",
                    remedy="leave it out, or name the class map before the token itself",
                )

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern's name, as `name` writes it; spaces do not matter.

        Raises:
            ConfigError: the text is no pattern, or the pattern repeats itself.
        """
        compact = re.sub(r"\s", "", text)
        whole = _PATTERN.fullmatch(compact)
        if whole is None:
            raise ConfigError(f"{text!r} is not a pattern of counts", remedy=_REMEDY)
        elements = []
        for part in whole[1].split(",") if whole[1] else []:
            match = _ELEMENT.fullmatch(part)
            if match is None:
                raise ConfigError(f"{part!r} in {text!r} is not a context element", remedy=_REMEDY)
            elements.append(Element(int(match[1]), match[2]))
        return cls(tuple(elements), whole[2])

    @classmethod
    def contiguous(cls, n: int) -> Pattern:
        """Return the pattern of the last `n` tokens, an (n + 1)-gram model."""
        return cls(tuple(Element(offset) for offset in range(1, n + 1)))

    @property
    def name(self) -> str:
        """The canonical name; two patterns are equal exactly if their names are."""
        return f"kn({label(self.elements)}{arrow(self.target)})"

    @property
    def is_contiguous(self) -> bool:
        """Whether this is a plain n-gram pattern: the last n tokens and no classes."""
        return self == Pattern.contiguous(len(self.elements))

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps involved."""
        names = {element.classes for element in self.elements} | {self.target}
        return frozenset(name for name in names if name is not None)


def label(elements: Sequence[Element]) -> str:
    """Return elements as a pattern's name has them."""
    return ",".join(map(str, elements))


def arrow(target: str | None) -> str:
    """Return a class target as a pattern's name has it."""
    return "" if target is None else f"->{target}"


def _check_classes(name: str | None) -> None:
    if name is not None and _CLASSES.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} cannot name a class map", remedy="use letters, digits, dots and _"
        )

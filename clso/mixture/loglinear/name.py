"""How a log-linear function is written: `loglinear(k128)` predicts the classes k128 first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from clso.errors import ConfigError
from clso.mixture.counts import Pattern
from clso.mixture.text import CLASS_MAP_NAME

__all__ = ["LogLinearName"]

_CALL: Final = re.compile(r"loglinear\(([^()]*)\)")
# Contexts of the models that predict tokens. The last tokens are seen themselves, or through a map
# that merges tokens by both neighbours, or through one by the next token.
_TOKEN_CONTEXTS: Final = ("1,2,3", "2,3", "1:k64,2:k64,3:k64,4:k64", "1:s128,2:s128,3:s128,4:s128")
# Contexts of the models that predict classes; {0} is the map of these classes.
_CLASS_CONTEXTS: Final = (
    "1",
    "1,2",
    "2,3",
    "1:{0},2:{0},3:{0},4:{0}",
    "1:k64,2:k64,3:k64,4:k64",
    "1:s128,2:s128,3:s128,4:s128",
    "1:k32,2:k32,3:k32,4:k32,5:k32",
)


@dataclass(frozen=True)
class LogLinearName:
    """The settings of a log-linear function.

    Args:
        classes: the class map whose classes are predicted first.

    Raises:
        ConfigError: the name of the class map is not a word.
    """

    classes: str

    def __post_init__(self) -> None:
        if CLASS_MAP_NAME.fullmatch(self.classes) is None:
            raise ConfigError(
                f"{self.name!r} names no class map", remedy="write it as loglinear(k128)"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name.

        Raises:
            ConfigError: it is not written as this module says.
        """
        call = _CALL.fullmatch(text)
        if call is None:
            raise ConfigError(
                f"{text!r} is no log-linear function", remedy="write it as loglinear(k128)"
            )
        return cls(call[1])

    @property
    def name(self) -> str:
        """The canonical name."""
        return f"loglinear({self.classes})"

    @cached_property
    def class_patterns(self) -> tuple[Pattern, ...]:
        """The models that predict the class, each once."""
        contexts = dict.fromkeys(context.format(self.classes) for context in _CLASS_CONTEXTS)
        return tuple(Pattern.parse(f"kn({context}->{self.classes})") for context in contexts)

    @cached_property
    def token_patterns(self) -> tuple[Pattern, ...]:
        """The models that predict the token."""
        return tuple(Pattern.parse(f"kn({context})") for context in _TOKEN_CONTEXTS)

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """All that is counted: the models, and how often each token occurs."""
        return (Pattern(), *self.class_patterns, *self.token_patterns)

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps that the function needs."""
        return frozenset[str]().union(*(pattern.class_names for pattern in self.patterns))

"""How a function of words is written, and the names of its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from clso.errors import ConfigError

__all__ = ["LAST_TOKENS", "LETTERS", "WordName"]

LETTERS: Final = "letters"
"""The class map that says which tokens are letters."""
LAST_TOKENS: Final = 3
"""The first context elements are so many last tokens."""
_NAME: Final = re.compile(r"word\(((?:[1-8](?:,[1-8])*)?)\)")


@dataclass(frozen=True)
class WordName:
    """The parsed name of a function: which words before the current one it knows, 1 the last."""

    words: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> WordName:
        """Read a name without spaces.

        Raises:
            ConfigError: it is not a name such as `word(1,2)`.
        """
        match = _NAME.fullmatch(text)
        words = tuple(map(int, match[1].split(","))) if match and match[1] else ()
        if match is None or len(set(words)) < len(words):
            raise ConfigError(
                f"{text!r} is no function of words",
                remedy="write word(), word(1) or word(2,1): different words before the current "
                "one, 8 at most",
            )
        return cls(words)

    @property
    def name(self) -> str:
        """The canonical name."""
        return f"word({','.join(map(str, self.words))})"

    @property
    def class_names(self) -> frozenset[str]:
        """The class map that the function needs."""
        return frozenset({LETTERS})

    @property
    def elements(self) -> tuple[str, ...]:
        """The names of the context elements, the most important first."""
        tokens = [str(offset) for offset in range(1, LAST_TOKENS + 1)]
        return (*tokens, "w0", *(f"w{word}" for word in self.words))

    @property
    def context_names(self) -> list[str]:
        """The names of the tables that lead to contexts of length 1, 2, ..."""
        lengths = range(1, len(self.elements) + 1)
        return [f"word-contexts({','.join(self.elements[:length])})" for length in lengths]

    @property
    def count_names(self) -> list[str]:
        """The names of the tables of counts after contexts of length 0, 1, 2, ..."""
        dropped = [*(f"|{element}" for element in self.elements), ""]
        return [
            f"word-counts({','.join(self.elements[:length])}{element})"
            for length, element in enumerate(dropped)
        ]

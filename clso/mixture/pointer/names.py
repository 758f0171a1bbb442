"""How functions of the block are written: a kind with its settings, such as `cache(32,idf=0.5)`.

    cache(HALF[,idf=I])                         recent tokens; a weight halves every HALF tokens
    gated(CLASSES[,half=H][,idf=I][,power=P])   a cache weighted by the class of the last token
    induction(LENGTH[,decay=D])                 what followed the last LENGTH tokens before
    product(CLASSES[,via=CLASSES][,adapt=A])    classes, from the last five tokens and the block

The defaults are half=inf, idf=0, power=1, decay=0.9, adapt=0.5, and for `via` the first class map.
A canonical name leaves settings at their defaults out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Final, NamedTuple, Self

from clso.errors import ConfigError
from clso.mixture.text import CLASS_MAP_NAME

__all__ = ["CacheName", "GatedName", "InductionName", "PointerName", "ProductName"]

_CALL: Final = re.compile(r"([a-z]+)\(([^()]*)\)")
_REMEDY: Final = (
    "write a pointer as cache(32,idf=0.5), gated(k128,half=60,idf=0.3,power=1), "
    "induction(2,decay=0.9) or product(k256,via=k128,adapt=0.5)"
)


class _Rule(NamedTuple):
    """Which values a setting may have: its name and the expectation, for messages, and a test."""

    setting: str
    expected: str
    holds: Callable[[Any], object]


_HALF_LIFE = _Rule("half-life", "a number above 0, or inf", lambda value: value > 0)
_IDF = _Rule("idf", "a number from 0", lambda value: 0 <= value < math.inf)
_POWER = _Rule("power", "a number above 0, up to 8", lambda value: 0 < value <= 8)
_LENGTH = _Rule("length", "1 to 16", lambda value: 1 <= value <= 16)
_DECAY = _Rule("decay", "a number above 0, up to 1", lambda value: 0 < value <= 1)
_ADAPT = _Rule("adapt", "0 to 1", lambda value: 0 <= value <= 1)
_CLASS_MAP = _Rule("class map", "a word", CLASS_MAP_NAME.fullmatch)


def _setting(rule: _Rule, key: str = "", default: object = MISSING) -> Any:  # noqa: ANN401
    """Return a field; with a key it is written `key=value`, and left out at its default."""
    return field(default=default, metadata={"rule": rule, "key": key})


@dataclass(frozen=True)
class PointerName:
    """The settings of a function, read from its name and written as its canonical name.

    A subclass is one kind of function. Its first field is the first setting in the parentheses,
    and the others are options.

    Raises:
        ConfigError: a setting is out of range, or the name of a class map is not a word.
    """

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        for setting in fields(self):
            rule, value = setting.metadata["rule"], getattr(self, setting.name)
            if not rule.holds(value):
                raise ConfigError(
                    f"a pointer has {rule.setting} {value!r}, expected {rule.expected}",
                    remedy=_REMEDY,
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name; spaces do not matter.

        Raises:
            ConfigError: it is not written as this module says, or a setting is out of range.
        """
        call = _CALL.fullmatch(text.replace(" ", ""))
        if call is None or call[1] != cls.kind:
            raise ConfigError(f"{text!r} is no pointer of the kind {cls.kind!r}", remedy=_REMEDY)
        first_text, *option_texts = call[2].split(",")
        first, *optional = fields(cls)
        options = {option.metadata["key"]: option for option in optional}
        settings = {first.name: _value(text, first, first_text)}
        for option_text in option_texts:
            key, equals, value = option_text.partition("=")
            if not equals or key not in options or options[key].name in settings:
                raise ConfigError(
                    f"{text!r}: {option_text!r} is not one of {', '.join(options)}, each once",
                    remedy=_REMEDY,
                )
            settings[options[key].name] = _value(text, options[key], value)
        return cls(**settings)

    @property
    def name(self) -> str:
        """The canonical name; two functions are equal exactly if their names are equal."""
        first, *optional = fields(self)
        parts = [_written(getattr(self, first.name))]
        for option in optional:
            value = getattr(self, option.name)
            if value != self._default(option):
                parts.append(f"{option.metadata['key']}={_written(value)}")
        return f"{self.kind}({','.join(parts)})"

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps that the function needs."""
        maps = [option for option in fields(self) if option.metadata["rule"] is _CLASS_MAP]
        return frozenset(getattr(self, option.name) for option in maps)

    def _default(self, option: Field[Any]) -> object:
        return option.default


@dataclass(frozen=True)
class CacheName(PointerName):
    """A recency cache.

    Args:
        half_life: the number of tokens after which a weight has halved; `inf`: it stays.
        idf: weights are divided by p(token) to this power.
    """

    kind = "cache"

    half_life: float = _setting(_HALF_LIFE)
    idf: float = _setting(_IDF, "idf", 0.0)


@dataclass(frozen=True)
class GatedName(PointerName):
    """A cache gated by how likely the class of a token is after the class of the last token.

    Args:
        classes: the class map.
        half_life: the number of tokens after which a weight has halved; `inf`: it stays.
        idf: weights are divided by p(token) to this power.
        power: the exponent of the lift.
    """

    kind = "gated"

    classes: str = _setting(_CLASS_MAP)
    half_life: float = _setting(_HALF_LIFE, "half", math.inf)
    idf: float = _setting(_IDF, "idf", 0.0)
    power: float = _setting(_POWER, "power", 1.0)


@dataclass(frozen=True)
class InductionName(PointerName):
    """The continuations of earlier occurrences of the last tokens.

    Args:
        length: the number of last tokens that must be equal.
        decay: the factor of a weight per token of distance; 1: all occurrences weigh the same.
    """

    kind = "induction"

    length: int = _setting(_LENGTH)
    decay: float = _setting(_DECAY, "decay", 0.9)


@dataclass(frozen=True)
class ProductName(PointerName):
    """A product of what the last five tokens and the block say of the class of the next token.

    Args:
        classes: the map whose classes are predicted.
        via: the map that the last tokens but one are seen through; empty: `classes`.
        adapt: the exponent of the block's class counts.
    """

    kind = "product"

    classes: str = _setting(_CLASS_MAP)
    via: str = _setting(_CLASS_MAP, "via", "")
    adapt: float = _setting(_ADAPT, "adapt", 0.5)

    def __post_init__(self) -> None:
        if not self.via:
            object.__setattr__(self, "via", self.classes)
        super().__post_init__()

    def _default(self, option: Field[Any]) -> object:
        return self.classes if option.name == "via" else option.default


def _value(name: str, setting: Field[Any], text: str) -> str | int | float:
    """Read one setting of a name."""
    rule = setting.metadata["rule"]
    if (rule is _CLASS_MAP and not text) or (
        rule is _LENGTH and not re.fullmatch("[0-9]{1,9}", text)
    ):
        raise ConfigError(
            f"a pointer has {rule.setting} {text!r}, expected {rule.expected}", remedy=_REMEDY
        )
    if rule is _CLASS_MAP:
        return text
    if rule is _LENGTH:
        return int(text)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ConfigError(f"{name!r}: {text!r} is no number", remedy=_REMEDY)
    return number


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else repr(float(value)).removesuffix(".0")

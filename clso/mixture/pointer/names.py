"""How pointers are written: a kind and its settings, such as `cache(32,idf=0.5)`.

    cache(HALF[,idf=I])                             a cache; HALF tokens halve a weight, or inf
    gated(CLASSES[,half=H][,idf=I][,power=P])       cache whose candidates must fit the last token
    induction(LENGTH[,decay=D])                     what followed the last LENGTH tokens before
    product(CLASSES[,via=CLASSES][,adapt=A])        classes by the last five tokens and the block

Settings left out are half=inf, idf=0, power=1, decay=0.9, via the same classes and adapt=0.5. A
canonical name leaves defaults out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from clso.errors import ConfigError

__all__ = ["CacheName", "GatedName", "InductionName", "PointerName", "ProductName"]

_CALL: Final = re.compile(r"([a-z]+)\(([^()]*)\)")
_CLASSES: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_REMEDY: Final = (
    "write a pointer as cache(32,idf=0.5), gated(k128,half=60,idf=0.3,power=1), "
    "induction(2,decay=0.9) or product(k256,via=k128,adapt=0.5)"
)


def _check(good: bool, setting: str, value: object, expected: str) -> None:
    if not good:
        raise ConfigError(f"a pointer has {setting} {value}, expected {expected}", remedy=_REMEDY)


def _check_weights(half_life: float, idf: float) -> None:
    _check(half_life > 0, "half-life", half_life, "a number above 0, or inf")
    _check(0 <= idf < math.inf, "idf", idf, "a number from 0")


@dataclass(frozen=True)
class CacheName:
    """A recency cache.

    Args:
        half_life: tokens that halve a weight; `inf`: none do.
        idf: weights are divided by p(token) to this power.

    Raises:
        ConfigError: a setting is out of range.
    """

    half_life: float
    idf: float = 0.0

    def __post_init__(self) -> None:
        _check_weights(self.half_life, self.idf)

    @classmethod
    def parse(cls, text: str) -> CacheName:
        """Read a name.

        Raises:
            ConfigError: it is not written as this module says, or a setting is out of range.
        """
        first, rest = _arguments(text, "cache")
        return cls(_number(text, first), **_options(text, rest, {"idf": "idf"}))

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps it needs: none."""
        return frozenset()

    @property
    def name(self) -> str:
        """The canonical name."""
        return _written("cache", _plain(self.half_life), idf=(self.idf, 0.0))


@dataclass(frozen=True)
class GatedName:
    """A cache gated by how well a candidate's class follows the last token's.

    Args:
        classes: name of the class map.
        half_life: tokens that halve a weight; `inf`: none do.
        idf: weights are divided by p(token) to this power.
        power: the lift is raised to it.

    Raises:
        ConfigError: a setting is out of range, or the map's name is not a word.
    """

    classes: str
    half_life: float = math.inf
    idf: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        _check(bool(_CLASSES.fullmatch(self.classes)), "class map", repr(self.classes), "a word")
        _check_weights(self.half_life, self.idf)
        _check(0 < self.power <= 8, "power", self.power, "a number above 0, up to 8")

    @classmethod
    def parse(cls, text: str) -> GatedName:
        """Read a name.

        Raises:
            ConfigError: it is not written as this module says, or a setting is out of range.
        """
        first, rest = _arguments(text, "gated")
        keys = {"half": "half_life", "idf": "idf", "power": "power"}
        return cls(first, **_options(text, rest, keys))

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps it needs."""
        return frozenset({self.classes})

    @property
    def name(self) -> str:
        """The canonical name."""
        return _written(
            "gated",
            self.classes,
            half=(self.half_life, math.inf),
            idf=(self.idf, 0.0),
            power=(self.power, 1.0),
        )


@dataclass(frozen=True)
class InductionName:
    """What followed the earlier places where the last tokens were the same.

    Args:
        length: how many last tokens must agree.
        decay: the weight of a place against the next later one; 1: all weigh the same.

    Raises:
        ConfigError: a setting is out of range.
    """

    length: int
    decay: float = 0.9

    def __post_init__(self) -> None:
        _check(1 <= self.length <= 16, "length", self.length, "1 to 16")
        _check(0 < self.decay <= 1, "decay", self.decay, "a number above 0, up to 1")

    @classmethod
    def parse(cls, text: str) -> InductionName:
        """Read a name.

        Raises:
            ConfigError: it is not written as this module says, or a setting is out of range.
        """
        first, rest = _arguments(text, "induction")
        _check(bool(re.fullmatch("[0-9]{1,9}", first)), "length", repr(first), "1 to 16")
        return cls(int(first), **_options(text, rest, {"decay": "decay"}))

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps it needs: none."""
        return frozenset()

    @property
    def name(self) -> str:
        """The canonical name."""
        return _written("induction", str(self.length), decay=(self.decay, 0.9))


@dataclass(frozen=True)
class ProductName:
    """A product of what the last five tokens and the block say of the next class.

    Args:
        classes: name of the map whose classes are predicted.
        via: name of the map that the last tokens but one are seen through.
        adapt: the weight of the block's own classes, 0 to 1.

    Raises:
        ConfigError: a setting is out of range, or a map's name is not a word.
    """

    classes: str
    via: str
    adapt: float = 0.5

    def __post_init__(self) -> None:
        for name in (self.classes, self.via):
            _check(bool(_CLASSES.fullmatch(name)), "class map", repr(name), "a word")
        _check(0 <= self.adapt <= 1, "adapt", self.adapt, "0 to 1")

    @classmethod
    def parse(cls, text: str) -> ProductName:
        """Read a name.

        Raises:
            ConfigError: it is not written as this module says, or a setting is out of range.
        """
        first, rest = _arguments(text, "product")
        via = [option[4:] for option in rest if option.startswith("via=")]
        numbers = [option for option in rest if not option.startswith("via=")]
        if len(via) > 1:
            raise ConfigError(f"{text!r}: via is given {len(via)} times", remedy=_REMEDY)
        options = _options(text, numbers, {"adapt": "adapt"})
        return cls(first, via[0] if via else first, **options)

    @property
    def class_names(self) -> frozenset[str]:
        """The class maps it needs."""
        return frozenset({self.classes, self.via})

    @property
    def name(self) -> str:
        """The canonical name."""
        first = self.classes if self.via == self.classes else f"{self.classes},via={self.via}"
        return _written("product", first, adapt=(self.adapt, 0.5))


PointerName = CacheName | GatedName | InductionName | ProductName


def _arguments(text: str, kind: str) -> tuple[str, list[str]]:
    """Return what stands first in the parentheses, and the options after it."""
    call = _CALL.fullmatch(text.replace(" ", ""))
    if call is None or call[1] != kind:
        raise ConfigError(f"{text!r} is no pointer of the kind {kind!r}", remedy=_REMEDY)
    first, *rest = call[2].split(",")
    return first, rest


def _options(name: str, written: list[str], keys: dict[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for option in written:
        key, equals, value = option.partition("=")
        if not equals or key not in keys or keys[key] in options:
            raise ConfigError(
                f"{name!r}: {option!r} is not one of {', '.join(keys)}, each once",
                remedy=_REMEDY,
            )
        options[keys[key]] = _number(name, value)
    return options


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ConfigError(f"{name!r}: {text!r} is no number", remedy=_REMEDY)
    return number


def _plain(number: float) -> str:
    return repr(float(number)).removesuffix(".0")


def _written(kind: str, first: str, **options: tuple[float, float]) -> str:
    given = [
        f"{key}={_plain(value)}" for key, (value, default) in options.items() if value != default
    ]
    return f"{kind}({','.join([first, *given])})"

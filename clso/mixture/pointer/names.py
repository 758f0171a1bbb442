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
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Final, Self

from clso.errors import ConfigError

__all__ = ["CacheName", "GatedName", "InductionName", "PointerName", "ProductName"]

_CALL: Final = re.compile(r"([a-z]+)\(([^()]*)\)")
_CLASSES: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_REMEDY: Final = (
    "write a pointer as cache(32,idf=0.5), gated(k128,half=60,idf=0.3,power=1), "
    "induction(2,decay=0.9) or product(k256,via=k128,adapt=0.5)"
)


def _option(key: str, default: object) -> Any:  # noqa: ANN401 - a field's default has any type
    """Return a setting that is written `key=value` and left out at its default."""
    return field(default=default, metadata={"key": key})


@dataclass(frozen=True)
class PointerName:
    """The settings of a function, read from its name and written as its canonical name.

    A subclass is one kind of function. Its first field is the first setting in the parentheses,
    and the others are options.
    """

    kind: ClassVar[str]

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
        return frozenset(getattr(self, setting.name) for setting in _class_maps(self))

    def _default(self, option: Field[Any]) -> object:
        return option.default

    def _check(self, setting: str, valid: bool, expected: str) -> None:
        value = getattr(self, setting.replace("-", "_"))
        if not valid:
            raise ConfigError(
                f"a pointer has {setting} {value}, expected {expected}", remedy=_REMEDY
            )

    def __post_init__(self) -> None:
        for setting in _class_maps(self):
            name = getattr(self, setting.name)
            if not _CLASSES.fullmatch(name):
                raise ConfigError(
                    f"a pointer has class map {name!r}, expected a word", remedy=_REMEDY
                )


@dataclass(frozen=True)
class CacheName(PointerName):
    """A recency cache.

    Args:
        half_life: the number of tokens after which a weight has halved; `inf`: it stays.
        idf: weights are divided by p(token) to this power.

    Raises:
        ConfigError: a setting is out of range.
    """

    kind = "cache"

    half_life: float
    idf: float = _option("idf", 0.0)

    def __post_init__(self) -> None:
        self._check("half-life", self.half_life > 0, "a number above 0, or inf")
        self._check("idf", 0 <= self.idf < math.inf, "a number from 0")


@dataclass(frozen=True)
class GatedName(PointerName):
    """A cache gated by how likely the class of a token is after the class of the last token.

    Args:
        classes: the class map.
        half_life: the number of tokens after which a weight has halved; `inf`: it stays.
        idf: weights are divided by p(token) to this power.
        power: the exponent of the lift.

    Raises:
        ConfigError: a setting is out of range, or the name of the map is not a word.
    """

    kind = "gated"

    classes: str
    half_life: float = _option("half", math.inf)
    idf: float = _option("idf", 0.0)
    power: float = _option("power", 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("half-life", self.half_life > 0, "a number above 0, or inf")
        self._check("idf", 0 <= self.idf < math.inf, "a number from 0")
        self._check("power", 0 < self.power <= 8, "a number above 0, up to 8")


@dataclass(frozen=True)
class InductionName(PointerName):
    """The continuations of earlier occurrences of the last tokens.

    Args:
        length: the number of last tokens that must be equal.
        decay: the factor of a weight per token of distance; 1: all occurrences weigh the same.

    Raises:
        ConfigError: a setting is out of range.
    """

    kind = "induction"

    length: int
    decay: float = _option("decay", 0.9)

    def __post_init__(self) -> None:
        self._check("length", 1 <= self.length <= 16, "1 to 16")
        self._check("decay", 0 < self.decay <= 1, "a number above 0, up to 1")


@dataclass(frozen=True)
class ProductName(PointerName):
    """A product of what the last five tokens and the block say of the class of the next token.

    Args:
        classes: the map whose classes are predicted.
        via: the map that the last tokens but one are seen through; empty: `classes`.
        adapt: the exponent of the block's class counts, 0 to 1.

    Raises:
        ConfigError: a setting is out of range, or the name of a map is not a word.
    """

    kind = "product"

    classes: str
    via: str = _option("via", "")
    adapt: float = _option("adapt", 0.5)

    def __post_init__(self) -> None:
        if not self.via:
            object.__setattr__(self, "via", self.classes)
        super().__post_init__()
        self._check("adapt", 0 <= self.adapt <= 1, "0 to 1")

    def _default(self, option: Field[Any]) -> object:
        return self.classes if option.name == "via" else option.default


def _class_maps(settings: PointerName) -> list[Field[Any]]:
    # annotations are strings here; every text setting is the name of a class map
    return [setting for setting in fields(settings) if setting.type == "str"]


def _value(name: str, setting: Field[Any], text: str) -> str | int | float:
    """Read one setting of a name."""
    if setting.type == "str":
        return text
    if setting.type == "int":
        if not re.fullmatch("[0-9]{1,9}", text):
            raise ConfigError(
                f"a pointer has {setting.name} {text!r}, expected a whole number", remedy=_REMEDY
            )
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

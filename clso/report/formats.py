"""How numbers are written, in the terminal and in the report alike.

A value of `None` was not measured and is written as a dash. A no-break space holds a number and its
unit together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clso.statistics.paired import Difference

__all__ = [
    "BYTES",
    "COUNT",
    "DURATION",
    "ENERGY",
    "ENERGY_PER_TOKEN",
    "FINE_LOSS",
    "FINE_SHARE",
    "LOSS",
    "NOT_MEASURED",
    "PERPLEXITY",
    "P_VALUE",
    "RATIO",
    "SHARE",
    "LossFormat",
    "NumberFormat",
    "counted",
    "format_source",
    "span",
]

NOT_MEASURED: Final = "\u2014"
_SPACE: Final = "\u00a0"
_MINUS: Final = "\u2212"


@dataclass(frozen=True)
class NumberFormat:
    """How one kind of number is written."""

    write: Callable[[float], str]

    def text(self, value: float | None) -> str:
        """Return a value as text."""
        return NOT_MEASURED if value is None else self.write(value)


@dataclass(frozen=True)
class LossFormat:
    """How losses in nats per token, or bits per byte, and their differences are written."""

    decimals: int

    def text(self, value: float | None) -> str:
        """Return a loss as text."""
        return NOT_MEASURED if value is None else self._write(value, "")

    def signed(self, value: float | None) -> str:
        """Return a difference of losses, with its sign, as text."""
        return NOT_MEASURED if value is None else self._write(value, "+")

    def _write(self, value: float, sign: str) -> str:
        return f"{value:{sign}.{self.decimals}f}".replace("-", _MINUS)

    def interval(self, low: float | None, high: float | None, *, signed: bool = False) -> str:
        """Return both ends of an interval as text."""
        if low is None or high is None:
            return NOT_MEASURED
        return span(*map(self.signed if signed else self.text, (low, high)))

    def difference(self, difference: Difference | None) -> tuple[str, str]:
        """Return a mean difference and its interval as text."""
        if difference is None:
            return NOT_MEASURED, ""
        interval = self.interval(difference.low, difference.high, signed=True)
        return self.signed(difference.mean), interval


def span(low: str, high: str) -> str:
    """Return the ends of an interval as text that breaks in a narrow column after its `to`."""
    return f"{low}{_SPACE}to {high}"


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, which has an s unless the number is one: `1 seed`."""
    return f"{COUNT.text(number)} {noun}{'' if number == 1 else 's'}"


def format_source(source: str | None, estimated: bool | None) -> str:
    """Name the meter of an energy, and say so if it estimates."""
    if source is None:
        return "not measured"
    return f"{source}, estimated" if estimated else source


def _perplexity(value: float) -> str:
    if not math.isfinite(value) or value >= 1e9:
        return f"{value:.2e}" if math.isfinite(value) else "∞"
    decimals = 2 if value < 100 else 1 if value < 1000 else 0
    return f"{value:,.{decimals}f}"


def _share(value: float) -> str:
    percent = 100 * value
    if 0 < percent < 0.1:
        return f"<{_SPACE}0.1{_SPACE}%"
    decimals = 0 if percent >= 10 or percent == 0 else 1
    return f"{percent:.{decimals}f}{_SPACE}%"


def _fine_share(value: float) -> str:
    percent = 100 * value
    return f"{percent:,.{1 if percent < 100 else 0}f}{_SPACE}%"


def _ratio(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    decimals = 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


def _scaled(value: float, *units: str) -> str:
    for unit in units[:-1]:
        if abs(value) < 999.5:
            return f"{value:.3g}{_SPACE}{unit}"
        value /= 1000
    figures = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{figures}{_SPACE}{units[-1]}"


def _energy(value: float) -> str:
    if 0 < value < 0.0995:
        return f"{1000 * value:.3g}{_SPACE}mJ" if value >= 1e-3 else f"<1{_SPACE}mJ"
    return _scaled(value, "J", "kJ", "MJ", "GJ")


def _duration(value: float) -> str:
    if value < 0.9995:
        return f"{1000 * value:.0f}{_SPACE}ms"
    if value < 59.95:
        return f"{value:.1f}{_SPACE}s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min {seconds}{_SPACE}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_SPACE}h {minutes}{_SPACE}min"


LOSS: Final = LossFormat(3)
FINE_LOSS: Final = LossFormat(4)  # differences between searches are small
PERPLEXITY: Final = NumberFormat(_perplexity)
COUNT: Final = NumberFormat("{:,.0f}".format)
SHARE: Final = NumberFormat(_share)  # of one, in percent
FINE_SHARE: Final = NumberFormat(_fine_share)  # beside others, or with an interval
RATIO: Final = NumberFormat(_ratio)
P_VALUE: Final = NumberFormat(lambda value: "<0.001" if value < 0.001 else f"{value:.3f}")
ENERGY: Final = NumberFormat(_energy)  # joules
ENERGY_PER_TOKEN: Final = NumberFormat(lambda value: _scaled(1e6 * value, "µJ", "mJ", "J"))
BYTES: Final = NumberFormat(lambda value: _scaled(value, "B", "kB", "MB", "GB"))
DURATION: Final = NumberFormat(_duration)  # seconds

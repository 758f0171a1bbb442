"""How numbers are written, in the terminal and in the report alike."""

from __future__ import annotations

import math

from clso.statistics.paired import Difference

__all__ = [
    "NOT_MEASURED",
    "format_bytes",
    "format_count",
    "format_difference",
    "format_duration",
    "format_energy",
    "format_interval",
    "format_loss",
    "format_p",
    "format_perplexity",
    "format_ratio",
    "format_share",
    "format_source",
]

NOT_MEASURED = "\u2014"
_SPACE = "\u00a0"  # keeps a number and its unit on one line
_MINUS = "\u2212"


def format_loss(value: float | None, *, signed: bool = False, decimals: int = 3) -> str:
    """Nats per token (or bits per byte), three decimals unless more are asked for."""
    if value is None:
        return NOT_MEASURED
    return f"{value:{'+' if signed else ''}.{decimals}f}".replace("-", _MINUS)


def format_interval(
    low: float | None, high: float | None, *, signed: bool = False, decimals: int = 3
) -> str:
    """Both ends of an interval."""
    if low is None or high is None:
        return NOT_MEASURED
    ends = (format_loss(end, signed=signed, decimals=decimals) for end in (low, high))
    return " to ".join(ends)


def format_difference(difference: Difference | None, decimals: int = 4) -> tuple[str, str]:
    """A mean difference with its sign, and its interval."""
    if difference is None:
        return NOT_MEASURED, ""
    ends = (difference.low, difference.high)
    mean = format_loss(difference.mean, signed=True, decimals=decimals)
    return mean, format_interval(*ends, signed=True, decimals=decimals)


def format_p(value: float | None) -> str:
    """The p of a test, to three decimals."""
    if value is None:
        return NOT_MEASURED
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_perplexity(value: float | None) -> str:
    """Four figures where there are decimals, else whole numbers."""
    if value is None:
        return NOT_MEASURED
    if not math.isfinite(value) or value >= 1e9:
        return f"{value:.2e}" if math.isfinite(value) else "∞"
    decimals = 2 if value < 100 else 1 if value < 1000 else 0
    return f"{value:,.{decimals}f}"


def format_count(value: int | None) -> str:
    """A whole number with separators."""
    return NOT_MEASURED if value is None else f"{value:,}"


def format_share(value: float | None) -> str:
    """A share of one as percent."""
    if value is None:
        return NOT_MEASURED
    percent = 100 * value
    if 0 < percent < 0.1:
        return f"<{_SPACE}0.1{_SPACE}%"
    decimals = 0 if percent >= 10 or percent == 0 else 1
    return f"{percent:.{decimals}f}{_SPACE}%"


def format_ratio(value: float) -> str:
    """How many times, to three figures."""
    if value >= 100:
        return f"{value:,.0f}"
    decimals = 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{decimals}f}"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if abs(value) < 999.5:
            return f"{value:.3g}{_SPACE}{unit}"
        value /= 1000
    figures = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{figures}{_SPACE}{units[-1]}"


def format_energy(energy_j: float | None, *, per_token: bool = False) -> str:
    """Joules to three figures; per token from microjoules on, else from millijoules on."""
    if energy_j is None:
        return NOT_MEASURED
    if per_token:
        return _scaled(1e6 * energy_j, ("µJ", "mJ", "J"))
    if 0 < energy_j < 0.0995:
        return f"{1000 * energy_j:.3g}{_SPACE}mJ" if energy_j >= 1e-3 else f"<1{_SPACE}mJ"
    return _scaled(energy_j, ("J", "kJ", "MJ", "GJ"))


def format_bytes(size_bytes: int | None) -> str:
    """Bytes in steps of 1000, to three figures."""
    return NOT_MEASURED if size_bytes is None else _scaled(size_bytes, ("B", "kB", "MB", "GB"))


def format_duration(duration_s: float | None) -> str:
    """Milliseconds, seconds, minutes or hours."""
    if duration_s is None:
        return NOT_MEASURED
    if duration_s < 0.9995:
        return f"{1000 * duration_s:.0f}{_SPACE}ms"
    if duration_s < 59.95:
        return f"{duration_s:.1f}{_SPACE}s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min {seconds}{_SPACE}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_SPACE}h {minutes}{_SPACE}min"


def format_source(source: str | None, estimated: bool | None) -> str:
    """Name the meter, and say so if it estimates."""
    if source is None:
        return "not measured"
    return f"{source}, estimated" if estimated else source

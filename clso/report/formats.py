"""How numbers are written, in the terminal and in the report alike."""

from __future__ import annotations

import math

__all__ = [
    "MODEL_LABELS",
    "NOT_MEASURED",
    "format_bytes",
    "format_count",
    "format_duration",
    "format_energy",
    "format_energy_per_token",
    "format_interval",
    "format_loss",
    "format_p",
    "format_perplexity",
    "format_power",
    "format_ratio",
    "format_share",
    "format_source",
    "model_label",
]

NOT_MEASURED = "\u2014"
_SPACE = "\u00a0"  # keeps a number and its unit on one line
_MINUS = "\u2212"

MODEL_LABELS = {
    "uniform": "uniform",
    "unigram": "unigram",
    "bigram": "bigram",
    "gpt": "crystalline GPT",
    "mixture": "crystalline mixture",
    "adamw": "AdamW GPT-2",
    "warm_start": "AdamW, warm start",
    "hybrid": "hybrid",
}


def model_label(name: str) -> str:
    """Return a model's name as people say it."""
    return MODEL_LABELS.get(name, name)


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


def format_energy(energy_j: float | None) -> str:
    """Millijoules to gigajoules, to three figures."""
    if energy_j is None:
        return NOT_MEASURED
    if 0 < energy_j < 0.0995:
        return f"{1000 * energy_j:.3g}{_SPACE}mJ" if energy_j >= 1e-3 else f"<1{_SPACE}mJ"
    return _scaled(energy_j, ("J", "kJ", "MJ", "GJ"))


def format_energy_per_token(energy_j_per_token: float | None) -> str:
    """Microjoules to joules, to three figures."""
    if energy_j_per_token is None:
        return NOT_MEASURED
    return _scaled(1e6 * energy_j_per_token, ("µJ", "mJ", "J"))


def format_power(power_w: float | None) -> str:
    """Watts, one decimal."""
    return NOT_MEASURED if power_w is None else f"{power_w:.1f}{_SPACE}W"


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

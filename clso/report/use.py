"""Joules per token of the models in use, beside the joules of making them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from clso.report.formats import COUNT, ENERGY, ENERGY_PER_TOKEN, format_source
from clso.report.models import Models
from clso.report.table import Table
from clso.statistics.bootstrap import FLOORS

__all__ = ["use_sentences", "use_table"]

Row = Mapping[str, Any]

_USES: Final = {"scoring_j_per_token": "scored", "generation_j_per_token": "written"}


def use_table(results: Sequence[Row], models: Models) -> Table | None:
    """Return a row per model, lowest test loss first; `None` if no use was measured."""
    rows = [row for row in results if any(row[name] is not None for name in _USES)]
    if not rows:
        return None
    sources = {format_source(row["use_energy_source"], row["use_estimated"]) for row in rows}
    table = Table(
        "Energy of making, and of use",
        ["model", "making", "per token scored", "per token written"],
        [
            "Scored: validation and test, many blocks at once. Written: one text, a token after "
            f"the other. Use: {'; '.join(sorted(sources))}."
        ],
    )
    for row in sorted(rows, key=lambda row: row["test_loss"]):
        table.add(
            models.title(row["model"]),
            ENERGY.text(row["energy_j"]),
            *(ENERGY_PER_TOKEN.text(row[name]) for name in _USES),
            emphasis="muted" if row["model"] in FLOORS else "",
        )
    return table


def use_sentences(results: Sequence[Row], models: Models) -> Iterator[str]:
    """Yield, for each rival, how many tokens in use make up for the difference in making."""
    contender = Models.contender(results)
    if contender is None or contender["energy_j"] is None:
        return
    for rival in Models.rivals(results):
        told = [
            sentence
            for name, done in _USES.items()
            if (sentence := _break_even(contender, rival, name, done, models)) is not None
        ]
        if told:
            yield f"Making and use together, against {models.subject(rival['model'])}: " + (
                "; ".join(told) + "."
            )


def _break_even(a: Row, b: Row, name: str, done: str, models: Models) -> str | None:
    """Say at how many tokens the joules of two models, of making and one use, are equal.

    `None` if a figure is missing or the meters differ.
    """
    sources = {row[source] for row in (a, b) for source in ("energy_source", "use_energy_source")}
    if len(sources) > 1 or None in (a[name], b[name], a["energy_j"], b["energy_j"]):
        return None
    made_j, used_j = b["energy_j"] - a["energy_j"], a[name] - b[name]
    first, second = (models.subject(row["model"]) for row in (a, b))
    if made_j * used_j <= 0:
        cheaper = first if made_j > 0 or used_j < 0 else second
        return f"{cheaper} takes less, however many tokens are {done}"
    cheaper = first if made_j > 0 else second
    tokens = COUNT.text(float(f"{made_j / used_j:.3g}"))
    return f"{cheaper} takes less up to {tokens} tokens {done}"

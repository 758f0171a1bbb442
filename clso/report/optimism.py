"""How much better a search's winner looked on its fixed batches than on text it did not choose by.

A winner is the lowest of many losses on the same batches, so its own is too low to be true: what
was luck there does not come again. The difference also holds what the splits differ in by
themselves, for which a model that was searched for nothing, the unigram, stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clso.report.formats import format_loss

__all__ = ["optimism_sentence", "winners_optimism"]

_YARDSTICK = "unigram"


def winners_optimism(
    best: Mapping[str, Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """Return, per family, the winner's losses from the search to test, and how far they rise.

    Args:
        best: a manifest's `best`.
        results: rows of the results table.

    Returns:
        `search_loss` (fixed batches), `validation_loss`, `test_loss`, nats per token;
        `validation_minus_search`, `test_minus_search`; `None` = not measured. Families without a
        result are left out.
    """
    rows = {row["model"]: row for row in results}
    found = {}
    for family, winner in best.items():
        if family not in rows or winner.get("search_loss") is None:
            continue
        search = float(winner["search_loss"])
        losses = {name: rows[family][name] for name in ("validation_loss", "test_loss")}
        found[family] = {
            "search_loss": search,
            **losses,
            "validation_minus_search": _rise(search, losses["validation_loss"]),
            "test_minus_search": _rise(search, losses["test_loss"]),
        }
    return found


def optimism_sentence(
    best: Mapping[str, Mapping[str, Any]], results: Sequence[Mapping[str, Any]], family: str
) -> str:
    """Say how far the winner's loss rises from the search to test; empty without a winner."""
    found = winners_optimism(best, results).get(family)
    if found is None:
        return ""
    sentence = (
        f"From the search's batches to the whole validation split it changes by "
        f"{format_loss(found['validation_minus_search'], signed=True)}, to the test split by "
        f"{format_loss(found['test_minus_search'], signed=True)}: above 0, the winner looked too "
        "good."
    )
    yardstick = next((row for row in results if row["model"] == _YARDSTICK), None)
    if yardstick is not None and yardstick["validation_loss"] is not None:
        own = format_loss(yardstick["test_loss"] - yardstick["validation_loss"], signed=True)
        sentence += (
            f" The splits differ by themselves: from validation to test the {_YARDSTICK}, which "
            f"no search chose, changes by {own}."
        )
    if family == "mixture":
        sentence += (
            " The kept mixture has counted tune too, which the searched one had not; that lowers "
            "its later losses."
        )
    return sentence


def _rise(before: float, after: float | None) -> float | None:
    return None if after is None else after - before

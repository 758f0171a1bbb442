"""What a run's result comes to in words, computed from its tables and from nothing else.

The verdict is the tables', whoever wins: an interval that contains zero is no difference, and a
model that does not beat counting is said not to. Floors are held to the same rule: one model
beats the other only where the paired interval of their difference excludes zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clso.report.formats import (
    format_count,
    format_interval,
    format_loss,
    format_perplexity,
    format_ratio,
    format_share,
    model_label,
)
from clso.statistics.bootstrap import FLOORS

__all__ = ["CLSO_MODELS", "Headline", "find_comparison", "make_headline", "pick_contender"]

CLSO_MODELS = ("gpt", "mixture")
_RIVAL = "adamw"
_HYBRID = "hybrid"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """One sentence, and those that a careful reader wants next."""

    title: str
    details: tuple[str, ...]


def pick_contender(results: Sequence[Row]) -> Row | None:
    """Return the gradient-free model with the lowest validation loss; `None` without one.

    Validation, not test, picks among several, so that the test split chooses nothing.
    """
    rows = [row for row in results if row["model"] in CLSO_MODELS]
    return min(
        rows,
        key=lambda row: math.inf if row["validation_loss"] is None else row["validation_loss"],
        default=None,
    )


def find_comparison(comparisons: Sequence[Row], model_a: str, model_b: str) -> Row | None:
    """Return the comparison of two models, over documents if these gave an interval.

    A pair that is stored the other way round is turned.
    """
    found = {row["unit"]: row for row in comparisons if _pair(row) == (model_a, model_b)}
    for row in comparisons:
        if _pair(row) == (model_b, model_a):
            low, high = row["ci_low"], row["ci_high"]
            turned = {
                **row,
                "model_a": model_a,
                "model_b": model_b,
                "difference": -row["difference"],
                "ci_low": None if high is None else -high,
                "ci_high": None if low is None else -low,
            }
            found.setdefault(row["unit"], turned)
    with_interval = [row for row in found.values() if row["ci_low"] is not None]
    ranked = sorted(with_interval or found.values(), key=lambda row: row["unit"] != "document")
    return ranked[0] if ranked else None


def _pair(row: Row) -> tuple[str, str]:
    return row["model_a"], row["model_b"]


def make_headline(results: Sequence[Row], comparisons: Sequence[Row]) -> Headline:
    """Say who wins, by how much, how sure that is, and what counting alone achieves."""
    by_model = {row["model"]: row for row in results}
    contender, rival = pick_contender(results), by_model.get(_RIVAL)
    floors = [by_model[name] for name in FLOORS if name in by_model]
    if contender is None and rival is None:
        return Headline("No model has been scored yet", ("clso run CONFIG finishes the run.",))
    if contender is not None and rival is not None:
        title, detail = _duel(contender, rival, comparisons)
        floor = min(floors, key=lambda row: row["test_loss"], default=None)
        if floor is not None and all(
            _sign(row, floor, comparisons) > 0 for row in (contender, rival)
        ):
            title = _counting_wins(floor, contender, rival)
        details = [
            detail,
            _with_network(by_model.get(_HYBRID), rival, comparisons),
            _against_floors(contender, floors, comparisons),
            _against_floors(rival, floors, comparisons),
        ]
    else:
        only = contender if contender is not None else rival
        assert only is not None
        missing = "AdamW baseline" if rival is None else "gradient-free model"
        title = (
            f"{_capital(only)} reaches {format_loss(only['test_loss'])} nats per token on test; "
            f"this run has no {missing} to compare it with"
        )
        details = [_against_floors(only, floors, comparisons)]
    return Headline(title, tuple(text for text in details if text))


def _duel(a: Row, b: Row, comparisons: Sequence[Row]) -> tuple[str, str]:
    difference = a["test_loss"] - b["test_loss"]
    winner, loser = (a, b) if difference < 0 else (b, a)
    scores = f"{format_loss(winner['test_loss'])} against {format_loss(loser['test_loss'])}"
    row = find_comparison(comparisons, loser["model"], winner["model"])
    if row is None or row["ci_low"] is None:
        title = f"{_capital(winner)} has the lower test loss, {scores} nats per token"
        sure = "no interval could be computed for the difference"
    elif row["ci_low"] <= 0.0 <= row["ci_high"]:
        title = f"No difference is established: {scores} nats per token"
        sure = f"the {_interval(row)} contains zero"
    else:
        title = f"{_capital(winner)} wins: {scores} nats per token on the test split"
        sure = _interval(row)
    factor = math.exp(min(abs(difference), 700.0))
    perplexity = (
        f"{format_ratio(factor)} times as high"
        if factor >= 2
        else f"{format_share(factor - 1)} higher"
    )
    detail = (
        f"On the same {format_count(a['test_tokens'])} test tokens {_the(loser)} loses "
        f"{format_loss(abs(difference))} nats per token more than {_the(winner)} ({sure}); "
        f"its perplexity is {perplexity}, {format_perplexity(loser['perplexity'])} against "
        f"{format_perplexity(winner['perplexity'])}."
    )
    return title, detail


def _with_network(hybrid: Row | None, rival: Row, comparisons: Sequence[Row]) -> str:
    """Say what the network and the gradient-free model together come to."""
    if hybrid is None:
        return ""
    difference = hybrid["test_loss"] - rival["test_loss"]
    row = find_comparison(comparisons, _HYBRID, _RIVAL)
    sure = "no interval" if row is None or row["ci_low"] is None else _interval(row)
    share = format_share(abs(math.expm1(min(difference, 700.0))))
    return (
        f"The hybrid, the mixture with {_the(rival)} as one more function, reaches "
        f"{format_loss(hybrid['test_loss'])}: a perplexity {share} "
        f"{'lower' if difference < 0 else 'higher'} than {_the(rival)}'s (difference "
        f"{format_loss(difference, signed=True)} nats per token, {sure})."
    )


def _counting_wins(floor: Row, *models: Row) -> str:
    beaten = [
        f"{_the(row)} ({format_loss(row['test_loss'])})"
        for row in sorted(models, key=lambda row: row["test_loss"])
    ]
    return (
        f"Counting wins: the {model_label(floor['model'])} floor, "
        f"{format_loss(floor['test_loss'])} nats per token, beats {' and '.join(beaten)}"
    )


def _interval(row: Row) -> str:
    units = f"{format_count(row['n_units'])} {row['unit']}s"
    return (
        f"{format_share(row['confidence'])} interval "
        f"{format_interval(row['ci_low'], row['ci_high'])}, paired bootstrap over {units}"
    )


def _sign(model: Row, floor: Row, comparisons: Sequence[Row]) -> int:
    """Return the sign of the model's loss minus the floor's, 0 where none is established."""
    row = find_comparison(comparisons, model["model"], floor["model"])
    if row is None and floor["model"] == "uniform":
        low = high = model["test_loss"] - floor["test_loss"]  # no comparison with it is stored
    elif row is None or row["ci_low"] is None:
        return 0
    else:
        low, high = row["ci_low"], row["ci_high"]
    return int(low > 0.0) - int(high < 0.0)


def _against_floors(model: Row, floors: Sequence[Row], comparisons: Sequence[Row]) -> str:
    if not floors:
        return ""
    ranked = sorted(floors, key=lambda row: row["test_loss"])
    signs = [_sign(model, floor, comparisons) for floor in ranked]
    worst = max(signs)
    floor = ranked[signs.index(worst)]
    label, loss = model_label(floor["model"]), format_loss(floor["test_loss"])
    if worst > 0:
        return (
            f"{_capital(model)} does not beat the {label} floor ({loss}), which only counts tokens."
        )
    if worst < 0:
        return f"{_capital(model)} beats every floor; the lowest is the {label}'s, {loss}."
    row = find_comparison(comparisons, model["model"], floor["model"])
    sure = (
        "no interval could be computed for the difference"
        if row is None or row["ci_low"] is None
        else f"the {_interval(row)}, contains zero"
    )
    return (
        f"{_capital(model)} is not distinguishable from the {label} floor: "
        f"{format_loss(model['test_loss'])} against {loss} ({sure})."
    )


def _the(row: Row) -> str:
    label = model_label(row["model"])
    return label if label.startswith("AdamW") else f"the {label}"


def _capital(row: Row) -> str:
    text = _the(row)
    return text[0].upper() + text[1:]

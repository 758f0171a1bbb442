"""The result of a run in words, computed from its tables and from nothing else.

A model beats another only if the paired intervals of their difference, over documents and over
blocks, exclude zero. The same rule holds for floors, and for a model that loses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clso.report.differences import established, no_interval_reason, turned
from clso.report.formats import LOSS, PERPLEXITY, RATIO, SHARE, counted
from clso.report.models import Models
from clso.statistics.bootstrap import FLOORS

__all__ = ["Headline"]

_ADAMW = "adamw"
_HYBRID = "hybrid"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """The result in one sentence, and sentences with its details."""

    title: str
    details: tuple[str, ...]

    @classmethod
    def of(
        cls, results: Sequence[Row], comparisons: Sequence[Row], models: Models | None = None
    ) -> Headline:
        """Say which model wins, by how much, how sure that is, and which floors both beat."""
        by_model = {row["model"]: row for row in results}
        contender, rival = Models.contender(results), by_model.get(Models.rival(by_model))
        floors = [by_model[name] for name in FLOORS if name in by_model]
        if contender is None and rival is None:
            return cls("No model has been scored yet", ("clso run CONFIG finishes the run.",))
        words = _Words(comparisons, models or Models())
        if contender is not None and rival is not None:
            title, detail = words.duel(contender, rival)
            floor = min(floors, key=lambda row: row["test_loss"], default=None)
            if floor is not None and all(words.sign(row, floor) > 0 for row in (contender, rival)):
                title = words.counting_wins(floor, contender, rival)
            details = [
                words.kind(rival),
                detail,
                words.beside(contender, by_model.get(_ADAMW), rival),
                words.with_network(by_model.get(_HYBRID), rival),
                words.against_floors(contender, floors),
                words.against_floors(rival, floors),
            ]
        else:
            only = contender if contender is not None else rival
            assert only is not None
            missing = "AdamW baseline" if rival is None else "gradient-free model"
            title = (
                f"{words.capital(only)} reaches {LOSS.text(only['test_loss'])} nats per token on "
                f"test; this run has no {missing} to compare it with"
            )
            details = [words.against_floors(only, floors)]
        return cls(title, tuple(text for text in details if text))


def _find_comparisons(comparisons: Sequence[Row], model_a: str, model_b: str) -> list[Row]:
    """Return the comparisons of two models, over documents and then over blocks.

    A comparison that is stored as b minus a changes its sign.
    """
    by_unit = {row["unit"]: row for row in comparisons if _pair(row) == (model_a, model_b)}
    for row in comparisons:
        if _pair(row) == (model_b, model_a):
            by_unit.setdefault(row["unit"], turned(row))
    return sorted(by_unit.values(), key=lambda row: row["unit"] != "document")


def _pair(row: Row) -> tuple[str, str]:
    return row["model_a"], row["model_b"]


class _Words:
    """Sentences on a run's models, by its comparisons and its models' titles."""

    def __init__(self, comparisons: Sequence[Row], models: Models) -> None:
        self._comparisons = comparisons
        self._models = models

    def duel(self, a: Row, b: Row) -> tuple[str, str]:
        difference = a["test_loss"] - b["test_loss"]
        winner, loser = (a, b) if difference < 0 else (b, a)
        scores = f"{LOSS.text(winner['test_loss'])} against {LOSS.text(loser['test_loss'])}"
        rows = _find_comparisons(self._comparisons, loser["model"], winner["model"])
        sign = established(rows)
        if sign is None:
            title = f"{self.capital(winner)} has the lower test loss, {scores} nats per token"
        elif sign == 0:
            title = f"No difference is established: {scores} nats per token"
        else:
            title = f"{self.capital(winner)} wins: {scores} nats per token on the test split"
        factor = math.exp(min(abs(difference), 700.0))
        times = f"{RATIO.text(factor)} times as high"
        perplexity = times if factor >= 2 else f"{SHARE.text(factor - 1)} higher"
        detail = (
            f"On the same {counted(a['test_tokens'], 'test token')}, {self._the(loser)} loses "
            f"{LOSS.text(abs(difference))} nats per token more than {self._the(winner)} "
            f"({_intervals(rows)}). Its perplexity is {perplexity}: "
            f"{PERPLEXITY.text(loser['perplexity'])} against "
            f"{PERPLEXITY.text(winner['perplexity'])}."
        )
        return title, detail

    def kind(self, rival: Row) -> str:
        """Say what the strongest gradient model is."""
        kind = self._models.kind(rival["model"])
        return f"{self.capital(rival)} is {kind}." if kind else ""

    def beside(self, contender: Row, adamw: Row | None, rival: Row) -> str:
        """Say how AdamW's GPT-2 compares where it is not the first rival."""
        if adamw is None or adamw is rival:
            return ""
        return f"Beside it: {self.duel(contender, adamw)[1]}"

    def with_network(self, hybrid: Row | None, rival: Row) -> str:
        """Say how good the network and the gradient-free model are together."""
        if hybrid is None:
            return ""
        difference = hybrid["test_loss"] - rival["test_loss"]
        rows = _find_comparisons(self._comparisons, _HYBRID, rival["model"])
        share = SHARE.text(abs(math.expm1(min(difference, 700.0))))
        weight = self._models.network_share
        weighted = "" if weight is None else f" ({SHARE.text(weight)} of the weight)"
        return (
            f"{self.capital(hybrid)}, {self._models.subject(self._models.hybrid_family)} with "
            f"{self._models.subject(self._models.hybrid_network)} as one more function{weighted}, "
            f"reaches {LOSS.text(hybrid['test_loss'])}. "
            f"Its perplexity is {share} {'lower' if difference < 0 else 'higher'} than "
            f"{self._the(rival)}'s (difference {LOSS.signed(difference)} nats per token, "
            f"{_intervals(rows, signed=True)})."
        )

    def counting_wins(self, floor: Row, *models: Row) -> str:
        beaten = [
            f"{self._the(row)} ({LOSS.text(row['test_loss'])})"
            for row in sorted(models, key=lambda row: row["test_loss"])
        ]
        return (
            f"Counting wins: the {self._models.title(floor['model'])} floor, "
            f"{LOSS.text(floor['test_loss'])} nats per token, beats {' and '.join(beaten)}"
        )

    def sign(self, model: Row, floor: Row) -> int:
        """Return the sign of the model's loss minus the floor's; 0: it is not established."""
        rows = _find_comparisons(self._comparisons, model["model"], floor["model"])
        if not rows and floor["model"] == "uniform":
            difference = model["test_loss"] - floor["test_loss"]  # stored runs do not compare it
            return int(difference > 0.0) - int(difference < 0.0)
        return established(rows) or 0

    def against_floors(self, model: Row, floors: Sequence[Row]) -> str:
        if not floors:
            return ""
        ranked = sorted(floors, key=lambda row: row["test_loss"])
        signs = [self.sign(model, floor) for floor in ranked]
        worst = max(signs)
        floor = ranked[signs.index(worst)]
        label, loss = self._models.title(floor["model"]), LOSS.text(floor["test_loss"])
        if worst > 0:
            return (
                f"{self.capital(model)} does not beat the {label} floor ({loss}), which only "
                "counts tokens."
            )
        if worst < 0:
            return f"{self.capital(model)} beats every floor; the lowest is the {label}'s, {loss}."
        rows = _find_comparisons(self._comparisons, model["model"], floor["model"])
        return (
            f"{self.capital(model)} is not distinguishable from the {label} floor: "
            f"{LOSS.text(model['test_loss'])} against {loss} ({_intervals(rows)})."
        )

    def _the(self, row: Row) -> str:
        return self._models.subject(row["model"])

    def capital(self, row: Row) -> str:
        text = self._the(row)
        return text[0].upper() + text[1:]


def _intervals(rows: Sequence[Row], *, signed: bool = False) -> str:
    """Say what the intervals of a difference are, and which contains zero."""
    told: list[str] = []
    for row in rows:
        low, high = row["ci_low"], row["ci_high"]
        if low is None:
            continue
        head = f"{SHARE.text(row['confidence'])} interval " if not told else ""
        over = "paired bootstrap over " if not told else "over "
        zero = ", which contains zero" * (low <= 0.0 <= high)
        interval = LOSS.interval(low, high, signed=signed)
        told.append(f"{head}{interval}, {over}{counted(row['n_units'], row['unit'])}{zero}")
    if told:
        return "; ".join(told)
    return no_interval_reason(rows) or "no interval could be computed for the difference"

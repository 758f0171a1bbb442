"""How the savings of a search are told: lines, a sentence, and the terminal's table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.markup import escape
from rich.table import Table

from clso.report.formats import (
    NOT_MEASURED,
    format_energy,
    format_interval,
    format_loss,
    format_p,
    format_ratio,
    format_share,
    model_label,
)
from clso.report.plain_table import plain_table
from clso.statistics.paired import CONFIDENCE
from clso.studies.savings import Saving, Share

__all__ = ["SavingLine", "saving_lines", "savings_sentence", "savings_table"]

WRITE_UP_SHARE: Final = 0.19
WRITE_UP_PREDICTIONS: Final = 635

_DECIMALS = 4


@dataclass(frozen=True)
class SavingLine:
    """An arm as it is printed."""

    arm: str
    reached: str
    median: str
    share: str
    interval: str
    energy_share: str
    energy_interval: str
    restricted_mean: str
    p_value: str
    loss: str
    loss_interval: str
    per_evaluation: str
    costs: str


def saving_lines(found: Sequence[Saving]) -> list[SavingLine]:
    """Return savings as they are printed; the first is the reference's."""
    return [_line(saving, is_reference=number == 0) for number, saving in enumerate(found)]


def _line(saving: Saving, *, is_reference: bool) -> SavingLine:
    share, interval = _told(None if is_reference else saving.share)
    energy_share, energy_interval = _told(None if is_reference else saving.energy_share)
    return SavingLine(
        arm=saving.arm.replace("_", " "),
        reached=f"{saving.n_reached} of {saving.n_seeds}",
        median=_number(saving.median),
        share=share,
        interval=interval,
        energy_share=energy_share,
        energy_interval=energy_interval,
        restricted_mean=_number(saving.restricted_mean),
        p_value=format_p(saving.p_value),
        loss=NOT_MEASURED
        if saving.loss is None
        else format_loss(saving.loss.mean, signed=True, decimals=_DECIMALS),
        loss_interval=""
        if saving.loss is None
        else format_interval(saving.loss.low, saving.loss.high, signed=True, decimals=_DECIMALS),
        per_evaluation=NOT_MEASURED
        if saving.predictions_per_evaluation is None
        else format_ratio(saving.predictions_per_evaluation),
        costs=f"{format_energy(saving.evaluation_j)} / {format_energy(saving.prediction_j)}",
    )


def _number(evaluations: float) -> str:
    return f"{evaluations:,.0f}" if math.isfinite(evaluations) else "never"


def _share(ratio: float) -> str:
    return format_share(ratio) if math.isfinite(ratio) else "never"


def _told(share: Share | None) -> tuple[str, str]:
    """Return a share and its interval as they are printed."""
    if share is None:
        return NOT_MEASURED, ""
    return _share(share.ratio), f"{_share(share.low)} to {_share(share.high)}"


def savings_sentence(found: Sequence[Saving]) -> str:
    """Say what the arm that arrives first needs, beside the write-up's claims."""
    if len(found) < 2:
        return "There is no arm to hold against the reference."
    best = min(found[1:], key=lambda saving: (saving.share.ratio, saving.restricted_mean))
    if not math.isfinite(best.share.ratio):
        return (
            f"No arm reaches in most seeds what {found[0].arm} ends with, within as many "
            "evaluations."
        )
    line = _line(best, is_reference=False)
    sentence = (
        f"To reach what {found[0].arm} ends with, {line.arm} takes {line.share} of the evaluations "
        f"({format_share(CONFIDENCE)} interval {line.interval}; {line.reached} seeds arrive); the "
        f"write-up says {format_share(WRITE_UP_SHARE)}."
    )
    if len(found) > 2:
        sentence += (
            f" It was picked as the lowest of {len(found) - 1} arms, which flatters it: run it "
            "again with another seed."
        )
    if best.energy_share is not None:
        sentence += (
            f" It takes {line.energy_share} of the joules ({line.energy_interval}), those of its "
            "surrogate included."
        )
    if best.predictions_per_evaluation is None:
        return sentence
    return (
        f"{sentence} An evaluation takes the joules of {line.per_evaluation} predictions, fits of "
        f"the surrogate included; the write-up says {WRITE_UP_PREDICTIONS}."
    )


def savings_table(found: Sequence[Saving], family: str, target: float) -> Table:
    """Return savings as a table for the terminal; it fits 80 columns."""
    table = plain_table(
        f"evaluations of the {model_label(family)}'s search until its loss is "
        f"{format_loss(target, decimals=_DECIMALS)}",
        f"the median loss that {found[0].arm if found else 'the reference'} ends with; median "
        "evaluations (Kaplan-Meier), their share of the reference's and that of the joules, with "
        f"{format_share(CONFIDENCE)} bootstrap intervals over seeds; p: log-rank with Holm's "
        "correction; loss: arm minus reference at the end, where all went on to it; "
        "predictions: how many the joules of one evaluation pay for",
    )
    table.add_column("arm", overflow="fold")
    for name in ("reached", "median", "share", "joules", "p", "loss", "predictions"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in saving_lines(found):
        table.add_row(
            escape(line.arm),
            line.reached,
            line.median,
            f"{line.share}\n[dim]{line.interval}[/dim]",
            f"{line.energy_share}\n[dim]{line.energy_interval}[/dim]",
            line.p_value,
            line.loss,
            line.per_evaluation,
        )
    return table

"""The report's section on the AdamW baseline: its trials, and the result of the warm start."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clso.artifacts import Run
from clso.energy import Measurement
from clso.report.formats import ENERGY, LOSS, SHARE, counted, format_source
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import new_figure, styled
from clso.report.table import Emphasis, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["baseline_section"]

Row = Mapping[str, Any]


def baseline_section(run: Run) -> ReportSection:
    """Return AdamW's trials, and what the best learning rate and the warm start show."""
    baseline = run.folder.read("baseline")
    trials = _trials_table(baseline)
    sentences = (
        _rate_sentence(baseline),
        _warm_start_sentence(run.manifest),
        _strongest_sentence(run),
    )
    picture = Picture(
        "baseline",
        partial(_baseline_figure, baseline, Models(run.manifest).color("adamw")),
        "Validation loss of each trial by tokens seen. Thin line: training loss of the best trial.",
        _missing(run),
    )
    tables = [table for table in (trials, _opponents_table(run.manifest)) if table.rows]
    return ReportSection("AdamW baseline", [picture, *filter(None, sentences), *tables])


def _missing(run: Run) -> str:
    if not run.config.get("baseline", {}).get("enabled", True):
        return "The AdamW baseline is switched off in this run's config (baseline.enabled)."
    if not run.has("baseline"):
        return "Not there yet: clso baseline CONFIG makes it."
    return "No trial of AdamW has a finite validation loss."


def _trials_table(baseline: pa.Table) -> Table:
    """Return AdamW's trials, the best validation loss first, trials that diverged last."""
    table = Table("Lowest validation loss of each trial", ["trial", "validation loss"])
    curves = sorted(_trial_curves(baseline), key=lambda trial: trial["best"])
    for place, trial in enumerate(curves):
        emphasis: Emphasis = "best" if place == 0 else ""
        table.add(_settings(trial), LOSS.text(trial["best"]), emphasis=emphasis)
    converged = {_settings(trial) for trial in curves}
    for settings in dict.fromkeys(_settings(row) for row in baseline.to_pylist()):
        if settings not in converged:
            table.add(settings, "no finite loss")
    return table


def _opponents_table(manifest: Mapping[str, Any]) -> Table:
    """Return the best of each further gradient model, the lowest validation loss first."""
    found = manifest.get("opponents", {})
    table = Table(
        "The strongest gradient model: the best of each",
        ["model", "settings", "validation loss", "energy of its steps"],
    )
    strongest = found.get("winner", {})
    adamw = [] if "index" in strongest or not strongest else [strongest]
    candidates = [*found.get("candidates", ()), *adamw]
    for model in sorted(candidates, key=lambda model: model["validation_loss"]):
        training = Measurement.from_record(model["training"])
        emphasis: Emphasis = "best" if model["kind"] == strongest["kind"] else ""
        table.add(
            model["kind"],
            model["trial"],
            LOSS.text(model["validation_loss"]),
            (ENERGY.text(training.energy_j), format_source(*_source(training))),
            emphasis=emphasis,
        )
    return table


def _source(spent: Measurement) -> tuple[str | None, bool | None]:
    return spent.energy_source, spent.estimated


def _rate_sentence(baseline: pa.Table) -> str:
    """Say whether AdamW's best learning rate is the largest or the smallest tried; else empty.

    The other rates are those of trials with the same other settings, diverged trials included.
    """
    best = min(_trial_curves(baseline), key=lambda trial: trial["best"], default=None)
    if best is None:
        return ""
    fixed = ("schedule", "batch_size", "dropout", "passes")
    rates = {
        row["lr"]
        for row in baseline.select(["lr", *fixed]).to_pylist()
        if all(row[name] == best[name] for name in fixed)
    }
    if len(rates) == 1:
        return "Only one learning rate was tried."
    edge = {max(rates): "largest", min(rates): "smallest"}.get(best["lr"])
    if edge is None:
        return ""
    return f"The best learning rate is the {edge} that was tried: a better rate may lie beyond."


def _warm_start_sentence(manifest: Mapping[str, Any]) -> str:
    """Say after how many steps AdamW from the found model reaches its loss from scratch.

    The text is empty for a manifest without the note `warm_start`.
    """
    note = manifest.get("warm_start")
    if not note:
        return ""
    scratch, start = LOSS.text(note["scratch_loss"]), LOSS.text(note["start_loss"])
    ended = LOSS.text(note["validation_loss"])
    steps, budget = note["steps_to_scratch_loss"], counted(note["n_steps"], "step")
    if steps is None:
        reached = f"does not reach the {scratch} of its best run from scratch in {budget}"
    elif steps == 0:
        reached = f"begins below the {scratch} of its best run from scratch"
    else:
        reached = f"reaches the {scratch} of its best run from scratch within {steps:,} of {budget}"
    return (
        f"From {Models(manifest).subject('gpt')} that the search found (validation loss {start}), "
        f"{_optimizer(note)} {reached}. Its best loss is {ended} ({note['trial']})."
    )


def _optimizer(warm_start: Mapping[str, Any]) -> str:
    return "Muon" if warm_start.get("optimizer") == "muon" else "AdamW"


def _strongest_sentence(run: Run) -> str:
    """Say what the warm start needs to the loss of the strongest gradient model, if it has both."""
    note, opponents = run.manifest.get("warm_start"), run.manifest.get("opponents")
    if not note or not opponents:
        return ""
    strongest = opponents["winner"]
    target = strongest["validation_loss"]
    reached = [
        row
        for row in run.warm_start.to_pylist()
        if row["validation_loss"] is not None and row["validation_loss"] <= target
    ]
    whose = f"the {LOSS.text(target)} of the strongest gradient model ({strongest['kind']})"
    if note["start_loss"] <= target:
        return f"The warm start begins below {whose}."
    if not reached:
        return f"The warm start does not reach {whose}."
    first = min(reached, key=lambda row: row["tokens"])
    spent = first["energy_j"]
    whole = Measurement.from_record(strongest["training"]).energy_j
    sentence = f"The warm start is below {whose} after {counted(first['step'], 'step')}"
    if spent is None or not whole:
        return f"{sentence}."
    share = SHARE.text(spent / whole)
    return (
        f"{sentence}. Its steps and validations until then take {share} of the joules of that "
        "model's training steps; what it starts from is not counted."
    )


def _settings(trial: Row) -> str:
    passes = f"{trial['passes']} pass" + ("es" if trial["passes"] > 1 else "")
    return (
        f"rate {trial['lr']:g}, {trial['schedule']}, batch {trial['batch_size']}, "
        f"dropout {trial['dropout']:g}, {passes}"
    )


@styled
def _baseline_figure(baseline: pa.Table, color: str) -> Figure | None:
    """Draw every AdamW trial's validation loss by tokens seen, the best one in color."""
    from matplotlib.ticker import MaxNLocator

    trials = _trial_curves(baseline)
    if not trials:
        return None
    figure, axes = new_figure()
    best = min(trials, key=lambda trial: trial["best"])
    for trial in trials:
        if trial is not best:
            axes.plot(trial["tokens"], trial["loss"], color="#afb8c1", lw=1.1, marker="o", ms=2.5)
    axes.plot([], [], color="#afb8c1", lw=1.1, marker="o", ms=2.5, label="other trials")
    if len(best["train_tokens"]):
        axes.plot(
            best["train_tokens"],
            best["train_loss"],
            color=color,
            lw=0.8,
            alpha=0.5,
            label="training",
        )
    axes.plot(
        best["tokens"], best["loss"], color=color, marker="o", ms=4, label="validation, best trial"
    )
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f}k" if value else "0")
    # training starts near the uniform loss; axes with it would squeeze the trials together
    low, high = (edge([loss for trial in trials for loss in trial["loss"]]) for edge in (min, max))
    axes.set_ylim(low - 0.15 * (high - low) - 0.02, high + 0.25 * (high - low) + 0.02)
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens seen")
    axes.set_ylabel("loss, nats per token")
    axes.legend(loc="upper right")
    return figure


def _trial_curves(baseline: pa.Table) -> list[dict[str, Any]]:
    """Return settings and curves of each trial that has a validation loss."""
    keys = ["lr", "schedule", "batch_size", "dropout", "passes"]
    rows = baseline.sort_by([(key, "ascending") for key in [*keys, "step"]]).to_pylist()
    trials = []
    for settings, group in groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
        steps = list(group)
        validated = [row for row in steps if row["validation_loss"] is not None]
        trained = [row for row in steps if row["train_loss"] is not None]
        if validated:
            trials.append(
                {
                    **dict(zip(keys, settings, strict=True)),
                    "tokens": [row["tokens"] for row in validated],
                    "loss": [row["validation_loss"] for row in validated],
                    "best": min(row["validation_loss"] for row in validated),
                    "train_tokens": [row["tokens"] for row in trained],
                    "train_loss": [row["train_loss"] for row in trained],
                }
            )
    return trials

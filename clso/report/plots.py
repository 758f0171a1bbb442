"""The report's figures, each a function of tables; `None` where there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from clso.report.formats import format_energy, format_loss, model_label
from clso.report.style import FAMILY_COLORS, INK, MODEL_COLORS, MUTED, new_figure, styled
from clso.statistics.bootstrap import FLOORS
from clso.statistics.search_counts import paired_predictions
from clso.statistics.selection import FamilyPick

__all__ = [
    "baseline_figure",
    "convergence_figure",
    "energy_figure",
    "families_figure",
    "predictions_figure",
    "results_figure",
    "trial_curves",
]

_LOSS = "loss, nats per token"


@styled
def results_figure(results: pa.Table) -> Figure | None:
    """Draw each model's test loss with its interval, the best on top."""
    rows = results.sort_by([("test_loss", "descending")]).to_pylist()
    if not rows:
        return None
    figure, axes = new_figure(0.9 + 0.34 * len(rows), grid="x")
    for height, row in enumerate(rows):
        color = MODEL_COLORS.get(row["model"], INK)
        if row["ci_low"] is not None:
            axes.plot([row["ci_low"], row["ci_high"]], [height] * 2, color=color, linewidth=3)
        hollow = row["model"] in FLOORS
        axes.plot(
            row["test_loss"],
            height,
            marker="o",
            markersize=7,
            color=color,
            markerfacecolor="white" if hollow else color,
        )
        axes.annotate(
            format_loss(row["test_loss"]),
            (row["test_loss"], height),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), [model_label(row["model"]) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.2)
    axes.margins(x=0.12)
    axes.set_xlabel("test loss, nats per token (further left is better)")
    return figure


@styled
def convergence_figure(
    generations: pa.Table,
    family: str,
    *,
    surrogate_generation: int | None = None,
    floors: Mapping[str, float] | None = None,
) -> Figure | None:
    """Draw the best and mean evaluated loss by generation.

    Args:
        generations: a run's table.
        family: the model family searched.
        surrogate_generation: where predictions began to filter; `None`: nowhere.
        floors: losses to compare with, drawn where they lie near the curves.
    """
    rows = generations.filter(pc.field("family") == family).sort_by("generation")
    rows = rows.filter(pc.field("best_loss").is_valid())
    if rows.num_rows == 0:
        return None
    number, best, mean, std = (
        rows[name].to_numpy().astype(float)
        for name in ("generation", "best_loss", "mean_loss", "std_loss")
    )
    color = MODEL_COLORS.get(family, INK)
    figure, axes = new_figure()
    axes.fill_between(number, mean - std, mean + std, color=color, alpha=0.15, linewidth=0)
    axes.plot(number, mean, color=color, linewidth=1.2, linestyle="--", label="mean ± std")
    marker = "o" if len(number) <= 12 else ""
    axes.step(number, best, where="post", color=color, marker=marker, ms=4, label="best so far")
    low, high = axes.get_ylim()
    for name, loss in (floors or {}).items():
        # a floor far off would flatten the curves; the result table has it anyway
        if low - (high - low) < loss < high + (high - low):
            axes.axhline(loss, color=MODEL_COLORS.get(name, MUTED), linewidth=1.2, linestyle=":")
            axes.annotate(
                f"{model_label(name)} floor",
                (0.01, loss),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=8,
                color=MUTED,
            )
    if surrogate_generation is not None:
        axes.axvline(surrogate_generation, color=MUTED, linewidth=1, linestyle=":")
        axes.annotate(
            "surrogate filters from here",
            (surrogate_generation, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
            color=MUTED,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("generation")
    axes.set_ylabel(_LOSS)
    axes.legend(loc="upper right")
    return figure


@styled
def predictions_figure(evaluations: pa.Table, family: str) -> Figure | None:
    """Draw predicted against evaluated loss of the individuals that have both."""
    pairs = paired_predictions(evaluations, family)
    if pairs.num_rows == 0:
        return None
    predicted, evaluated = (pairs[name].to_numpy() for name in ("predicted_loss", "evaluated_loss"))
    figure, axes = new_figure(3.2, grid="both")
    axes.scatter(
        evaluated,
        predicted,
        s=16,
        alpha=0.65,
        color=MODEL_COLORS.get(family, INK),
        edgecolor="white",
        linewidth=0.4,
    )
    low, high = (edge(np.concatenate([predicted, evaluated])) for edge in (np.min, np.max))
    margin = 0.05 * (high - low) or 0.05
    axes.plot([low - margin, high + margin], [low - margin, high + margin], color=MUTED, lw=1)
    axes.annotate(
        "too hopeful: below the line",
        (0.98, 0.03),
        xycoords="axes fraction",
        ha="right",
        fontsize=8,
        color=MUTED,
    )
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"evaluated {_LOSS}")
    axes.set_ylabel("predicted loss")
    return figure


@styled
def energy_figure(energy: pa.Table) -> Figure | None:
    """Draw joules by stage, one shade per device; unmeasured stages say so."""
    rows = energy.to_pylist()
    if not any(row["energy_j"] is not None for row in rows):
        return None
    stages = list(dict.fromkeys(row["stage"] for row in rows))[::-1]
    devices = sorted({row["device"] for row in rows})
    figure, axes = new_figure(0.9 + 0.34 * len(stages) + 0.2 * (len(devices) > 1), grid="x")
    left = dict.fromkeys(stages, 0.0)
    for device, color in zip(devices, _cycle(len(devices)), strict=True):
        parts = {
            stage: sum(
                row["energy_j"] or 0.0
                for row in rows
                if row["stage"] == stage and row["device"] == device
            )
            for stage in stages
        }
        axes.barh(
            range(len(stages)),
            [parts[stage] for stage in stages],
            left=[left[stage] for stage in stages],
            height=0.6,
            color=color,
            label=device,
        )
        left = {stage: left[stage] + parts[stage] for stage in stages}
    for height, stage in enumerate(stages):
        own = [row for row in rows if row["stage"] == stage]
        measured = any(row["energy_j"] is not None for row in own)
        text = format_energy(left[stage]) if measured else "not measured"
        text += " (reused)" if any(row["reused"] for row in own) else ""
        axes.annotate(
            text,
            (left[stage], height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(stages)), stages)
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    estimated = any(row["estimated"] for row in rows)
    axes.set_xlabel("joules (estimated)" if estimated else "joules")
    if len(devices) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(devices))
    return figure


@styled
def families_figure(picks: Sequence[FamilyPick]) -> Figure | None:
    """Draw, per gene, the best genomes' shares of families; ticks mark the library's shares."""
    if not picks:
        return None
    slots = [(slot, list(group)) for slot, group in groupby(picks, key=lambda pick: pick.slot)]
    names = list(dict.fromkeys(pick.family for pick in picks))
    colors = dict(zip(names, _cycle(len(names)), strict=True))
    figure, axes = new_figure(1.2 + 0.28 * len(slots), grid="x")
    for height, (_, group) in enumerate(reversed(slots)):
        left = chance = 0.0
        for pick in group:
            label = pick.family.replace("_", " ") if height == 0 else None
            color = colors[pick.family]
            axes.barh(height, pick.picked, left=left, height=0.62, color=color, label=label)
            left, chance = left + pick.picked, chance + pick.chance
            if chance < 1.0 - 1e-9:
                axes.plot([chance] * 2, [height - 0.42, height + 0.42], color=INK, linewidth=1.5)
    axes.set_yticks(range(len(slots)), [slot for slot, _ in reversed(slots)])
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the best genomes (black ticks: chance)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(names), 3))
    return figure


@styled
def baseline_figure(baseline: pa.Table) -> Figure | None:
    """Draw every AdamW trial's validation loss by tokens seen, the best one in colour."""
    trials = trial_curves(baseline)
    if not trials:
        return None
    figure, axes = new_figure()
    best = min(trials, key=lambda trial: trial["best"])
    for trial in trials:
        if trial is not best:
            axes.plot(trial["tokens"], trial["loss"], color="#afb8c1", lw=1.1, marker="o", ms=2.5)
    axes.plot([], [], color="#afb8c1", lw=1.1, marker="o", ms=2.5, label="other trials")
    color = MODEL_COLORS["adamw"]
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
    # training starts near the uniform loss, which would squeeze the trials together
    low, high = (edge([loss for trial in trials for loss in trial["loss"]]) for edge in (min, max))
    axes.set_ylim(low - 0.15 * (high - low) - 0.02, high + 0.25 * (high - low) + 0.02)
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens seen")
    axes.set_ylabel(_LOSS)
    axes.legend(loc="upper right")
    return figure


def trial_curves(baseline: pa.Table) -> list[dict[str, Any]]:
    """Return each trial's settings and curves, trials without a validation loss left out."""
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


def _cycle(count: int) -> list[str]:
    return [FAMILY_COLORS[number % len(FAMILY_COLORS)] for number in range(count)]

"""The report's section on energy: joules by stage and in use, and their ratio to a rival's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from clso.artifacts import Run
from clso.errors import MeterError
from clso.report.assumptions import assumptions_table
from clso.report.formats import DURATION, ENERGY, NOT_MEASURED, RATIO, format_source
from clso.report.html import Block, Picture, ReportSection
from clso.report.models import Models
from clso.report.repeats import repeats_table
from clso.report.style import PALETTE, new_figure, styled
from clso.report.table import Column, Table
from clso.report.use import use_sentences, use_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["energy_section", "energy_table"]

Row = Mapping[str, Any]

# the stage of each rival's sweep
_SWEEPS: Final = {"opponent": "opponents", "adamw": "baseline"}
_SOURCES: Final = {
    "nvml": "nvml: the GPU's own energy counter",
    "rapl": "rapl: the processor's own energy counter",
    "replay": "replay: a recorded log, not this machine",
    "cpu_model": (
        "cpu_model: CPU seconds times a fixed power per busy core. This is an estimate, so a ratio "
        "of two such energies is a ratio of CPU time (energy.idle_power_w, if it is set, adds "
        "watts of wall time)"
    ),
}


def energy_section(run: Run, results: Sequence[Row]) -> ReportSection:
    """Return the joules of every stage, and those of the gradient-free model beside its rivals'."""
    energy = run.folder.read("energy")
    rows, table = energy.to_pylist(), energy_table(energy)
    stages = ", ".join(f"{row.cells[0]} {row.cells[2]}" for row in table.rows)
    missing = "No stage's energy was measured."
    if not run.has("energy"):
        missing = "Not there yet: clso run CONFIG makes it."
    notes, models = _source_notes(rows), Models(run.manifest)
    idle_w = run.config.get("energy", {}).get("idle_power_w", 0.0)
    conclusions: list[str | Table | Picture | Block] = []
    if run.has("energy_repeats"):
        conclusions.append(repeats_table(run.energy_repeats, models))
    tables = (assumptions_table(results, models), use_table(results, models))
    conclusions += [table for table in tables if table is not None]
    conclusions += use_sentences(results, models)
    draw = partial(_energy_figure, energy)
    return ReportSection(
        "Energy",
        [
            *_energy_sentences(results, rows, models, idle_w),
            Picture("energy", draw, missing=missing, alt=f"Energy by stage: {stages}"),
            *([table] if table.rows else []),
            *([Block("notes", notes)] if notes else []),
            *conclusions,
        ],
        "energy",
    )


def energy_table(energy: pa.Table, title: str = "") -> Table:
    """Return a row per stage and device, in the order of the table `energy`."""
    table = Table(
        title,
        ["stage", Column("device", text=True), "energy", "time", Column("power", optional=1)],
    )
    for row in energy.to_pylist():
        power = row["mean_power_w"]
        table.add(
            row["stage"] + (" (reused)" if row["reused"] else ""),
            (row["device"], row["reason"] or format_source(row["energy_source"], row["estimated"])),
            ENERGY.text(row["energy_j"]),
            DURATION.text(row["duration_s"]),
            NOT_MEASURED if power is None else f"{power:.1f}\u00a0W",
        )
    return table


def _source_notes(energy: Sequence[Row]) -> list[str]:
    """Explain each meter."""
    sources = {
        name for row in energy if row["energy_source"] for name in row["energy_source"].split("+")
    }
    return [f"{_SOURCES.get(name, name)}." for name in sorted(sources)]


def _energy_sentences(
    results: Sequence[Row], energy: Sequence[Row], models: Models, idle_w: float = 0.0
) -> list[str]:
    """Compare all joules of the gradient-free model with each rival's winning run and its sweep.

    `idle_w` is the idle power that joules of the CPU model contain.
    """
    contender = Models.contender(results)
    if contender is None:
        return []
    return [
        sentence
        for rival in Models.rivals(results)
        for sentence in _against(contender, rival, energy, models, idle_w)
    ]


def _against(
    contender: Row, rival: Row, energy: Sequence[Row], models: Models, idle_w: float
) -> Iterator[str]:
    sources = (contender["energy_source"], rival["energy_source"])
    try:
        ratio = _energy_ratio(contender["energy_j"], sources[0], rival["energy_j"], sources[1])
    except MeterError as error:
        yield f"{error.message[0].upper()}{error.message[1:]}."
        return
    kind = "energy ratio"
    if sources[0] == "cpu_model" and not idle_w:
        kind = "CPU-time ratio"
    elif contender["estimated"] or rival["estimated"]:
        kind = "energy ratio, estimated in part,"
    whose = "AdamW's" if rival["model"] == "adamw" else f"{models.subject(rival['model'])}'s"
    yield (
        f"All work for {models.subject(contender['model'])}, with rejected evaluations and the "
        f"surrogate, took {ENERGY.text(contender['energy_j'])}; "
        f"the training steps of {whose} winning run alone took {ENERGY.text(rival['energy_j'])}: "
        f"{kind} {RATIO.text(ratio)}."
    )
    sweep = [row for row in energy if row["stage"] == _SWEEPS[rival["model"]]]
    joules = [row["energy_j"] for row in sweep if row["energy_j"] is not None]
    source = "+".join(sorted({row["energy_source"] for row in sweep if row["energy_j"]}))
    if joules and source == sources[0]:
        against = _energy_ratio(contender["energy_j"], source, sum(joules), source)
        swept = ENERGY.text(sum(joules))
        yield f"Against {whose} whole sweep ({swept}) it is {RATIO.text(against)}."


def _energy_ratio(
    energy_a_j: float | None, source_a: str | None, energy_b_j: float | None, source_b: str | None
) -> float:
    """Return joules of a per joule of b.

    Raises:
        MeterError: one of them was not measured, or they come from different meters.
    """
    if energy_a_j is None or energy_b_j is None or not energy_b_j > 0:
        raise MeterError("no energy ratio: one of the two was not measured")
    if source_a != source_b:
        raise MeterError(
            f"no energy ratio: the meters differ ({source_a} and {source_b})",
            remedy="measure both with one meter: energy.meter",
        )
    return energy_a_j / energy_b_j


@styled
def _energy_figure(energy: pa.Table) -> Figure | None:
    """Draw joules by stage, a color per device; a stage without joules says so."""
    rows = energy.to_pylist()
    if not any(row["energy_j"] is not None for row in rows):
        return None
    stages = list(dict.fromkeys(row["stage"] for row in rows))[::-1]
    devices = sorted({row["device"] for row in rows})
    figure, axes = new_figure(0.9 + 0.34 * len(stages) + 0.2 * (len(devices) > 1), grid="x")
    left = dict.fromkeys(stages, 0.0)
    for place, device in enumerate(devices):
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
            color=PALETTE[place % len(PALETTE)],
            label=device,
        )
        left = {stage: left[stage] + parts[stage] for stage in stages}
    for height, stage in enumerate(stages):
        own = [row for row in rows if row["stage"] == stage]
        measured = any(row["energy_j"] is not None for row in own)
        text = ENERGY.text(left[stage]) if measured else "not measured"
        text += " (reused)" if any(row["reused"] for row in own) else ""
        end = (left[stage], height)
        axes.annotate(text, end, (4, 0), "data", "offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(stages)), stages)
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    estimated = any(row["estimated"] for row in rows)
    axes.set_xlabel("joules (estimated)" if estimated else "joules")
    if len(devices) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(devices))
    return figure

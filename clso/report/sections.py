"""What each part of the report says, as plain values for the template.

Everything comes from the run's tables and manifest. What is not there is said to be missing, and
what would make it; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clso.errors import MeterError
from clso.report.formats import (
    format_bytes,
    format_count,
    format_duration,
    format_energy,
    format_loss,
    format_power,
    format_ratio,
    format_share,
    format_source,
    model_label,
)
from clso.report.headline import pick_contender
from clso.report.plots import trial_curves
from clso.statistics.bootstrap import energy_ratio
from clso.statistics.search_counts import (
    Filtered,
    LowestPrediction,
    SearchCounts,
    best_evaluated_loss,
    lowest_prediction,
    prediction_rank_correlation,
)

__all__ = [
    "BASELINE_STAGE",
    "DataLine",
    "EnergyLine",
    "TrialLine",
    "count_sentence",
    "data_lines",
    "energy_lines",
    "energy_sentences",
    "filter_sentences",
    "rate_sentence",
    "source_notes",
    "stop_sentence",
    "surrogate_sentences",
    "trial_lines",
    "winner_steps",
]

BASELINE_STAGE = "baseline"

Row = Mapping[str, Any]

_SOURCES = {
    "nvml": "nvml: the GPU's own energy counter",
    "rapl": "rapl: the processor's own energy counter",
    "replay": "replay: a recorded log, not this machine",
    "cpu_model": (
        "cpu_model: CPU seconds times a fixed power per busy core. An estimate; a ratio of two "
        "such figures is a ratio of CPU time"
    ),
}


_STOPS = {
    "generations": "all generations were run",
    "patience": "the best loss had not improved for as long as search.patience allows",
    "max_evaluations": "search.max_evaluations was reached",
    "exhausted": "no genome was left that had not been evaluated",
    "interrupted": "it was interrupted",
}


@dataclass(frozen=True)
class EnergyLine:
    """One stage and device of the energy table, as printed."""

    stage: str
    device: str
    energy: str
    duration: str
    power: str
    source: str


@dataclass(frozen=True)
class TrialLine:
    """One AdamW trial, as printed."""

    settings: str
    loss: str
    is_best: bool


@dataclass(frozen=True)
class DataLine:
    """One split, as printed."""

    split: str
    documents: str
    n_bytes: str
    tokens: str
    used: str
    unused: str


def count_sentence(counts: SearchCounts) -> str:
    """Say how many individuals were really scored."""
    scored = counts.evaluated + counts.failed
    share = scored / counts.individuals if counts.individuals else None
    failed = f", {format_count(counts.failed)} of them without a finite loss" * bool(counts.failed)
    screened = f"{format_count(counts.screened)} ruled out on a part of the batches; " * bool(
        counts.screened
    )
    return (
        f"{format_count(counts.individuals)} individuals in {counts.generations} generations: "
        f"{format_count(scored)} ({format_share(share)}) scored for real in their generation"
        f"{failed}; {screened}{format_count(counts.cached)} scored before and taken over; "
        f"{format_count(counts.predicted)} only predicted. "
        f"Different models with a loss: {format_count(counts.distinct_evaluated)}. "
        f"Tokens scored: {format_count(counts.tokens)}."
    )


def stop_sentence(reason: str | None) -> str:
    """Say why the search ended; empty while it is under way."""
    if reason is None:
        return ""
    return f"It ended because {_STOPS.get(reason, reason)}."


def surrogate_sentences(evaluations: pa.Table, family: str, counts: SearchCounts) -> list[str]:
    """Say when the surrogate began, how well it ranked, and what became of its best hope."""
    if counts.surrogate_generation is None:
        return ["The surrogate never started: every individual was scored or taken over."]
    sentences = [
        f"The surrogate started in generation {counts.surrogate_generation} "
        "(the initial population is generation 0)."
    ]
    correlation = prediction_rank_correlation(evaluations, family)
    if correlation is not None:
        sentences.append(
            "Its predictions and the evaluations that followed have a rank correlation "
            f"(Spearman) of {correlation:.2f}. The filter lets mostly promising candidates "
            "through; such a narrow range lowers the figure."
        )
    lowest = lowest_prediction(evaluations, family)
    if lowest is not None:
        spread = (
            "" if lowest.predicted_std is None else f" with a spread of {lowest.predicted_std:.3f}"
        )
        sentences.append(
            f"The lowest prediction of the search was {format_loss(lowest.predicted_loss)}"
            f"{spread}, in generation {lowest.generation}. {_fate(lowest)}"
        )
    return sentences


def filter_sentences(filtered: Filtered, search: Mapping[str, Any]) -> list[str]:
    """Say whom the surrogate kept from being scored, and what asking it cost.

    Args:
        filtered: over all generations.
        search: the manifest's note on the search.
    """
    if not filtered.generations:
        return []
    kinds = ", ".join(
        f"{kind.replace('_', ' ')} {count}" for kind, count in filtered.generations.items()
    )
    share = filtered.spared / filtered.seen if filtered.seen else None
    sentences = [
        f"Generations that it filtered, by kind: {kinds}. Of the {format_count(filtered.seen)} new "
        f"candidates that it saw there, {format_share(share)} were not scored; "
        f"{format_count(filtered.n_random)} evaluations were drawn at random, as its control."
    ]
    asked, energy_j = search.get("n_predictions"), search.get("surrogate_energy_j")
    if asked and energy_j is not None and filtered.evaluation_energy_j is not None:
        sentences.append(
            f"It was asked for {format_count(asked)} predictions: "
            f"{format_energy(energy_j / asked)} each, fitting included. An evaluation took "
            f"{format_energy(filtered.evaluation_energy_j)}."
        )
    return sentences


def _fate(lowest: LowestPrediction) -> str:
    if lowest.evaluated_loss is not None:
        off = _off(lowest.evaluated_loss - lowest.predicted_loss)
        return f"The same model evaluated to {format_loss(lowest.evaluated_loss)}, {off}."
    if lowest.failed:
        return (
            "That model was evaluated, but its evaluation gave no finite loss, so the figure "
            "counts for nothing."
        )
    if lowest.screened:
        return (
            "A part of the batches ruled that model out before a whole evaluation, so the figure "
            "counts for nothing."
        )
    return "That model was never evaluated, so the figure counts for nothing."


def _off(error: float) -> str:
    direction = "higher" if error > 0 else "lower"
    return f"{format_loss(abs(error))} {direction} than promised"


def winner_steps(
    evaluations: pa.Table, results: Sequence[Row], family: str, genome_hash: str | None
) -> list[tuple[str, str]]:
    """Follow the winner from the search's fixed batches to the test split, loss by loss."""
    model = next((row for row in results if row["model"] == family), None)
    fitness = best_evaluated_loss(evaluations, family, genome_hash)
    steps = [("search fitness (fixed validation batches)", format_loss(fitness))]
    if model is not None:
        steps.append(("whole validation split", format_loss(model["validation_loss"])))
        steps.append(("test split", format_loss(model["test_loss"])))
    return steps


def energy_lines(energy: Sequence[Row]) -> list[EnergyLine]:
    """Return the energy table's lines in the order of its rows."""
    return [
        EnergyLine(
            stage=row["stage"] + (" (reused)" if row["reused"] else ""),
            device=row["device"],
            energy=format_energy(row["energy_j"]),
            duration=format_duration(row["duration_s"]),
            power=format_power(row["mean_power_w"]),
            source=format_source(row["energy_source"], row["estimated"]),
        )
        for row in energy
    ]


def source_notes(energy: Sequence[Row]) -> list[str]:
    """Explain each meter that the figures come from."""
    sources = {
        name for row in energy if row["energy_source"] for name in row["energy_source"].split("+")
    }
    return [_SOURCES.get(name, name) for name in sorted(sources)]


def energy_sentences(results: Sequence[Row], energy: Sequence[Row]) -> list[str]:
    """Set all joules of the gradient-free model against AdamW's winning run, and its sweep."""
    contender = pick_contender(results)
    rival = next((row for row in results if row["model"] == "adamw"), None)
    if contender is None or rival is None:
        return []
    sources = (contender["energy_source"], rival["energy_source"])
    try:
        ratio = energy_ratio(contender["energy_j"], sources[0], rival["energy_j"], sources[1])
    except MeterError as error:
        return [f"{error.message[0].upper()}{error.message[1:]}."]
    kind = "energy ratio"
    if sources[0] == "cpu_model":
        kind = "CPU-time ratio"
    elif contender["estimated"] or rival["estimated"]:
        kind = "energy ratio, estimated in part,"
    sentences = [
        f"Everything that made the {model_label(contender['model'])} took "
        f"{format_energy(contender['energy_j'])}, rejected evaluations and the surrogate "
        f"included; the training steps of AdamW's winning run alone took "
        f"{format_energy(rival['energy_j'])}: {kind} {format_ratio(ratio)}."
    ]
    sweep = [row for row in energy if row["stage"] == BASELINE_STAGE]
    joules = [row["energy_j"] for row in sweep if row["energy_j"] is not None]
    source = "+".join(sorted({row["energy_source"] for row in sweep if row["energy_j"]}))
    if joules and source == sources[0]:
        against = energy_ratio(contender["energy_j"], source, sum(joules), source)
        sentences.append(
            f"Against AdamW's whole sweep ({format_energy(sum(joules))}) it is "
            f"{format_ratio(against)}."
        )
    return sentences


def trial_lines(baseline: pa.Table) -> list[TrialLine]:
    """Return AdamW's trials, the best validation loss first; diverged trials last."""
    curves = sorted(trial_curves(baseline), key=lambda trial: trial["best"])
    lines = [
        TrialLine(_settings(trial), format_loss(trial["best"]), is_best=number == 0)
        for number, trial in enumerate(curves)
    ]
    seen = {line.settings for line in lines}
    others = dict.fromkeys(_settings(row) for row in baseline.to_pylist())
    return lines + [
        TrialLine(settings, "no finite loss", is_best=False)
        for settings in others
        if settings not in seen
    ]


def rate_sentence(baseline: pa.Table) -> str:
    """Say so if AdamW's best learning rate lies at the edge of those tried; empty otherwise.

    The rates it is held against are those of trials that differ from the best in nothing else,
    diverged ones included.
    """
    best = min(trial_curves(baseline), key=lambda trial: trial["best"], default=None)
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
    return f"The best learning rate is the {edge} that was tried: a better one may lie beyond."


def _settings(trial: Row) -> str:
    passes = f"{trial['passes']} pass" + ("es" if trial["passes"] > 1 else "")
    return (
        f"rate {trial['lr']:g}, {trial['schedule']}, batch {trial['batch_size']}, "
        f"dropout {trial['dropout']:g}, {passes}"
    )


def data_lines(dataset: Mapping[str, Any]) -> list[DataLine]:
    """Return one line per split of a data set's manifest; `used` says what the run read."""
    used = dataset.get("used", {})
    return [
        DataLine(
            split=name,
            documents=format_count(counts.get("documents")),
            n_bytes=format_bytes(counts.get("bytes")),
            tokens=format_count(counts.get("tokens")),
            used=format_count(used.get(name, {}).get("tokens")),
            unused=format_count(used.get(name, {}).get("unused_tokens")),
        )
        for name, counts in dataset.get("splits", {}).items()
    ]

"""A run's report: one HTML file without outside parts, and its figures beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from matplotlib.figure import Figure

from clso.artifacts import Run, atomic_write_bytes, empty_table
from clso.report import plots, sections
from clso.report.formats import (
    format_energy,
    format_loss,
    format_perplexity,
    format_share,
    format_source,
    model_label,
)
from clso.report.headline import make_headline, pick_contender
from clso.report.optimism import optimism_sentence
from clso.report.page import Picture, page_template
from clso.report.style import figure_svg
from clso.report.tables import comparison_lines, result_lines
from clso.report.warm_start import warm_start_sentence
from clso.statistics.bootstrap import FLOORS
from clso.statistics.search_counts import SearchCounts, count_individuals, families, filtered
from clso.statistics.selection import FamilyPick, best_individuals, picked_families
from clso.studies.rivals import RivalLine, duels, rival_lines, rivals_sentence
from clso.studies.rivals_plot import rivals_figure
from clso.studies.study_parts import (
    StudyPart,
    StudyTable,
    ablation_parts,
    pareto_parts,
    savings_parts,
)

__all__ = ["BEST_SHARE", "render_report", "write_report"]

BEST_SHARE = 0.1

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SearchPart:
    """One family's search."""

    label: str
    sentences: list[str]
    steps: list[tuple[str, str]]
    optimism: str
    pictures: list[Picture]


@dataclass(frozen=True)
class RivalsPart:
    """The search held against simpler ones."""

    sentence: str
    lines: list[RivalLine]
    picture: Picture


@dataclass(frozen=True)
class StudySection:
    """A study of the search, its figures drawn."""

    anchor: str
    title: str
    sentences: list[str]
    pictures: list[Picture]
    tables: list[StudyTable]


def render_report(run: Run) -> str:
    """Return a run's report as one HTML page that asks nothing of any server.

    It tells what the tables hold; a stage that has not run is named with its command.

    Raises:
        ArtifactError: a table is damaged.
    """
    return _render(run)[0]


def write_report(run: Run) -> Path:
    """Write `report.html` and `figures/*.svg` into the run's folder and return the page's path.

    Raises:
        ArtifactError: a table is damaged, or the folder cannot be written.
    """
    page, pictures = _render(run)
    for picture in pictures:
        if picture.svg is not None:
            path = run.folder.figures / f"{picture.name}.svg"
            atomic_write_bytes(path, picture.svg.encode())
    atomic_write_bytes(run.folder.report_path, page.encode())
    return run.folder.report_path


def _render(run: Run) -> tuple[str, list[Picture]]:
    results, comparisons = (
        _table(run, "results").to_pylist(),
        _table(run, "comparisons").to_pylist(),
    )
    energy = _table(run, "energy")
    baseline = _table(run, "baseline")
    pictures = {
        "results": _picture(
            "results",
            plots.results_figure(_table(run, "results")),
            _missing(run, "results"),
            alt="Test loss by model: "
            + ", ".join(f"{line.label} {line.test_loss}" for line in result_lines(results)),
        ),
        "energy": _picture(
            "energy",
            plots.energy_figure(energy),
            _missing(run, "energy", "No stage's energy was measured."),
            alt="Energy by stage: "
            + ", ".join(f"{line.stage} {line.energy}" for line in _energy_lines(energy)),
        ),
        "baseline": _picture(
            "baseline",
            plots.baseline_figure(baseline),
            _missing_baseline(run),
            caption="Validation loss of each trial by tokens seen; the best one's training loss is "
            "thin.",
        ),
    }
    searches = _searches(run, results)
    rivals = _rivals(run)
    parts = (*ablation_parts(run), *savings_parts(run), *pareto_parts(run))
    studies = [_study(part) for part in parts]
    page = page_template("report.html.j2").render(
        run_id=run.run_id,
        manifest=run.manifest,
        finished=max(_stage_times(run), default=""),
        headline=make_headline(results, comparisons),
        facts=_facts(run, results),
        results=result_lines(results),
        comparisons=comparison_lines(comparisons),
        confidence=format_share(comparisons[0]["confidence"]) if comparisons else "",
        missing_results=_missing(run, "results"),
        missing_comparisons=_missing(run, "comparisons", "There are no two models to compare."),
        pictures=pictures,
        searches=searches,
        missing_search=_missing(run, "evaluations"),
        rivals=rivals,
        studies=studies,
        energy=_energy_lines(energy),
        energy_sentences=sections.energy_sentences(results, energy.to_pylist()),
        source_notes=sections.source_notes(energy.to_pylist()),
        trials=sections.trial_lines(baseline),
        rate_sentence=sections.rate_sentence(baseline),
        warm_start_sentence=warm_start_sentence(run.manifest),
        data=sections.data_lines(run.manifest.get("dataset", {})),
        fingerprints=_fingerprints(run.manifest.get("dataset", {})),
        settings=yaml.safe_dump(run.config, sort_keys=False, default_flow_style=None, width=88),
    )
    drawn = [*pictures.values(), *(picture for part in searches for picture in part.pictures)]
    drawn += [picture for part in studies for picture in part.pictures]
    return page, drawn if rivals is None else [*drawn, rivals.picture]


def _stage_times(run: Run) -> list[str]:
    stages = run.manifest.get("stages", {}).values()
    return [stage["at"][:16].replace("T", " ") + " UTC" for stage in stages if stage.get("at")]


def _table(run: Run, name: str) -> pa.Table:
    return run.table(name) if run.has(name) else empty_table(name)


def _picture(
    name: str, figure: Figure | None, missing: str, *, alt: str = "", caption: str = ""
) -> Picture:
    svg = None if figure is None else figure_svg(figure, name, alt or caption)
    return Picture(name, svg, caption, missing)


def _missing(run: Run, table: str, empty: str = "There are no rows.") -> str:
    commands = {"evaluations": "search", "generations": "search", "energy": "run"}
    command = commands.get(table, "analyze")
    return empty if run.has(table) else f"Not there yet: clso {command} CONFIG makes it."


def _missing_baseline(run: Run) -> str:
    if not run.config.get("baseline", {}).get("enabled", True):
        return "The AdamW baseline is switched off in this run's config (baseline.enabled)."
    if not run.has("baseline"):
        return "Not there yet: clso baseline CONFIG makes it."
    return "No trial of AdamW has a finite validation loss."


def _energy_lines(energy: pa.Table) -> list[sections.EnergyLine]:
    return sections.energy_lines(energy.to_pylist())


def _facts(run: Run, results: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return the figures at the top: label, value, and what qualifies it."""
    facts = []
    contender = pick_contender(results)
    rival = next((row for row in results if row["model"] == "adamw"), None)
    for row in (contender, rival):
        if row is not None:
            note = f"perplexity {format_perplexity(row['perplexity'])}"
            facts.append(
                (f"{model_label(row['model'])}, test", format_loss(row["test_loss"]), note)
            )
    if contender is not None:
        joules = format_energy(contender["energy_j"])
        source = format_source(contender["energy_source"], contender["estimated"])
        facts.append((f"energy, {model_label(contender['model'])}", joules, source))
    evaluations = _table(run, "evaluations")
    if evaluations.num_rows:
        every = [count_individuals(evaluations, family) for family in families(evaluations)]
        scored = sum(counts.evaluated + counts.failed for counts in every)
        total = sum(counts.individuals for counts in every)
        share = f"{scored:,} of {total:,} individuals"
        facts.append(("really scored", format_share(scored / total), share))
    return facts


def _searches(run: Run, results: Sequence[Row]) -> list[SearchPart]:
    evaluations, generations = _table(run, "evaluations"), _table(run, "generations")
    floors = {
        row["model"]: row["validation_loss"]
        for row in results
        if row["model"] in FLOORS and row["validation_loss"] is not None
    }
    parts = []
    for family in families(evaluations):
        counts = count_individuals(evaluations, family)
        best = run.manifest.get("best", {})
        best_hash = best.get(family, {}).get("genome_hash")
        genes = run.manifest.get("genes", {}).get(family, [])
        search = run.manifest.get("search", {}).get(family, {})
        stopped = search.get("stop_reason")
        picks = picked_families(evaluations, genes, family, BEST_SHARE)
        parts.append(
            SearchPart(
                label=model_label(family),
                sentences=[
                    f"{sections.count_sentence(counts)} {sections.stop_sentence(stopped)}",
                    *sections.surrogate_sentences(evaluations, family, counts),
                    *sections.filter_sentences(filtered(evaluations, generations, family), search),
                ],
                steps=sections.winner_steps(evaluations, results, family, best_hash),
                optimism=optimism_sentence(best, results, family),
                pictures=[
                    _convergence(generations, family, counts, floors),
                    _predictions(evaluations, family, counts),
                    _picks(evaluations, family, picks),
                ],
            )
        )
    return parts


def _rivals(run: Run) -> RivalsPart | None:
    note = run.manifest.get("rivals")
    if note is None or not run.has("rivals"):
        return None
    found = duels(run.rivals, note["evaluations"])
    caption = (
        f"Best loss on the {note['searched_on']} by evaluations: median and range over "
        f"{note['seeds']} seeds, mixtures of {note['slots']} out of {note['functions']} functions; "
        "dotted: all of them at once."
    )
    picture = _picture(
        f"rivals-{note['family']}",
        rivals_figure(run.rivals),
        "No search has a finite loss.",
        caption=caption,
    )
    return RivalsPart(rivals_sentence(found), rival_lines(found), picture)


def _study(part: StudyPart) -> StudySection:
    pictures = [
        _picture(one.name, one.figure, "There is nothing to compare.", caption=one.caption)
        for one in part.figures
    ]
    return StudySection(part.anchor, part.title, part.sentences, pictures, part.tables)


def _convergence(
    generations: pa.Table, family: str, counts: SearchCounts, floors: Mapping[str, float]
) -> Picture:
    figure = plots.convergence_figure(
        generations, family, surrogate_generation=counts.surrogate_generation, floors=floors
    )
    caption = (
        "Evaluated losses by generation, on the search's fixed batches: the best so far, and mean "
        "and standard deviation of the generation. Predictions are not in it. A floor is drawn "
        "where it lies near the curves (whole validation split)."
    )
    missing = "No generation has an evaluated loss."
    return _picture(f"convergence-{family}", figure, missing, caption=caption)


def _predictions(evaluations: pa.Table, family: str, counts: SearchCounts) -> Picture:
    caption = (
        "Each point is a model whose loss was predicted, then evaluated; on the line the two agree."
    )
    missing = (
        "No prediction was followed by an evaluation: the surrogate never started."
        if counts.surrogate_generation is None
        else "No prediction was followed by an evaluation."
    )
    figure = plots.predictions_figure(evaluations, family)
    return _picture(f"predictions-{family}", figure, missing, caption=caption)


def _picks(evaluations: pa.Table, family: str, picks: Sequence[FamilyPick]) -> Picture:
    n_best = best_individuals(evaluations, family, BEST_SHARE).num_rows
    caption = (
        f"Families of matrices that the best {format_share(BEST_SHARE)} of the evaluated models "
        f"picked ({n_best} models), gene by gene. The models descend from each other, so a share "
        "off the tick is a hint, no test."
    )
    missing = "The manifest does not say which families the genes pick from."
    return _picture(f"families-{family}", plots.families_figure(picks), missing, caption=caption)


def _fingerprints(dataset: Row) -> list[tuple[str, str]]:
    tokenizer = dataset.get("tokenizer", {})
    found = {
        "data set": dataset.get("fingerprint"),
        "source": dataset.get("source", {}).get("name"),
        "text sha256": dataset.get("text_sha256"),
        "split sha256": dataset.get("split_sha256"),
        "tokenizer": tokenizer.get("kind"),
        "vocabulary": f"{tokenizer['vocab_size']:,} tokens" if "vocab_size" in tokenizer else None,
        "tokenizer sha256": tokenizer.get("sha256"),
    }
    return [(name, str(value)) for name, value in found.items() if value is not None]

"""A run's report: one HTML file without outside parts, and its figures beside it.

It shows the run's tables and manifest and nothing else. A stage that has not run is named with its
command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clso.artifacts import Run
from clso.report.baseline import baseline_section
from clso.report.energy import energy_section
from clso.report.formats import (
    BYTES,
    COUNT,
    ENERGY,
    LOSS,
    PERPLEXITY,
    SHARE,
    counted,
    format_source,
)
from clso.report.headline import Headline
from clso.report.html import Block, Page, ReportSection
from clso.report.models import Models
from clso.report.results import results_section
from clso.report.search import search_sections
from clso.report.seeds import seeds_section
from clso.report.settings import CONFIG_FILE, config_yaml, settings_section
from clso.report.table import Table
from clso.report.texts import texts_section
from clso.statistics.search_summary import SearchSummary
from clso.studies import study_sections

__all__ = ["report_page"]

Row = Mapping[str, Any]


def report_page(run: Run) -> Page:
    """Return a run's report as a page that asks nothing of any server.

    Raises:
        ArtifactError: a table is damaged.
    """
    results, comparisons = (
        run.table(name).to_pylist() if run.has(name) else [] for name in ("results", "comparisons")
    )
    seeds = seeds_section(run)
    headline = Headline.of(results, comparisons, Models(run.manifest))
    stages = run.manifest.get("stages", {}).values()
    finished = max((stage["at"] for stage in stages if stage.get("at")), default="")
    at = f" · {finished[:16].replace('T', ' ')} UTC" * bool(finished)
    return Page(
        title=f"{run.run_id} · CLSO report",
        over=f"CLSO report · run {run.run_id}{at}",
        headline=headline.title,
        leads=headline.details,
        facts=_facts(run, results),
        sections=[
            results_section(run),
            *([] if seeds is None else [seeds]),
            texts_section(run),
            *search_sections(run, results),
            *study_sections(run),
            baseline_section(run),
            energy_section(run, results),
            _data_section(run.manifest.get("dataset", {})),
            settings_section(run),
        ],
        files={CONFIG_FILE: config_yaml(run)},
        foot="Every number comes from the Parquet tables beside this page. Predicted losses are "
        "shown only where they are called predicted. A dash means not measured.",
    )


def _facts(run: Run, results: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return the figures at the top: label, value, and what qualifies it."""
    facts, models = [], Models(run.manifest)
    by_model = {row["model"]: row for row in results}
    contender, rivals = models.contender(results), models.rivals(results)
    sides = [*([] if contender is None else [contender]), *rivals]
    hybrid = by_model.get("hybrid")
    for row in [*sides, *([] if hybrid is None else [hybrid])]:
        note = f"perplexity {PERPLEXITY.text(row['perplexity'])}"
        if row is hybrid and models.network_share is not None:
            note = f"the network's share {SHARE.text(models.network_share)}"
        if kind := models.kind(row["model"]):
            note += f"; {kind}"
        title = f"{models.title(row['model'])}, test"
        facts.append((title, LOSS.text(row["test_loss"]), note))
    for row in sides:
        note = format_source(row["energy_source"], row["estimated"])
        note += "; winning run alone" * (row in rivals)
        title = f"energy, {models.title(row['model'])}"
        facts.append((title, ENERGY.text(row["energy_j"]), note))
    if run.has("evaluations") and run.evaluations.num_rows:
        families = run.evaluations["family"].unique().to_pylist()
        every = [SearchSummary(run.evaluations, family).counts for family in families]
        scored = sum(counts.evaluated + counts.failed for counts in every)
        total = sum(counts.individuals for counts in every)
        share = f"{scored:,} of {counted(total, 'individual')}"
        facts.append(("individuals scored", SHARE.text(scored / total), share))
    return facts


def _data_section(dataset: Row) -> ReportSection:
    table = _data_table(dataset)
    if not table.rows:
        missing = "The manifest does not describe the data set yet: clso prepare CONFIG makes it."
        return ReportSection("Data", [Block("missing", missing)])
    return ReportSection("Data", [table, Block("pairs", _fingerprints(dataset))])


def _data_table(dataset: Row) -> Table:
    """Return a row per split of a data set's manifest; `targets` says what the run read."""
    table = Table(
        "",
        ["split", "documents", "tokens", "targets", "unused"],
        [
            "Targets are the tokens in whole blocks within the budget; the rest of a split is "
            "unused."
        ],
    )
    for name, counts in dataset.get("splits", {}).items():
        used = dataset.get("used", {}).get(name, {})
        table.add(
            name,
            COUNT.text(counts.get("documents")),
            (COUNT.text(counts.get("tokens")), BYTES.text(counts.get("bytes"))),
            COUNT.text(used.get("tokens")),
            COUNT.text(used.get("unused_tokens")),
        )
    return table


def _fingerprints(dataset: Row) -> list[tuple[str, str]]:
    tokenizer = dataset.get("tokenizer", {})
    values = {
        "data set": dataset.get("fingerprint"),
        "source": dataset.get("source", {}).get("name"),
        "text sha256": dataset.get("text_sha256"),
        "split sha256": dataset.get("split_sha256"),
        "equal documents": _equal_documents(dataset.get("duplicates")),
        "near documents": _near_documents(dataset.get("duplicates")),
        "tokenizer": tokenizer.get("kind"),
        "vocabulary": f"{tokenizer['vocab_size']:,} tokens" if "vocab_size" in tokenizer else None,
        "tokenizer sha256": tokenizer.get("sha256"),
    }
    return [(name, str(value)) for name, value in values.items() if value is not None]


def _equal_documents(duplicates: Row | None) -> str | None:
    """Say how many documents repeat others; `None`: the manifest of an old version lacks it."""
    if duplicates is None:
        return None
    across = _by_split(duplicates["across_splits"])
    return f"{counted(duplicates['documents'], 'duplicate')}; {across or 'none'} across splits"


def _near_documents(duplicates: Row | None) -> str | None:
    if duplicates is None or duplicates["near"] is None:
        return None
    near = _by_split(duplicates["near"])
    text = (
        f"half of their runs of {duplicates['gram_characters']} characters stand in splits before"
    )
    return f"{near or 'none'}; {text}"


def _by_split(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} of {split}" for split, count in counts.items() if count)

"""The report's sections on searches: what was scored, what looked too good, what was picked.

The winner has the lowest of many losses on the same batches. This loss is too low: the luck in it
does not come again on other text. The winner's loss also rises because the splits differ, so the
report gives the same rise for the unigram, a model that no search chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa

from clso.artifacts import Run
from clso.report.formats import COUNT, ENERGY, LOSS, SHARE, counted
from clso.report.html import Block, Picture, ReportSection
from clso.report.models import Models
from clso.report.search_figures import convergence_figure, families_figure, predictions_figure
from clso.statistics.bootstrap import FLOORS
from clso.statistics.picks import Genes
from clso.statistics.search_summary import LowestPrediction, SearchSummary, winners_optimism

__all__ = ["search_sections"]

Row = Mapping[str, Any]

_BEST_SHARE: Final = 0.1
_YARDSTICK: Final = "unigram"
_STOPS: Final = {
    "generations": "all generations were run",
    "patience": "the best loss had not improved for as long as search.patience allows",
    "max_evaluations": "search.max_evaluations was reached",
    "exhausted": "no genome was left that had not been evaluated",
    "interrupted": "it was interrupted",
}


def search_sections(run: Run, results: Sequence[Row]) -> list[ReportSection]:
    """Return a section per family that the run has searched."""
    evaluations = run.folder.read("evaluations")
    families = Models(run.manifest).ordered(evaluations["family"].unique().to_pylist())
    if not families:
        missing = "There are no rows."
        if not run.has("evaluations"):
            missing = "Not there yet: clso search CONFIG makes it."
        return [ReportSection("Search", [Block("missing", missing)])]
    generations = run.folder.read("generations")
    return [_section(run, results, family, evaluations, generations) for family in families]


def _section(
    run: Run, results: Sequence[Row], family: str, evaluations: pa.Table, generations: pa.Table
) -> ReportSection:
    summary, models = SearchSummary(evaluations, family, generations), Models(run.manifest)
    best = run.manifest.get("best", {})
    note = run.manifest.get("search", {}).get(family, {})
    start = summary.counts.surrogate_generation
    predictions = Picture(
        f"predictions-{family}",
        partial(predictions_figure, summary.pairs(), models.color(family)),
        "Each point is a model whose loss was first predicted and then evaluated; on the line both "
        "are equal.",
        "No prediction was followed by an evaluation.",
    )
    return ReportSection(
        f"Search: {models.title(family)}",
        [
            f"{_count_sentence(summary)} {_stop_sentence(note.get('stop_reason'))}",
            _convergence(generations, family, start, models, results),
            Block("heading", "What looked too good"),
            *_surrogate_sentences(summary),
            *_filter_sentences(summary, note),
            *([] if start is None else [predictions]),
            "The winner's loss on the search's batches, on validation and on test:",
            Block("steps", _winner_steps(summary, results, family, best)),
            *filter(None, [_optimism_sentence(best, results, family)]),
            Block("heading", "What the best genomes picked"),
            _picks(run, summary, family),
        ],
        f"search-{family}",
    )


def _convergence(
    generations: pa.Table, family: str, start: int | None, models: Models, results: Sequence[Row]
) -> Picture:
    floors = {
        row["model"]: row["validation_loss"]
        for row in results
        if row["model"] in FLOORS and row["validation_loss"] is not None
    }
    options: dict[str, Any] = {"surrogate_generation": start, "floors": floors}
    draw = partial(convergence_figure, generations, family, models, **options)
    caption = (
        "Evaluated losses by generation, on the search's fixed batches: the best so far, and mean "
        "and standard deviation of the generation. The axis fits the best curve, so a mean or a "
        "band far above it is cut off. Predictions are not shown. A floor (on the whole "
        "validation split) is shown if it lies near."
    )
    missing = "No generation has an evaluated loss."
    return Picture(f"convergence-{family}", draw, caption, missing)


def _picks(run: Run, summary: SearchSummary, family: str) -> Picture:
    genes = run.manifest.get("genes", {}).get(family, [])
    best = summary.best(_BEST_SHARE)["genome"].to_pylist()
    picks = Genes(genes).picks(best)
    caption = (
        f"Families of the library that the best {SHARE.text(_BEST_SHARE)} of the evaluated models "
        f"picked ({counted(len(best), 'model')}), gene by gene. The models descend from "
        "each other, so a share away from the tick is a hint and not a test."
    )
    missing = "The manifest does not say which families the genes pick from."
    return Picture(f"families-{family}", partial(families_figure, picks), caption, missing)


def _count_sentence(summary: SearchSummary) -> str:
    """Say how many individuals were scored, and what happened to all others."""
    counts = summary.counts
    scored = counts.evaluated + counts.failed
    share = scored / counts.individuals if counts.individuals else None
    failed = f", {COUNT.text(counts.failed)} of them without a finite loss"
    screened = f" Ruled out on a part of the batches: {COUNT.text(counts.screened)}."
    return (
        f"{counted(counts.individuals, 'individual')} in "
        f"{counted(counts.generations, 'generation')}. "
        f"Scored in their generation: {COUNT.text(scored)} ({SHARE.text(share)})"
        f"{failed * (counts.failed > 0)}.{screened * (counts.screened > 0)} "
        f"Scored before, with the same loss again: {COUNT.text(counts.cached)}. "
        f"Only predicted: {COUNT.text(counts.predicted)}. "
        f"Different models with a loss: {COUNT.text(counts.distinct_evaluated)}. "
        f"Tokens scored: {COUNT.text(counts.tokens)}."
    )


def _stop_sentence(reason: str | None) -> str:
    """Say why the search ended; empty while the search is not finished."""
    return "" if reason is None else f"It ended because {_STOPS.get(reason, reason)}."


def _surrogate_sentences(summary: SearchSummary) -> list[str]:
    """Say when the surrogate began, how well it ranked, and how good its lowest prediction was."""
    counts = summary.counts
    if counts.surrogate_generation is None:
        return ["The surrogate never started, so no individual was predicted."]
    sentences = [
        f"The surrogate started in generation {counts.surrogate_generation} "
        "(the initial population is generation 0)."
    ]
    correlation = summary.rank_correlation()
    if correlation is not None:
        sentences.append(
            "Its predictions and the evaluations that followed have a rank correlation "
            f"(Spearman) of {correlation:.2f}. The filter lets mostly promising candidates "
            "through; this narrow range lowers the correlation."
        )
    lowest = summary.lowest_prediction()
    if lowest is not None:
        std = lowest.predicted_std
        spread = "" if std is None else f" with a spread of {std:.3f}"
        sentences.append(
            f"The lowest prediction of the search was {LOSS.text(lowest.predicted_loss)}"
            f"{spread}, in generation {lowest.generation}. {_fate(lowest)}"
        )
    return sentences


def _filter_sentences(summary: SearchSummary, search: Mapping[str, Any]) -> list[str]:
    """Say how many candidates were not scored because of the surrogate, and what it cost."""
    filtered = summary.filtered()
    if not filtered.generations:
        return []
    kinds = ", ".join(
        f"{kind.replace('_', ' ')} {count}" for kind, count in filtered.generations.items()
    )
    share = filtered.spared / filtered.seen if filtered.seen else None
    sentences = [
        f"Generations that the surrogate filtered, by kind: {kinds}. Of the "
        f"{counted(filtered.seen, 'new candidate')} that it ranked, {SHARE.text(share)} were not "
        f"scored. Evaluations drawn at random, as a control: {COUNT.text(filtered.n_random)}."
    ]
    asked, energy_j = search.get("n_predictions"), search.get("surrogate_energy_j")
    if asked and energy_j is not None and filtered.evaluation_energy_j is not None:
        sentences.append(
            f"It was asked for {counted(asked, 'prediction')}: "
            f"{ENERGY.text(energy_j / asked)} each, fitting included. An evaluation took "
            f"{ENERGY.text(filtered.evaluation_energy_j)}."
        )
    return sentences


def _fate(lowest: LowestPrediction) -> str:
    """Say what became of the model with the lowest prediction."""
    if lowest.evaluated_loss is not None:
        error = lowest.evaluated_loss - lowest.predicted_loss
        return (
            f"The same model evaluated to {LOSS.text(lowest.evaluated_loss)}, "
            f"{LOSS.text(abs(error))} {'higher' if error > 0 else 'lower'} than predicted."
        )
    reason = "That model was never evaluated"
    if lowest.failed:
        reason = "The evaluation of that model gave no finite loss"
    elif lowest.screened:
        reason = "A part of the batches ruled that model out before a whole evaluation"
    return f"{reason}, so the prediction counts for nothing."


def _winner_steps(
    summary: SearchSummary, results: Sequence[Row], family: str, best: Mapping[str, Row]
) -> list[tuple[str, str]]:
    """Follow the winner from the search's fixed batches to the test split, loss by loss."""
    model = next((row for row in results if row["model"] == family), None)
    winner = best.get(family, {})
    # float32, also where the evaluations of the search were not
    fitness = winner.get("search_loss", summary.best_loss(winner.get("genome_hash")))
    steps = [("fitness: the search's validation batches", fitness)]
    if model is not None:
        steps.append(("whole validation split", model["validation_loss"]))
        steps.append(("test split", model["test_loss"]))
    return [(label, LOSS.text(loss)) for label, loss in steps]


def _optimism_sentence(
    best: Mapping[str, Mapping[str, Any]], results: Sequence[Mapping[str, Any]], family: str
) -> str:
    """Say how far the winner's loss rises from the search to test; empty without a winner."""
    losses = winners_optimism(best, results).get(family)
    if losses is None:
        return ""
    sentence = (
        "From the search's batches to the whole validation split the loss changes by "
        f"{LOSS.signed(losses['validation_minus_search'])}. To the test split it "
        f"changes by {LOSS.signed(losses['test_minus_search'])}. Where the change is "
        "positive, the winner looked too good."
    )
    yardstick = next((row for row in results if row["model"] == _YARDSTICK), None)
    if yardstick is not None and yardstick["validation_loss"] is not None:
        own = LOSS.signed(yardstick["test_loss"] - yardstick["validation_loss"])
        sentence += (
            f" The splits differ too: from validation to test the loss of the {_YARDSTICK}, which "
            f"no search chose, changes by {own}."
        )
    # an older manifest has no `refitted_on`; only a model of functions is fitted again
    fitted = best[family].get("refitted_on", ["tune"] if "functions" in best[family] else [])
    if fitted:
        sentence += (
            f" The kept model was fitted on {' and '.join(fitted)} too, the searched model was "
            "not. That lowers the losses after the search."
        )
    return sentence

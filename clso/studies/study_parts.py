"""The report's sections on studies of the search, each as plain text, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from clso.artifacts import Run
from clso.report.formats import format_loss, format_share, model_label
from clso.statistics.paired import CONFIDENCE
from clso.studies.ablations import (
    ablation_families,
    ablation_sentence,
    base_loss,
    effect_lines,
    effects,
)
from clso.studies.ablations_plot import ablations_figure, selections_figure
from clso.studies.pareto import front_lines, front_rows, front_sentences, pareto_families
from clso.studies.pareto_plot import pareto_figures
from clso.studies.picks import selection_lines
from clso.studies.savings import savings_of
from clso.studies.savings_plot import arrivals_figure, savings_figure
from clso.studies.savings_table import saving_lines, savings_sentence

__all__ = [
    "StudyFigure",
    "StudyPart",
    "StudyTable",
    "ablation_parts",
    "pareto_parts",
    "savings_parts",
]

_HALVES = (
    "Searches see the first half of the validation blocks; held back is the second half, which "
    "none of them reads."
)


@dataclass(frozen=True)
class StudyFigure:
    """A figure before it is drawn as SVG; `name` is its file's."""

    name: str
    figure: Figure | None
    caption: str


@dataclass(frozen=True)
class StudyTable:
    """Rows of cells, the first of which names the row; a pair is a value and what is below it."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str | tuple[str, str]]]


@dataclass(frozen=True)
class StudyPart:
    """A section: title, paragraphs, figures, tables."""

    anchor: str
    title: str
    sentences: list[str]
    figures: list[StudyFigure]
    tables: list[StudyTable]


def ablation_parts(run: Run) -> list[StudyPart]:
    """Return a section per family that `clso ablate` has searched."""
    notes = run.manifest.get("ablations", {})
    if not notes or not run.has("ablations") or not run.has("selections"):
        return []
    return [
        _ablation_part(run, family, notes[family])
        for family in ablation_families(run.ablations)
        if family in notes
    ]


def _ablation_part(run: Run, family: str, note: dict[str, Any]) -> StudyPart:
    found = effects(run.ablations, family)
    base = format_loss(base_loss(run.ablations, family), decimals=4)
    selections = selection_lines(run.selections, family)
    return StudyPart(
        anchor=f"ablations-{family}",
        title=f"The {model_label(family)}'s search, ablated",
        sentences=[
            f"{note['seeds']} seeds per arm, up to {note['evaluations']} evaluations per search. "
            f"The base has a mean held-back loss of {base}. {_HALVES}",
            ablation_sentence(found),
        ],
        figures=[
            StudyFigure(
                f"ablations-{family}",
                ablations_figure(run.ablations, family),
                "Paired differences to the base over seeds with their "
                f"{format_share(CONFIDENCE)} t intervals; hollow: on what both searched.",
            ),
            StudyFigure(
                f"selections-{family}",
                selections_figure(run.selections, family),
                "Share of the finalists' genes that picked each family, with "
                f"{format_share(CONFIDENCE)} intervals in which a seed counts once (exact binomial "
                "for one gene, t for several); the tick is the family's share of the library. All "
                "seeds pick from one library.",
            ),
        ],
        tables=[
            StudyTable(
                "Arm minus base, nats per token; p of the paired t test, below it that of "
                "Wilcoxon's signed ranks, both with Holm's correction",
                ("arm", "held-back loss", "difference", "p", "searched", "energy ratio"),
                [
                    (
                        (line.level, line.factor.replace("_", " ")),
                        line.loss,
                        (line.difference, line.interval),
                        (line.p_value, line.signed_rank_p),
                        line.searched,
                        line.energy,
                    )
                    for line in effect_lines(found)
                ],
            ),
            *(
                [
                    StudyTable(
                        "What the base's finalists picked; similarity: mean absolute cosine "
                        "between the entries of two seeds / between any two entries",
                        ("gene", "family", "picked", "chance", "similarity"),
                        [
                            (
                                line.slot,
                                line.family,
                                (line.picked, line.interval),
                                line.chance,
                                line.similarity,
                            )
                            for line in selections
                        ],
                    )
                ]
                if selections
                else []
            ),
        ],
    )


def savings_parts(run: Run) -> list[StudyPart]:
    """Return a section per family that `clso savings` has searched."""
    notes = run.manifest.get("savings", {})
    if not notes or not run.has("savings"):
        return []
    return [
        _savings_part(run, family, note)
        for family, note in notes.items()
        if family in set(run.savings["family"].to_pylist())
    ]


def _savings_part(run: Run, family: str, note: dict[str, Any]) -> StudyPart:
    reference, budget = note["reference"], note["evaluations"]
    beyond_target = note["beyond_target"]
    found = savings_of(run.savings, family, reference, budget, beyond_target=beyond_target)
    return StudyPart(
        anchor=f"savings-{family}",
        title=f"What the {model_label(family)}'s search can save",
        sentences=[
            savings_sentence(found),
            f"{note['seeds']} seeds, up to {budget} evaluations each; operators and "
            "de-duplication are the same on all sides, and a genome is evaluated whole at most "
            "once. "
            f"The target is the median loss that {reference} ends with at its budget; a search "
            "that does not reach it is censored there."
            + (
                ""
                if beyond_target
                else " Searches of the other arms end once they are at the lowest loss that any "
                f"search of {reference} ends with."
            ),
        ],
        figures=[
            StudyFigure(
                f"arrivals-{family}",
                arrivals_figure(run.savings, family, reference, budget),
                "Share of seeds that have reached the target by evaluations (Kaplan-Meier).",
            ),
            StudyFigure(
                f"savings-{family}",
                savings_figure(run.savings, family, reference, budget),
                "Best loss by evaluations, median and quartiles over seeds; dotted: the target. "
                "A search that has ended keeps its loss.",
            ),
        ],
        tables=[
            StudyTable(
                "Median evaluations to the target, their share of the reference's and that of the "
                f"joules with {format_share(CONFIDENCE)} bootstrap intervals, mean evaluations "
                "restricted to the budget, p of the log-rank test with Holm's correction, loss at "
                "the end against the reference's, and the predictions that an evaluation's joules "
                "pay for",
                ("arm", "reached", "median", "share", "joules", "mean", "p", "loss", "predictions"),
                [
                    (
                        line.arm,
                        line.reached,
                        line.median,
                        (line.share, line.interval),
                        (line.energy_share, line.energy_interval),
                        line.restricted_mean,
                        line.p_value,
                        (line.loss, line.loss_interval),
                        (line.per_evaluation, line.costs),
                    )
                    for line in saving_lines(found)
                ],
            )
        ],
    )


def pareto_parts(run: Run) -> list[StudyPart]:
    """Return a section per family that `clso pareto` has searched."""
    if not run.has("pareto"):
        return []
    return [
        _pareto_part(run, family, run.manifest["pareto"][family])
        for family in pareto_families(run.pareto)
    ]


def _pareto_part(run: Run, family: str, note: dict[str, Any]) -> StudyPart:
    lines = front_lines(front_rows(run.pareto, family))
    return StudyPart(
        anchor=f"pareto-{family}",
        title=f"Loss against size and work: {model_label(family)}",
        sentences=front_sentences(run.pareto, run.pareto_generations, family, note["objectives"]),
        figures=[
            StudyFigure(drawn.name, drawn.figure, drawn.caption)
            for drawn in pareto_figures(run.pareto, family)
        ],
        tables=[
            StudyTable(
                "Models of the front, evenly by loss; all of them, with their genomes, are in "
                "pareto.parquet, and a genome with this run's configuration is the model. The "
                "loss is the one that the search selected by; below it that on "
                f"{note['scored_on']}",
                ("genome", "loss", "stored", "operations per token", "energy per token"),
                [
                    (
                        line.genome_hash,
                        (line.loss, line.validation_loss),
                        line.stored,
                        line.flops,
                        line.energy,
                    )
                    for line in lines
                ],
            )
        ],
    )

"""What the studies of a search tell on the terminal."""

from __future__ import annotations

from clso.artifacts import Run
from clso.errors import ArtifactError
from clso.studies.ablations import (
    ablation_families,
    ablation_sentence,
    ablations_table,
    base_loss,
    effects,
)
from clso.studies.pareto import front_rows, front_sentences, front_table, pareto_families
from clso.studies.picks import selections_table
from clso.studies.rivals import duels, rivals_sentence, rivals_table
from clso.studies.savings import savings_of
from clso.studies.savings_table import savings_sentence, savings_table
from clso.studies.tuning import (
    arm_lines,
    check_of,
    check_sentence,
    check_table,
    param_lines,
    param_table,
    trial_lines,
    tuned_front_table,
)
from pipelines.console import console

__all__ = [
    "show_ablations",
    "show_pareto",
    "show_rivals",
    "show_savings",
    "show_studies",
    "show_tuning",
]


def show_studies(run: Run) -> None:
    """Print every study that a run has."""
    shows = {
        "rivals": show_rivals,
        "ablations": show_ablations,
        "savings": show_savings,
        "pareto": show_pareto,
        "trials": show_tuning,
    }
    for table, show in shows.items():
        if run.has(table):
            show(run)


def show_rivals(run: Run) -> None:
    """Print how the run's search stands against simpler ones.

    Raises:
        ArtifactError: `clso rivals` has not been run.
    """
    found = duels(run.rivals, run.manifest["rivals"]["evaluations"])
    console.print(rivals_table(found))
    console.print(rivals_sentence(found))


def show_ablations(run: Run) -> None:
    """Print what each arm of the run's ablation changes, and which families were picked.

    Raises:
        ArtifactError: `clso ablate` has not been run.
    """
    for family in ablation_families(run.ablations):
        found = effects(run.ablations, family)
        console.print(ablations_table(found, family, base_loss(run.ablations, family)))
        console.print(ablation_sentence(found))
        console.print(selections_table(run.selections, family))


def show_savings(run: Run) -> None:
    """Print how many evaluations each surrogate of the run's searches saves.

    Raises:
        ArtifactError: `clso savings` has not been run.
    """
    notes = run.manifest.get("savings", {})
    for family in dict.fromkeys(run.savings["family"].to_pylist() if notes else []):
        note = notes[family]
        found = savings_of(
            run.savings,
            family,
            note["reference"],
            note["evaluations"],
            beyond_target=note["beyond_target"],
        )
        console.print(savings_table(found, family, note["target"]))
        console.print(savings_sentence(found))


def show_pareto(run: Run, family: str | None = None) -> None:
    """Print the run's fronts of loss and costs.

    Args:
        run: where to look.
        family: one of its fronts; `None`: all.

    Raises:
        ArtifactError: `clso pareto` has not been run.
    """
    for found in pareto_families(run.pareto) if family is None else [family]:
        console.print(front_table(front_rows(run.pareto, found), found))
        objectives = run.manifest["pareto"][found]["objectives"]
        for text in front_sentences(run.pareto, run.pareto_generations, found, objectives):
            console.print(text)


def show_tuning(run: Run) -> None:
    """Print what a study found, and how it stands against the run's own settings.

    Raises:
        ArtifactError: the study has not come to its end.
    """
    note = run.manifest.get("tune")
    if note is None:
        raise ArtifactError(
            f"the study in {run.path} has not come to its end",
            remedy="`clso tune CONFIG` goes on with it",
        )
    checks, check = run.table("checks"), check_of(run.table("checks"))
    if len(note["objectives"]) > 1:
        console.print(tuned_front_table(trial_lines(run.table("trials").to_pylist())))
    console.print(param_table(param_lines(note, run.table("importances").to_pylist())))
    console.print(check_table(arm_lines(checks), check))
    console.print(check_sentence(check))

"""Studies of a search, a module each: what its tables say, with tables, figures and sentences."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from clso.artifacts import Run
from clso.report.html import ReportSection
from clso.studies.ablations import Ablation
from clso.studies.continual import Continual
from clso.studies.finetunings import Finetuning
from clso.studies.multitask import Multitask
from clso.studies.pareto import Front
from clso.studies.rivals import Rivals
from clso.studies.savings import Savings
from clso.studies.transfer import Transfer

__all__ = ["study_sections"]

_Section = Callable[[Run, str, Mapping[str, Any]], ReportSection]

# by table: the column that divides it into sections, and what makes a section
_SECTIONS: Final[Mapping[str, tuple[str, _Section]]] = {
    "rivals": ("family", Rivals.section),
    "ablations": ("family", Ablation.section),
    "savings": ("family", Savings.section),
    "pareto": ("family", Front.section),
    "finetunings": ("task", Finetuning.section),
    "transfer": ("family", Transfer.section),
    "multitask": ("family", Multitask.section),
    "continual": ("family", Continual.section),
}


def study_sections(
    run: Run, study: str | None = None, family: str | None = None
) -> list[ReportSection]:
    """Return a section for every study that a run has and every family (or task) that it has.

    `study`, the name of a study's table such as `"savings"`, and `family` select; `None`: all.
    """
    sections = []
    for name, (column, section) in _SECTIONS.items():
        if study not in (None, name) or not run.has(name):
            continue
        notes = run.manifest.get(name, {})
        if "family" in notes:  # the note of a study that searches a single family
            notes = {notes["family"]: notes}
        for searched in dict.fromkeys(run.table(name)[column].to_pylist()):
            if searched in notes and family in (None, searched):
                sections.append(section(run, searched, notes[searched]))
    return sections

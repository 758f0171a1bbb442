"""Studies of a search, a module each: what its tables say, with tables, figures and sentences."""

from clso.artifacts import Run
from clso.report.html import ReportSection
from clso.studies.ablations import ablation_sections
from clso.studies.pareto import pareto_sections
from clso.studies.rivals import rivals_sections
from clso.studies.savings import savings_sections

__all__ = ["study_sections"]


def study_sections(run: Run) -> list[ReportSection]:
    """Return the sections of every study that a run has."""
    return [
        section
        for sections in (rivals_sections, ablation_sections, savings_sections, pareto_sections)
        for section in sections(run)
    ]

"""The report's section on seeds: this run among the runs that differ in their seed alone."""

from __future__ import annotations

from collections.abc import Iterator

from clso.artifacts import Run
from clso.errors import ArtifactError
from clso.report.formats import LOSS
from clso.report.html import ReportSection
from clso.report.runs import RunSet
from clso.report.seed_energy import seed_energy_table

__all__ = ["seeds_section"]


def seeds_section(run: Run) -> ReportSection | None:
    """Return means and intervals over the seeds of a folder of runs; `None`: there is one seed.

    The runs lie beside this run and have results. Where a seed also draws the splits, each was
    scored on test documents of its own; the differences are still paired within a run.
    """
    if not run.has("results"):
        return None
    others = list(_beside(run))
    if not others:
        return None
    (group,) = RunSet([*others, run]).groups_of_seeds()
    energy = seed_energy_table(group.runs, group.models)
    names = ", ".join(other.run_id for other in group.runs if other is not run)
    return ReportSection(
        "Over seeds",
        [
            f"{len(group.runs)} runs differ in their seed alone: this one and {names}. "
            f"{_difference(group)}clso report {run.run_id} reads the runs again.",
            group.seeds_table(),
            *([] if energy is None else [energy]),
        ],
        "seeds",
    )


def _beside(run: Run) -> Iterator[Run]:
    """Yield the runs in the same folder that differ from this one in their seed alone.

    A damaged neighbour is left out; `clso ls` reports it.
    """
    for path in Run.folders(run.path.parent):
        if path == run.path:
            continue
        try:
            other = Run(path)
            if other.has("results") and (pair := RunSet([other, run]).groups_of_seeds()):
                # all that the section reads of it is read here
                pair[0].seeds_table()
                yield other
        except (ArtifactError, AttributeError, KeyError, TypeError, ValueError):
            continue


def _difference(group: RunSet) -> str:
    """Say how the best gradient-free model and the gradient models compare over seeds, if any."""
    means = {mean.model: mean for mean in group.seed_means()}
    contenders = [group.models.contender(run.results.to_pylist()) for run in group.runs]
    names = {row["model"] for row in contenders if row is not None}
    mean = means.get(names.pop()) if len(names) == 1 else None
    if mean is None or not mean.against:
        return ""
    told = []
    for rival, over_seeds in mean.against.items():
        difference, interval = LOSS.difference(over_seeds)
        told.append(f"{group.models.subject(rival)} is {difference} nats per token ({interval})")
    return (
        f"Over their seeds, the test loss of {group.models.subject(mean.model)} minus that of "
        f"{', minus that of '.join(told)}. "
    )

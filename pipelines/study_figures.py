"""The figures of a study as SVG files in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence

from clso.artifacts import Run, atomic_write_bytes
from clso.report.style import figure_svg
from clso.studies.study_parts import StudyPart

__all__ = ["write_figures"]


def write_figures(run: Run, parts: Sequence[StudyPart]) -> None:
    """Write every figure that there is something to draw for."""
    for part in parts:
        for one in part.figures:
            if one.figure is not None:
                svg = figure_svg(one.figure, one.name, one.caption)
                atomic_write_bytes(run.folder.figures / f"{one.name}.svg", svg.encode())

"""Optuna's own plots of a study, drawn in the reports' style.

Optuna draws with matplotlib's style sheet `ggplot`; here the reports' style takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from optuna.visualization import matplotlib as plots

from clso.report.style import INK, STYLE
from search.tuning.results import SingleObjective
from search.tuning.settings import Objective
from search.tuning.storage import quiet_optuna

__all__ = ["study_figures"]

_LABELS: dict[Objective, str] = {"loss": "loss, nats per token", "energy_j": "joules of a search"}
_WIDTH = 4.8
_SLICED, _PARALLEL = 3, 5  # more do not fit a page's width


def study_figures(
    study: optuna.Study, objectives: Sequence[Objective], ranked: Sequence[str]
) -> dict[str, Figure]:
    """Return the figures of a study by their names.

    Args:
        study: has at least one complete trial.
        ranked: dimensions, the most important for the loss first; without any, fewer are drawn.
    """
    singles = SingleObjective.each(study, objectives)
    losses = singles[0].study
    with quiet_optuna(), _house_style():
        if len(objectives) > 1:
            names = [_LABELS[objective] for objective in objectives]
            figures = {"pareto": _figure(plots.plot_pareto_front(study, target_names=names))}
        else:
            history = plots.plot_optimization_history(study, target_name=_LABELS["loss"])
            figures = {"history": _figure(history)}
        if not ranked:
            return figures
        for single in singles:
            if single.importances(single.ped_anova):
                name = "importances" if single.objective == "loss" else "importances-energy_j"
                bars = plots.plot_param_importances(
                    single.study,
                    evaluator=single.ped_anova,
                    target_name=_LABELS[single.objective],
                )
                figures[name] = _figure(bars, height=1.0 + 0.24 * len(ranked))
        return figures | _dimension_figures(losses, ranked)


def _dimension_figures(losses: optuna.Study, ranked: Sequence[str]) -> dict[str, Figure]:
    """Return the figures of losses over the values of dimensions."""
    label = _LABELS["loss"]
    slices = plots.plot_slice(losses, params=list(ranked[:_SLICED]), target_name=label)
    figures = {"slice": _figure(slices, height=2.8)}
    for axes in figures["slice"].axes:
        # side by side, the names need two lines
        axes.set_xlabel(axes.get_xlabel().replace(".", ".\n"))
    # these plots need dimensions that every trial has
    common = [name for name in ranked if all(name in trial.params for trial in losses.trials)]
    if len(common) > 1:
        lines = plots.plot_parallel_coordinate(losses, params=common[:_PARALLEL], target_name=label)
        figures["parallel"] = _figure(lines, height=3.6)
        for axes in figures["parallel"].axes:
            axes.grid(False)
        ranks = plots.plot_rank(losses, params=common[:2], target_name=label)
        figures["rank"] = _figure(ranks, height=3.4)
    return figures


@contextmanager
def _house_style() -> Iterator[None]:
    sheet = {**STYLE, "figure.constrained_layout.use": True}
    with mpl.rc_context(sheet), patch.dict(style.library, {"ggplot": sheet}):
        yield


def _figure(plotted: Any, *, height: float = 3.2) -> Figure:  # noqa: ANN401 - axes, or an array
    figure: Figure = np.atleast_1d(plotted)[0].figure
    plt.close(figure)
    figure.set_size_inches(_WIDTH, height)
    # the report has captions
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_title("", loc="left")
        axes.set_title("")
        axes.tick_params(length=0)
        axes.set_axisbelow(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_color(INK)
            if axis.get_scale() == "log":
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(lambda value, _: f"{value:g}")
                axis.set_minor_formatter(NullFormatter())
        legend = axes.get_legend()
        if legend is not None:
            # beside the plot it takes a third of the width; with one kind it is not needed
            kinds = len(legend.get_texts())
            legend.remove()
            if kinds > 1:
                axes.legend(loc="best")
    return figure

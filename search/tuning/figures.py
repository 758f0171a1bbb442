"""Optuna's own plots of a study, drawn in the reports' style, and the lines of `parallel`.

Optuna draws with matplotlib's style sheet `ggplot`; here the reports' style takes its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)
from optuna.distributions import IntDistribution
from optuna.visualization import matplotlib as plots

from clso.report.style import INK, STYLE
from search.tuning.parallel import parallel_figure
from search.tuning.results import SingleObjective
from search.tuning.settings import Objective
from search.tuning.storage import quiet_optuna

__all__ = ["study_figures"]

_LABELS: dict[Objective, str] = {"loss": "loss, nats per token", "energy_j": "joules of a search"}
_WIDTH = 4.8
_SLICED, _PARALLEL = 3, 5  # more do not fit a page's width
_FEW = 3  # ticks
# Optuna's words, and ours
_OURS = {
    "Trial": "trial",
    "Best Value": "lowest so far",
    "Best Trial": "on the front",
    "Infeasible Trial": "not allowed",
    "Feasible Trial": "one trial",
}


def study_figures(
    study: optuna.Study,
    objectives: Sequence[Objective],
    ranked: Sequence[str],
    changed: Collection[str],
) -> dict[str, Figure]:
    """Return the figures of a study by their names.

    Args:
        study: has at least one complete trial.
        ranked: dimensions, the most important for the loss first; without any, fewer are drawn.
        changed: those for which the best trial has another value than the default; the others have
            no importance to show.
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
            shares = single.importances(single.ped_anova)
            if shown := {name: shares[name] for name in shares if name in changed}:
                name = "importances" if single.objective == "loss" else "importances-energy_j"
                figures[name] = _importances_figure(shown)
        return figures | _dimension_figures(losses, ranked)


def _importances_figure(shares: Mapping[str, float]) -> Figure:
    _, axes = plt.subplots()
    names = sorted(shares, key=lambda name: shares[name])
    bars = axes.barh(names, [shares[name] for name in names], height=0.6)
    axes.bar_label(bars, [f"{shares[name]:.0%}" for name in names], padding=3)
    axes.set_xlim(0.0, 1.15 * max(max(shares.values()), 0.01))  # room for the longest bar's number
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("importance")
    axes.grid(False, axis="y")
    return _figure(axes, height=1.0 + 0.24 * len(names))


def _dimension_figures(losses: optuna.Study, ranked: Sequence[str]) -> dict[str, Figure]:
    """Return the figures of losses over the values of dimensions."""
    label = _LABELS["loss"]
    slices = plots.plot_slice(losses, params=list(ranked[:_SLICED]), target_name=label)
    figures = {"slice": _figure(slices, height=2.8)}
    for axes in figures["slice"].axes:
        # side by side, the names need two lines
        name = axes.get_xlabel()
        axes.set_xlabel(name.replace(".", ".\n"))
        _few_ticks(axes.xaxis, whole=_is_whole(losses, name))
    # these plots need dimensions that every trial has
    common = [name for name in ranked if all(name in trial.params for trial in losses.trials)]
    if len(common) > 1:
        figures["parallel"] = parallel_figure(losses.trials, common[:_PARALLEL], label)
        ranks = plots.plot_rank(losses, params=common[:2], target_name=label)
        figures["rank"] = _figure(ranks, height=3.4)
        plane = figures["rank"].axes[0]
        for axis, name in ((plane.xaxis, common[0]), (plane.yaxis, common[1])):
            if _is_whole(losses, name) and axis.get_scale() == "linear":
                axis.set_major_locator(MaxNLocator("auto", integer=True))
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
        axes.tick_params(length=0, which="both")
        axes.set_axisbelow(True)
        axes.set_xlabel(_OURS.get(axes.get_xlabel(), axes.get_xlabel()))
        axes.set_ylabel(_OURS.get(axes.get_ylabel(), axes.get_ylabel()))
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_color(INK)
            if axis.get_label_text() == _OURS["Trial"]:
                axis.set_major_locator(MaxNLocator("auto", integer=True))
            if axis.get_scale() == "log":
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(lambda value, _: f"{value:g}")
                axis.set_minor_formatter(NullFormatter())
        legend = axes.get_legend()
        if legend is not None:
            # beside the plot it takes a third of the width, in it it hides points
            legend.remove()
            handles, labels = axes.get_legend_handles_labels()
            names = [_OURS.get(text, "one trial") for text in labels]
            if len(names) > 1:
                figure.legend(handles, names, loc="outside upper right", ncols=2, numpoints=1)
    return figure


def _is_whole(study: optuna.Study, name: str) -> bool:
    """Return whether a dimension has integers only."""
    distributions = (trial.distributions.get(name) for trial in study.trials)
    return all(isinstance(found, IntDistribution) for found in distributions if found is not None)


def _few_ticks(axis: Axis, *, whole: bool) -> None:
    """Leave at most three ticks, so that their labels fit into a third of the width."""
    if axis.get_scale() == "linear" and not isinstance(axis.get_major_locator(), FixedLocator):
        axis.set_major_locator(MaxNLocator(3, integer=whole))
        return
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    if axis.get_scale() == "log" and len(ticks) > _FEW:
        axis.set_major_locator(FixedLocator([ticks[0], ticks[len(ticks) // 2], ticks[-1]]))

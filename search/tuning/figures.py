"""Optuna's own plots of a study, drawn in the reports' style.

Optuna asks matplotlib for the style sheet `ggplot` whenever it draws; here it gets the reports'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from search.tuning.results import by_objective, few_trials, importances, ped_anova
from search.tuning.settings import Objective
from search.tuning.storage import experimental

__all__ = ["study_figures"]

_NAMES = {"loss": "loss, nats per token", "energy_j": "joules of a search"}
_WIDTH = 4.8
_SLICED, _PARALLEL = 3, 5  # more do not fit a page's width


def study_figures(
    study: optuna.Study, objectives: Sequence[Objective], ranked: Sequence[str]
) -> dict[str, Figure]:
    """Return the figures of a study by their names.

    Args:
        study: with a complete trial at least.
        objectives: its objectives, in order.
        ranked: its dimensions, those that matter most for the loss first; none draws fewer.
    """
    single = by_objective(study, objectives)
    loss, label = single["loss"], _NAMES["loss"]
    # what every trial has can stand side by side
    common = [name for name in ranked if all(name in one.params for one in loss.trials)]
    found: dict[str, Figure] = {}
    with experimental(), few_trials(), _house_style():
        if len(objectives) > 1:
            names = [_NAMES[objective] for objective in objectives]
            found["pareto"] = _drawn(lambda: plots.plot_pareto_front(study, target_names=names))
        else:
            found["history"] = _drawn(
                lambda: plots.plot_optimization_history(study, target_name=label)
            )
        if not ranked:
            return found
        for objective, one in single.items():
            if not importances(one, ped_anova(len(one.trials))):
                continue
            name = "importances" if objective == "loss" else f"importances-{objective}"
            found[name] = _drawn(
                lambda one=one, objective=objective: plots.plot_param_importances(  # type: ignore[misc]  # bound now
                    one, evaluator=ped_anova(len(one.trials)), target_name=_NAMES[objective]
                ),
                height=1.0 + 0.24 * len(ranked),
            )
        sliced = list(ranked[:_SLICED])
        found["slice"] = _drawn(
            lambda: plots.plot_slice(loss, params=sliced, target_name=label), height=2.8
        )
        for axes in found["slice"].axes:
            # side by side, the names need two lines
            axes.set_xlabel(axes.get_xlabel().replace(".", ".\n"))
        if len(common) > 1:
            parallel = common[:_PARALLEL]
            found["parallel"] = _drawn(
                lambda: plots.plot_parallel_coordinate(loss, params=parallel, target_name=label),
                height=3.6,
            )
            for axes in found["parallel"].axes:
                axes.grid(False)
            found["rank"] = _drawn(
                lambda: plots.plot_rank(loss, params=common[:2], target_name=label), height=3.4
            )
    return found


@contextmanager
def _house_style() -> Iterator[None]:
    sheet = {**STYLE, "figure.constrained_layout.use": True}
    with mpl.rc_context(sheet), patch.dict(style.library, {"ggplot": sheet}):
        yield


def _drawn(plot: Callable[[], Any], *, height: float = 3.2) -> Figure:
    axes = np.atleast_1d(plot())
    figure: Figure = axes[0].figure
    plt.close(figure)
    figure.set_size_inches(_WIDTH, height)
    # the page has captions
    figure.suptitle("")
    for one in figure.axes:
        one.set_title("", loc="left")
        one.set_title("")
        one.tick_params(length=0)
        one.set_axisbelow(True)
        one.xaxis.label.set_color(INK)
        one.yaxis.label.set_color(INK)
        for axis in (one.xaxis, one.yaxis):
            if axis.get_scale() == "log":
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter(lambda value, _: f"{value:g}")
                axis.set_minor_formatter(NullFormatter())
        legend = one.get_legend()
        if legend is not None:
            # beside the plot it would take a third of the width, and of one kind it says nothing
            shown = len(legend.get_texts()) > 1
            legend.remove()
            if shown:
                one.legend(loc="best")
    return figure

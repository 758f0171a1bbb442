"""The figure of parallel coordinates: every value has its height, and every label its room."""

import io
from itertools import pairwise

import optuna
import pytest
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from search.tuning.parallel import _dimension, _lines, parallel_figure

SPACE = {
    "mutation_rate": FloatDistribution(0.01, 1.0, log=True),
    "population": IntDistribution(8, 48),
    "surrogate.kind": CategoricalDistribution(["ridge", "gaussian_process", "none"]),
    "mixture.library.class_patterns": CategoricalDistribution([True, False]),
}
RATES = (0.01, 0.1, 1.0, 0.1, 0.02, 0.3, 0.5, 0.7)


def trials() -> list[FrozenTrial]:
    return [
        optuna.create_trial(
            value=4.2 + 0.01 * place,
            params={
                "mutation_rate": rate,
                "population": 8 + 5 * place,
                "surrogate.kind": ("ridge", "gaussian_process")[place % 2],
                "mixture.library.class_patterns": place != 3,
            },
            distributions=SPACE,
        )
        for place, rate in enumerate(RATES)
    ]


def drawn() -> Figure:
    return parallel_figure(trials(), list(SPACE), "loss, nats per token")


def test_a_number_stands_at_its_share_of_the_range_on_its_own_scale() -> None:
    heights, ticks = _dimension(trials(), "mutation_rate")
    assert heights[:3] == pytest.approx([0.0, 0.5, 1.0])
    assert [text for _, text in ticks] == ["0.01", "0.1", "1"]
    _, ticks = _dimension(trials(), "population")
    assert [text for _, text in ticks] == ["8", "26", "43"]


def test_lines_of_one_category_lie_side_by_side_at_its_name() -> None:
    heights, ticks = _dimension(trials(), "surrogate.kind")
    assert [text for _, text in ticks] == ["ridge", "gaussian\nprocess"]
    assert len(set(heights.tolist())) == len(heights)
    assert all(abs(height - place % 2) < 0.05 for place, height in enumerate(heights))


def test_every_trial_is_a_line_and_the_best_stands_out() -> None:
    (axes,) = drawn().axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(SPACE) + 1]
    assert len(lines) == len(RATES)
    widths = [line.get_linewidth() for line in lines]  # drawn last, so on top
    assert widths[-1] == max(widths)
    assert widths.count(max(widths)) == 1


def test_no_label_is_cut_off_and_no_two_names_overlap() -> None:
    figure = drawn()
    figure.savefig(io.BytesIO(), format="svg")
    (axes,) = figure.axes
    canvas = figure.bbox
    names = [label.get_window_extent() for label in axes.get_xticklabels()]
    for box in (*names, *(text.get_window_extent() for text in axes.texts)):
        assert canvas.x0 <= box.x0 < box.x1 <= canvas.x1
        assert canvas.y0 <= box.y0 < box.y1 <= canvas.y1
    assert all(left.x1 <= right.x0 for left, right in pairwise(names))


def test_a_long_name_breaks_at_its_dots_and_words() -> None:
    assert _lines("mixture.library.class_patterns") == [
        "mixture.",
        "library.",
        "class_",
        "patterns",
    ]
    assert _lines("population") == ["population"]

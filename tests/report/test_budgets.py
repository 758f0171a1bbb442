from xml.etree import ElementTree

import pytest

from clso.report.runs import _BudgetPoint, _budgets_figure
from clso.report.style import figure_svg


def point(series: str, model: str, tokens: int, loss: float, energy: float | None) -> _BudgetPoint:
    return _BudgetPoint("bible", series, model, tokens, loss, loss - 0.1, loss + 0.1, energy)


POINTS = [
    point("AdamW GPT-2", "adamw", 256_000, 5.3, 2000.0),
    point("AdamW GPT-2", "adamw", 64_000, 5.9, 500.0),
    point("AdamW GPT-2, 4 passes", "adamw", 64_000, 5.8, 2000.0),
    point("crystalline mixture", "mixture", 64_000, 5.2, 40.0),
    point("crystalline mixture", "mixture", 9_999_872, 3.2, 4000.0),
]


def test_every_series_is_a_line_through_its_budgets_in_order() -> None:
    figure = _budgets_figure(POINTS)
    assert figure is not None
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert set(lines) == {"AdamW GPT-2", "AdamW GPT-2, 4 passes", "crystalline mixture"}
    assert list(lines["AdamW GPT-2"].get_xdata()) == [500.0, 2000.0]
    assert {text.get_text() for text in axes.texts} == {"64k", "256k", "10M"}
    assert axes.get_xscale() == "log"


def test_texts_are_not_compared_with_each_other() -> None:
    other = _BudgetPoint("news", "hybrid", "hybrid", 64_000, 4.0, None, None, 10.0)
    figure = _budgets_figure([*POINTS, other])
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["bible", "news"]
    ElementTree.fromstring(figure_svg(figure, "budgets", "what it shows"))


@pytest.mark.parametrize("points", [[], [point("hybrid", "hybrid", 1, 1.0, None)]])
def test_without_joules_there_is_nothing_to_draw(points: list[_BudgetPoint]) -> None:
    assert _budgets_figure(points) is None

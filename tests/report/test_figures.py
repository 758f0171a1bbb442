import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from itertools import pairwise

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from clso.artifacts import Run, table_from_rows
from clso.report.baseline import _baseline_figure, _trials_table
from clso.report.energy import _energy_figure
from clso.report.models import Models
from clso.report.results import _results_figure
from clso.report.search_figures import (
    _spread,
    convergence_figure,
    families_figure,
    predictions_figure,
)
from clso.report.style import figure_svg, interval_figure, new_figure, plain_numbers, styled
from clso.statistics.picks import Genes
from clso.statistics.search_summary import SearchSummary

DRAWINGS: dict[str, Callable[[Run], Figure | None]] = {
    "results": lambda run: _results_figure(run.results, Models()),
    "convergence": lambda run: convergence_figure(
        run.generations,
        "gpt",
        Models(),
        surrogate_generation=5,
        floors={"unigram": 6.6, "uniform": 9.0},
    ),
    "predictions": lambda run: predictions_figure(
        SearchSummary(run.evaluations, "gpt").pairs(), "blue"
    ),
    "energy": lambda run: _energy_figure(run.energy),
    "families": lambda run: families_figure(
        Genes(run.manifest["genes"]["gpt"]).picks(
            SearchSummary(run.evaluations, "gpt").best(0.1)["genome"].to_pylist()
        )
    ),
    "baseline": lambda run: _baseline_figure(run.baseline, "red"),
}

EMPTY: dict[str, Callable[[], Figure | None]] = {
    "results": lambda: _results_figure(table_from_rows([], "results"), Models()),
    "convergence": lambda: convergence_figure(table_from_rows([], "generations"), "gpt", Models()),
    "predictions": lambda: predictions_figure(table_from_rows([], "evaluations"), "blue"),
    "energy": lambda: _energy_figure(table_from_rows([], "energy")),
    "families": lambda: families_figure([]),
    "baseline": lambda: _baseline_figure(table_from_rows([], "baseline"), "red"),
}


def svg_of(name: str, run: Run) -> str:
    figure = DRAWINGS[name](run)
    assert figure is not None
    return figure_svg(figure, name, f"a drawing of {name} & more")


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_well_formed_and_asks_nothing_of_any_server(name: str, run: Run) -> None:
    svg = svg_of(name, run)
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    references = re.findall(r'(?:href|src)="([^"]*)"', svg)
    assert all(reference.startswith("#") for reference in references)
    assert len(svg) < 60_000


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_can_be_read_aloud(name: str, run: Run) -> None:
    root = ElementTree.fromstring(svg_of(name, run))
    assert root.attrib["role"] == "img"
    title = root[0]
    assert title.text == f"a drawing of {name} & more"
    assert root.attrib["aria-labelledby"] == title.attrib["id"]


@pytest.mark.parametrize("name", DRAWINGS)
def test_ids_are_the_figures_own_and_every_reference_has_its_target(name: str, run: Run) -> None:
    svg = svg_of(name, run)
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert all(found.startswith(f"{name}-") for found in ids)
    wanted = re.findall(r'href="#([^"]*)"', svg) + re.findall(r"url\(#([^)]*)\)", svg)
    assert set(wanted) <= set(ids)


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_data_give_the_same_bytes(name: str, run: Run) -> None:
    assert svg_of(name, run) == svg_of(name, run)


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_to_show_is_no_figure(name: str) -> None:
    assert EMPTY[name]() is None


def test_drawing_leaves_the_users_settings_alone(run: Run) -> None:
    before = dict(mpl.rcParams)
    svg_of("results", run)
    assert dict(mpl.rcParams) == before


def test_a_floor_far_from_the_curves_is_left_out(run: Run) -> None:
    svg = svg_of("convergence", run)
    assert "unigram floor" in svg
    assert "uniform floor" not in svg


def test_predictions_never_enter_the_convergence_curve(run: Run) -> None:
    lowest = min(run.generations["best_loss"].to_pylist())
    figure = DRAWINGS["convergence"](run)
    assert figure is not None
    drawn = [y for line in figure.axes[0].lines for y in line.get_ydata() if y > 1]
    assert min(drawn) == lowest


def test_generations_without_any_loss_are_left_out(run: Run) -> None:
    rows = run.generations.to_pylist()
    rows[0] |= {"best_loss": None, "mean_loss": None, "std_loss": None}
    table = table_from_rows(rows, "generations")
    assert convergence_figure(table, "gpt", Models()) is not None
    assert convergence_figure(table.slice(0, 1), "gpt", Models()) is None


def test_a_stage_that_was_not_measured_says_so(run: Run) -> None:
    rows = run.energy.to_pylist()
    rows[0] |= {"energy_j": None, "reused": False}
    figure = _energy_figure(table_from_rows(rows, "energy"))
    assert figure is not None
    svg = figure_svg(figure, "energy", "")
    assert "not measured" in svg
    nothing = [{**row, "energy_j": None} for row in rows]
    assert _energy_figure(table_from_rows(nothing, "energy")) is None


def test_devices_are_stacked_and_named(run: Run) -> None:
    rows = run.energy.to_pylist()
    rows += [{**row, "device": "gpu0", "energy_source": "nvml"} for row in rows]
    figure = _energy_figure(table_from_rows(rows, "energy"))
    assert figure is not None
    assert "gpu0" in figure_svg(figure, "energy", "")


def test_a_trial_that_diverged_has_no_curve(run: Run) -> None:
    rows = run.baseline.to_pylist()
    for row in rows:
        if row["lr"] == 4e-3:
            row |= {"train_loss": None, "validation_loss": None}
    table = table_from_rows(rows, "baseline")
    assert [row.cells[1] for row in _trials_table(table).rows][-1] == "no finite loss"
    figure = _baseline_figure(table, "red")
    assert figure is not None
    assert (
        sum(len(line.get_xdata()) > 0 for line in figure.axes[0].lines) == 3
    )  # 2 trials, training


def test_every_picked_family_is_in_the_legend_though_no_gene_has_all() -> None:
    picks = [
        {"slot": "upper", "entry_family": "dense", "picked": 1.0, "chance": 1.0},
        {"slot": "lower", "entry_family": "low_rank", "picked": 0.5, "chance": 0.5},
        {"slot": "lower", "entry_family": "circulant", "picked": 0.5, "chance": 0.5},
    ]
    figure = families_figure(picks)
    assert figure is not None
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["dense", "low rank", "circulant"]


def test_models_with_equal_losses_stand_in_the_order_of_the_table(run: Run) -> None:
    rows = [{**row, "test_loss": 5.0} for row in run.results.to_pylist()]
    figure = _results_figure(table_from_rows(rows, "results"), Models())
    assert figure is not None
    titles = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert titles[::-1] == [Models().title(row["model"]) for row in rows]


@pytest.mark.parametrize("floor", [6.3, 6.6, 7.5, 12.0])
def test_a_floor_near_the_curves_lies_inside_the_axes(floor: float, run: Run) -> None:
    figure = convergence_figure(run.generations, "gpt", Models(), floors={"unigram": floor})
    assert figure is not None
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    named = [text for text in axes.texts if text.get_text().startswith("unigram floor")]
    assert len(named) == (low < floor < high)
    assert figure_svg(figure, "convergence", "floors").startswith("<svg")


def test_broken_models_do_not_flatten_the_best_curve(run: Run) -> None:
    rows = run.generations.to_pylist()
    for row in rows[:3]:
        row |= {"mean_loss": 20.0, "std_loss": 20.0}
    best = [row["best_loss"] for row in rows]
    figure = convergence_figure(table_from_rows(rows, "generations"), "gpt", Models())
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert low < min(best) < max(best) < high
    assert high - low < 4 * (max(best) - min(best))


@settings(max_examples=30)
@given(st.lists(st.floats(-0.1, 1.1), max_size=5).map(sorted))
def test_labels_of_floors_do_not_collide(heights: list[float]) -> None:
    spread = _spread(heights, 0.16)
    assert len(spread) == len(heights)
    assert all(b - a > 0.16 - 1e-9 for a, b in pairwise(spread))
    assert max(spread, default=0.0) <= 1.0


def test_the_uniform_floor_does_not_squeeze_the_others(run: Run) -> None:
    losses = {row["model"]: row["test_loss"] for row in run.results.to_pylist()}
    figure = _results_figure(run.results, Models())
    assert figure is not None
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    inside = [loss for model, loss in losses.items() if model != "uniform"]
    assert low < min(inside) < max(inside) < high < losses["uniform"]
    assert f"{losses['uniform']:.3f}, off the scale" in [text.get_text() for text in axes.texts]


def test_every_color_of_the_picked_families_has_a_name() -> None:
    names = [f"family_{letter}" for letter in "abcdefghijklmnop"]
    picks = [
        {"slot": slot, "entry_family": name, "picked": 1 / 16, "chance": 1 / 16}
        for slot in ("upper", "lower")
        for name in names
    ]
    figure = families_figure(picks)
    assert figure is not None
    (legend,) = figure.legends
    handles = [(patch.get_facecolor(), patch.get_hatch()) for patch in legend.get_patches()]
    assert len(set(handles)) == len(names)
    drawn = {(patch.get_facecolor(), patch.get_hatch()) for patch in figure.axes[0].patches}
    assert drawn == set(handles)


NAMES = [
    "rate $a_{$",
    "$$",
    "$x$",
    "5$ {6$",
    r"\$1",
    r"$\frac{1}{2}$",
    "a_b^c",
    "%s {0}",
    "<b>&amp;",
]


@styled
def drawn(names: list[str]) -> Figure:
    lines = [("group " + name, name) for name in names]
    n = len(lines)
    figure, axes, _ = interval_figure(
        lines, range(n), (range(n), range(n)), color="red", label=names[0]
    )
    axes.set_xlabel("x " + names[-1])
    axes.set_title("t " + names[0])
    axes.annotate("n " + names[0], (0, 0))
    figure.legend()
    return figure


@pytest.mark.parametrize("name", NAMES)
def test_names_in_figures_are_plain_text(name: str) -> None:
    svg = figure_svg(drawn([name]), "figure", name)
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.text]
    for wanted in ("group " + name, name, "x " + name, "t " + name, "n " + name):
        assert wanted in texts


@settings(deadline=None, max_examples=15)
@given(name=st.text(alphabet="$\\\\{}_^ab%&<", min_size=1, max_size=8))
def test_no_name_breaks_a_figure(name: str) -> None:
    assert figure_svg(drawn([f"a{name}"]), "figure", name)


@pytest.mark.parametrize(("low", "high"), [(1, 10**6), (20, 45), (1e-4, 0.3), (7, 7.5)])
def test_logarithmic_axes_have_plain_numbers(low: float, high: float) -> None:
    @styled
    def draw() -> Figure:
        figure, axes = new_figure()
        axes.plot([low, high], [0, 1])
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
        return figure

    svg = figure_svg(draw(), "figure", "numbers")
    assert "mathdefault" not in svg
    assert "$" not in svg

"""Loss against energy over several runs: where each model wins as the budget grows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from clso.artifacts import Run
from clso.report.formats import model_label
from clso.report.style import INK, MODEL_COLORS, styled
from clso.statistics.bootstrap import FLOORS

__all__ = ["BudgetPoint", "budget_points", "budgets_figure"]

_MARKERS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class BudgetPoint:
    """One model of one run.

    Attributes:
        text: names the test text; only losses on the same text can be compared.
        series: the model, and for AdamW its passes over the data.
        model: the model's name.
        train_tokens: distinct tokens to learn from.
        test_loss: nats per token.
        ci_low: lower end of its interval; `None` = not computed.
        ci_high: upper end.
        energy_j: everything spent on it; `None` = not measured.
    """

    text: str
    series: str
    model: str
    train_tokens: int
    test_loss: float
    ci_low: float | None
    ci_high: float | None
    energy_j: float | None


def budget_points(runs: Iterable[Run]) -> list[BudgetPoint]:
    """Return all models but the floors, of all runs, each budget and series once."""
    points: dict[tuple[str, str, int], BudgetPoint] = {}
    for run in runs:
        passes = int(run.config.get("baseline", {}).get("passes", 1))
        text = _text(run)
        for row in run.results.to_pylist():
            if row["model"] in FLOORS:
                continue
            label = model_label(row["model"])
            # passes are AdamW's own; of the hybrid they say what its network was given
            if row["model"] in ("adamw", "warm_start", "hybrid") and passes > 1:
                label += f", {passes} passes"
            point = BudgetPoint(
                text,
                label,
                row["model"],
                row["train_tokens"],
                row["test_loss"],
                row["ci_low"],
                row["ci_high"],
                row["energy_j"],
            )
            points.setdefault((text, label, point.train_tokens), point)
    return list(points.values())


@styled
def budgets_figure(points: Sequence[BudgetPoint]) -> Figure | None:
    """Draw test loss against joules, a panel per text and a line per series.

    Points without joules are left out; `None` if none is left.
    """
    panels: dict[str, list[BudgetPoint]] = defaultdict(list)
    for point in points:
        if point.energy_j:
            panels[point.text].append(point)
    if not panels:
        return None
    figure = Figure(figsize=(4.8 * len(panels), 4.2), layout="constrained")
    for axes, (text, found) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        drawn: dict[str, int] = defaultdict(int)
        for series, line in _series(found).items():
            model = line[0].model
            color = MODEL_COLORS.get(model, INK)
            marker = _MARKERS[drawn[model] % len(_MARKERS)]
            drawn[model] += 1
            energies = [point.energy_j for point in line]
            losses = [point.test_loss for point in line]
            axes.plot(energies, losses, color=color, marker=marker, ms=5, label=series)
            for point in line:
                if point.ci_low is not None and point.ci_high is not None:
                    axes.plot(
                        [point.energy_j] * 2,
                        [point.ci_low, point.ci_high],
                        color=color,
                        linewidth=0.8,
                        alpha=0.5,
                    )
                axes.annotate(
                    f"{point.train_tokens / 1000:,.0f}k",
                    (point.energy_j, point.test_loss),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=color,
                )
        axes.set_xscale("log")
        axes.margins(x=0.1)
        axes.set_xlabel("energy, joules (further left is better)")
        axes.set_ylabel("test loss, nats per token (lower is better)")
        axes.set_title(text, loc="left")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def _series(points: Sequence[BudgetPoint]) -> Mapping[str, list[BudgetPoint]]:
    lines: dict[str, list[BudgetPoint]] = defaultdict(list)
    for point in sorted(points, key=lambda point: point.train_tokens):
        lines[point.series].append(point)
    return lines


def _text(run: Run) -> str:
    dataset = run.manifest.get("dataset", {})
    tokenizer = run.config.get("tokenizer", {})
    vocabulary = "GPT-2 vocabulary" if tokenizer.get("kind") == "gpt2" else "own vocabulary"
    source = run.config.get("data", {}).get("source", "text")
    name = {
        "package": run.config.get("data", {}).get("package", {}).get("module", source),
        "hub": run.config.get("data", {}).get("hub", {}).get("name", source),
    }.get(source, f"text {str(dataset.get('text_sha256', ''))[:8]}")
    return f"{name}, {vocabulary}"

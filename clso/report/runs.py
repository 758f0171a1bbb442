"""Several runs side by side: means over seeds, paired differences, and loss against energy.

Notation: L(m, s) is the test loss of model m in the run with seed s, in nats per token. A seed
draws the initial weights, the order of blocks, the search, the documents of the tune split and
those of a budget; where a configuration says so, also the test documents. Intervals are Student's t
over seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.digest import digest_of
from clso.report.formats import LOSS, counted
from clso.report.models import Models
from clso.report.style import plain_numbers, styled
from clso.report.table import Column, Table
from clso.statistics.bootstrap import FLOORS, BootstrapSettings
from clso.statistics.paired import Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RunSet"]

# Sections of a configuration that change no loss of a run, and the seed.
_NAMELESS = ("name", "seed", "runtime", "ablate", "savings", "texts", "tune")
_MARKERS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class _SeedMean:
    """A model's test losses over seeds.

    Attributes:
        losses: L(m, s), in the order of the seeds.
        against: L(m, s) minus the loss of a gradient model with the same seed, by the name of that
            model, the strongest first; without the model itself.
    """

    model: str
    losses: tuple[float, ...]
    mean: Difference
    against: Mapping[str, Difference]


@dataclass(frozen=True)
class _BudgetPoint:
    """One model of one run.

    Attributes:
        text: names the test text; only losses on the same text can be compared.
        series: the model, and for AdamW's GPT-2 its passes over the data.
        train_tokens: distinct tokens to learn from.
        test_loss: nats per token; `ci_low` and `ci_high` are the ends of its interval, `None` = not
            computed.
        energy_j: all joules spent on it; `None` = not measured.
    """

    text: str
    series: str
    model: str
    train_tokens: int
    test_loss: float
    ci_low: float | None
    ci_high: float | None
    energy_j: float | None


class RunSet:
    """Several runs that are compared, in the order in which they are shown."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.models = Models(*(run.manifest for run in runs))

    def groups_of_seeds(self) -> list[RunSet]:
        """Return the groups of runs that differ in their seed alone, by ascending seed.

        Their texts are equal too: what the configuration names may have changed since.
        """
        groups: dict[str, dict[int, Run]] = {}
        for run in self.runs:
            settings = {name: value for name, value in run.config.items() if name not in _NAMELESS}
            text = run.manifest.get("dataset", {}).get("text_sha256")
            group = groups.setdefault(digest_of([settings, text]), {})
            group[int(run.config["seed"])] = run
        return [
            RunSet([group[seed] for seed in sorted(group)])
            for group in groups.values()
            if len(group) > 1
        ]

    def same_targets(self) -> bool:
        """Return whether the test losses of all runs are over the same tokens."""
        return len(set(map(_test_targets, self.runs))) <= 1

    def seed_means(self) -> list[_SeedMean]:
        """Return the mean of every model that all runs have, in the order of result tables."""
        losses = [
            {row["model"]: row["test_loss"] for row in run.results.to_pylist()} for run in self.runs
        ]
        names = set.intersection(*map(set, losses))
        over_seeds = {name: np.array([by_model[name] for by_model in losses]) for name in names}
        rivals = Models.ranked_rivals(names)
        return [
            _SeedMean(
                model,
                tuple(over_seeds[model].tolist()),
                Difference.of(over_seeds[model]),
                {
                    rival: Difference.of(over_seeds[model] - over_seeds[rival])
                    for rival in rivals
                    if rival != model
                },
            )
            for model in self.models.ordered(names)
        ]

    def seeds_table(self) -> Table:
        """Return means over the runs' seeds with their intervals."""
        seeds = ", ".join(str(run.config["seed"]) for run in self.runs)
        means = self.seed_means()
        rivals = Models.ranked_rivals([mean.model for mean in means])
        table = Table(
            f"Test loss over seeds {seeds}",
            [
                "model",
                Column("lowest", optional=1),
                "mean",
                Column("highest", optional=2),
                *(f"minus {self.models.title(rival)}" for rival in rivals),
            ],
            [
                "Nats per token; 95 % intervals over seeds, differences paired by seed.",
                self._targets(),
                *self._machines(),
            ],
        )
        for mean in means:
            over_seeds = mean.mean
            table.add(
                self.models.title(mean.model),
                LOSS.text(min(mean.losses)),
                (LOSS.text(over_seeds.mean), LOSS.interval(over_seeds.low, over_seeds.high)),
                LOSS.text(max(mean.losses)),
                *(LOSS.difference(mean.against.get(rival)) for rival in rivals),
            )
        return table

    def _targets(self) -> str:
        """Say how the test tokens of runs with different seeds differ."""
        if self.same_targets():
            return "The runs score the same test tokens."
        if all(map(_has_own_test, self.runs)):
            return (
                "The runs score the same test documents. The seed also draws the training split, "
                "from which each learned a vocabulary of its own, so their tokens differ."
            )
        return (
            "The seed also draws the splits, so each run scores test documents of its own, and "
            "the intervals are over documents too."
        )

    def _machines(self) -> list[str]:
        """Say where the runs worked if that differs, as the last digits of losses may then."""
        machines = list(dict.fromkeys(map(_machine, self.runs)))
        if len(machines) < 2:
            return []
        return [
            f"Made on {' and on '.join(machines)}: the last digits of losses may differ, and "
            "joules by more."
        ]

    def differences_table(self) -> Table:
        """Return the differences of two runs with the same test tokens, model by model."""
        run_a, run_b = self.runs
        table = Table(
            f"{run_a.run_id} minus {run_b.run_id}",
            ["model", "difference", "interval", "over"],
            ["Test loss, nats per token; paired bootstrap.", *self._machines()],
        )
        settings = BootstrapSettings(**run_a.config.get("analysis", {}))
        shared = set(run_a.results["model"].to_pylist()) & set(run_b.results["model"].to_pylist())
        for model in self.models.ordered(shared):
            scores = [
                _renamed(run.scores, model, name) for run, name in ((run_a, "a"), (run_b, "b"))
            ]
            for row in settings.compare(pa.concat_tables(scores), "a", "b"):
                table.add(
                    self.models.title(model),
                    LOSS.signed(row["difference"]),
                    LOSS.interval(row["ci_low"], row["ci_high"], signed=True),
                    f"{row['n_units']:,} {row['unit']}s",
                )
        return table

    def budget_points(self) -> list[_BudgetPoint]:
        """Return all models but the floors, of all runs, each budget and series once."""
        points: dict[tuple[str, str, int], _BudgetPoint] = {}
        for run in self.runs:
            passes = int(run.config.get("baseline", {}).get("passes", 1))
            trained = {"adamw", "warm_start"}
            if Models(run.manifest).hybrid_network in trained:
                trained.add("hybrid")
            text = _text(run)
            for row in run.results.to_pylist():
                if row["model"] in FLOORS:
                    continue
                label = self.models.title(row["model"])
                # the passes of `baseline` are those of the networks that it trains
                if row["model"] in trained and passes > 1:
                    label += f", {passes} passes"
                columns = ("model", "train_tokens", "test_loss", "ci_low", "ci_high", "energy_j")
                point = _BudgetPoint(text, label, **{name: row[name] for name in columns})
                points.setdefault((text, label, point.train_tokens), point)
        return list(points.values())

    def budgets_figure(self) -> Figure | None:
        """Draw test loss against joules of all runs; `None` if none has measured joules."""
        return _budgets_figure(self.budget_points(), self.models)


@styled
def _budgets_figure(points: Sequence[_BudgetPoint], models: Models | None = None) -> Figure | None:
    """Draw test loss against joules, a panel per text and a line per series.

    Points without joules are left out; `None` if no point has joules.
    """
    from matplotlib.figure import Figure

    models = models or Models()
    panels: dict[str, list[_BudgetPoint]] = defaultdict(list)
    for point in points:
        if point.energy_j:
            panels[point.text].append(point)
    if not panels:
        return None
    figure = Figure(figsize=(4.8 * len(panels), 4.2), layout="constrained")
    for axes, (text, shown) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        drawn: dict[str, int] = defaultdict(int)
        lines: dict[str, list[_BudgetPoint]] = defaultdict(list)
        for point in sorted(shown, key=lambda point: point.train_tokens):
            lines[point.series].append(point)
        for series, line in lines.items():
            model = line[0].model
            color, marker = models.color(model), _MARKERS[drawn[model] % len(_MARKERS)]
            drawn[model] += 1
            energies, losses = zip(*((p.energy_j, p.test_loss) for p in line), strict=True)
            axes.plot(energies, losses, color=color, marker=marker, ms=5, label=series)
            for point in line:
                if point.ci_low is not None and point.ci_high is not None:
                    ends = [point.ci_low, point.ci_high]
                    axes.plot([point.energy_j] * 2, ends, color=color, linewidth=0.8, alpha=0.5)
                place, look = (point.energy_j, point.test_loss), {"fontsize": 7.5, "color": color}
                tokens = _tokens(point.train_tokens)
                axes.annotate(tokens, place, (4, 4), "data", "offset points", **look)
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
        axes.margins(x=0.1)
        axes.set_xlabel("energy, joules (further left is better)")
        axes.set_ylabel("test loss, nats per token (lower is better)")
        axes.set_title(text, loc="left")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def _tokens(count: int) -> str:
    """Return a budget as on the figure: `64k`, `829k`, `10M`."""
    thousands = round(count / 1000)
    return f"{thousands}k" if thousands < 1000 else f"{thousands / 1000:.3g}M"


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


def _machine(run: Run) -> str:
    """Return the processor, and the threads of AdamW's best trial, which its last digits tell."""
    processor = str(run.manifest.get("host", {}).get("processor", "an unknown processor"))
    threads = run.manifest.get("baseline", {}).get("winner", {}).get("threads")
    if threads is None:
        return processor
    return f"{processor} with {counted(threads, 'thread')} for AdamW"


def _has_own_test(run: Run) -> bool:
    """Return whether the source of the text has a test split, which no seed draws."""
    data = run.config.get("data", {})
    source = data.get(data.get("source")) or {}
    return bool(source.get("test") or source.get("test_split"))


def _test_targets(run: Run) -> tuple[object, ...]:
    """Return what determines the test tokens of a run."""
    dataset = run.manifest.get("dataset", {})
    return (
        dataset.get("text_sha256"),
        _pieces(run),
        dataset.get("tokenizer", {}).get("sha256"),
        run.config.get("data", {}).get("block_size"),
    )


def _pieces(run: Run) -> str:
    """Return a digest of the documents and blocks of the test split."""
    floor = (pc.field("model") == "uniform") & (pc.field("split") == "test")
    pieces = run.scores.filter(floor).select(["document", "block", "n_tokens", "n_bytes"])
    return digest_of(
        pieces.sort_by([("block", "ascending"), ("document", "ascending")]).to_pydict()
    )


def _renamed(scores: pa.Table, model: str, name: str) -> pa.Table:
    chosen = scores.filter(pc.field("model") == model)
    column = chosen.column_names.index("model")
    field = chosen.schema.field(column)
    return chosen.set_column(column, field, pa.array([name] * chosen.num_rows, field.type))

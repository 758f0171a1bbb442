"""A live view of a run on a terminal, from what it has written."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from clso.artifacts import Run, read_sealed
from clso.energy import Measurement
from clso.errors import ArtifactError, DamageError
from clso.report.formats import DURATION, ENERGY, LOSS
from clso.report.table import Column, Emphasis, Table
from clso.report.terminal import TerminalTable
from clso.watch import RunReader
from pipelines.disposal import in_use

__all__ = ["RunView", "sparkline", "watch_run"]

_EVERY_S = 1.0
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 16
_MOST = 6  # curves of a kind, besides the best
# the curve of a part and how its step is called, by the first word of the part's name
_CURVES = {
    "search": ("best_loss", "generation"),
    "pareto": ("best_loss", "generation"),
    "adamw": ("validation_loss", "step"),
    "opponent": ("validation_loss", "step"),
    "warm": ("validation_loss", "step"),
    "rivals": ("loss", "evaluation"),
    "ablations": ("loss", ""),
    "savings": ("loss", ""),
    "transfer": ("test_loss", ""),
    "multitask": ("test_loss", ""),
    "continual": ("test_loss", ""),
    "trial": ("loss", ""),
    "check": ("loss", ""),
}


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return a line of bars, the lowest value the lowest bar; of more values, the last of each."""
    if len(values) > width:
        values = [values[(index + 1) * len(values) // width - 1] for index in range(width)]
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    top = len(_BARS) - 1
    return "".join(_BARS[round((value - low) / span * top) if span else 0] for value in values)


class RunView:
    """A run's stages and curves, as far as they are written.

    Args:
        run: its manifest and tables are read again at every update.

    Attributes:
        working: whether a process works on the run, at the last update.
    """

    def __init__(self, run: Run) -> None:
        self._reader = RunReader(run.path)
        self._run = run
        self._curves: dict[str, dict[int, float]] = {}
        self.update()

    def update(self) -> None:
        """Read what is new."""
        # first, so that a run that has ended has written all that is read
        self.working = self._works()
        self._run = self._reader.run or self._run
        for points in self._reader.points():
            curve = _CURVES.get(points.part.partition(" ")[0])
            if curve is not None and curve[0] in points.values:
                self._curves.setdefault(points.part, {})[points.step] = points.values[curve[0]]

    def __rich__(self) -> Group:
        """Return the view, at most 80 columns wide."""
        tables = [self._stage_table()]
        if self._curves:
            tables.append(self._curve_table())
        if self._run.has("results"):
            tables.append(self._result_table())
        return Group(Text(self._run.run_id, style="bold"), *map(TerminalTable, tables))

    @property
    def _stages(self) -> dict[str, dict[str, str]]:
        stages: dict[str, dict[str, str]] = self._run.manifest.get("stages", {})
        return stages

    def _works(self) -> bool:
        """Return whether a process works in the run's folder."""
        path = self._run.path.resolve()
        try:
            return in_use(path, path.parents[1])
        except ArtifactError:  # somebody else's folder, whose locks are not for us
            return any(stage["status"] == "running" for stage in self._stages.values())

    def _cost(self, stage: str) -> Measurement | None:
        """Return what a stage has cost so far; `None`: not known."""
        root, belongs_to = self._run.path, self._run.folder.uid
        begun = root / "stages" / f"{stage}.begun.json"
        if home := self._run.manifest.get("shared", {}).get(stage):
            root = self._run.path.resolve().parents[1] / home
            begun = root.parent / f".{root.name}.{stage}.json"
            belongs_to = root.name
        done = root / "stages" / f"{stage}.done.json"
        for path, key in ((done, "measurement"), (begun, "attempts")):
            try:
                record = read_sealed(path, belongs_to=belongs_to)[key]
                records = record if isinstance(record, list) else [record]
                return Measurement.total(Measurement.from_record(one) for one in records)
            except DamageError:
                raise
            except (ArtifactError, OSError, KeyError, TypeError, ValueError):
                continue
        return None

    def _stage_table(self) -> Table:
        table = Table("", ["stage", Column("status", text=True), "time", "energy"])
        costs = {name: self._cost(name) for name in self._stages}
        for name, stage in self._stages.items():
            status, cost = stage["status"], costs[name]
            if status == "running" and not self.working:
                status = "stopped"  # its process was killed; the same command continues
            emphasis: Emphasis = "" if status == "done" else "best"
            table.add(name, status, *_cost_texts(cost), emphasis=emphasis)
        known = [cost for cost in costs.values() if cost is not None]
        if len(known) > 1:
            table.add("all of these", "", *_cost_texts(Measurement.total(known)))
        return table

    def _curve_table(self) -> Table:
        words = [Column("curve", text=True), Column("step", text=True)]
        table = Table("", [*words, "last", "lowest", Column("shape", text=True)])
        kinds: dict[str, list[str]] = {}
        for part in self._curves:
            kinds.setdefault(part.partition(" ")[0], []).append(part)
        for kind, parts in kinds.items():
            best = min(parts, key=lambda part: min(self._curves[part].values()))
            shown = [part for part in parts if part == best or part in parts[-_MOST:]]
            for part in shown:
                values = list(self._curves[part].values())
                unit = _CURVES[kind][1]
                step = f"{unit} {max(self._curves[part])}" if unit else ""
                table.add(
                    part, step, LOSS.text(values[-1]), LOSS.text(min(values)), sparkline(values)
                )
            if len(shown) < len(parts):
                table.add(f"{len(parts) - len(shown)} earlier of {kind}", "", "", "", "")
        return table

    def _result_table(self) -> Table:
        table = Table("", ["model", "test loss"])
        for row in self._run.results.to_pylist():
            table.add(row["model"], LOSS.text(row["test_loss"]))
        return table


def _cost_texts(cost: Measurement | None) -> tuple[str, str]:
    if cost is None:
        return "", ""
    return DURATION.text(cost.duration_s), ENERGY.text(cost.energy_j)


def watch_run(run: Run, console: Console) -> None:
    """Show a run until it ends; once, if it has ended or the output is no terminal."""
    view = RunView(run)
    if not console.is_terminal or not view.working:
        console.print(view)
        return
    with Live(view, console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while view.working:
            time.sleep(_EVERY_S)
            view.update()
            live.refresh()

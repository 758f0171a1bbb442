"""A live view of a run on a terminal, from what it has written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from clso.artifacts import Run, read_json
from clso.energy import Measurement
from clso.errors import ArtifactError
from clso.report.formats import DURATION, ENERGY, LOSS
from clso.watch import Points, RunReader

__all__ = ["RunView", "sparkline", "watch_run"]

_EVERY_S = 1.0
_BETWEEN_STAGES_S = 5.0
_SILENT_S = 30.0  # a stage under way writes its cost every second
_SHARED_S = 3600.0  # ... but in the run's folder only if no other run shares its outcome
_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 24
_MOST_TRAININGS = 6
_STYLES = {"done": "green", "running": "cyan", "failed": "red", "interrupted": "yellow"}
# the curve of a part and how its step is called, by the first word of the part's name
_CURVES = {
    "search": ("best_loss", "generation"),
    "pareto": ("best_loss", "generation"),
    "adamw": ("validation_loss", "step"),
    "warm": ("validation_loss", "step"),
    "rivals": ("loss", "evaluation"),
    "ablations": ("loss", ""),
    "savings": ("loss", ""),
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
    """

    def __init__(self, run: Run) -> None:
        self._reader = RunReader(run.path)
        self._run = run
        self._curves: dict[str, dict[int, float]] = {}
        self._latest: dict[str, Points] = {}
        self._quiet_since: float | None = None
        self.update()

    def update(self) -> None:
        """Read what is new."""
        self._run = self._reader.run or self._run
        for points in self._reader.points():
            self._latest[points.part] = points
            curve = _CURVES.get(points.part.partition(" ")[0])
            if curve is not None and curve[0] in points.values:
                self._curves.setdefault(points.part, {})[points.step] = points.values[curve[0]]
        if any(self._works(name) for name in self._stages):
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = time.monotonic()

    @property
    def working(self) -> bool:
        """Whether a stage is under way, or the next one may begin at once."""
        if self._quiet_since is None:
            return True
        statuses = [stage["status"] for stage in self._stages.values()]
        over = not statuses or statuses[-1] != "done" or "analyze" in self._stages
        return not over and time.monotonic() - self._quiet_since < _BETWEEN_STAGES_S

    def __rich__(self) -> RenderableType:
        """Return the view, at most 80 columns wide."""
        parts: list[RenderableType] = [Text(self._run.run_id, style="bold"), self._stage_table()]
        if self._curves:
            parts.append(self._curve_table())
        if self._run.has("results"):
            parts.append(self._result_table())
        return Group(*parts)

    @property
    def _stages(self) -> dict[str, dict[str, str]]:
        stages: dict[str, dict[str, str]] = self._run.manifest.get("stages", {})
        return stages

    def _works(self, stage: str) -> bool:
        """Return whether a stage is under way, and not left by a process that was killed."""
        if self._stages[stage]["status"] != "running":
            return False
        begun = self._folder / f"{stage}.begun.json"
        try:
            return time.time() - begun.stat().st_mtime < _SILENT_S
        except OSError:
            since = datetime.now(UTC) - datetime.fromisoformat(self._stages[stage]["at"])
            return since.total_seconds() < _SHARED_S

    @property
    def _folder(self) -> Path:
        return self._run.path / "stages"

    def _cost(self, stage: str) -> Measurement | None:
        """Return what a stage has cost so far; `None`: not known here."""
        for name, key in (
            (f"{stage}.done.json", "measurement"),
            (f"{stage}.begun.json", "attempts"),
        ):
            try:
                record = read_json(self._folder / name)[key]
                records = record if isinstance(record, list) else [record]
                return Measurement.total(Measurement.from_record(one) for one in records)
            except (ArtifactError, OSError, KeyError, TypeError, ValueError):
                continue
        return None

    def _stage_table(self) -> Table:
        table = _grid("stage", "status", "time", "energy")
        costs = {name: self._cost(name) for name in self._stages}
        for name, stage in self._stages.items():
            status, cost = stage["status"], costs[name]
            if status == "running" and not self._works(name):
                status = "stopped"  # its process was killed; the same command continues
            table.add_row(
                name, Text(status, style=_STYLES.get(status, "yellow")), *_cost_texts(cost)
            )
        known = [cost for cost in costs.values() if cost is not None]
        if len(known) > 1:
            table.add_row("all of these", "", *_cost_texts(Measurement.total(known)))
        return table

    def _curve_table(self) -> Table:
        table = _grid("curve", "", "last", "lowest", "")
        shown = list(self._curves)
        trainings = [part for part in shown if part.startswith(("adamw", "warm"))]
        best = sorted(trainings, key=lambda part: min(self._curves[part].values()))
        left_out = set(best[_MOST_TRAININGS:]) - {trainings[-1]} if trainings else set()
        for part in shown:
            if part not in left_out:
                values = list(self._curves[part].values())
                unit = _CURVES[part.partition(" ")[0]][1]
                step = f"{unit} {max(self._curves[part])}" if unit else ""
                table.add_row(
                    part, step, LOSS.text(values[-1]), LOSS.text(min(values)), sparkline(values)
                )
        if left_out:
            table.add_row(f"{len(left_out)} trainings more", "", "", "", "")
        return table

    def _result_table(self) -> Table:
        table = _grid("model", "test loss")
        for row in self._run.results.to_pylist():
            table.add_row(row["model"], LOSS.text(row["test_loss"]))
        return table


def _grid(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, name in enumerate(names):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=30 if not index else 24)
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

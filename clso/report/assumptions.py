"""Whether a ratio of making energies depends on the model of the machine.

Notation: a model took C seconds of busy cores and T seconds of wall time. With W watts per busy
core and I watts that the machine takes whatever its cores do, it took W C + I T joules. Without I
the ratio of two models is that of their C, whatever W; the larger I, the closer it comes to the
ratio of their T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clso.report.formats import DURATION, FINE_SHARE
from clso.report.models import Models
from clso.report.table import Table

__all__ = ["assumptions_table"]

Row = Mapping[str, Any]

_CORE_W: Final = (5.0, 10.0, 20.0, 40.0)
_IDLE_W: Final = (0.0, 10.0, 50.0)


def assumptions_table(results: Sequence[Row], models: Models) -> Table | None:
    """Return the gradient-free model's share of its rivals' energy under other assumptions.

    `None`: the run lacks one of the sides, or their CPU seconds, or a GPU worked for one of them.
    """
    contender, rivals = Models.contender(results), Models.rivals(results)
    rivals = [rival for rival in rivals if _is_known(rival)]
    if contender is None or not rivals or not _is_known(contender):
        return None
    table = Table(
        f"Energy of making {models.subject(contender['model'])}, as a share of its rivals'",
        ["watts per busy core", *(f"idle {idle:g}\u00a0W" for idle in _IDLE_W)],
        [
            "Idle: watts of the machine while wall time passes. "
            + "; ".join(_cost(row, models) for row in (contender, *rivals))
            + "."
        ],
    )
    for rival in rivals:
        table.add(f"Against {models.subject(rival['model'])}", emphasis="group")
        for core_w in _CORE_W:
            shares = [
                _joules(contender, core_w, idle_w) / _joules(rival, core_w, idle_w)
                for idle_w in _IDLE_W
            ]
            table.add(f"{core_w:g}\u00a0W", *map(FINE_SHARE.text, shares))
        wall = FINE_SHARE.text(contender["duration_s"] / rival["duration_s"])
        table.add("wall time alone", wall, *[""] * (len(_IDLE_W) - 1))
    return table


def _is_known(row: Row) -> bool:
    used_gpu = "nvml" in (row["energy_source"] or "")
    return bool(row["cpu_s"] and row["duration_s"]) and not used_gpu


def _joules(row: Row, core_w: float, idle_w: float) -> float:
    return float(core_w * row["cpu_s"] + idle_w * row["duration_s"])


def _cost(row: Row, models: Models) -> str:
    cpu, wall = (DURATION.text(row[name]) for name in ("cpu_s", "duration_s"))
    return f"{models.title(row['model'])}: {cpu} of CPU time, {wall} of wall time"

"""The study `clso transfer`: what another text's library and genome are worth.

Differences are arm minus scratch on the test split of the target, seed by seed, so a negative
number favours the arm. A seed decides on the division of the text, the libraries and the searches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import COUNT, ENERGY, LOSS, NOT_MEASURED, SHARE, counted
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import styled
from clso.report.table import Table
from clso.statistics.paired import CONFIDENCE, Difference
from clso.studies.texts import difference_figure, mean_energy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ARMS", "Moved", "Transfer"]

ARMS: Final = {
    "scratch": "own library, own genome",
    "library": "other library, genome searched",
    "genome": "own library, other genome",
    "model": "other library, other genome",
    "random": "own library, random genome",
}
"""The arms by name, with their titles; *other* is the source's."""
_FLOOR: Final = "bigram"
_RANDOM: Final = "random"
_ALONE: Final = ("scratch", _RANDOM, _FLOOR)  # have nothing of a source

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Moved:
    """One arm on one target, losses in nats per token of its test split.

    Attributes:
        losses: one for each seed.
        loss: mean over seeds.
        against: arm minus scratch, over the seeds that both have.
        evaluations: mean over seeds.
        energy_j: mean joules of the work on the target; `None`: not measured.
        saved: share of scratch's joules that the arm saves; `None`: not measured, or by other
            meters.
    """

    source: str | None
    target: str
    arm: str
    losses: tuple[float, ...]
    loss: Difference
    against: Difference
    evaluations: float
    energy_j: float | None
    saved: float | None
    n_seeds: int


class Transfer:
    """One family's arms, from the table `transfer`."""

    def __init__(self, table: pa.Table, family: str) -> None:
        rows = table.filter(pc.field("family") == family).to_pylist()
        groups: dict[tuple[str | None, str, str], list[Row]] = {}
        for row in rows:
            groups.setdefault((row["source"], row["target"], row["arm"]), []).append(row)
        self._groups = groups
        self.pairs = list(dict.fromkeys((s, t) for s, t, _ in groups if s is not None))
        """Source and target of each transfer, in the order of the table."""

    def moved(self, source: str, target: str) -> list[Moved]:
        """Return the arms of a transfer in the order of `ARMS`, then the floor."""
        scratch = self._groups[None, target, "scratch"]
        keys = [(None if arm in _ALONE else source, target, arm) for arm in _ORDER]
        return [_moved(key, self._groups[key], scratch) for key in keys if key in self._groups]

    def sentence(self, source: str, target: str) -> str:
        """Say what the arms lose and save."""
        moved = {one.arm: one for one in self.moved(source, target)}
        parts = []
        for arm in ("library", "genome", "model"):
            if (one := moved.get(arm)) is not None:
                saved = (
                    "" if one.saved is None else f" and saves {SHARE.text(one.saved)} of the joules"
                )
                verb = "loses" if one.against.mean > 0 else "gains"
                parts.append(f"{ARMS[arm]} {verb} {LOSS.text(abs(one.against.mean))} nats{saved}")
        return f"From {source} to {target}: {'; '.join(parts)}."

    def table(self, title: str) -> Table:
        """Return a row per arm, grouped by source and target."""
        n_seeds = max((len(rows) for rows in self._groups.values()), default=0)
        table = Table(
            f"{title}, {counted(n_seeds, 'seed')}",
            ["arm", "test loss", "difference", "evaluations", "energy", "saved"],
            [
                "Nats per token of the target's test split, mean over seeds. Difference: arm minus "
                f"scratch (own library, own genome), paired by seed. Below both the "
                f"{SHARE.text(CONFIDENCE)} t intervals over seeds, which differ in the division of "
                "the text, the libraries and the searches.",
                "Evaluations and energy: of the work on the target alone; other libraries and "
                "genomes are there already. Saved: share of scratch's joules. The random genome is "
                "one draw per seed: the median, and the lowest and highest loss. The bigram counts "
                "the target's tokens.",
            ],
        )
        for source, target in self.pairs:
            table.add(f"{source} to {target}", emphasis="group")
            for one in self.moved(source, target):
                loss = LOSS.text(one.loss.mean), LOSS.interval(one.loss.low, one.loss.high)
                if one.arm == _RANDOM:  # some draws make a model overflow, and mean nothing
                    ends = LOSS.interval(min(one.losses), max(one.losses))
                    loss = LOSS.text(float(np.median(one.losses))), ends
                uncompared = one.arm in ("scratch", _RANDOM)
                table.add(
                    ARMS.get(one.arm, one.arm),
                    loss,
                    NOT_MEASURED if uncompared else LOSS.difference(one.against),
                    COUNT.text(one.evaluations),
                    ENERGY.text(one.energy_j),
                    NOT_MEASURED if one.arm == "scratch" else SHARE.text(one.saved),
                )
        return table

    @styled
    def figure(self, color: str) -> Figure | None:
        """Draw the differences to scratch with their intervals, a line per arm."""
        drawn = [
            (f"{source} to {target}", one)
            for source, target in self.pairs
            for one in self.moved(source, target)
            if one.arm not in ("scratch", _RANDOM)
        ]
        return difference_figure(
            [(pair, ARMS.get(one.arm, one.arm)) for pair, one in drawn],
            [one.against for _, one in drawn],
            color=color,
            label="arm minus scratch, nats per token",
        )

    @classmethod
    def section(cls, run: Run, family: str, note: Row) -> ReportSection:
        """Return the section on a family whose libraries and genomes `clso transfer` has moved."""
        models = Models(run.manifest)
        title = models.title(family)
        own = cls(run.transfer, family)
        return ReportSection(
            f"The {title} between texts",
            [
                f"{counted(note['seeds'], 'seed')}. A library is computed from a text, and a "
                "genome picks from it. Each arm takes one or both from another text.",
                *(own.sentence(source, target) for source, target in own.pairs),
                Picture(
                    f"transfer-{family}",
                    partial(own.figure, models.color(family)),
                    "Differences to scratch on the target's test split, paired by seed, with "
                    f"{SHARE.text(CONFIDENCE)} intervals (Student's t).",
                ),
                own.table(f"Transfer of the {title}"),
            ],
            f"transfer-{family}",
        )


_ORDER: Final = (*ARMS, _FLOOR)


def _moved(key: tuple[str | None, str, str], rows: Sequence[Row], scratch: Sequence[Row]) -> Moved:
    base = {row["seed"]: row for row in scratch}
    pairs = [(row, base[row["seed"]]) for row in rows if row["seed"] in base]
    own_j, base_j = mean_energy([row for row, _ in pairs]), mean_energy([row for _, row in pairs])
    # work that was not done has no meter and no joules
    sources = {side["energy_source"] for pair in pairs for side in pair} - {None}
    comparable = own_j is not None and base_j and len(sources) == 1
    source, target, arm = key
    return Moved(
        source=source,
        target=target,
        arm=arm,
        losses=tuple(row["test_loss"] for row in rows),
        loss=Difference.of(np.array([row["test_loss"] for row in rows])),
        against=Difference.of(
            np.array([row["test_loss"] - other["test_loss"] for row, other in pairs])
        ),
        evaluations=float(np.mean([row["evaluations"] for row in rows])),
        energy_j=own_j,
        saved=1 - own_j / base_j if comparable and own_j is not None and base_j else None,
        n_seeds=len(pairs),
    )

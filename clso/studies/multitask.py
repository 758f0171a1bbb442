"""The study `clso multitask`: several texts with one library, and a genome for each.

Differences are one library minus own libraries on the test split of each text, seed by seed, so a
negative number favours the one library. Bytes are those of all texts together.
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
from clso.report.formats import BYTES, ENERGY, LOSS, NOT_MEASURED, SHARE, counted
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import styled
from clso.report.table import Table
from clso.statistics.paired import CONFIDENCE, Difference
from clso.studies.texts import difference_figure, mean_energy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "Multitask", "Shared"]

KINDS: Final = {
    "own": "a library each",
    "pooled": "one, counted on all",
    "joined": "one, entries of each",
}
"""The kinds of libraries by name, with their titles."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Shared:
    """One text with one kind of library, losses in nats per token of its test split.

    Attributes:
        loss: mean over seeds.
        against: minus the loss with own libraries, over the seeds that both have.
        energy_j: mean joules of one text's part of the library and its search; `None`: not
            measured.
    """

    text: str
    kind: str
    loss: Difference
    against: Difference
    energy_j: float | None
    n_seeds: int


class Multitask:
    """One family's libraries, from the table `multitask`."""

    def __init__(self, table: pa.Table, family: str) -> None:
        rows = table.filter(pc.field("family") == family).to_pylist()
        self._groups: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            self._groups.setdefault((row["library"], row["text"]), []).append(row)
        self.texts = list(dict.fromkeys(text for _, text in self._groups))
        self.kinds = [kind for kind in KINDS if any(kind == own for own, _ in self._groups)]

    def shared(self, kind: str) -> list[Shared]:
        """Return the texts with one kind of library."""
        return [
            _shared(text, kind, self._groups[kind, text], self._groups["own", text])
            for text in self.texts
            if (kind, text) in self._groups
        ]

    def mean_bytes(self, kind: str) -> tuple[float, float]:
        """Return the mean bytes of the libraries of all texts, and of what their models use."""
        rows = self._groups[kind, self.texts[0]]
        held, used = (
            float(np.mean([row[name] for row in rows])) for name in ("library_bytes", "used_bytes")
        )
        return held, used

    def sentence(self, kind: str) -> str:
        """Say what one library for all texts loses, and the bytes it saves."""
        lost = [f"{LOSS.signed(one.against.mean)} nats on {one.text}" for one in self.shared(kind)]
        shares = [
            own / base
            for own, base in zip(self.mean_bytes(kind), self.mean_bytes("own"), strict=True)
        ]
        return (
            f"Library {kind} ({KINDS[kind]}): {', '.join(lost)}, with {SHARE.text(shares[0])} of "
            f"the bytes of own libraries, and {SHARE.text(shares[1])} of the bytes that the models "
            "use of them."
        )

    def table(self, title: str) -> Table:
        """Return a row per kind of library and text."""
        n_seeds = max((len(rows) for rows in self._groups.values()), default=0)
        table = Table(
            f"{title}, {counted(n_seeds, 'seed')}",
            ["text", "test loss", "difference", "energy", "libraries", "in use"],
            [
                "Nats per token of each text's test split, mean over seeds. Difference: to own "
                f"libraries, paired by seed. Below both the {SHARE.text(CONFIDENCE)} t intervals "
                "over seeds.",
                "Energy: of a text's part of the library and its search. Libraries: bytes of all "
                "texts together; in use: of what their models use of them, each array once.",
            ],
        )
        for kind in self.kinds:
            table.add(KINDS[kind], emphasis="group")
            sizes = [BYTES.text(size) for size in self.mean_bytes(kind)]
            for number, one in enumerate(self.shared(kind)):
                table.add(
                    one.text,
                    (LOSS.text(one.loss.mean), LOSS.interval(one.loss.low, one.loss.high)),
                    NOT_MEASURED if kind == "own" else LOSS.difference(one.against),
                    ENERGY.text(one.energy_j),
                    *(sizes if number == 0 else ("", "")),
                )
        return table

    @styled
    def figure(self, color: str) -> Figure | None:
        """Draw the differences to own libraries with their intervals, a line per text."""
        drawn = [one for kind in self.kinds if kind != "own" for one in self.shared(kind)]
        return difference_figure(
            [(KINDS[one.kind], one.text) for one in drawn],
            [one.against for one in drawn],
            color=color,
            label="one library minus own ones, nats per token",
        )

    @classmethod
    def section(cls, run: Run, family: str, note: Row) -> ReportSection:
        """Return the section on a family whose library `clso multitask` has shared."""
        models = Models(run.manifest)
        title = models.title(family)
        own = cls(run.multitask, family)
        return ReportSection(
            f"One library of the {title} for several texts",
            [
                f"{counted(note['seeds'], 'seed')}; each text has a genome of its own. The joined "
                f"library takes at most {SHARE.text(note['share'])} of the bytes of all.",
                *(own.sentence(kind) for kind in own.kinds if kind != "own"),
                Picture(
                    f"multitask-{family}",
                    partial(own.figure, models.color(family)),
                    "Differences to own libraries on test, paired by seed, with "
                    f"{SHARE.text(CONFIDENCE)} intervals (Student's t).",
                ),
                own.table(f"Libraries of the {title} for {counted(len(own.texts), 'text')}"),
            ],
            f"multitask-{family}",
        )


def _shared(text: str, kind: str, rows: Sequence[Row], own: Sequence[Row]) -> Shared:
    base = {row["seed"]: row["test_loss"] for row in own}
    paired = [row["test_loss"] - base[row["seed"]] for row in rows if row["seed"] in base]
    return Shared(
        text=text,
        kind=kind,
        loss=Difference.of(np.array([row["test_loss"] for row in rows])),
        against=Difference.of(np.array(paired)),
        energy_j=mean_energy(rows),
        n_seeds=len(paired),
    )

"""The study `clso continual`: texts learned one after the other, and what is forgotten.

Forgetting is the loss on a text minus the loss on it right after its own stage. Models that are
kept forget nothing by construction, if it is known which text it is; `clso continual` also measures
them where that is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.report.formats import BYTES, ENERGY, LOSS, NOT_MEASURED, SHARE, counted
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import PALETTE, new_figure, styled
from clso.report.table import Table
from clso.statistics.paired import CONFIDENCE, Difference
from clso.studies.texts import mean_energy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "Continual"]

METHODS: Final = {
    "genomes": "a genome for each text",
    "adamw_each": "an AdamW GPT-2 for each text",
    "adamw": "one AdamW GPT-2, trained further",
}
"""The methods by name, with their titles."""
_STYLES: Final = {"genomes": "-", "adamw_each": ":", "adamw": "--"}

Row = Mapping[str, Any]


class Continual:
    """One family's stream of texts, from the table `continual`."""

    def __init__(self, table: pa.Table, family: str) -> None:
        self._rows: list[Row] = table.filter(pc.field("family") == family).to_pylist()
        self.methods = [name for name in METHODS if any(r["method"] == name for r in self._rows)]
        learned = {row["stage"]: row["learned"] for row in self._rows}
        self.texts = [learned[stage] for stage in sorted(learned)]
        """The texts in the order of the stream."""
        self.n_seeds = len({row["seed"] for row in self._rows})

    def over_seeds(self, column: str, method: str, stage: int, text: str) -> Difference | None:
        """Return the mean of a column over seeds; `None`: it was not measured."""
        values = [row[column] for row in self._of(method, stage, text)]
        measured = [value for value in values if value is not None]
        return Difference.of(np.array(measured)) if measured else None

    def forgetting(self, method: str) -> Difference | None:
        """Return the mean forgetting after the last stage of all texts but the last."""
        last = len(self.texts)
        seeds: dict[int, list[float]] = {}
        for text in self.texts[:-1]:
            for row in self._of(method, last, text):
                seeds.setdefault(row["seed"], []).append(row["forgetting"])
        means = [float(np.mean(values)) for values in seeds.values()]
        return Difference.of(np.array(means)) if means else None

    def energy_j(self, method: str) -> float | None:
        """Return the mean joules of all stages; `None`: not measured."""
        joules = [
            mean_energy(self._of(method, stage, self.texts[0]))
            for stage in range(1, len(self.texts) + 1)
        ]
        known = [value for value in joules if value is not None]
        return sum(known) if len(known) == len(joules) else None

    def sentences(self) -> list[str]:
        """Say what each method forgets, and what it takes."""
        said = []
        for method in self.methods:
            forgotten = self.forgetting(method)
            how = (
                "forgets nothing, being told which text it is"
                if method != "adamw"
                else f"has a loss {_interval(forgotten)} nats higher on the earlier "
                "texts, after the last stage, than after their own stage"
            )
            said.append(
                f"{METHODS[method][0].upper()}{METHODS[method][1:]}: {how}; all stages take "
                f"{ENERGY.text(self.energy_j(method))}."
            )
        return said

    def table(self, title: str) -> Table:
        """Return the loss on every text after every stage, grouped by method."""
        table = Table(
            f"{title}, {counted(self.n_seeds, 'seed')}",
            ["after", *self.texts, "energy", "stored"],
            [
                "Nats per token of each text's test blocks, mean over seeds; below it the "
                f"{SHARE.text(CONFIDENCE)} t interval over seeds. Kept models are told which text "
                "it is, and have none for texts that are yet to come.",
                "Energy: of the stage. Stored: bytes of all that is kept.",
            ],
        )
        for method in self.methods:
            table.add(METHODS[method], emphasis="group")
            for stage, learned in enumerate(self.texts, 1):
                rows = self._of(method, stage, learned)
                table.add(
                    learned,
                    *(
                        _cell(self.over_seeds("test_loss", method, stage, text))
                        for text in self.texts
                    ),
                    ENERGY.text(mean_energy(rows)),
                    BYTES.text(float(np.mean([row["stored_bytes"] for row in rows]))),
                )
        return table

    def inference(self, title: str) -> Table:
        """Return what kept models lose if nobody says which text it is, after the last stage."""
        table = Table(
            title,
            [
                "text",
                "told",
                "chosen",
                "right",
                "told, whole",
                "averaged, whole",
            ],
            [
                "After the last stage, nats per token, mean over seeds. Told and chosen: on the "
                "second halves of blocks, by the text's own model, and by the model with the "
                "lowest loss on the first half. Right: share of blocks for which that is the "
                "text's own. Averaged: all models, weighted by what they predicted of the block so "
                "far, on whole blocks.",
            ],
        )
        last = len(self.texts)
        columns = ("second_half_loss", "inferred_loss", "inferred_share", "test_loss")
        for method in self.methods:
            if method == "adamw":
                continue
            table.add(METHODS[method], emphasis="group")
            for text in self.texts:
                told, chosen, right, whole = (
                    self.over_seeds(name, method, last, text) for name in columns
                )
                table.add(
                    text,
                    _cell(told),
                    _cell(chosen),
                    NOT_MEASURED if right is None else SHARE.text(right.mean),
                    _cell(whole),
                    _cell(self.over_seeds("averaged_loss", method, last, text)),
                )
        return table

    @styled
    def figure(self) -> Figure | None:
        """Draw the loss on each text over the stages, a line per method and text."""
        if not self.methods:
            return None
        figure, axes = new_figure(3.4)
        stages = range(1, len(self.texts) + 1)
        for number, text in enumerate(self.texts):
            for method in self.methods:
                known = [
                    (stage, value.mean)
                    for stage in stages
                    if (value := self.over_seeds("test_loss", method, stage, text)) is not None
                ]
                axes.plot(
                    [stage for stage, _ in known],
                    [loss for _, loss in known],
                    _STYLES[method],
                    marker="o",
                    markersize=4,
                    color=PALETTE[number % len(PALETTE)],
                    label=f"{text}, {method.replace('_', ' ')}",
                )
        axes.set_xticks(list(stages), [f"after\n{text}" for text in self.texts])
        axes.set_ylabel("test loss, nats per token")
        figure.legend(loc="outside upper center", ncols=2)
        return figure

    @classmethod
    def section(cls, run: Run, family: str, note: Row) -> ReportSection:
        """Return the section on a family that has learned a stream of texts."""
        title = Models(run.manifest).title(family)
        own = cls(run.continual, family)
        return ReportSection(
            f"A stream of texts: {title} and AdamW",
            [
                f"{counted(note['seeds'], 'seed')}. The texts come in turn: "
                f"{', '.join(note['texts'])}.",
                *own.sentences(),
                Picture(
                    f"continual-{family}",
                    own.figure,
                    "Loss on each text after each stage, mean over seeds. Solid: a genome for "
                    "each text; dashed: one AdamW GPT-2, trained further; dotted: one for each.",
                ),
                own.table("Loss on every text after every stage"),
                own.inference("If nobody says which text it is"),
            ],
            f"continual-{family}",
        )

    def _of(self, method: str, stage: int, text: str) -> list[Row]:
        wanted = method, stage, text
        return [row for row in self._rows if (row["method"], row["stage"], row["text"]) == wanted]


def _cell(value: Difference | None) -> str | tuple[str, str]:
    if value is None:
        return NOT_MEASURED
    return LOSS.text(value.mean), LOSS.interval(value.low, value.high)


def _interval(value: Difference | None) -> str:
    if value is None:
        return NOT_MEASURED
    if value.low is None:
        return LOSS.text(value.mean)
    return f"{LOSS.text(value.mean)} ({LOSS.interval(value.low, value.high, signed=True)})"

r"""The study `clso finetune`: classifiers from several starts, compared on examples of one task.

Notation: a start has S fits, one per seed. Its score is the mean over them. Two intervals stand
beside it. Student's t over the seeds says what other seeds of the fine-tuning would change. The
bootstrap over documents (of the mean over seeds) says what other texts would change; all starts
are resampled together. Neither says what another model of the same making would change: each start
is one model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clso.artifacts import Run
from clso.finetune.metrics import document_counts, score
from clso.report.formats import (
    COUNT,
    ENERGY,
    LOSS,
    NOT_MEASURED,
    SHARE,
    LossFormat,
    counted,
    format_source,
)
from clso.report.html import Picture, ReportSection
from clso.report.models import Models
from clso.report.style import interval_figure, styled
from clso.report.table import Column, Table
from clso.statistics.bootstrap import BootstrapSettings, Interval
from clso.statistics.paired import CONFIDENCE, Difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Finetuning"]

FloatArray = npt.NDArray[np.float64]

_SCORE: Final = LossFormat(3)
_CRYSTAL: Final = "gpt"
_FLOORS: Final = {"majority": "most frequent label", "bag_of_words": "bag of words, linear"}
_RANDOM: Final = "random"
_METRICS: Final = {"accuracy": "accuracy", "matthews": "Matthews correlation"}


@dataclass(frozen=True)
class Comparison:
    """The score from the crystalline GPT minus that of another start or of a floor.

    Attributes:
        other: the start or floor.
        over_seeds: paired by seed.
        over_documents: ends of the interval over documents.
    """

    other: str
    over_seeds: Difference
    over_documents: Interval

    @property
    def verdict(self) -> int:
        """1 if both intervals lie above zero, -1 if both lie below, 0 if neither is sure."""
        low, high = self.over_documents
        if low is None or high is None:
            return 0
        sign = int(low > 0) - int(high < 0)
        return sign if sign == self.over_seeds.sign else 0


class Finetuning:
    """The fits of one task in the table `finetunings`.

    Args:
        note: the task's entry in the manifest.
        settings: of the bootstrap.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        table: pa.Table,
        task: str,
        note: Mapping[str, Any],
        settings: BootstrapSettings,
        seed: int,
    ) -> None:
        rows = table.filter(pc.field("task") == task).to_pylist()
        self._note, self._settings, self._seed = note, settings, seed
        self._choices = [row for row in rows if row["chooses"]]
        self._fits: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if not row["chooses"]:
                self._fits.setdefault(row["start"], []).append(row)
        self.starts = sorted(
            (name for name in self._fits if self._is_whole(name)),
            key=lambda name: -float(self.scores(name).mean()),
        )
        """Starts and floors whose fits all ended well, the highest score first."""
        self.diverged = [name for name in self._fits if name not in self.starts]

    def _is_whole(self, start: str) -> bool:
        return all(row["predicted"] for row in self._fits[start])

    def scores(self, start: str) -> FloatArray:
        """Return the score of every seed, `(S,)`."""
        return np.array([row[self._note["metric"]] for row in self._fits[start]], np.float64)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The crystalline GPT against every other start and floor, in their order."""
        if _CRYSTAL not in self.starts:
            return []
        own = self.scores(_CRYSTAL)
        found = []
        for other in self.starts:
            if other != _CRYSTAL:
                theirs = self.scores(other)  # a floor has one score, for every seed
                resampled = self._resampled[_CRYSTAL] - self._resampled[other]
                over_documents = self._ends(resampled)
                found.append(Comparison(other, Difference.of(own - theirs), over_documents))
        return found

    @cached_property
    def _resampled(self) -> dict[str, FloatArray]:
        """Mean scores over resampled documents, `(resamples,)`, all starts together."""
        n_labels, metric = len(self._note["labels"]), self._note["metric"]
        found = {}
        for start in self.starts:
            each = [
                document_counts(
                    np.array(row["expected"]),
                    np.array(row["predicted"]),
                    np.array(row["documents"]),
                    n_labels,
                )
                for row in self._fits[start]
            ]
            counts = np.stack(each, axis=1)  # (documents, S, K, K)
            sums = self._settings.sums(counts.reshape(len(counts), -1), seed=self._seed)
            found[start] = score(metric, sums.reshape(-1, *counts.shape[1:])).mean(axis=1)
        return found

    def _ends(self, resampled: FloatArray) -> Interval:
        return self._settings.ends(resampled) if self.n_documents > 1 else (None, None)

    @cached_property
    def n_documents(self) -> int:
        """The number of documents of the examples that are reported."""
        return len(set(self._fits[self.starts[0]][0]["documents"]))

    def title(self, start: str, models: Models) -> str:
        """Return what a start or floor is called."""
        if start == _RANDOM:
            return "random weights"
        return _FLOORS.get(start) or models.title(start)

    def table(self, models: Models, made: Mapping[str, float | None]) -> Table:
        """Return a row per start and floor; `made` has the joules that made the starts."""
        metric = _METRICS[self._note["metric"]]
        confidence = SHARE.text(CONFIDENCE)
        sources = {
            format_source(row["energy_source"], row["estimated"])
            for rows in self._fits.values()
            for row in rows
        }
        table = Table(
            f"{metric[0].upper()}{metric[1:]} after fine-tuning, by start",
            [
                "start",
                metric,
                "over documents",
                Column("rate", optional=2),
                Column("train loss", optional=1),
                "energy of a fit",
                "its model",
            ],
            [
                f"Mean over {counted(self._n_seeds, 'seed')}; below it its {confidence} interval "
                "over seeds. Over documents: the interval by bootstrap of that mean.",
                "Rate: the best of the grid on a part of train. Energy of a fit: of its training "
                f"steps, a mean; below it all that chose the rate ({'; '.join(sorted(sources))}). "
                "Its model: the joules that made the model that is fine-tuned.",
            ],
        )
        for start in self.starts:
            rows, scores = self._fits[start], Difference.of(self.scores(start))
            table.add(
                self.title(start, models),
                (
                    _SCORE.text(scores.mean),
                    "" if scores.low is None else _interval(scores.low, scores.high),
                ),
                _interval(*self._ends(self._resampled[start])),
                NOT_MEASURED if rows[0]["lr"] is None else f"{rows[0]['lr']:g}",
                LOSS.text(_mean([row["train_loss"] for row in rows])),
                (ENERGY.text(_mean([row["energy_j"] for row in rows])), self._choice_energy(start)),
                ENERGY.text(made.get(start)),
                emphasis="best" if start == _CRYSTAL else "muted" if start in _FLOORS else "",
            )
        return table

    @property
    def _n_seeds(self) -> int:
        return max(len(rows) for rows in self._fits.values())

    def _choice_energy(self, start: str) -> str:
        joules = [row["energy_j"] for row in self._choices if row["start"] == start]
        if not joules or None in joules:
            return ""
        return ENERGY.text(sum(joules))

    def differences_table(self, models: Models) -> Table:
        """Return a row for each other start and floor: the crystalline GPT minus that."""
        metric = _METRICS[self._note["metric"]]
        crystal = models.title(_CRYSTAL)
        table = Table(
            f"From the {crystal}, minus from another start",
            ["against", "difference", "over seeds", "over documents"],
            [
                f"Differences of {metric}, {SHARE.text(CONFIDENCE)} intervals: Student's t over "
                "seeds, which are paired, and a paired bootstrap over documents. Higher or lower: "
                "both exclude zero."
            ],
        )
        words = {1: "higher", -1: "lower", 0: "undecided"}
        for comparison in self.comparisons:
            difference = comparison.over_seeds
            table.add(
                (self.title(comparison.other, models), words[comparison.verdict]),
                _SCORE.signed(difference.mean),
                _interval(difference.low, difference.high, signed=True),
                _interval(*comparison.over_documents, signed=True),
            )
        return table

    def sentences(self, models: Models) -> list[str]:
        """Say what the task is, what was read of it, and how the crystalline GPT compares."""
        return [
            *self._note["about"],
            self._data_sentence(),
            *filter(None, [self._verdict_sentence(models), self._edge_sentence(models)]),
            *(
                f"Training from {self.title(name, models)} diverged with some seed, so it has no "
                "score."
                for name in self.diverged
            ),
        ]

    def _data_sentence(self) -> str:
        note = self._note
        epochs = note["settings"]["epochs"]
        limit = note["settings"]["train_examples"]
        drawn = "" if limit is None or note["train"] < limit else ", drawn from all at random"
        text = (
            f"{counted(note['train'], 'example')} to learn from{drawn}, "
            f"{COUNT.text(note['held_out'])} of them held out while the rate is chosen, and "
            f"{COUNT.text(note['reported'])} to report on, in "
            f"{counted(self.n_documents, 'document')}; {counted(len(note['labels']), 'label')}; "
            f"{counted(epochs, 'epoch')}; {counted(note['max_length'], 'token')} at most."
        )
        if note["cut"]:
            text += f" {counted(note['cut'], 'text')} had more tokens and were cut."
        if note["overlapping"]:
            text += (
                f" {COUNT.text(note['overlapping'])} of the texts to report on stand in train "
                "word for word."
            )
        return text

    def _verdict_sentence(self, models: Models) -> str:
        if not self.comparisons:
            return ""
        said = []
        for word, sign in (("higher than", 1), ("lower than", -1), ("not surely other than", 0)):
            names = [
                self.title(comparison.other, models)
                for comparison in self.comparisons
                if comparison.verdict == sign
            ]
            if names:
                said.append(f"{word} that of {', '.join(names)}")
        metric = _METRICS[self._note["metric"]]
        return f"From the {models.title(_CRYSTAL)} the {metric} is {'; '.join(said)}."

    def _edge_sentence(self, models: Models) -> str:
        """Name the starts whose rate is the lowest or highest that was tried."""
        rates = self._note["settings"]["learning_rates"]
        ends = (min(rates), max(rates))
        names = [
            self.title(name, models) for name, rate in self._note["rates"].items() if rate in ends
        ]
        if not names or len(rates) < 2:
            return ""
        return (
            f"The rate of {', '.join(names)} lies at an end of the grid "
            f"{', '.join(f'{rate:g}' for rate in sorted(rates))}: others beyond it may be better."
        )

    @styled
    def _figure(self, models: Models) -> Figure:
        groups = (("fine-tuned", self._trained), ("floors", self._untrained))
        lines = [(group, start) for group, starts in groups for start in starts]
        scores = [Difference.of(self.scores(start)) for _, start in lines]
        lows, highs = zip(*(found.ends for found in scores), strict=True)
        metric = _METRICS[self._note["metric"]]
        figure, axes, heights = interval_figure(
            [(group, self.title(start, models)) for group, start in lines],
            [found.mean for found in scores],
            (lows, highs),
            color=models.color(_CRYSTAL),
            label="mean and interval over seeds",
        )
        for (_, start), height in zip(lines, heights, strict=True):
            each = self.scores(start)
            axes.plot(each, [height] * len(each), "|", markersize=7, color=models.color(_CRYSTAL))
        axes.set_xlabel(metric)
        return figure

    @property
    def _trained(self) -> Sequence[str]:
        return [name for name in self.starts if name not in _FLOORS]

    @property
    def _untrained(self) -> Sequence[str]:
        return [name for name in self.starts if name in _FLOORS]

    @classmethod
    def section(cls, run: Run, task: str, note: Mapping[str, Any]) -> ReportSection:
        """Return the section on a task."""
        settings = BootstrapSettings(**run.config.get("analysis", {}))
        seed = int(run.manifest["seed"])
        found, models = cls(run.finetunings, task, note, settings, seed), Models(run.manifest)
        results = run.results.to_pylist() if run.has("results") else []
        made = {row["model"]: row["energy_j"] for row in results}
        caption = (
            f"{_METRICS[note['metric']]} on {task} after fine-tuning: mean and interval over "
            "seeds; ticks: each seed."
        )
        picture = Picture(f"finetune-{task}", partial(found._figure, models), caption)
        return ReportSection(
            f"Fine-tuning: {task}",
            [
                *found.sentences(models),
                picture,
                found.table(models, made),
                *([found.differences_table(models)] if found.comparisons else []),
            ],
            f"finetune-{task}",
        )


def _interval(low: float | None, high: float | None, *, signed: bool = False) -> str:
    return _SCORE.interval(low, high, signed=signed)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None

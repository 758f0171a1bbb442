"""The study `clso tune`: the best settings, and whether they are better than the run's own.

The check runs the tuned settings and the run's own on seeds that tuned nothing, at one budget.
Differences are tuned minus default, seed by seed, with Student's t interval over seeds: it says
what other seeds of the searches would change, not other text. Both arms are judged by the blocks
that judged the study's trials, so what the study gained by choosing settings that suit these blocks
is in the figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from clso.artifacts import Run
from clso.errors import ArtifactError
from clso.report.formats import ENERGY, FINE_LOSS, NOT_MEASURED, SHARE
from clso.report.html import Block, Page, Picture, ReportSection
from clso.report.table import Column, Table
from clso.statistics.paired import Difference

__all__ = ["FIGURES", "Check", "Tuning"]

FIGURES: Final = {
    "history": "Loss of each complete trial, and the lowest so far; pruned trials have none.",
    "pareto": "Loss and joules of each trial; on the front, nothing is lower in both.",
    "importances": "What the best trials have in common: importance of each hyperparameter for "
    "a low loss (PED-ANOVA).",
    "importances-energy_j": "The same for few joules.",
    "slice": "Loss by the hyperparameters that matter most; later trials are darker.",
    "parallel": "Each line is a trial: its loss, then its hyperparameters; the darker, the better.",
    "rank": "The two that matter most of those that every trial has, coloured by the trial's rank.",
}
"""The figures of a study that a page shows, in order, with what stands below them."""

_MIN_IMPORTANCE: Final = 0.005

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """The tuned settings against the run's own.

    Attributes:
        default_loss: mean over seeds, nats per token.
        tuned_loss: the same.
        difference: tuned minus default.
        n_won: seeds for which the tuned settings have the lower loss.
        n_seeds: seeds in all.
        same: whether all losses are the same: there was nothing better to find.
    """

    default_loss: float
    tuned_loss: float
    difference: Difference
    n_won: int
    n_seeds: int
    same: bool

    @classmethod
    def of(cls, checks: pa.Table) -> Check | None:
        """Return how the arms stand; `None` where a search of one found no finite loss."""
        losses = _by_arm(checks)
        default, tuned = (
            np.asarray(list(losses[arm].values()), float) for arm in ("default", "tuned")
        )
        if not len(default) or not np.isfinite([default, tuned]).all():
            return None
        gaps = tuned - default
        return cls(
            default_loss=float(default.mean()),
            tuned_loss=float(tuned.mean()),
            difference=Difference.of(gaps),
            n_won=int((gaps < 0).sum()),
            n_seeds=len(gaps),
            same=not gaps.any(),
        )

    def sentence(self) -> str:
        """Say whether the tuned settings beat the run's own, and do not where it is not sure."""
        if self.same:
            return (
                f"On {self.n_seeds} other seeds the tuned settings do exactly as the default: "
                "the study found nothing better than what was there."
            )
        low, high = self.difference.low, self.difference.high
        assert low is not None
        assert high is not None
        difference, interval = FINE_LOSS.difference(self.difference)
        verdict = "beat the default"
        if low > 0:
            verdict = "are worse than the default"
        elif high >= 0:
            verdict = "are not shown to beat the default, for the interval contains zero"
        return (
            f"On {self.n_seeds} seeds that tuned nothing, at the same budget, the tuned settings "
            f"{verdict}: {FINE_LOSS.text(self.tuned_loss)} against "
            f"{FINE_LOSS.text(self.default_loss)}, a difference of "
            f"{difference} nats per token ({interval}, 95 % over seeds), lower for {self.n_won} of "
            f"{self.n_seeds}."
        )

    def title(self) -> str:
        """Say the verdict in a few words."""
        if self.same:
            return "nothing better than the default"
        gap = FINE_LOSS.text(abs(self.difference.mean))
        low, high = self.difference.low, self.difference.high
        if high is not None and high < 0:
            return f"{gap} nats per token below the default"
        if low is not None and low > 0:
            return f"{gap} nats per token above the default"
        return "not shown to beat the default"


class Tuning:
    """A study that has come to its end.

    Args:
        run: the study's folder.

    Raises:
        ArtifactError: the study has not come to its end, or a table is damaged.
    """

    def __init__(self, run: Run) -> None:
        note: dict[str, Any] | None = run.manifest.get("tune")
        if note is None:
            raise ArtifactError(
                f"the study in {run.path} has not come to its end",
                remedy="`clso tune CONFIG` goes on with it",
            )
        self._run = run
        self._note = note
        self._trials = sorted(run.table("trials").to_pylist(), key=_by_loss)
        self.check = Check.of(run.table("checks"))

    def sections(self) -> list[ReportSection]:
        """Return best settings, check, and the Pareto set if there are several objectives."""
        several = len(self._note["objectives"]) > 1
        best = (self._run.path / "best.yaml").read_text(encoding="utf-8")
        which = ["Of the Pareto set below, those of the trial with the lowest loss."]
        sections = [
            ReportSection(
                "Best settings",
                [
                    *(which if several else []),
                    self._settings_table(),
                    Block("details", ("The tuned configuration, best.yaml", best)),
                ],
            ),
            ReportSection(
                "Tuned against default",
                [
                    "Both searched with the same budget on seeds that no trial had. The blocks "
                    "that judge them are those that judged the trials; neither search read them, "
                    "nor did anything read the test split.",
                    self._check_table(),
                    self.sentence(),
                ],
            ),
        ]
        front = [row for row in self._trials if row["is_best"]] if several else []
        if front:
            note = "Trials that no other beats in both; joules of one search, mean over seeds."
            sections.append(ReportSection("Pareto set", [_trials_table(front, note)]))
        return sections

    def sentence(self) -> str:
        """Say whether the tuned settings beat the run's own, and how sure that is."""
        if self.check is None:
            return "A search of the check found no finite loss, so there is nothing to compare."
        return self.check.sentence()

    def count_sentence(self) -> str:
        """Say how many trials there were, what each was and what all of them took."""
        states = [row["state"] for row in self._trials]
        counts = [f"{states.count('complete')} complete"]
        counts += [
            f"{states.count(state)} {word}"
            for state, word in (("pruned", "pruned"), ("fail", "failed"))
            if state in states
        ]
        budget = self._note["budget"]
        spent = (
            f"{budget['evaluations']:,} evaluations"
            if budget["evaluations"] is not None
            else ENERGY.text(budget["energy_j"])
        )
        return (
            f"{len(states)} trials ({', '.join(counts)}), each a search of {spent} for each of "
            f"{len(self._note['seeds'])} seeds. The searches read the first half of the validation "
            "blocks; trials are judged by the second."
        )

    def page(self) -> Page:
        """Return the study's report."""
        run, note = self._run, self._note
        energy_note = (
            "Energy of one search, mean over seeds, as if it had computed all of its evaluations "
            "itself."
        )
        trials = _trials_table(self._trials, energy_note, best=True)
        pictures = [
            Picture(name, partial(path.read_text, encoding="utf-8"), caption)
            for name, caption in FIGURES.items()
            if (path := run.folder.figures / f"{name}.svg").exists()
        ]
        pairs = [("storage", note["storage"]), ("pruner", note["pruner"])]
        verdict = "no check" if self.check is None else self.check.title()
        return Page(
            title=f"{run.path.name} · CLSO study",
            over=f"CLSO study · {run.path.name} · {run.run_id}",
            headline=f"The {note['family']} search, tuned: {verdict}",
            leads=[self.sentence(), self.count_sentence()],
            facts=self._facts(),
            sections=[
                *self.sections(),
                ReportSection("The study", [*pictures, Block("details", ("All trials", trials))]),
                ReportSection.of_settings(run, pairs),
            ],
            foot="Every number comes from the Parquet tables beside this page. A dash means not "
            "measured.",
        )

    def _settings_table(self) -> Table:
        """Return what was tuned, the hyperparameter that mattered most for the loss first."""
        note = self._note
        importances = {
            (row["evaluator"], row["parameter"]): row["importance"]
            for row in self._run.table("importances").to_pylist()
            if row["objective"] == "loss"
        }
        table = Table(
            "",
            [
                Column("hyperparameter", text=True),
                *map(Column, ("tuned", "default", "in common", "variance")),
            ],
            [
                "A dash: without effect in that setting, or no figure. In common: PED-ANOVA, what "
                "the best tenth of the trials, or the best five, have in common. Variance: fANOVA, "
                "of dimensions that every trial has. Both are shares of one and rest on the "
                "complete trials alone.",
            ],
        )
        for name in sorted(
            note["default"], key=lambda name: -importances.get(("ped_anova", name), -1.0)
        ):
            table.add(
                name,
                _value(note["tuned"].get(name)),
                _value(note["default"][name]),
                _importance(importances.get(("ped_anova", name))),
                _importance(importances.get(("fanova", name))),
            )
        return table

    def _check_table(self) -> Table:
        """Return both arms seed by seed, and their means."""
        table = Table(
            "",
            [Column("seed", text=True), *map(Column, ("default", "tuned", "difference"))],
            [
                "Loss on the second half of the validation blocks, nats per token; tuned minus "
                "default, so a negative number favours the tuned settings.",
            ],
        )
        losses = _by_arm(self._run.table("checks"))
        for seed, default in losses["default"].items():
            tuned = losses["tuned"].get(seed)
            gap = None if default is None or tuned is None else tuned - default
            table.add(
                str(seed),
                FINE_LOSS.text(default),
                FINE_LOSS.text(tuned),
                FINE_LOSS.signed(gap),
            )
        if self.check is not None:
            means = (self.check.default_loss, self.check.tuned_loss)
            table.add(
                "mean",
                *(FINE_LOSS.text(mean) for mean in means),
                FINE_LOSS.difference(self.check.difference),
                emphasis="best",
            )
        return table

    def _facts(self) -> list[tuple[str, str, str]]:
        """Return the figures at the top: label, value, and what qualifies it."""
        facts = []
        if self.check is not None:
            other = f"{self.check.n_seeds} other seeds"
            default, tuned = self.check.default_loss, self.check.tuned_loss
            facts += [
                ("tuned, held back", FINE_LOSS.text(tuned), other),
                ("default, held back", FINE_LOSS.text(default), other),
                ("difference", *FINE_LOSS.difference(self.check.difference)),
            ]
        searched = [row for row in self._trials if row["searches"]]
        joules = [row["energy_j"] for row in searched]
        total = (
            None
            if None in joules or not joules
            else sum(row["energy_j"] * row["searches"] for row in searched)
        )
        spent = ENERGY.text(total)
        return [*facts, ("searches of all trials", spent, "each as if it paid for itself")]


def _by_loss(trial: Row) -> tuple[bool, float, int]:
    """Sort trials by loss; what has none comes last."""
    loss = trial["loss"]
    return loss is None, 0.0 if loss is None else loss, trial["number"]


def _trials_table(trials: Sequence[Row], note: str, *, best: bool = False) -> Table:
    """Return a row per trial.

    Args:
        trials: in the order of the rows.
        note: what the energy is.
        best: whether trials of the Pareto set stand out.
    """
    table = Table(
        "",
        [
            Column("trial", text=True),
            Column("state and settings", text=True, optional=1),
            *map(Column, ("loss", "energy")),
        ],
        [note],
    )
    for row in trials:
        state = row["state"] if row["error"] is None else f"{row['state']}: {row['error']}"
        settings = json.loads(row["params"])
        table.add(
            str(row["number"]),
            (state, ", ".join(f"{name} {_value(value)}" for name, value in settings.items())),
            FINE_LOSS.text(row["loss"]),
            ENERGY.text(row["energy_j"]),
            emphasis="best" if best and row["is_best"] else "",
        )
    return table


def _by_arm(checks: pa.Table) -> dict[str, dict[int, float | None]]:
    losses: dict[str, dict[int, float | None]] = {"default": {}, "tuned": {}}
    for row in checks.sort_by("seed").to_pylist():
        losses[row["arm"]][row["seed"]] = row["loss"]
    return losses


def _value(value: object) -> str:
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _importance(share: float | None) -> str:
    if share is None:
        return NOT_MEASURED
    return SHARE.text(share) if share >= _MIN_IMPORTANCE else SHARE.text(0.0)

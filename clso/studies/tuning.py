"""The study `clso tune`: the best settings, and whether they are better than the run's own.

The check runs the tuned settings and the run's own at one budget, on seeds that no trial used.
Differences are tuned minus default, seed by seed, with Student's t interval over seeds: it says
what other seeds of the searches would change, not other text. The blocks that judge both arms also
judged the trials. So the difference includes what the study gained by fitting these blocks.
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
from clso.report.formats import ENERGY, FINE_LOSS, NOT_MEASURED, SHARE, counted
from clso.report.html import Block, Page, Picture, ReportSection
from clso.report.settings import CONFIG_FILE, config_yaml, settings_section
from clso.report.table import Column, Table
from clso.statistics.paired import CONFIDENCE, Difference

__all__ = ["FIGURES", "Check", "TuningReport"]

FIGURES: Final = {
    "history": "Loss of each complete trial, and the lowest so far; pruned trials have none.",
    "pareto": "Loss and joules of each trial; on the front, nothing is lower in both.",
    "importances": "What the best trials have in common: importance for a low loss (PED-ANOVA) of "
    "the hyperparameters for which the best trial differs from the default.",
    "importances-energy_j": "The same for few joules.",
    "slice": "Loss by the hyperparameters that matter most; later trials are darker.",
    "parallel": "Each line is a trial: its loss, then its values of the hyperparameters that every "
    "trial has, the most important first.",
    "rank": "The two most important hyperparameters that every trial has, coloured by rank.",
}
"""The figures of a study in their order on the page, with their captions."""

_MIN_IMPORTANCE: Final = 0.005

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """The tuned settings against the run's own.

    Attributes:
        default_loss: mean over seeds, nats per token, as is `tuned_loss`.
        difference: tuned minus default.
        n_won: number of the `n_seeds` seeds for which the tuned settings have the lower loss.
        same: whether both have the same loss for every seed.
    """

    default_loss: float
    tuned_loss: float
    difference: Difference
    n_won: int
    n_seeds: int
    same: bool

    @classmethod
    def of(cls, checks: pa.Table) -> Check | None:
        """Compare the arms of the table `checks`; `None`: a search found no finite loss."""
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
        """Say whether the tuned settings beat the run's own, and how sure that is."""
        if self.same:
            return (
                f"On {counted(self.n_seeds, 'other seed')}, the tuned settings have the same "
                "losses as the default: the study found nothing better than the default."
            )
        verdict = {
            -1: "beat the default",
            0: "are not shown to beat the default, because the interval contains zero",
            1: "are worse than the default",
        }[self.difference.sign]
        difference, interval = FINE_LOSS.difference(self.difference)
        return (
            f"On {counted(self.n_seeds, 'seed')} that no trial used, at the same budget, the "
            f"tuned settings {verdict}: {FINE_LOSS.text(self.tuned_loss)} against "
            f"{FINE_LOSS.text(self.default_loss)}. The difference is {difference} nats per token "
            f"({interval}, {SHARE.text(CONFIDENCE)} over seeds); the tuned settings have the lower "
            f"loss for {self.n_won} of {counted(self.n_seeds, 'seed')}."
        )

    def title(self) -> str:
        """Say the verdict in a few words."""
        if self.same:
            return "nothing better than the default"
        if self.difference.sign == 0:
            return "not shown to beat the default"
        gap = FINE_LOSS.text(abs(self.difference.mean))
        side = "below" if self.difference.sign < 0 else "above"
        return f"{gap} nats per token {side} the default"


class TuningReport:
    """A finished study, read from its folder.

    Raises:
        ArtifactError: the study is not finished, or a table is damaged.
    """

    def __init__(self, run: Run) -> None:
        note: dict[str, Any] | None = run.manifest.get("tune")
        if note is None:
            raise ArtifactError(
                f"the study in {run.path} is not finished",
                remedy="`clso tune CONFIG` continues it",
            )
        self._run = run
        self._note = note
        self._trials = sorted(run.table("trials").to_pylist(), key=_by_loss)
        self.check = Check.of(run.table("checks"))

    def sections(self) -> list[ReportSection]:
        """Return best settings, check, and the Pareto set if there are several objectives."""
        several = len(self._note["objectives"]) > 1
        best = (self._run.path / "best.yaml").read_text(encoding="utf-8")
        which = ["The settings of the trial with the lowest loss in the Pareto set below."]
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
                    "Both searched with the same budget on seeds that no trial used. The blocks "
                    "that judge them also judged the trials. No search read these blocks, and "
                    "nothing read the test split.",
                    self._check_table(),
                    self.sentence(),
                ],
            ),
        ]
        front = [row for row in self._trials if row["is_best"]] if several else []
        if front:
            note = (
                "Trials that no other trial beats in both. Energy: of one search, mean over seeds."
            )
            sections.append(ReportSection("Pareto set", [_trials_table(front, note)]))
        return sections

    def sentence(self) -> str:
        """Say whether the tuned settings beat the run's own, and how sure that is."""
        if self.check is None:
            return "A search of the check found no finite loss, so there is nothing to compare."
        return self.check.sentence()

    def count_sentence(self) -> str:
        """Say how many trials there were, how they ended and what a trial is."""
        states = [row["state"] for row in self._trials]
        words = {"complete": "complete", "pruned": "pruned", "fail": "failed"}
        counts = ", ".join(
            f"{states.count(state)} {word}"
            for state, word in words.items()
            if state in ("complete", *states)
        )
        budget = self._note["budget"]
        spent = (
            counted(budget["evaluations"], "evaluation")
            if budget["evaluations"] is not None
            else ENERGY.text(budget["energy_j"])
        )
        n_seeds = len(self._note["seeds"])
        per_seed = "" if n_seeds == 1 else f" for each of {counted(n_seeds, 'seed')}"
        return (
            f"{counted(len(states), 'trial')} ({counts}). A trial is "
            f"{'one' if n_seeds == 1 else 'a'} search of {spent}{per_seed}. The searches read the "
            "first half of the validation blocks; the second half judges the trials."
        )

    def page(self) -> Page:
        """Return the study's report."""
        run, note = self._run, self._note
        energy_note = (
            "Energy of one search, mean over seeds, as if the search had computed all of its "
            "evaluations itself."
        )
        trials = _trials_table(self._trials, energy_note, best=True)
        pictures = [
            Picture(name, partial(path.read_text, encoding="utf-8"), caption)
            for name, caption in FIGURES.items()
            if (path := run.folder.figures / f"{name}.svg").exists()
            and (self._anything_changed or not name.startswith("importances"))
        ]
        pairs = [
            (name, str(note[name]))
            for name in ("storage", "sampler", "pruner", "pruner_patience", "parallel")
            if name in note
        ]
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
                settings_section(run, [["tune", *self._options()]], pairs),
            ],
            foot="Every number comes from the Parquet tables beside this page. A dash means not "
            "measured.",
            files={CONFIG_FILE: config_yaml(run)},
        )

    def _options(self) -> list[str]:
        """Return what the command said besides the configuration."""
        trials = sum(row["retry_of"] is None for row in self._trials)
        asked = (self._run.config.get("tune") or {}).get("trials")
        return [] if trials == asked else ["--trials", str(trials)]

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
                "hyperparameter",
                Column("tuned", text=True),
                Column("default", text=True),
                Column(
                    "in common",
                    note="In common: importance by PED-ANOVA, what the best tenth of the trials, "
                    "or the best five, have in common.",
                ),
                Column(
                    "variance",
                    note="Variance: importance by fANOVA, for hyperparameters that every trial "
                    "has. Importances are shares of one, from the complete trials alone; a value "
                    "that stayed the default's has none.",
                ),
            ],
            ["A dash: no effect with these settings, or not computed."],
        )
        for name in sorted(
            note["default"], key=lambda name: -importances.get(("ped_anova", name), -1.0)
        ):
            shares = (
                importances.get((evaluator, name)) if self._changed(name) else None
                for evaluator in ("ped_anova", "fanova")
            )
            table.add(
                name,
                _value(note["tuned"].get(name)),
                _value(note["default"][name]),
                *map(_importance, shares),
            )
        if self._anything_changed:
            return table
        return table.select(
            ["hyperparameter", "tuned", "default"], notes=["The best trial is the default itself."]
        )

    def _changed(self, name: str) -> bool:
        """Return whether the best trial has another value of a hyperparameter than the default."""
        tuned = self._note["tuned"]
        return name in tuned and tuned[name] != self._note["default"][name]

    @property
    def _anything_changed(self) -> bool:
        return any(map(self._changed, self._note["default"]))

    def _check_table(self) -> Table:
        """Return both arms seed by seed, and their means."""
        table = Table(
            "",
            ["seed", "default", "tuned", "difference"],
            [
                "Loss on the second half of the validation blocks, nats per token. Difference: "
                "tuned minus default, so a negative number favours the tuned settings."
            ],
        )
        losses = _by_arm(self._run.table("checks"))
        for seed, default in losses["default"].items():
            tuned = losses["tuned"].get(seed)
            gap = None if default is None or tuned is None else tuned - default
            table.add(str(seed), *map(FINE_LOSS.text, (default, tuned)), FINE_LOSS.signed(gap))
        if self.check is not None:
            means = (self.check.default_loss, self.check.tuned_loss)
            difference = FINE_LOSS.difference(self.check.difference)
            table.add("mean", *map(FINE_LOSS.text, means), difference, emphasis="best")
        return table

    def _facts(self) -> list[tuple[str, str, str]]:
        """Return the figures at the top: label, value, and what qualifies it."""
        facts = []
        if self.check is not None:
            other = f"{self.check.n_seeds} other seeds"
            facts += [
                ("tuned, held back", FINE_LOSS.text(self.check.tuned_loss), other),
                ("default, held back", FINE_LOSS.text(self.check.default_loss), other),
                ("difference", *FINE_LOSS.difference(self.check.difference)),
            ]
        searched = [row for row in self._trials if row["searches"]]
        measured = searched and all(row["energy_j"] is not None for row in searched)
        total_j = sum(row["energy_j"] * row["searches"] for row in searched) if measured else None
        note = "as if each had computed all its evaluations"
        return [*facts, ("searches of all trials", ENERGY.text(total_j), note)]


def _by_loss(trial: Row) -> tuple[bool, float, int]:
    """Sort trials by loss; trials without one come last."""
    return trial["loss"] is None, trial["loss"] or 0.0, trial["number"]


def _trials_table(trials: Sequence[Row], note: str, *, best: bool = False) -> Table:
    """Return a row per trial; `best` emphasises the trials of the Pareto set."""
    table = Table(
        "",
        ["trial", Column("state and settings", text=True, optional=1), "loss", "energy"],
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
    return SHARE.text(share if share is None or share >= _MIN_IMPORTANCE else 0.0)

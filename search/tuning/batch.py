"""Trials that are asked for at once and judged apart from the storage, on any worker.

A worker gets a copy of the study in memory: the trials that had ended when the batch was asked for,
by their numbers. The pruner so decides the same wherever and whenever a trial of a batch is judged,
and a study depends on the size of its batches, and on neither engine nor workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from clso.digest import digest_of
from clso.engine import Engine, Shared
from search.tuning.identity import identity_of
from search.tuning.judge import SEARCHES, Judge
from search.tuning.space import Params
from search.validated import Halves

__all__ = [
    "AskedTrial",
    "JudgedTrial",
    "asked_trials",
    "expected_s",
    "judged_trial",
    "judged_trials",
]

_OUTCOME = "clso:outcome"  # an attribute of a trial


@dataclass(frozen=True)
class AskedTrial:
    """A trial that a worker judges.

    Attributes:
        study: the name of the study.
        number: of the trial, by which Hyperband chooses its bracket.
        params: its values.
        user_attrs: of the trial that it repeats.
        ended: the trials that had ended before the batch.
        outcome: of the trial that it repeats, which was judged and not told.
    """

    study: str
    number: int
    params: Params
    user_attrs: Mapping[str, Any]
    ended: Sequence[FrozenTrial]
    outcome: JudgedTrial | None = None

    def judged(self, judge: Judge) -> JudgedTrial:
        """Judge the trial in a copy of the study, unless it has been judged."""
        if self.outcome is not None:
            return self.outcome
        study = optuna.create_study(
            study_name=self.study,
            directions=["minimize"] * len(judge.settings.objectives),
            pruner=judge.settings.new_pruner(judge.space),
            sampler=RandomSampler(seed=0),  # never asked: all values are given
        )
        by_number = {trial.number: trial for trial in self.ended}
        unknown = optuna.create_trial(state=TrialState.FAIL)
        study.add_trials([by_number.get(number, unknown) for number in range(self.number)])
        study.enqueue_trial(self.params, user_attrs=dict(self.user_attrs))
        trial = study.ask()
        state, values = judged_trial(judge, trial)
        told = study.trials[self.number]
        return JudgedTrial(
            state, values, told.intermediate_values, told.user_attrs, _rungs(told.system_attrs)
        )


@dataclass(frozen=True)
class JudgedTrial:
    """The outcome of a trial, to be told to its study."""

    state: TrialState
    values: float | Sequence[float] | None
    intermediate_values: Mapping[int, float]
    user_attrs: Mapping[str, Any]
    rungs: Mapping[str, Any]

    def keep(self, trial: Trial, storage: BaseStorage) -> None:
        """Note all of it with the trial, which cannot be told yet, for the trial that repeats it.

        A failure is not kept: it is to be tried again.
        """
        if self.state != TrialState.FAIL:
            noted = asdict(self) | {"state": self.state.name}
            storage.set_trial_system_attr(trial._trial_id, _OUTCOME, noted)

    @classmethod
    def kept(cls, trial: FrozenTrial) -> JudgedTrial | None:
        """Return what is noted with a trial."""
        noted = trial.system_attrs.get(_OUTCOME)
        if noted is None:
            return None
        values = noted["intermediate_values"]
        steps = {int(step): value for step, value in values.items()}  # JSON has no integer keys
        state = TrialState[noted["state"]]
        return cls(**noted | {"state": state, "intermediate_values": steps})

    def write(self, trial: Trial, storage: BaseStorage) -> None:
        """Write all but the state to the trial's own study."""
        for step, value in self.intermediate_values.items():
            trial.report(value, step)
        for name, content in self.user_attrs.items():
            trial.set_user_attr(name, content)
        for name, content in self.rungs.items():
            storage.set_trial_system_attr(trial._trial_id, name, content)


def judged_trial(judge: Judge, trial: Trial) -> tuple[TrialState, float | Sequence[float] | None]:
    """Return the state in which a trial ends, and its values; an interruption passes."""
    try:
        return TrialState.COMPLETE, judge(trial)
    except optuna.TrialPruned:
        return TrialState.PRUNED, None
    except Exception:
        # the judge has noted the error
        return TrialState.FAIL, None


def asked_trials(
    study: optuna.Study, batch: Sequence[tuple[Trial, Params]], before: Sequence[FrozenTrial]
) -> list[AskedTrial]:
    """Return the trials of a batch for workers; `before` are those before it."""
    ended = []
    for trial in before:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            # what pruners read, and no more
            short = optuna.trial.create_trial(
                state=trial.state,
                values=trial.values,
                intermediate_values=trial.intermediate_values,
                system_attrs=_rungs(trial.system_attrs),
            )
            short.number = trial.number
            ended.append(short)
    stored = [study._storage.get_trial(trial._trial_id) for trial, _ in batch]
    return [
        AskedTrial(
            study.study_name,
            trial.number,
            params,
            trial.user_attrs,
            ended,
            JudgedTrial.kept(trial),
        )
        for trial, (_, params) in zip(stored, batch, strict=True)
    ]


def expected_s(before: Sequence[FrozenTrial]) -> float:
    """Return the mean seconds of the trials so far; 0 if none has ended."""
    seconds = [
        sum(search["duration_s"] for search in trial.user_attrs[SEARCHES])
        for trial in before
        if trial.state.is_finished() and trial.user_attrs.get(SEARCHES)
    ]
    return fmean(seconds) if seconds else 0.0


def judged_trials(
    judge: Judge, asked: Sequence[AskedTrial], engine: Engine | None, *, expected_s: float = 0.0
) -> Iterator[tuple[int, JudgedTrial]]:
    """Yield the places of trials and their outcomes as the workers of an engine judge them.

    Args:
        engine: `None`: they are judged here, one after the other.
        expected_s: seconds that a trial is likely to take.
    """
    if engine is None:
        yield from enumerate(trial.judged(judge) for trial in asked)
        return
    libraries = {_key(judge.space.library(trial.params)) for trial in asked}
    made = {key: judge.problems(dict(key)) for key in sorted(libraries)}
    moved = replace(judge, problems=_Made(made))
    names = [
        [key, halves.searched.fingerprint, halves.held_back.fingerprint]
        for key, halves in made.items()
    ]
    fingerprint = digest_of({**identity_of(judge.space, judge.settings), "problems": names})
    shared = Shared(f"tuning {fingerprint}", moved)
    yield from engine.map(_judged, shared, asked, expected_s=expected_s)


def _judged(judge: Judge, trial: AskedTrial) -> JudgedTrial:
    return trial.judged(judge)


@dataclass(frozen=True)
class _Made:
    """The problems of a batch, by the values of the library; moves to other processes."""

    halves: Mapping[tuple[tuple[str, Any], ...], Halves]

    def __call__(self, library: Params) -> Halves:
        return self.halves[_key(library)]


def _key(library: Params) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(library.items()))


def _rungs(system_attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Hyperband has noted of a trial."""
    return {name: system_attrs[name] for name in system_attrs if name.startswith("completed_rung")}

"""The search that the trials of an Optuna study share, in all of its processes.

Nothing of the search is stored but what the trials have in their attributes: the genome that each
was given, and what was known when one of them let the search take a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from clso.genome import Genome
from search.settings import SearchSettings
from search.tuning.genes import Genes
from search.tuning.replay import Known, Replay

__all__ = ["SharedSearch"]

_MOST_ATTEMPTS = 16  # of one trial, while other processes take each genome before it


@dataclass(frozen=True, slots=True)
class _Step:
    """What was known when a trial let the search take a step.

    Attributes:
        trial: the number of that trial.
        finished: the first and the last number of each stretch of trials that had ended.
        running: numbers of the other trials that had a genome and had not ended.
        seed: of the search; in the first step only.
    """

    trial: int
    finished: tuple[tuple[int, int], ...]
    running: tuple[int, ...]
    seed: int | None = None

    @classmethod
    def of(cls, trial: int, reads: Sequence[_Read], seed: int | None) -> _Step:
        """Return the step that a trial takes with what is known now."""
        ended = enumerate(read.number for read in reads if read.finished)
        runs = [list(pairs) for _, pairs in groupby(ended, key=lambda pair: pair[1] - pair[0])]
        running = (
            read.number
            for read in reads
            if not read.finished and read.given is not None and read.number != trial
        )
        return cls(trial, tuple((run[0][1], run[-1][1]) for run in runs), tuple(running), seed)

    def to_json(self) -> dict[str, Any]:
        value = {"finished": self.finished, "running": self.running}
        return value if self.seed is None else value | {"seed": self.seed}

    @classmethod
    def from_json(cls, trial: int, value: Mapping[str, Any]) -> _Step:
        finished = tuple((first, last) for first, last in value["finished"])
        return cls(trial, finished, tuple(value["running"]), value.get("seed"))

    def known(self, reads: Mapping[int, _Read]) -> Known:
        """Return what was known, given the trials by number."""
        losses: dict[Genome, float | None] = {}
        for number in chain.from_iterable(range(first, end + 1) for first, end in self.finished):
            genome, loss = reads[number].tried, reads[number].loss
            if genome is not None:
                lowest = losses.get(genome)
                if lowest is None or (loss is not None and loss < lowest):
                    losses[genome] = loss
        given = (reads[number].given for number in self.running)
        return Known(losses, frozenset(genome for genome in given if genome is not None))


@dataclass(frozen=True, slots=True)
class _Read:
    """A trial as the search sees it.

    Attributes:
        given: the genome that it was given, by this sampler or another; `None`: none.
        tried: the genome of its values, if it has ended.
        loss: `None`: there is none, or the trial failed.
        steps: that it let the search take, by number.
    """

    number: int
    finished: bool
    given: Genome | None = None
    tried: Genome | None = None
    loss: float | None = None
    steps: dict[int, _Step] = field(default_factory=dict)


class SharedSearch:
    """The search that the trials of a study share in one space.

    Args:
        name: of the space, in the trials' attributes.
        genes: the genes of the space's parameters.
        settings: of the search, which does not end by itself.
        seed: of the search; `None`: another one for each study.
    """

    def __init__(self, name: str, genes: Genes, settings: SearchSettings, seed: int | None) -> None:
        self.genes = genes
        self._settings, self._seed = settings, seed
        self._given, self._step = f"crystalline:{name}:genome", f"crystalline:{name}:step:"
        self._finished: dict[int, _Read] = {}
        self._search: Replay | None = None
        self._taken: list[_Step] = []

    def next_genome(self, study: Study, trial: FrozenTrial) -> Genome | None:
        """Return the genome for a trial and note it there; `None`: all were given."""
        collided = False
        for _ in range(_MOST_ATTEMPTS):
            reads = self._read(study)
            steps, taken = _decided(reads), _taken(reads, besides=trial.number)
            if steps:
                batch = self._caught_up(steps, reads).batch
                if free := [genome for genome in batch if genome not in taken]:
                    genome = free[trial.number % len(free) if collided else 0]
                    self._note(study, trial, self._given, list(genome))
                    # of two processes that took a genome at once, at least one sees the other
                    if genome not in _taken(self._read(study), besides=trial.number):
                        return genome
                    collided = True
                    continue
                if len(taken) >= self.genes.size:
                    return None
            step = _Step.of(trial.number, reads, None if steps else self._first_seed())
            self._note(study, trial, f"{self._step}{len(steps)}", step.to_json())
        return None

    def _first_seed(self) -> int:
        if self._seed is not None:
            return self._seed
        return int(np.random.SeedSequence().generate_state(1)[0])

    def _caught_up(self, steps: Sequence[_Step], reads: Sequence[_Read]) -> Replay:
        """Return the search after all of its steps."""
        if self._search is None or self._taken != list(steps[: len(self._taken)]):
            # new here, or another process decided about a step that was taken here
            assert steps[0].seed is not None
            self._search, self._taken = Replay(self.genes, self._settings, steps[0].seed), []
        by_number = {read.number: read for read in reads}
        for step in steps[len(self._taken) :]:
            self._search.advance(step.known(by_number))
            self._taken.append(step)
        return self._search

    def _read(self, study: Study) -> list[_Read]:
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        reads = []
        # of all brackets; `Study.get_trials` has those of one
        for trial in study._storage.get_all_trials(study._study_id, deepcopy=False):
            read = self._finished.get(trial.number)
            if read is None:
                read = self._parse(trial, sign)
                if read.finished:
                    self._finished[trial.number] = read
            reads.append(read)
        return reads

    def _parse(self, trial: FrozenTrial, sign: float) -> _Read:
        finished = trial.state.is_finished()
        steps = {
            int(name.removeprefix(self._step)): _Step.from_json(trial.number, value)
            for name, value in trial.system_attrs.items()
            if name.startswith(self._step)
        }
        loss = None
        if trial.state == TrialState.COMPLETE and max(trial.constraints.values(), default=0) <= 0:
            assert trial.value is not None
            loss = sign * trial.value if np.isfinite(trial.value) else None
        return _Read(
            trial.number,
            finished,
            self._given_to(trial),
            self.genes.genome_of(trial.params) if finished else None,
            loss,
            steps,
        )

    def _given_to(self, trial: FrozenTrial) -> Genome | None:
        noted = trial.system_attrs.get(self._given)
        if noted is None and trial.state == TrialState.WAITING:
            return None
        given = None if noted is None else tuple(noted)
        # an enqueued trial has its own values, whatever it was given besides
        params = {} if given is None else self.genes.params_of(given)
        enqueued = self.genes.genome_of(params | trial.system_attrs.get("fixed_params", {}))
        return enqueued or given or self.genes.genome_of(trial.params)

    def _note(self, study: Study, trial: FrozenTrial, name: str, value: Any) -> None:  # noqa: ANN401
        study._storage.set_trial_system_attr(trial._trial_id, name, value)


def _taken(reads: Iterable[_Read], *, besides: int) -> set[Genome]:
    """Return the genomes that trials were given or have tried, one trial left out."""
    genomes = (
        read.tried if read.finished else read.given for read in reads if read.number != besides
    )
    return {genome for genome in genomes if genome is not None}


def _decided(reads: Iterable[_Read]) -> list[_Step]:
    """Return the steps of a search; of several that took the same step, the first trial decides."""
    decided: dict[int, _Step] = {}
    for read in reads:
        for number, step in read.steps.items():
            decided.setdefault(number, step)
    steps: list[_Step] = []
    while len(steps) in decided:
        steps.append(decided[len(steps)])
    return steps

"""A search whose evaluations are the trials of a study, replayed from them step by step.

The trials are the only state. A *step* brings the search from one batch of genomes to the next
that has a genome to evaluate, given what was known of the trials then. So a process that knows what
was known at each step can repeat the search up to the present, and all processes that work on
a study work on one search.

In one process a batch is complete when the next step begins, and the search is that of
`search.loop` to the last bit. In several processes a step may begin while genomes of the batch
before are still running. They take part in selection with the median loss until they have their
own. The surrogate does not learn from them. At the beginning of a generation all trials that ended
meanwhile join the archive, also those of other samplers.
"""

from __future__ import annotations

import statistics
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clso.energy import EnergyMonitor
from clso.genome import Genome
from clso.problem import Evaluation
from search.archive import Archive, Scored
from search.evolution import Evolution
from search.function import Function
from search.generation import Generation
from search.ladder import Batch
from search.settings import SearchSettings
from search.surrogates import surrogate_factory
from search.toolbox import WORST_LOSS, Parent
from search.tuning.genes import Genes

__all__ = ["Known", "Replay"]

_IDLE_GENERATIONS = 10
_MOST_LISTED = 10_000
_TRIES = 1_000
_RUNNING = 0.5  # a fidelity below 1: known, not bred again, and without a loss to learn from


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a study's trials at one moment.

    Attributes:
        losses: of the finished trials by genome, in the order of the trials; `None`: it failed.
        running: genomes that are being evaluated.
    """

    losses: Mapping[Genome, float | None]
    running: frozenset[Genome] = frozenset()

    def __contains__(self, genome: object) -> bool:
        return genome in self.losses or genome in self.running

    @property
    def best(self) -> list[Genome]:
        """The genomes that did not fail, the lowest loss first."""
        finite = [genome for genome, loss in self.losses.items() if loss is not None]
        return sorted(finite, key=lambda genome: (self.losses[genome], genome))

    def evaluations(self, genomes: Sequence[Genome]) -> list[Evaluation]:
        """Return results; a genome that is still running has the median of all losses."""
        finite = [loss for loss in self.losses.values() if loss is not None]
        median = statistics.median(finite) if finite else None
        return [Evaluation.of(self.losses.get(genome, median), genome) for genome in genomes]

    def archive(self) -> Archive:
        """Return an archive of the finished genomes, in which the running ones are known."""
        archive = Archive()
        for genome, loss in self.losses.items():
            archive.add(Scored(genome, genome, loss))
        for genome in sorted(self.running - self.losses.keys()):
            archive.add(Scored(genome, genome, 0.0, _RUNNING))
        return archive


class Replay:
    """A search up to its latest step.

    Args:
        genes: what genomes mean.
        settings: without limits and fidelities.
        seed: the only source of randomness.

    Attributes:
        batch: the genomes to evaluate that were neither known nor running at the latest step.
    """

    def __init__(self, genes: Genes, settings: SearchSettings, seed: int) -> None:
        self._genes, self._settings, self._seed = genes, settings, seed
        self._evolution: Evolution | None = None
        self._running: Generator[Batch, Sequence[Evaluation], Generation] | None = None
        self._asked: tuple[Genome, ...] = ()
        self._n_steps = 0
        self.batch: tuple[Genome, ...] = ()

    def advance(self, known: Known) -> None:
        """Take the next step.

        The batch stays empty if there is no genome left that is neither known nor running.
        """
        self._n_steps += 1
        self.batch = ()
        for _ in range(_IDLE_GENERATIONS):
            while self._next_batch(known):
                self.batch = tuple(genome for genome in self._asked if genome not in known)
                if self.batch:
                    return
        self.batch = self._drawn(known)

    def _next_batch(self, known: Known) -> bool:
        """Let the generation ask for its next batch; false: the generation has ended."""
        try:
            if self._running is None:
                self._running = self._new_generation(known)
                self._asked = next(self._running).genomes
            else:
                self._asked = self._running.send(known.evaluations(self._asked)).genomes
        except StopIteration:
            self._running, self._asked = None, ()
            return False
        return True

    def _new_generation(self, known: Known) -> Generator[Batch, Sequence[Evaluation], Generation]:
        if self._evolution is None:
            self._evolution = Evolution(
                Function(self._genes.space, ""),
                self._settings,
                seed=self._seed,
                start=known.best[: self._settings.population],
                monitor=EnergyMonitor(),
                make_surrogate=surrogate_factory(self._settings.surrogate),
            )
        else:
            archive, state = known.archive(), self._evolution.state
            state.parents = [_with_loss(parent, archive, self._genes) for parent in state.parents]
            self._evolution.restore(state, archive)
        return self._evolution.run_generation()

    def _drawn(self, known: Known) -> tuple[Genome, ...]:
        """Return a genome that is neither known nor running, drawn at random; or none."""
        rng = np.random.default_rng([self._seed, self._n_steps])
        cardinalities = self._genes.space.cardinalities
        if self._genes.space.size <= _MOST_LISTED:
            left = [genome for genome in self._genes.all_genomes() if genome not in known]
            return (left[rng.integers(len(left))],) if left else ()
        for _ in range(_TRIES):
            genome = self._genes.space.canonicalize(tuple(rng.integers(cardinalities).tolist()))
            if genome not in known:
                return (genome,)
        return ()


def _with_loss(parent: Parent, archive: Archive, genes: Genes) -> Parent:
    """Return a parent with its measured loss, if it has one by now."""
    scored = archive.get(genes.space.canonicalize(parent.genome))
    if scored is None:
        return parent
    return Parent(parent.genome, WORST_LOSS if scored.loss is None else scored.loss)

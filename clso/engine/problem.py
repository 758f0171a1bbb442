"""A problem whose genomes are scored by the workers of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from clso.energy import EnergyMonitor
from clso.engine.engine import Engine
from clso.engine.shared import Shared
from clso.genome import Genome
from clso.problem import Evaluation, Extendable, Problem, Screened

__all__ = ["shared_out"]

P = TypeVar("P", bound=Problem)

# Chunks per worker: enough that workers end together, few enough that genomes share prefixes.
_CHUNKS_PER_WORKER = 4


def shared_out(problem: P, engine: Engine, monitor: EnergyMonitor | None = None) -> P:
    """Return a problem whose genomes the workers of an engine score; the losses stay the same.

    It is `Extendable` if the problem is, `Screened` as the problem is, and has all its other
    attributes. With the local engine it is the problem itself, which uses the cores as it knows
    best.

    Args:
        monitor: measures each batch as a whole, workers included; `None`: time only.
    """
    if engine.is_local:
        return problem
    shared = _SharedOut(problem, engine, EnergyMonitor() if monitor is None else monitor)
    return cast("P", shared)


@dataclass(frozen=True)
class _Chunk:
    """Genomes of one batch; `begun` are their earlier evaluations if it is an extension."""

    genomes: tuple[Genome, ...]
    fidelity: float
    begun: tuple[Evaluation, ...] = ()


class _SharedOut:
    """A problem on workers."""

    def __init__(self, problem: Problem, engine: Engine, monitor: EnergyMonitor) -> None:
        self._problem = problem
        self._engine = engine
        self._monitor = monitor
        self._shared = Shared(f"problem {problem.fingerprint}", problem)
        self.space = problem.space
        self.fidelities = problem.fidelities
        self.fingerprint = problem.fingerprint
        self.screening = problem.screening if isinstance(problem, Screened) else None
        if isinstance(problem, Extendable):
            self.extend = self._extend  # the attribute makes it an `Extendable`

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the problem
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._problem, name)

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes as the problem does; one that occurs twice is computed once."""
        return self._scored(genomes, [], fidelity)

    def _extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        return self._scored(genomes, begun, fidelity)

    def _scored(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        checked = [self.space.canonical(genome) for genome in genomes]
        if not checked:
            return []
        known = dict(zip(checked, begun, strict=True)) if begun else {}
        chunks = self._chunks(sorted(set(checked)), known, fidelity)
        scored: dict[Genome, Evaluation] = {}
        with self._monitor.window() as window:
            for index, evaluations in self._engine.map(_evaluated, self._shared, chunks):
                scored.update(zip(chunks[index].genomes, evaluations, strict=True))
        # a share of the whole batch: workers on one machine would count its joules twice
        tokens = [scored[genome].tokens for genome in checked]
        shares = window.measurement.split(tokens)
        return [
            replace(scored[genome], measurement=share)
            for genome, share in zip(checked, shares, strict=True)
        ]

    def _chunks(
        self, genomes: Sequence[Genome], known: dict[Genome, Evaluation], fidelity: float
    ) -> list[_Chunk]:
        """Divide sorted, distinct genomes among the workers; neighbours share their prefixes."""
        count = min(len(genomes), _CHUNKS_PER_WORKER * self._engine.n_workers)
        bounds = [len(genomes) * index // count for index in range(count + 1)]
        parts = [tuple(genomes[bounds[i] : bounds[i + 1]]) for i in range(count)]
        return [
            _Chunk(part, fidelity, tuple(known[genome] for genome in part) if known else ())
            for part in parts
        ]


def _evaluated(problem: Problem, chunk: _Chunk) -> list[Evaluation]:
    if not chunk.begun:
        return problem.evaluate(chunk.genomes, chunk.fidelity)
    assert isinstance(problem, Extendable)
    return problem.extend(chunk.genomes, chunk.begun, chunk.fidelity)

"""What a search costs: the constants of docs/scaling.md, and its formulas against measurements.

    python -m benchmarks.search_cost [--engine dask] [--workers 1 2 4]

The formulas are in `Costs`. Constants are measured in this process; then the same generations run
on engines with several workers, and each figure stands beside its prediction. Workers on one
machine share its cores, so the wall time is also checked with evaluations that wait and need none.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from clso.cores import available_cores
from clso.energy import EnergyMonitor, EnergySettings
from clso.engine import Engine, Shared, open_engine, shared_out
from clso.engine.open import EngineKind
from clso.engine.shared import Packed
from clso.genome import Genome, GenomeSpace
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.library import BasisLibrary
from clso.library.settings import LibrarySettings
from clso.problem import Evaluation, Problem
from search import Search, SearchSettings

_SHAPE = GptShape(n_layer=2, n_head=2, n_embd=128, block_size=128, vocab_size=8192)
_ENTRIES, _BATCHES, _BATCH_SIZE = 64, 4, 4
_GENERATIONS, _PLACES = 3, 32
_WAIT_S = 0.1
_ENERGY = EnergySettings(meter="cpu_model")


@dataclass(frozen=True)
class Costs:
    """Measured constants of a search, and what they say.

    Attributes:
        evaluation_s: c, CPU seconds of one evaluation whose matrices are dense already.
        matrix_s: m, CPU seconds to make a matrix of the library dense.
        matrices: K, of the library.
        genes: L, matrices that a genome picks.
        generation_s: s, seconds of the driver per generation without evaluations.
        chunk_s: o, seconds of the driver for handing out one chunk of genomes.
        start_s: f, CPU seconds of a worker before its first evaluation: torch is loaded.
        problem_bytes: b, which each worker gets once.
        chunk_bytes: a, of one chunk without its genomes: the task and the results' frame.
        genome_bytes: q, of one genome and its evaluation.
        power_w: of a busy core.
    """

    evaluation_s: float
    matrix_s: float
    matrices: int
    genes: int
    generation_s: float
    chunk_s: float
    start_s: float
    problem_bytes: int
    chunk_bytes: int
    genome_bytes: int
    power_w: float = _ENERGY.cpu_power_w

    def wall_s(self, generations: int, places: int, workers: int, cores: int) -> float:
        """Return the seconds of a search; `cores` are those of all workers."""
        chunks = chunks_of(places, workers)
        at_once = min(workers, cores)
        busiest = math.ceil(chunks / at_once) * math.ceil(places / chunks)
        evaluating_s = max(busiest * self.evaluation_s, chunks * self.chunk_s)
        once_s = workers * self.start_s + self.dense_s(generations * places, workers)
        return once_s / at_once + generations * (self.generation_s + self.chunk_s + evaluating_s)

    def dense_s(self, evaluations: int, workers: int) -> float:
        """Return the CPU seconds to make matrices dense: every worker does so for those it meets.

        Of K matrices, n random picks meet K (1 - exp(-n / K)) different ones.
        """
        picks = self.genes * evaluations / workers
        met = self.matrices * (1.0 - math.exp(-picks / self.matrices)) if self.matrices else 0.0
        return workers * met * self.matrix_s

    def bytes(self, generations: int, places: int, workers: int) -> int:
        """Return the bytes that leave the driver or come back."""
        per_generation = chunks_of(places, workers) * self.chunk_bytes + places * self.genome_bytes
        return workers * self.problem_bytes + generations * per_generation

    def energy_j(self, generations: int, places: int, workers: int) -> float:
        """Return the joules of driver and workers."""
        chunks = chunks_of(places, workers)
        driver_s = generations * (self.generation_s + chunks * self.chunk_s)
        evaluating_s = generations * places * self.evaluation_s
        dense_s = self.dense_s(generations * places, workers)
        return self.power_w * (driver_s + evaluating_s + dense_s + workers * self.start_s)


def chunks_of(places: int, workers: int) -> int:
    """Return the number of tasks that a generation is divided into; see `clso.engine.problem`."""
    return min(places, 4 * workers)


class Waiting:
    """A problem whose evaluations take time and no core, like those of workers elsewhere."""

    fidelities = (1.0,)
    fingerprint = "waiting"

    def __init__(self, space: GenomeSpace, wait_s: float) -> None:
        self.space = space
        self.wait_s = wait_s

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Wait for each genome."""
        time.sleep(self.wait_s * len(genomes))
        return [Evaluation(float(sum(genome)), "evaluated", 1) for genome in genomes]


def gpt_problem(monitor: EnergyMonitor | None = None) -> GptProblem:
    """Return the problem of `quick.yaml`'s shape on random tokens."""
    families = LibrarySettings().families
    library = BasisLibrary.generate(_SHAPE.n_embd, _ENTRIES, families, 1.0, 0)
    rng = np.random.default_rng(0)
    size = (_BATCHES, _BATCH_SIZE, _SHAPE.block_size + 1)
    tokens = rng.integers(0, _SHAPE.vocab_size, size)
    return GptProblem(
        library,
        GptFrame(_SHAPE, seed=0),
        tokens[..., :-1],
        tokens[..., 1:],
        share_layers=False,
        monitor=monitor,
    )


def generations(space: GenomeSpace) -> list[list[Genome]]:
    """Return the genomes of all generations, no two alike."""
    rng = np.random.default_rng(1)
    return [
        [tuple(rng.integers(0, space.cardinalities).tolist()) for _ in range(_PLACES)]
        for _ in range(_GENERATIONS)
    ]


class Counted:
    """Counts the bytes that an engine sends and receives."""

    def __init__(self, engine: Engine) -> None:
        self.bytes = 0
        cluster: Any = engine._cluster
        put, submit = cluster.put, cluster.submit

        def counted_put(packed: Packed) -> Any:  # noqa: ANN401 - of the cluster
            size = len(packed.head) + sum(memoryview(part).nbytes for part in packed.buffers)
            self.bytes += engine.n_workers * size
            return put(packed)

        def counted_submit(header: Any, payload: bytes, reference: Any) -> Any:  # noqa: ANN401
            self.bytes += len(payload)
            future = submit(header, payload, reference)
            future.add_done_callback(self._received)
            return future

        cluster.put, cluster.submit = counted_put, counted_submit

    def _received(self, future: Any) -> None:  # noqa: ANN401 - of any engine
        if not future.cancelled() and future.exception() is None:
            self.bytes += len(future.result())


@dataclass(frozen=True)
class Measured:
    """One run on an engine whose workers were there, but had computed nothing."""

    wall_s: float
    energy_j: float | None
    bytes: int


def on_engine(kind: EngineKind, workers: int, problem: Problem) -> Measured:
    """Evaluate all generations on an engine."""
    monitor = _ENERGY.open()
    with open_engine(kind, workers=workers, monitor=monitor, energy=_ENERGY) as engine:
        counted = Counted(engine)
        shared = shared_out(problem, engine, monitor)
        batches = generations(problem.space)
        with monitor.window() as window:
            for batch in batches:
                shared.evaluate(batch)
        measured = window.measurement
        return Measured(measured.duration_s, measured.energy_j, counted.bytes)


def packed_bytes(problem: Problem) -> int:
    """Return the bytes of a problem as a worker gets it."""
    packed = Packed.of(Shared("", problem))
    return len(packed.head) + sum(memoryview(part).nbytes for part in packed.buffers)


def _nothing(value: None, argument: int) -> int:
    del value
    return argument


def measured_costs(kind: EngineKind, problem: GptProblem) -> Costs:
    """Measure the constants: CPU seconds in this process, the engine's own on one worker."""
    batch = generations(problem.space)[0]
    seconds = []
    for _ in range(2):  # with matrices to make dense, and without
        began_s = time.process_time()
        problem.evaluate(batch)
        seconds.append(time.process_time() - began_s)
    evaluation_s = seconds[1] / len(batch)
    slots = [slot.name.rpartition(".")[2] for slot in problem.space.slots]  # layers share them
    met = len({pick for genome in batch for pick in zip(slots, genome, strict=True)})
    chunk_s, chunk_bytes, genome_bytes = _engine_costs(kind, problem.space)
    return Costs(
        evaluation_s=evaluation_s,
        matrix_s=max(seconds[0] - seconds[1], 0.0) / met,
        matrices=sum(map(len, problem.library.values())),
        genes=len(problem.space),
        generation_s=_generation_s(problem.space),
        chunk_s=chunk_s,
        start_s=_start_s(),
        problem_bytes=packed_bytes(problem),
        chunk_bytes=chunk_bytes,
        genome_bytes=genome_bytes,
    )


def _engine_costs(kind: EngineKind, space: GenomeSpace) -> tuple[float, int, int]:
    with open_engine(kind, workers=1) as engine:
        tasks = range(200)
        list(engine.map(_nothing, Shared("nothing", None), tasks))
        began_s = time.process_time()
        list(engine.map(_nothing, Shared("nothing", None), tasks))
        chunk_s = (time.process_time() - began_s) / len(tasks)
        counted, waiting = Counted(engine), Waiting(space, 0.0)
        shared = shared_out(waiting, engine)
        batch = generations(space)[0]
        shared.evaluate(batch[:1])
        sizes = []
        for count in (4, 32):  # four chunks each
            before = counted.bytes
            shared.evaluate(batch[:count])
            sizes.append(counted.bytes - before)
    genome_bytes = (sizes[1] - sizes[0]) / 28
    return chunk_s, round((sizes[0] - 4 * genome_bytes) / 4), round(genome_bytes)


def _generation_s(space: GenomeSpace) -> float:
    settings = SearchSettings.model_validate(
        {"population": _PLACES, "generations": 40, "surrogate": {"kind": "none"}}
    )
    search = Search(list(space.cardinalities), settings)
    began_s = time.process_time()
    while batch := search.ask():
        search.tell(batch, [float(sum(genome)) for genome in batch])
    return (time.process_time() - began_s) / 40


def _start_s() -> float:
    seconds = []
    for modules in ("clso.engine.worker", "clso.engine.worker, clso.gpt"):
        began_s = _children_s()
        subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
        seconds.append(_children_s() - began_s)
    return seconds[1] - seconds[0]


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _table(console: Console, title: str, *columns: str) -> Iterator[Table]:
    table = Table(*columns, title=title, title_justify="left")
    yield table
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--engine", choices=["dask", "ray"], default="dask")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    console, cores = Console(width=120), available_cores()
    problem = gpt_problem()
    costs = measured_costs(arguments.engine, problem)
    with _table(
        console, f"constants, {arguments.engine}, {cores} cores", "constant", "value"
    ) as table:
        for name, value in vars(costs).items():
            table.add_row(name, f"{value:,.6g}" if isinstance(value, float) else f"{value:,}")
    with _table(console, "1,000 workers, GPT-2 Medium, 10^10 tokens", "figure", "value") as table:
        for name, value in large(costs).items():
            table.add_row(name, value)
    size = (_GENERATIONS, _PLACES)
    title = f"{_GENERATIONS} generations of {_PLACES} genomes: predicted / measured"
    with _table(console, title, "workers", "wall s", "joules", "bytes", "wall s, waiting") as table:
        waiting = replace(costs, evaluation_s=_WAIT_S, matrix_s=0.0, start_s=0.0)
        idle_s = _GENERATIONS * costs.generation_s  # of breeding, which is not run here
        for workers in arguments.workers:
            found = on_engine(arguments.engine, workers, problem)
            waited = on_engine(arguments.engine, workers, Waiting(problem.space, _WAIT_S))
            wall_s = costs.wall_s(*size, workers, cores) - idle_s
            waiting_s = waiting.wall_s(*size, workers, workers) - idle_s
            energy_j = costs.energy_j(*size, workers) - costs.power_w * idle_s
            table.add_row(
                str(workers),
                f"{wall_s:.2f} / {found.wall_s:.2f}",
                f"{energy_j:.1f} / {found.energy_j or math.nan:.1f}",
                f"{costs.bytes(*size, workers):,} / {found.bytes:,}",
                f"{waiting_s:.2f} / {waited.wall_s:.2f}",
            )


def large(costs: Costs) -> dict[str, str]:
    """Return what the constants say of a GPT-2 Medium body, 1,000 workers and 10^10 tokens."""
    n_layer, width, length, vocab_size, workers, places = 24, 1024, 1024, 50257, 1000, 32
    tokens = 10**10
    body, head = 12 * width**2 * n_layer, vocab_size * width
    own = 12 * _SHAPE.n_embd**2 * _SHAPE.n_layer + _SHAPE.vocab_size * _SHAPE.n_embd
    own_tokens = _BATCHES * _BATCH_SIZE * _SHAPE.block_size
    rate = 2 * own * own_tokens / costs.evaluation_s  # operations per CPU second
    evaluation_s = 2 * (body + head) * _BATCHES * _BATCH_SIZE * length / rate
    families = LibrarySettings().families
    sample = BasisLibrary.generate(width, len(families), families, 1.0, 0)
    problem_bytes = sample.stored_bytes // len(families) * _ENTRIES + 4 * vocab_size
    adamw_s = 6 * (body + head) * tokens / rate
    chunks = chunks_of(workers, workers)
    return {
        "operations per CPU second": f"{rate:.3g}",
        "seconds of one genome on one core": f"{evaluation_s:,.0f}",
        f"seconds of a generation of {places}: {places} workers busy": f"{evaluation_s:,.0f}",
        f"seconds of a generation of {workers}: all busy": f"{evaluation_s:,.0f}",
        "of these the driver needs": f"{chunks * costs.chunk_s:.1f}",
        "bytes of the problem, each worker once": f"{problem_bytes:,}",
        "joules of 50 generations of 1,000": f"{costs.power_w * 50 * 1000 * evaluation_s:.3g}",
        "CPU seconds of one AdamW trial, one worker": f"{adamw_s:.3g}",
        "joules of it": f"{costs.power_w * adamw_s:.3g}",
        "bytes of the tokens, for each worker that trains or counts": f"{2 * tokens:.3g}",
    }


if __name__ == "__main__":
    main()

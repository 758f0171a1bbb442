"""Scoring a population of crystalline GPTs on the same fixed batches.

Genomes are sorted and scored depth first. A stack holds the embedded tokens and the state after
each matrix of the last genome; the next genome keeps the states up to the first gene in which it
differs. The loss itself is exact (`clso.gpt.head`).

A loss is a pure function of genome and fidelity. All shapes are fixed by the batch, and every
product runs on one thread. Nats are summed in float64 within a batch, then over the batches in
order. So on one kind of processor a loss is the same to the last bit, whatever the population and
the number of workers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from threading import Event
from typing import Any

import numpy as np
import torch

from clso.energy import EnergyMonitor
from clso.errors import DataError
from clso.genome import Genome
from clso.gpt.body import State
from clso.gpt.frame import GptFrame
from clso.gpt.genome import Entry, GptGenomes
from clso.gpt.head import TiledHead
from clso.gpt.model import CrystallineGpt
from clso.library import SLOTS, BasisLibrary, MatrixCache
from clso.library.weight import is_structured
from clso.problem import Evaluation, GenomeCost
from clso.scoring import Int64Array, NllArray
from clso.threads import one_thread

__all__ = ["GptProblem"]

_FIDELITIES = (0.25, 0.5, 1.0)
_CACHE_BYTES = 512 * 2**20  # of dense matrices that are kept between calls
# Work units per worker: enough that workers end together, few enough that genomes share prefixes.
_UNITS_PER_WORKER = 4
# Part of the fingerprint; raised whenever a change of code changes the last bits of a loss.
_ARITHMETIC = 3
# The same for libraries with entries that are applied by their structure.
_STRUCTURED_ARITHMETIC = 1


class GptProblem:
    """Crystalline GPTs on fixed batches: `Extendable` and a `CostedProblem`.

    Pickled, it is what it is built from. The copy has the same fingerprint and gives the same
    losses; it starts with an empty cache, one worker and the meters of its process.

    Args:
        frame: shape, embeddings and readout, on the device to compute on.
        inputs: `(n_batches, batch_size, T)` int64, as the targets; the same for all genomes.
        monitor: measures each call of `evaluate`; `None`: time only.
        workers: threads that score batches; on a GPU one is used.

    Attributes:
        space: one gene per matrix, or per slot; equal matrices of a slot are one option.
        fidelities: shares of the batches: a quarter, a half and 1, rounded up to whole batches.
        fingerprint: 64 hexadecimal digits of library, frame, sharing of layers and batches.
        monitor: measures each call of `evaluate`; may be replaced between calls.

    Raises:
        ConfigError: library and frame do not fit; see `GptGenomes`.
        DataError: no batches, or tokens that the model has no embedding for.
        ValueError: inputs and targets of different shapes, or fewer than one worker.
    """

    def __init__(
        self,
        library: BasisLibrary,
        frame: GptFrame,
        inputs: Int64Array,
        targets: Int64Array,
        *,
        share_layers: bool,
        monitor: EnergyMonitor | None = None,
        workers: int = 1,
    ) -> None:
        self._genomes = GptGenomes(library, frame, share_layers=share_layers)
        self.space = self._genomes.space
        if inputs.ndim != 3 or inputs.shape != targets.shape:
            raise ValueError(
                f"inputs are {inputs.shape} and targets {targets.shape}, "
                "expected (n_batches, batch_size, T) for both"
            )
        if workers < 1:
            raise ValueError(f"workers is {workers}, expected at least 1")
        if inputs.size == 0:
            raise DataError(
                "there are no blocks to evaluate on",
                remedy="give more text, or lower evaluation.batches or data.block_size",
            )
        frame.check_tokens(*(tokens.reshape(-1, inputs.shape[2]) for tokens in (inputs, targets)))
        self.library = library
        self.frame = frame
        self.share_layers = share_layers
        self.monitor = EnergyMonitor() if monitor is None else monitor
        self._workers = workers if frame.device.type == "cpu" else 1
        # all rows of the embeddings of a wide model would fill the cache
        used, places = np.unique(inputs, return_inverse=True)
        self._cache = MatrixCache(library, tokens=used, max_bytes=_CACHE_BYTES, device=frame.device)
        self._places = torch.tensor(places.reshape(inputs.shape), device=frame.device)
        self._inputs = torch.tensor(inputs, device=frame.device)
        self._targets = torch.tensor(targets, device=frame.device)
        counts = {math.ceil(fidelity * len(inputs)) for fidelity in _FIDELITIES}
        self.fidelities = tuple(count / len(inputs) for count in sorted(counts))
        digest = hashlib.sha256(f"gpt {_ARITHMETIC} {share_layers} {inputs.shape}".encode())
        if any(is_structured(entry) for slot in SLOTS for entry in library[slot]):
            digest.update(f"structured {_STRUCTURED_ARITHMETIC}".encode())
        digest.update(f"{library.fingerprint} {frame.fingerprint}".encode())
        digest.update(np.ascontiguousarray(inputs).tobytes())
        digest.update(np.ascontiguousarray(targets).tobytes())
        self.fingerprint = digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        build = partial(GptProblem, share_layers=self.share_layers, monitor=self.monitor)
        batches = (self._inputs.cpu().numpy(), self._targets.cpu().numpy())
        return build, (self.library, self.frame, *batches)

    def model(self, genome: Sequence[int]) -> CrystallineGpt:
        """Return the model that a genome stands for."""
        return CrystallineGpt(self.library, genome, self.frame, share_layers=self.share_layers)

    def assembled(self) -> list[Genome]:
        """Return genomes whose entries are made for each other; see `GptGenomes.assembled`."""
        return self._genomes.assembled()

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        """Return the cost of a genome's model; see `clso.gpt.genome`."""
        return self._genomes.cost(self.space.canonical(genome))

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score raw or canonical genomes, in order, on the first share `fidelity` of the batches.

        Time and joules of the call are split equally among the genomes, which all see the same
        tokens. A genome that occurs twice is computed once.

        Raises:
            GenomeError: a genome that is not of this space.
            ValueError: a fidelity that is not offered.
        """
        checked = [self.space.canonical(genome) for genome in genomes]
        return self._extended(checked, dict.fromkeys(checked, ()), fidelity)

    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        """Score genomes on the batches that a lower fidelity left out; see `Extendable.extend`.

        Raises:
            GenomeError: a genome that is not of this space.
            ValueError: a fidelity that is not offered, or earlier evaluations that are not all of
                one lower fidelity.
        """
        checked = [self.space.canonical(genome) for genome in genomes]
        known = {
            genome: evaluation.batch_nats or ()
            for genome, evaluation in zip(checked, begun, strict=True)
        }
        if len({len(nats) for nats in known.values()}) > 1 or not all(known.values()):
            raise ValueError("begun evaluations are not all of one lower fidelity")
        return self._extended(checked, known, fidelity)

    def _extended(
        self,
        genomes: Sequence[Genome],
        known: Mapping[Genome, tuple[float, ...]],
        fidelity: float,
    ) -> list[Evaluation]:
        """Score genomes on the batches after the known ones, whose number all genomes share."""
        if fidelity not in self.fidelities:
            raise ValueError(f"fidelity is {fidelity}, expected one of {self.fidelities}")
        if not genomes:
            return []
        batches = range(len(known[genomes[0]]), round(fidelity * len(self._inputs)))
        if not batches:
            raise ValueError(f"fidelity {fidelity} is not above that of the begun evaluations")
        batch_tokens = self._inputs[0].numel()
        all_tokens, tokens = batches.stop * batch_tokens, len(batches) * batch_tokens
        nats: dict[Genome, tuple[float, ...]] = {}
        losses: dict[Genome, float | None] = {}
        with self.monitor.window() as window:
            distinct = sorted(set(genomes))
            rows = self._nats(distinct, batches).tolist()
            for genome, row in zip(distinct, rows, strict=True):
                nats[genome] = (*known[genome], *row)
                finite = all(map(math.isfinite, nats[genome]))
                losses[genome] = math.fsum(nats[genome]) / all_tokens if finite else None
        shares = window.measurement.split([tokens] * len(genomes))
        return [
            Evaluation(
                loss=losses[genome],
                status="evaluated" if losses[genome] is not None else "failed",
                tokens=tokens,
                measurement=share,
                batch_nats=nats[genome] if batches.stop < len(self._inputs) else None,
            )
            for genome, share in zip(genomes, shares, strict=True)
        ]

    def _nats(self, genomes: Sequence[Genome], batches: range) -> NllArray:
        """Return the summed nll of sorted, distinct genomes on each batch, `(n, n_batches)`."""
        n_batches = len(batches)
        n_parts = -(-_UNITS_PER_WORKER * self._workers // n_batches) if self._workers > 1 else 1
        bounds = np.linspace(0, len(genomes), min(n_parts, len(genomes)) + 1).astype(int)
        units = [
            (column, slice(start, stop))
            for start, stop in pairwise(bounds)
            for column in range(n_batches)
        ]
        nats = np.empty((len(genomes), n_batches))
        stop_early = Event()

        def work(column: int, part: slice) -> None:
            nats[part, column] = self._walk(genomes[part], batches[column], stop_early)

        with one_thread():
            if self._workers == 1:
                for unit in units:
                    work(*unit)
                return nats
            # a new thread starts with all cores, whatever the caller's setting is
            with ThreadPoolExecutor(
                self._workers, initializer=torch.set_num_threads, initargs=(1,)
            ) as pool:
                futures = [pool.submit(work, *unit) for unit in units]
                try:
                    for future in futures:
                        future.result()
                except BaseException:
                    stop_early.set()
                    raise
        return nats

    @torch.inference_mode()
    def _walk(self, genomes: Sequence[Genome], batch: int, stop_early: Event) -> NllArray:
        """Return one batch's summed nll for each genome; neighbours share their prefixes."""
        head, n_head = self.frame.head, self.frame.shape.n_head
        inputs, targets = self._inputs[batch], self._targets[batch].view(-1)
        scratch = None
        stack: list[State] = []
        last_path: tuple[Entry | None, ...] = ()
        sums = np.full(len(genomes), np.nan)
        for position, genome in enumerate(genomes):
            if stop_early.is_set():
                break
            matrices, tokens = self._genomes.matrices(genome), self._genomes.token_entries(genome)
            if tokens:
                head = TiledHead(*self._cache.rows(*tokens[1]))
            scratch = head.scratch(scratch)  # readouts may differ in their distinct rows
            path = (tokens[0] if tokens else None, *matrices)
            del stack[_common_prefix(last_path, path) :]
            if not stack:
                if tokens:
                    wte = self._cache.matrix(*tokens[0])
                    embedded = self.frame.embed(self._places[batch], wte)
                else:
                    embedded = self.frame.embed(inputs, self.frame.wte)
                stack.append(State.first(embedded))
            for slot, index in matrices[len(stack) - 1 :]:
                weight = self._cache.weight(slot, index)
                stack.append(stack[-1].step(slot, weight, n_head=n_head, length=inputs.shape[1]))
            last_path = path
            hidden = self.frame.readout(stack[-1].normed)
            sums[position] = float(head.nll(hidden, targets, scratch).sum())
        return sums


def _common_prefix(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the number of leading elements that two sequences share."""
    equal = [left == right for left, right in zip(first, second, strict=False)]
    return [*equal, False].index(False)

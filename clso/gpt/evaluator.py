"""Scoring a population of crystalline GPTs on the same fixed batches.

The genomes are put in order, and each batch walks them depth first: a stack holds the states
after every matrix of the last genome, and the next genome keeps those up to the first gene in
which it differs. The stack's foot are the embedded tokens, which all genomes share that pick the
same embedding, or all where none is picked. The loss itself is exact (`clso.gpt.head`).

A loss is a pure function of genome and fidelity. All shapes are fixed by the batch, every
product runs on one thread, and a batch's nats are summed in float64 before the batches are, in
order; so neither the population, nor the number of workers, nor which of them did what shows in
a loss, to the last bit, on one kind of processor.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Event

import numpy as np
import torch

from clso.energy import EnergyMonitor
from clso.errors import DataError
from clso.genome import Genome, GenomeSpace
from clso.gpt.body import State, first_state, step
from clso.gpt.cost import gpt_cost
from clso.gpt.frame import GptFrame
from clso.gpt.genome import gpt_space, matrices, token_genes
from clso.gpt.head import TiledHead
from clso.gpt.model import CrystallineGpt, check_widths
from clso.library import BasisLibrary, DenseCache
from clso.problem import Evaluation, GenomeCost
from clso.scoring import Int64Array, NllArray
from clso.threads import one_thread

__all__ = ["GptProblem"]

_FIDELITIES = (0.25, 0.5, 1.0)
# Work units per worker: enough to even out their ends, few enough to keep prefixes together.
_UNITS_PER_WORKER = 4
# Part of the fingerprint; raised whenever a change of code changes the last bits of a loss.
_ARITHMETIC = 1


class GptProblem:
    """Crystalline GPTs on fixed batches; a problem both `Extendable` and `CostedProblem`.

    Args:
        library: where the matrices come from.
        frame: shape, embeddings and readout, on the device to compute on.
        inputs: `(n_batches, batch_size, T)` int64, the same for every individual.
        targets: the same shape.
        share_layers: one gene per slot for all layers, or one per layer and slot.
        monitor: measures each call of `evaluate`; `None`: time only.
        workers: threads that score batches; more than one only on the CPU.
        cache_bytes: densified matrices kept between calls.

    Raises:
        ConfigError: library and frame differ in width.
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
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        check_widths(library, frame)
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
        length = inputs.shape[2]
        frame.check_tokens(inputs.reshape(-1, length), targets.reshape(-1, length))
        self.library = library
        self.frame = frame
        self.share_layers = share_layers
        self._space = gpt_space(library, frame.shape.n_layer, share_layers=share_layers)
        self._monitor = EnergyMonitor() if monitor is None else monitor
        self._workers = workers if frame.device.type == "cpu" else 1
        self._cache = DenseCache(library, max_bytes=cache_bytes, device=frame.device)
        self._inputs = torch.tensor(inputs, device=frame.device)
        self._targets = torch.tensor(targets, device=frame.device)
        n_batches = len(inputs)
        counts = {math.ceil(fidelity * n_batches) for fidelity in _FIDELITIES}
        self._fidelities = tuple(count / n_batches for count in sorted(counts))
        digest = hashlib.sha256(f"gpt {_ARITHMETIC} {share_layers} {inputs.shape}".encode())
        digest.update(f"{library.fingerprint} {frame.fingerprint}".encode())
        digest.update(np.ascontiguousarray(inputs).tobytes())
        digest.update(np.ascontiguousarray(targets).tobytes())
        self._fingerprint = digest.hexdigest()

    @property
    def space(self) -> GenomeSpace:
        """One gene per matrix, or per slot; equal matrices of a slot are one option."""
        return self._space

    @property
    def fidelities(self) -> tuple[float, ...]:
        """The shares that a quarter, a half and all of the batches come to, rounded up."""
        return self._fidelities

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of library, frame, sharing of layers and batches."""
        return self._fingerprint

    def model(self, genome: Sequence[int]) -> CrystallineGpt:
        """Return the model that a genome stands for."""
        return CrystallineGpt(self.library, genome, self.frame, share_layers=self.share_layers)

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        """Return what a genome's model costs; see `clso.gpt.cost`."""
        return gpt_cost(self.library, self.frame, self._space.canonical(genome))

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes on the first batches, in the order given.

        Time and joules of the call are shared equally, since all genomes see the same tokens; a
        genome that occurs twice is computed once.

        Args:
            genomes: raw or canonical, from `space`.
            fidelity: one of `fidelities`; so large a share of the batches is used.

        Raises:
            GenomeError: a genome that is not of this space.
            ValueError: a fidelity that is not offered.
        """
        checked = [self._space.canonical(genome) for genome in genomes]
        return self._extended(checked, dict.fromkeys(checked, ()), fidelity)

    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        """Score genomes on the batches that a lower fidelity left; see `Extendable.extend`.

        Raises:
            GenomeError: a genome that is not of this space.
            ValueError: a fidelity that is not offered, or evaluations that are not at one lower.
        """
        checked = [self._space.canonical(genome) for genome in genomes]
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
        """Score what `known` lacks of the first batches, equally many for each genome."""
        if fidelity not in self._fidelities:
            raise ValueError(f"fidelity is {fidelity}, expected one of {self._fidelities}")
        if not genomes:
            return []
        batches = range(len(known[genomes[0]]), self._n_batches(fidelity))
        if not batches:
            raise ValueError(f"fidelity {fidelity} is not above that of the begun evaluations")
        batch_tokens = self._inputs[0].numel()
        with self._monitor.window() as window:
            distinct = sorted(set(genomes))
            nats = {
                genome: (*known[genome], *row)
                for genome, row in zip(
                    distinct, self._nats(distinct, batches).tolist(), strict=True
                )
            }
            losses = {
                genome: math.fsum(row) / (batches.stop * batch_tokens)
                if np.isfinite(row).all()
                else None
                for genome, row in nats.items()
            }
        tokens = len(batches) * batch_tokens
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

    def _n_batches(self, fidelity: float) -> int:
        return round(fidelity * len(self._inputs))

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
        nats = np.empty((len(genomes), n_batches), dtype=np.float64)
        stop_early = Event()

        def work(column: int, part: slice) -> None:
            nats[part, column] = self._walk(genomes[part], batches[column], stop_early)

        with one_thread():
            if self._workers == 1:
                for unit in units:
                    work(*unit)
                return nats
            # a new thread starts with all cores, whatever the caller's setting is
            pool = ThreadPoolExecutor(
                self._workers, initializer=torch.set_num_threads, initargs=(1,)
            )
            with pool:
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
        shape, head = self.frame.shape, self.frame.head
        length = self._inputs.shape[2]
        targets = self._targets[batch].view(-1)
        scratch = None
        stack: list[State] = []
        last: tuple[tuple[str, int], ...] = ()
        sums = np.full(len(genomes), np.nan)
        for number, genome in enumerate(genomes):
            if stop_early.is_set():
                break
            genes, wte = token_genes(genome), self.frame.wte
            path = matrices(genome, shape.n_layer)
            if genes is not None:
                path = (("embedding", genes[0]), *path)
                head = TiledHead(self._cache.weight("readout", genes[1]))
            scratch = head.scratch() if scratch is None else scratch
            shared = _common_prefix(last, path)
            del stack[shared + (genes is None) :]
            if not stack:
                if genes is not None:
                    wte = self._cache.weight("embedding", genes[0])
                stack.append(first_state(self.frame.embed(self._inputs[batch], wte)))
                shared = len(path) - 4 * shape.n_layer
            for slot, index in path[shared:]:
                weight = self._cache.weight(slot, index)
                state = step(slot, stack[-1], weight, n_head=shape.n_head, length=length)
                stack.append(state)
            last = path
            hidden = self.frame.readout(stack[-1].branch)
            sums[number] = float(head.nll(hidden, targets, scratch).sum())
        return sums


def _common_prefix(one: Sequence[object], other: Sequence[object]) -> int:
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))

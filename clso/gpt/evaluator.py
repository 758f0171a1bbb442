"""Scoring a population of crystalline GPTs on the same fixed batches.

Genomes are sorted and scored depth first. A stack holds the embedded tokens and the state after
each matrix of the last genome; the next genome keeps the states up to the first gene in which it
differs. The loss itself is exact (`clso.gpt.head`), but for the fidelity `screening`, if there is
one (`clso.gpt.screening`).

Sums stay on the device until all genomes are scored. A sum that is not finite then is computed
again, with exponentials that cannot overflow.

A loss is a pure function of genome and fidelity. All shapes are fixed by the batch, and every
product runs on one thread. Nats are summed in float64 within a batch, then over the batches in
order. So on one kind of processor a loss is the same to the last bit, whatever the population and
the number of workers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import torch

from clso.data.batches import Precision
from clso.energy import EnergyMonitor
from clso.errors import ConfigError, DataError
from clso.genome import Genome
from clso.gpt.body import State
from clso.gpt.frame import GptFrame
from clso.gpt.genome import Entry, GptGenomes
from clso.gpt.head import TiledHead
from clso.gpt.model import CrystallineGpt
from clso.gpt.precision import head_dtype
from clso.gpt.screening import EXACT, ScreeningHead
from clso.library import SLOTS, BasisLibrary, MatrixCache
from clso.library.entry import LibraryEntry
from clso.library.weight import RowsOfTokens, is_structured
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
# The same for losses that are screened.
_SCREENING_ARITHMETIC = 1


class _Way(NamedTuple):
    """How to compute a loss.

    Attributes:
        screened: approximately.
        deferred: see `TiledHead.nll`.
    """

    screened: bool
    deferred: bool = True


class GptProblem:
    """Crystalline GPTs on fixed batches: `Extendable` and a `CostedProblem`.

    Pickled, it is what it is built from. The copy has the same fingerprint and gives the same
    losses; it starts with an empty cache, one worker and the meters of its process.

    Args:
        frame: shape, embeddings and readout, on the device to compute on.
        inputs: `(n_batches, batch_size, T)` int64, as the targets; the same for all genomes.
        monitor: measures each call of `evaluate`; `None`: time only.
        workers: threads that score batches; on a GPU one is used.
        precision: of the products of the head, see `clso.gpt.precision`.
        screening: whether the lowest fidelity is approximate.

    Attributes:
        space: one gene per matrix, or per slot; equal matrices of a slot are one option.
        fidelities: shares of the batches: a quarter, a half and 1, rounded up to whole batches.
            With `screening`, those above it, and it.
        screening: the fidelity of approximate losses on all batches, their counted share of the
            operations of exact ones; `None`: there is none.
        dtype: of the factors of the head's products.
        fingerprint: 64 hexadecimal digits of library, frame, sharing of layers, batches, precision
            and screening.
        monitor: measures each call of `evaluate`; may be replaced between calls.

    Raises:
        ConfigError: library and frame do not fit, see `GptGenomes`; a precision that the device
            does not have; or a screening that saves nothing.
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
        precision: Precision = "float32",
        screening: bool = False,
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
        self.dtype = head_dtype(precision, frame.device)
        self._make_head = partial(_head_of, dtype=self.dtype)
        self._frame_head = frame.head
        if self.dtype != torch.float32 and not frame.has_token_genes:
            bias = frame.has_bias
            self._frame_head = TiledHead(frame.head.weight, dtype=self.dtype, has_bias=bias)
        self.screening: float | None = None
        if screening:
            self.screening = _screening_share(frame)
            higher = (fidelity for fidelity in self.fidelities if fidelity > self.screening)
            self.fidelities = (self.screening, *higher)
            if not frame.has_token_genes:
                self._frame_screening = ScreeningHead(frame.head, has_bias=frame.has_bias)
        digest = hashlib.sha256(f"gpt {_ARITHMETIC} {share_layers} {inputs.shape}".encode())
        if any(is_structured(entry) for slot in SLOTS for entry in library[slot]):
            digest.update(f"structured {_STRUCTURED_ARITHMETIC}".encode())
        digest.update(f"{library.fingerprint} {frame.fingerprint}".encode())
        digest.update(np.ascontiguousarray(inputs).tobytes())
        digest.update(np.ascontiguousarray(targets).tobytes())
        if self.dtype != torch.float32:
            digest.update(str(self.dtype).encode())
        if screening:
            digest.update(f"screening {_SCREENING_ARITHMETIC} {EXACT}".encode())
        self.fingerprint = digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        build = partial(
            GptProblem,
            share_layers=self.share_layers,
            monitor=self.monitor,
            precision=self.precision,
            screening=self.screening is not None,
        )
        batches = (self._inputs.cpu().numpy(), self._targets.cpu().numpy())
        return build, (self.library, self.frame, *batches)

    def model(self, genome: Sequence[int]) -> CrystallineGpt:
        """Return the model that a genome stands for."""
        return CrystallineGpt(self.library, genome, self.frame, share_layers=self.share_layers)

    @property
    def precision(self) -> Precision:
        """The format of the products of the head, `auto` resolved."""
        return "float32" if self.dtype == torch.float32 else "bfloat16"

    def exact_losses(self, genomes: Sequence[Genome]) -> list[float | None]:
        """Return losses in float32 on all batches; `None` where one is not finite."""
        if self.dtype == torch.float32:
            exact = self
        else:
            exact = GptProblem(
                self.library,
                self.frame,
                self._inputs.cpu().numpy(),
                self._targets.cpu().numpy(),
                share_layers=self.share_layers,
                workers=self._workers,
            )
        return [evaluation.finite_loss for evaluation in exact.evaluate(genomes)]

    def assembled(self) -> list[Genome]:
        """Return genomes whose entries are made for each other; see `GptGenomes.assembled`."""
        return self._genomes.assembled()

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        """Return the cost of a genome's model; see `clso.gpt.genome`."""
        return self._genomes.cost(self.space.canonical(genome))

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score raw or canonical genomes, in order, on the first share `fidelity` of the batches.

        At the fidelity `screening`, approximately and on all batches.

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
        if fidelity == self.screening:
            raise ValueError(f"fidelity {fidelity} is approximate, and goes on from no other")
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
        screened = fidelity == self.screening
        n_batches = len(self._inputs) if screened else round(fidelity * len(self._inputs))
        batches = range(len(known[genomes[0]]), n_batches)
        if not batches:
            raise ValueError(f"fidelity {fidelity} is not above that of the begun evaluations")
        batch_tokens = self._inputs[0].numel()
        all_tokens, tokens = batches.stop * batch_tokens, len(batches) * batch_tokens
        nats: dict[Genome, tuple[float, ...]] = {}
        losses: dict[Genome, float | None] = {}
        with self.monitor.window() as window:
            distinct = sorted(set(genomes))
            rows = self._nats(distinct, batches, screened=screened).tolist()
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
                batch_nats=nats[genome] if fidelity < 1.0 else None,
            )
            for genome, share in zip(genomes, shares, strict=True)
        ]

    def _nats(self, genomes: Sequence[Genome], batches: range, *, screened: bool) -> NllArray:
        """Return the summed nll of sorted, distinct genomes on each batch, `(n, n_batches)`."""
        n_batches = len(batches)
        n_parts = -(-_UNITS_PER_WORKER * self._workers // n_batches) if self._workers > 1 else 1
        bounds = np.linspace(0, len(genomes), min(n_parts, len(genomes)) + 1).astype(int)
        units = [
            (column, np.arange(start, stop))
            for start, stop in pairwise(bounds)
            for column in range(n_batches)
        ]
        sums = torch.empty(len(genomes), n_batches, dtype=torch.float64, device=self.frame.device)

        def work(way: _Way, stop_early: Event, column: int, places: Int64Array) -> None:
            walked = [genomes[place] for place in places]
            sums[places, column] = self._walk(walked, batches[column], way, stop_early)

        with one_thread():
            self._work_on(units, partial(work, _Way(screened)))
            finite = np.isfinite(sums.cpu().numpy())
            beyond = [np.flatnonzero(~column) for column in finite.T]
            again = [(column, places) for column, places in enumerate(beyond) if len(places)]
            if again and not screened:
                self._work_on(again, partial(work, _Way(screened, deferred=False)))
        return sums.cpu().numpy()

    def _work_on(
        self,
        units: Sequence[tuple[int, Int64Array]],
        work: Callable[[Event, int, Int64Array], None],
    ) -> None:
        stop_early = Event()
        if self._workers == 1:
            for unit in units:
                work(stop_early, *unit)
            return
        # a new thread starts with all cores, whatever the caller's setting is
        with ThreadPoolExecutor(
            self._workers, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            futures = [pool.submit(work, stop_early, *unit) for unit in units]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                stop_early.set()
                raise

    @torch.inference_mode()
    def _walk(
        self, genomes: Sequence[Genome], batch: int, way: _Way, stop_early: Event
    ) -> torch.Tensor:
        """Return one batch's summed nll for each genome; neighbours share their prefixes."""
        n_head = self.frame.shape.n_head
        inputs, targets = self._inputs[batch], self._targets[batch].view(-1)
        scratch = None
        stack: list[State] = []
        last_path: tuple[Entry | None, ...] = ()
        sums = torch.full((len(genomes),), torch.nan, dtype=torch.float64, device=inputs.device)
        for position, genome in enumerate(genomes):
            if stop_early.is_set():
                break
            matrices, tokens = self._genomes.matrices(genome), self._genomes.token_entries(genome)
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
            if way.screened:
                nll = self._screening_head(tokens).nll(hidden, targets)
            else:
                head = self._head(tokens)
                scratch = head.scratch(scratch)  # readouts may differ in their distinct rows
                nll = head.nll(hidden, targets, scratch, deferred=way.deferred)
            sums[position] = nll.sum()
        return sums

    def _head(self, tokens: Sequence[Entry]) -> TiledHead:
        return self._cache.made(*tokens[1], self._make_head) if tokens else self._frame_head

    def _screening_head(self, tokens: Sequence[Entry]) -> ScreeningHead:
        if not tokens:
            return self._frame_screening
        return self._cache.made(*tokens[1], _screening_head)


def _head_of(entry: LibraryEntry, device: torch.device, *, dtype: torch.dtype) -> TiledHead:
    has_bias = bool(entry.dense()[:, -1].any())
    return TiledHead(*RowsOfTokens.of(entry, device), dtype=dtype, has_bias=has_bias)


def _screening_head(entry: LibraryEntry, device: torch.device) -> ScreeningHead:
    exact = _head_of(entry, device, dtype=torch.float32)
    return ScreeningHead(exact, has_bias=True)


def _screening_share(frame: GptFrame) -> float:
    """Return the operations of a screened evaluation over those of an exact one, counted dense."""
    shape = frame.shape
    width = shape.n_embd
    body = shape.n_layer * (24 * width**2 + 2 * width * (shape.block_size + 1))
    screened = 2 * width * (width + (EXACT if frame.has_bias else 0))
    exact = 2 * width * shape.vocab_size
    if screened >= exact:
        raise ConfigError(
            f"evaluation.screening saves nothing with a vocabulary of {shape.vocab_size:,} tokens",
            remedy="set evaluation.screening to false",
        )
    return (body + screened) / (body + exact)


def _common_prefix(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the number of leading elements that two sequences share."""
    equal = [left == right for left, right in zip(first, second, strict=False)]
    return [*equal, False].index(False)

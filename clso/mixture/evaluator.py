"""Scoring a population of mixtures: weights by EM on tune, loss on validation, in milliseconds.

Notation: N functions besides the uniform one, which every mixture has; K slots. A slot's gene is
0 for none, i for function i; the last gene picks the bucketing. Neither order nor repetition of
functions changes the model, so the canonical form has the distinct functions in ascending order,
then zeros.

The probabilities of all functions are computed beforehand (`clso.mixture.columns`); a genome picks
K of these columns. A loss is a pure function of genome and fidelity: every product runs on one
thread, and each genome is scored on its own. Genomes are scored one after the other, because the
products are too small for more threads to pay.

A fidelity is a share of the blocks of both splits, spread evenly: fitting the weights takes nearly
all of the time, so fewer validation blocks alone would save next to nothing. The weights of one
fidelity are not those of another, so a higher fidelity starts from the beginning.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.energy import EnergyMonitor
from clso.errors import DataError
from clso.genome import Genome, GenomeSpace, Slot
from clso.mixture.columns import Columns
from clso.mixture.features import function_features
from clso.mixture.history import History
from clso.mixture.weights import BucketOrder, MixtureWeights
from clso.problem import Evaluation
from clso.threads import one_thread

__all__ = ["MixtureProblem", "SplitColumns"]

_STRIDES = {0.25: 4, 0.5: 2, 1.0: 1}  # fidelity -> one block in so many is used
# Part of the fingerprint; raised whenever a change of code changes the last bits of a loss.
_ARITHMETIC = 2


@dataclass(frozen=True)
class SplitColumns:
    """Columns and features of one split's targets, in the same order."""

    columns: Columns
    history: History

    def halves(self) -> tuple[SplitColumns, SplitColumns]:
        """Divide the split into its first and its second half of whole blocks."""
        n_blocks = len(self.history.match)
        return self._blocks(0, n_blocks // 2), self._blocks(n_blocks // 2, n_blocks)

    def _blocks(self, start: int, stop: int) -> SplitColumns:
        length = self.history.match.shape[1]
        values = self.columns.values[:, start * length : stop * length]
        history = self.history.blocks(slice(start, stop))
        return SplitColumns(replace(self.columns, values=values), history)


class _Split:
    """One split as losses read it: its columns, and the order of its contexts per bucketing.

    Attributes:
        history: the features of its contexts.
        columns: `(N + 1, n)`, the uniform function first.
        orders: per fidelity, the order under each bucketing.
    """

    def __init__(self, split: SplitColumns, bucketings: Sequence[str]) -> None:
        self.fingerprint = split.columns.fingerprint
        self.history = split.history
        self.columns = split.columns.with_uniform
        self.n_blocks, self.block_size = split.history.match.shape
        whole = [BucketOrder.by(bucketing, split.history) for bucketing in bucketings]
        blocks = np.arange(self.n_blocks).repeat(self.block_size)
        self.orders = {
            fidelity: [order.part(blocks % stride == 0) for order in whole] if stride > 1 else whole
            for fidelity, stride in _STRIDES.items()
        }


class MixtureProblem:
    """Mixtures over a library of N functions; a `clso.problem.Problem`.

    Pickled, it is what it is built from. The copy has the same fingerprint and gives the same
    losses; it starts with the meters of its process.

    Args:
        tune: the split that weights are fitted on.
        validation: the split that losses are taken on.
        slots: K, the functions that a genome may pick.
        bucketings: options of the last gene, names of `clso.mixture.buckets`.
        smoothing: alpha of `clso.mixture.weights`.
        monitor: measures each call of `evaluate`; `None`: time only.

    Attributes:
        space: K exchangeable slots and the bucketing.
        fidelities: shares of the blocks of both splits.
        fingerprint: 64 hexadecimal digits of columns, buckets and the way weights are fitted.
        monitor: measures each call of `evaluate`; may be replaced between calls.

    Raises:
        DataError: no targets in one of the splits.
        ValueError: splits with different functions.
    """

    fidelities = tuple(_STRIDES)

    def __init__(
        self,
        tune: SplitColumns,
        validation: SplitColumns,
        *,
        slots: int,
        bucketings: Sequence[str],
        smoothing: float,
        steps: int,
        monitor: EnergyMonitor | None = None,
    ) -> None:
        if tune.columns.names != validation.columns.names:
            raise ValueError("tune and validation have columns of different functions")
        for name, split in (("tune", tune), ("validation", validation)):
            if not split.columns.values.shape[1]:
                raise DataError(f"there are no targets in {name}", remedy="give more text")
        self.names = tune.columns.names
        self.families = tune.columns.families
        self._vocab_size = tune.columns.vocab_size
        self.bucketings = tuple(bucketings)
        self._tune = _Split(tune, self.bucketings)
        self._validation = _Split(validation, self.bucketings)
        self._smoothing = smoothing
        self._steps = steps
        self.monitor = EnergyMonitor() if monitor is None else monitor
        functions = [Slot(f"function{slot}", len(self.names) + 1) for slot in range(slots)]
        self.space = GenomeSpace(
            (*functions, Slot("bucketing", len(self.bucketings))),
            canonicalize=_canonical,
            exchangeable=tuple(range(slots)),
            describe=partial(_described, self._tune.columns),
        )
        digest = hashlib.sha256(
            f"mixture {_ARITHMETIC} {slots} {self.bucketings} {smoothing!r} {steps}".encode()
        )
        for prepared in (self._tune, self._validation):
            digest.update(prepared.fingerprint.encode())
            for order in prepared.orders[1.0]:
                digest.update(order.contexts.tobytes())
                digest.update(str(order.segments).encode())
        self.fingerprint = digest.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        build = partial(
            MixtureProblem,
            slots=len(self.space) - 1,
            bucketings=self.bucketings,
            smoothing=self._smoothing,
            steps=self._steps,
            monitor=self.monitor,
        )
        return build, (self._source(self._tune), self._source(self._validation))

    def _source(self, split: _Split) -> SplitColumns:
        values = split.columns[1:]  # a view: the uniform function is not a column of a library
        columns = Columns(self.names, self.families, values, self._vocab_size)
        return SplitColumns(columns, split.history)

    def picks(self, genome: Sequence[int]) -> tuple[int, ...]:
        """Return the functions that a genome picks, distinct and ascending, from 1."""
        return _picks(self.space.canonical(genome))

    def functions(self, genome: Sequence[int]) -> tuple[str, ...]:
        """Return the names of the functions that a genome picks."""
        return tuple(self.names[pick - 1] for pick in self.picks(genome))

    def bucketing(self, genome: Sequence[int]) -> str:
        """Return the name of the bucketing that a genome picks."""
        return self.bucketings[self.space.canonical(genome)[-1]]

    def weights(self, genome: Sequence[int], *, steps: int | None = None) -> MixtureWeights:
        """Fit a genome's weights on tune; the uniform function comes first, then its picks.

        `steps` `None`: as many EM steps as an evaluation takes.
        """
        canonical = self.space.canonical(genome)
        with one_thread():
            return self._fit(canonical, steps=steps)

    def all_functions(self) -> tuple[Genome, ...]:
        """Return the genomes that pick every function, one per bucketing; K must be N."""
        every = range(1, len(self.names) + 1)
        return tuple((*every, bucketing) for bucketing in range(len(self.bucketings)))

    def heaviest(self, count: int, *, steps: int | None = None) -> tuple[int, ...]:
        """Return the functions with the largest shared weights among all, ascending, from 1.

        Among functions that are alike, several can be heavy. K must be N; `steps` as for `weights`.
        """
        shared = self.weights(self.all_functions()[0], steps=steps).shared[1:]
        chosen = np.argsort(-shared, kind="stable")[:count] + 1
        return tuple(sorted(chosen.tolist()))

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes, in the order given; a genome that occurs twice is computed once.

        Genomes may be raw or canonical. A fidelity uses every fourth, every second or every block.

        Raises:
            GenomeError: a genome that is not of this space.
            ValueError: a fidelity that is not offered.
        """
        if fidelity not in _STRIDES:
            raise ValueError(f"fidelity is {fidelity}, expected one of {self.fidelities}")
        checked = [self.space.canonical(genome) for genome in genomes]
        if not checked:
            return []
        tokens = self._validation.block_size * -(-self._validation.n_blocks // _STRIDES[fidelity])
        nats: dict[Genome, tuple[float, ...]] = {}
        with self.monitor.window() as window, one_thread():
            distinct = sorted(set(checked))
            if fidelity == 1.0:
                losses = {genome: self._loss(genome) for genome in distinct}
            else:
                nats = {genome: self._block_nats(genome, fidelity) for genome in distinct}
                losses = {genome: math.fsum(row) / tokens for genome, row in nats.items()}
        shares = window.measurement.split([tokens] * len(checked))
        return [
            Evaluation(
                loss=losses[genome] if math.isfinite(losses[genome]) else None,
                status="evaluated" if math.isfinite(losses[genome]) else "failed",
                tokens=tokens,
                measurement=share,
                batch_nats=nats.get(genome),
            )
            for genome, share in zip(checked, shares, strict=True)
        ]

    def _loss(self, genome: Genome) -> float:
        columns = self._validation.columns[_rows(genome)]
        return self._fit(genome).mean_nll(columns, self._validation.orders[1.0][genome[-1]])

    def _block_nats(self, genome: Genome, fidelity: float) -> tuple[float, ...]:
        """Return the summed nll of each validation block that a fidelity below 1 uses."""
        split = self._validation
        order = split.orders[fidelity][genome[-1]]
        nats = self._fit(genome, fidelity).nll(split.columns[_rows(genome)], order)
        blocks = order.contexts // split.block_size
        sums = np.bincount(blocks, weights=nats)
        return tuple(sums[:: _STRIDES[fidelity]].tolist())

    def _fit(
        self, genome: Genome, fidelity: float = 1.0, *, steps: int | None = None
    ) -> MixtureWeights:
        return MixtureWeights.fit(
            self._tune.columns[_rows(genome)],
            self._tune.orders[fidelity][genome[-1]],
            smoothing=self._smoothing,
            steps=self._steps if steps is None else steps,
        )


def _described(columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the features of none, which are zero, and of the functions, `(N + 1, d)`."""
    return np.pad(function_features(columns[1:]), ((1, 0), (0, 0)))


def _picks(genome: Genome) -> tuple[int, ...]:
    return tuple(sorted(set(genome[:-1]) - {0}))


def _rows(genome: Genome) -> list[int]:
    """Return the columns of a genome's mixture: the uniform function, then its picks."""
    return [0, *_picks(genome)]


def _canonical(genome: Genome) -> Genome:
    picks = _picks(genome)
    # with no function but the uniform one, all weights are 1 in every bucket
    bucketing = genome[-1] if picks else 0
    return (*picks, *([0] * (len(genome) - 1 - len(picks))), bucketing)

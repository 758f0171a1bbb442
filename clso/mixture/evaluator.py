"""Scoring a population of mixtures: weights by EM on tune, loss on validation, in milliseconds.

All functions have been asked before (`clso.mixture.columns`); a genome picks K of their columns
and the way contexts are divided into buckets. A loss is a pure function of genome and fidelity:
every product runs on one thread, and each genome is scored on its own. Genomes are scored one
after the other: the products are so small that more threads would mostly wait for each other.

A fidelity is a share of the blocks of both splits, spread evenly: the time of a genome goes into
fitting its weights, so a loss on fewer validation blocks alone would save next to nothing. The
weights of one fidelity are not those of another, so a higher one begins anew.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from clso.energy import EnergyMonitor
from clso.errors import DataError
from clso.genome import Genome, GenomeSpace
from clso.mixture.buckets import assign, n_buckets
from clso.mixture.columns import Columns
from clso.mixture.features import function_features
from clso.mixture.genome import mixture_space, picks
from clso.mixture.history import History
from clso.mixture.weights import Bucketed, FloatArray, MixtureWeights, fit_weights, group
from clso.problem import Evaluation
from clso.threads import one_thread

__all__ = ["MixtureProblem", "Scored"]

_STRIDES = {0.25: 4, 0.5: 2, 1.0: 1}  # of the blocks that a fidelity takes
# Part of the fingerprint; raised whenever a change of code changes the last bits of a loss.
_ARITHMETIC = 2


@dataclass(frozen=True)
class Scored:
    """Columns and features of one split's targets, in the same order."""

    columns: Columns
    history: History


class MixtureProblem:
    """Mixtures over a library of functions; a `clso.problem.Problem`.

    Args:
        tune: where weights are fitted.
        validation: where a genome's loss is taken.
        slots: functions that a genome may pick.
        bucketings: what its last gene picks from, names of `clso.mixture.buckets`.
        smoothing: alpha of `clso.mixture.weights`.
        steps: EM steps.
        monitor: measures each call of `evaluate`; `None`: time only.

    Raises:
        DataError: no targets in one of the splits.
        ValueError: splits with different functions.
    """

    def __init__(
        self,
        tune: Scored,
        validation: Scored,
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
        self.bucketings = tuple(bucketings)
        self._tune = tune.columns.with_uniform
        self._space = mixture_space(
            slots,
            len(self.names),
            len(self.bucketings),
            partial(function_features, self._tune[1:]),
        )
        self._validation = validation.columns.with_uniform
        self._tune_order = [_bucketed(tune.history, name) for name in self.bucketings]
        self._validation_order = [_bucketed(validation.history, name) for name in self.bucketings]
        self._block_size = validation.history.match.shape[1]
        self._parts = {
            fidelity: (
                _parts(self._tune_order, tune.history, stride),
                _parts(self._validation_order, validation.history, stride),
            )
            for fidelity, stride in _STRIDES.items()
            if stride > 1
        }
        self._smoothing = smoothing
        self._steps = steps
        self._monitor = EnergyMonitor() if monitor is None else monitor
        digest = hashlib.sha256(
            f"mixture {_ARITHMETIC} {slots} {self.bucketings} {smoothing!r} {steps}".encode()
        )
        for split, orders in (
            (tune, self._tune_order),
            (validation, self._validation_order),
        ):
            digest.update(split.columns.fingerprint.encode())
            for order in orders:
                digest.update(order.order.tobytes())
                digest.update(str(order.segments).encode())
        self._fingerprint = digest.hexdigest()

    @property
    def space(self) -> GenomeSpace:
        """K exchangeable slots and the bucketing."""
        return self._space

    @property
    def fidelities(self) -> tuple[float, ...]:
        """Shares of the blocks that weights can be fitted and a loss can be taken on."""
        return tuple(_STRIDES)

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of columns, buckets and the way weights are fitted."""
        return self._fingerprint

    def functions(self, genome: Sequence[int]) -> tuple[str, ...]:
        """Return the names of the functions that a genome picks."""
        return tuple(self.names[pick - 1] for pick in picks(self._space.canonical(genome)))

    def bucketing(self, genome: Sequence[int]) -> str:
        """Return the name of the bucketing that a genome picks."""
        return self.bucketings[self._space.canonical(genome)[-1]]

    def weights(self, genome: Sequence[int], *, steps: int | None = None) -> MixtureWeights:
        """Fit a genome's weights on tune; the uniform function comes first, then its picks.

        Args:
            genome: raw or canonical.
            steps: EM steps; `None`: as many as an evaluation takes.
        """
        canonical = self._space.canonical(genome)
        with one_thread():
            return self._fit(canonical, self._steps if steps is None else steps)

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes, in the order given; a genome that occurs twice is computed once.

        Args:
            genomes: raw or canonical, from `space`.
            fidelity: one of `fidelities`; every fourth, second or single block is used.

        Raises:
            GenomeError: a genome that is not of this space.
            ValueError: a fidelity that is not offered.
        """
        if fidelity not in _STRIDES:
            raise ValueError(f"fidelity is {fidelity}, expected one of {self.fidelities}")
        checked = [self._space.canonical(genome) for genome in genomes]
        if not checked:
            return []
        n_blocks = self._validation.shape[1] // self._block_size
        tokens = self._block_size * -(-n_blocks // _STRIDES[fidelity])
        nats: dict[Genome, tuple[float, ...]] = {}
        with self._monitor.window() as window, one_thread():
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
        weights = self._fit(genome, self._steps)
        order = self._validation_order[genome[-1]]
        return group(self._validation, (0, *picks(genome)), order).mean_nll(weights)

    def _block_nats(self, genome: Genome, fidelity: float) -> tuple[float, ...]:
        """Return the summed nll of each validation block that a fidelity below 1 takes."""
        tune, validation = (orders[genome[-1]] for orders in self._parts[fidelity])
        weights = self._fit(genome, self._steps, tune)
        nats = group(self._validation, (0, *picks(genome)), validation).nll(weights)
        blocks = validation.order // self._block_size
        sums: FloatArray = np.bincount(blocks, weights=nats).astype(np.float64)
        return tuple(sums[:: _STRIDES[fidelity]].tolist())

    def _fit(self, genome: Genome, steps: int, order: Bucketed | None = None) -> MixtureWeights:
        order = self._tune_order[genome[-1]] if order is None else order
        grouped = group(self._tune, (0, *picks(genome)), order)
        size = n_buckets(self.bucketings[genome[-1]])
        return fit_weights(grouped, size, smoothing=self._smoothing, steps=steps)


def _bucketed(history: History, bucketing: str) -> Bucketed:
    return Bucketed.of(assign(bucketing, history).ravel())


def _parts(orders: Sequence[Bucketed], history: History, stride: int) -> list[Bucketed]:
    """Return divisions of every `stride`-th block's contexts alone."""
    n_blocks, length = history.match.shape
    chosen = np.repeat(np.arange(n_blocks) % stride == 0, length)
    return [order.part(chosen) for order in orders]

r"""Factors of a count table whose rare contexts and outcomes are fitted after the frequent ones.

The cost of reweighted least squares grows with contexts times outcomes, and most of both are rare.
So the rare ones enter as one context and one outcome each, whose masses and probabilities are their
sums (`CoarseTable`). Then each rare outcome steps away from the row that they share, by d, with the
contexts as they are, and after that each rare context with all outcomes. Of a rare row only the few
observed terms differ from what all rare rows share, and the others are summed by their first two
moments. For a context x with mass r, shared row e, and Q ~ B exp(e u), maximised is

.. math::
    r \, \Big( \sum_y P_x(y) \, u_y \cdot d - \log \big( w \exp(\mu \cdot d + d^T S d / 2)
        + \sum_{y \, observed} Q(y) \exp(u_y \cdot d) \big) \Big) - \rho \, d^T C d / 2

w is the share of Q that is not observed, mu and S are mean and covariance of u under Q, C is the
second moment of u under the outcomes, and rho = 3. For an outcome y it is the same with contexts
and outcomes exchanged, and without the logarithm: the likelihood of counts r(x) P_x(y) of a Poisson
distribution with the means r(x) Q_x(y). Newton steps find it, with the weights max(P, Q) of
`clso.library.reweighted`, so that a step is safe; the best of some multiples is taken.

Time and memory grow with the observed pairs and the number of rare rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from clso.counting import FloatArray
from clso.library.entry import FloatMatrix
from clso.library.reweighted import ContextTable, EqualRows, fit_factors
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["CoarseTable", "fit_frequent_and_rare", "merged", "summing"]

_DAMPING = 3.0  # rho
_NEWTON_STEPS = 4
_CG_STEPS = 4
_MULTIPLES = (0.5, 1.0, 2.0, 3.0)
_RIDGE = 1e-3  # of the mean diagonal of C
_LARGEST_EXPONENT = 60.0
_TINY = 1e-30

_Start = Callable[[ContextTable], tuple[FloatMatrix, FloatMatrix]]


@dataclass(frozen=True)
class CoarseTable:
    """A table in which the rare contexts are one, the last, and the rare outcomes too.

    Attributes:
        table: contexts and outcomes that are frequent, in order, and one for all others of each.
        context_of: the context of `table` for each of the whole, `(n,)`.
        outcome_of: the outcome of `table` for each of the whole, `(m,)`.
        rare_contexts: the contexts of the whole that share one, ascending.
        rare_outcomes: the same of outcomes.
    """

    table: ContextTable
    context_of: Int64Array
    outcome_of: Int64Array
    rare_contexts: Int64Array
    rare_outcomes: Int64Array

    @classmethod
    def of(cls, table: ContextTable, rare: float) -> Self:
        """Sum contexts and outcomes with less mass than `rare`; B is the same in all contexts.

        Raises:
            TypeError: B differs between contexts, or P has another lower order than B.
        """
        base = _base(table)
        contexts, outcomes = table.mass < rare, table.outcome_mass < rare
        context_of, outcome_of = merged(contexts), merged(outcomes)
        mass = np.bincount(context_of, table.mass)
        counts = summing(context_of) @ sparse.diags_array(table.mass) @ table.observed
        shares = sparse.diags_array(1.0 / mass) @ counts @ summing(outcome_of).T
        backoff = np.bincount(context_of, table.mass * table.backoff) / mass
        coarse = ContextTable(
            sparse.csr_array(shares).astype(np.float32),
            backoff.astype(np.float32),
            EqualRows(torch.from_numpy(np.bincount(outcome_of, base).astype(np.float32))),
            mass.astype(np.float64),
            np.bincount(outcome_of, table.outcome_mass).astype(np.float64),
        )
        return cls(
            coarse, context_of, outcome_of, np.flatnonzero(contexts), np.flatnonzero(outcomes)
        )


def merged(rare: npt.NDArray[np.bool_]) -> Int64Array:
    """Return the new number of each element: the frequent ones in order, then all rare ones."""
    number = np.cumsum(~rare) - 1
    number[rare] = np.count_nonzero(~rare)
    return number.astype(np.int64)


def summing(number: Int64Array) -> sparse.csr_array:
    """Return the matrix that sums the elements of each number, `(numbers, n)`."""
    places = number, np.arange(len(number))
    return sparse.csr_array((np.ones(len(number)), places), shape=(number.max() + 1, len(number)))


def fit_frequent_and_rare(
    table: ContextTable, start: _Start, *, rounds: int, rare: float
) -> tuple[FloatMatrix, FloatMatrix, tuple[float, ...]]:
    """Return E, U, and the cross entropies of the coarse table, as `fit_factors`; on one thread.

    Args:
        start: gives E and U to start from for the coarse table.
        rounds: of `fit_factors` for the coarse table.
        rare: contexts and outcomes with less mass are rare.

    Raises:
        TypeError: see `CoarseTable`.
    """
    coarse = CoarseTable.of(table, rare)
    with one_thread():
        small_e, small_u, losses = fit_factors(coarse.table, *start(coarse.table), rounds=rounds)
        readout, embedding = small_u[coarse.outcome_of], small_e[coarse.context_of]
        if len(coarse.rare_outcomes):
            members = _rare_outcomes(table, coarse, small_e, small_u)
            readout[coarse.rare_outcomes] += members.steps()
        if len(coarse.rare_contexts):
            members = _rare_contexts(table, coarse.rare_contexts, small_e[-1], readout)
            embedding[coarse.rare_contexts] += members.steps()
    return embedding, readout, losses


def _rare_outcomes(
    table: ContextTable, coarse: CoarseTable, embedding: FloatMatrix, readout: FloatMatrix
) -> _Members:
    small, rare = coarse.table, coarse.rare_outcomes
    logits = embedding @ readout.T + np.log(np.maximum(_base(small), _TINY))
    expected = small.mass * _softmax(logits)[:, -1]  # counts of all rare outcomes together
    base = _base(table)[rare]
    share = base / max(float(base.sum()), _TINY)
    counts = summing(coarse.context_of) @ sparse.diags_array(table.mass) @ table.observed[:, rare]
    observed = sparse.csr_array(counts.T).astype(np.float32)
    return _Members(
        observed=observed,
        start=share[_row_of(observed)] * expected[observed.indices],
        total=share * expected.sum(),
        further=np.outer(base, (small.mass * small.backoff) @ embedding),
        mass=np.ones(len(rare)),
        basis=embedding,
        distribution=expected / expected.sum(),
        metric=small.mass / small.mass.sum(),
        normalised=False,
    )


def _rare_contexts(
    table: ContextTable, rare: Int64Array, shared: FloatMatrix, readout: FloatMatrix
) -> _Members:
    base = _base(table)
    q = _softmax(readout @ shared + np.log(np.maximum(base, _TINY)))
    observed = sparse.csr_array(table.observed[rare])
    return _Members(
        observed=observed,
        start=q[observed.indices],
        total=np.ones(len(rare)),
        further=np.outer(table.backoff[rare], base @ readout),
        mass=table.mass[rare],
        basis=readout,
        distribution=q,
        metric=table.outcome_mass / table.outcome_mass.sum(),
        normalised=True,
    )


class _Members:
    """Rows that share a start, and what was observed of each.

    Args:
        observed: P of what was observed, `(t, s)`.
        start: Q at the start of the same elements.
        total: the sum of Q over all s at the start, `(t,)`.
        further: what all else of P adds to sum P u, `(t, k)`.
        mass: r, `(t,)`.
        basis: u, `(s, k)`.
        distribution: Q at the start, normalised: the same for all rows, `(s,)`.
        metric: the weights of C, `(s,)`; they sum to 1.
        normalised: with the logarithm.
    """

    def __init__(
        self,
        *,
        observed: sparse.csr_array,
        start: npt.NDArray[np.floating],
        total: FloatArray,
        further: FloatArray,
        mass: FloatArray,
        basis: FloatMatrix,
        distribution: npt.NDArray[np.floating],
        metric: FloatArray,
        normalised: bool,
    ) -> None:
        self._observed, self._start, self._normalised = observed, start, normalised
        self._row = _row_of(observed)
        self._vectors = basis[observed.indices]
        self._basis = basis
        self._unobserved = np.maximum(total - self._row_sums(start), 1e-9)
        self._linear = (observed @ basis + further).astype(np.float32)
        self._mass = mass.astype(np.float32)[:, None]
        weight = distribution.astype(np.float32)
        self._mean = weight @ basis
        self._second = (basis * weight[:, None]).T @ basis
        self._covariance = self._second - np.outer(self._mean, self._mean)
        self._metric = (basis * metric.astype(np.float32)[:, None]).T @ basis
        ridge = _RIDGE * self._metric.diagonal().mean() * np.eye(len(self._metric))
        self._inverse = np.linalg.inv(self._metric + ridge).astype(np.float32)

    def steps(self) -> FloatMatrix:
        """Return d of each row, `(t, k)` float32."""
        d: FloatMatrix = np.zeros_like(self._linear)
        value = self._value(d)
        for _ in range(_NEWTON_STEPS):
            step = self._newton_step(d)
            begun = d.copy()
            for multiple in _MULTIPLES:
                tried = begun + np.float32(multiple) * step
                reached = self._value(tried)
                better = reached > value
                d[better], value[better] = tried[better], reached[better]
        return d

    def _masses(self, d: FloatMatrix) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return Q of all that was not observed, of what was, and their sum."""
        exponent = d @ self._mean + 0.5 * ((d @ self._covariance) * d).sum(1)
        others = self._unobserved * np.exp(np.minimum(exponent, _LARGEST_EXPONENT))
        exponent = (d[self._row] * self._vectors).sum(1)
        observed = self._start * np.exp(np.minimum(exponent, _LARGEST_EXPONENT))
        return others, observed, others + self._row_sums(observed)

    def _value(self, d: FloatMatrix) -> FloatArray:
        total = self._masses(d)[2]
        growth = np.log(total) if self._normalised else total
        gain = self._mass[:, 0] * ((self._linear * d).sum(1) - growth)
        return np.asarray(gain - _DAMPING / 2 * (d * (d @ self._metric)).sum(1))

    def _newton_step(self, d: FloatMatrix) -> FloatMatrix:
        """Solve by conjugate gradients, as `clso.library.reweighted`."""
        others, q, total = self._masses(d)
        if self._normalised:
            others, q = others / total, q / total[self._row]
        unseen = others.astype(np.float32)[:, None]
        expected = unseen * (self._mean + d @ self._covariance) + self._sparse(q) @ self._basis
        remaining = self._mass * (self._linear - expected) - _DAMPING * (d @ self._metric)
        weights = np.maximum(self._observed.data, q).astype(np.float32)
        heavy = unseen + self._row_sums(weights).astype(np.float32)[:, None]
        scale = self._mass * heavy + np.float32(_DAMPING)
        step = np.zeros_like(d)
        direction = conditioned = remaining @ self._inverse / scale
        size = (remaining * conditioned).sum(1, keepdims=True)
        for _ in range(_CG_STEPS):
            along = weights * (direction[self._row] * self._vectors).sum(1)
            image = unseen * (direction @ self._second) + self._sparse(along) @ self._basis
            image = self._mass * image + _DAMPING * (direction @ self._metric)
            length = size / np.maximum((direction * image).sum(1, keepdims=True), _TINY)
            step += length * direction
            remaining = remaining - length * image
            conditioned = remaining @ self._inverse / scale
            last, size = size, (remaining * conditioned).sum(1, keepdims=True)
            direction = conditioned + size / np.maximum(last, _TINY) * direction
        return np.asarray(step, dtype=np.float32)

    def _sparse(self, values: npt.NDArray[np.floating]) -> sparse.csr_array:
        parts = values.astype(np.float32), self._observed.indices, self._observed.indptr
        return sparse.csr_array(parts, shape=self._observed.shape)

    def _row_sums(self, values: npt.NDArray[np.floating]) -> FloatArray:
        sums = np.bincount(self._row, values, minlength=self._observed.shape[0])
        return sums.astype(np.float64)


def _base(table: ContextTable) -> FloatMatrix:
    if not isinstance(table.base, EqualRows) or table.lower is not None:
        raise TypeError("expected a table with one base for all contexts")
    return table.base.p.numpy()


def _softmax(logits: FloatMatrix) -> FloatMatrix:
    return torch.softmax(torch.from_numpy(logits), -1).numpy()


def _row_of(matrix: sparse.csr_array) -> Int64Array:
    """Return the row of each stored element."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))

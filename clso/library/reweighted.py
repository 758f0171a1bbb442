r"""Factors of conditional distributions by iteratively reweighted least squares on count tables.

Notation: n contexts x with masses r(x), the number of times that each was counted; m outcomes y;
k coordinates; E `(n, k)`, U `(m, k)`. A table gives two distributions for each context: P, what
was counted, smoothed; and B, what is predicted without these factors. Minimised is

.. math::
    \sum_x r(x) \, KL(P_x \,\|\, Q_x), \qquad Q_x(y) \propto B_x(y) \exp(e_x \cdot u_y)

E and U take turns. With one of them fixed, every row of the other has a weighted least-squares
problem of its own, with residuals P - Q and weights max(P, Q). For a row of E,

.. math::
    (U^T W_x U + \rho C) \, \Delta e_x = U^T G_x, \quad
    W_x = r(x) \, diag(\max(P_x, Q_x)), \quad G_x = r(x) (P_x - Q_x), \quad
    C = U^T diag(c / N) U

and for a row of U the same with contexts and outcomes exchanged. c(y) are the masses of outcomes
and N is their sum; rho = 1 damps rows with few counts. Some steps of conjugate gradients solve it.
The weights bound each working residual by 1, so the steps are safe but short: the best of some
multiples is taken, for each row of E, and one for all of U.

Only tables of counts are read: there is no pass over text and no back-propagation. Memory is a
tile of the table, and B where it differs between contexts.

Sources: Green 1984 (iteratively reweighted least squares); Collins, Dasgupta and Schapire 2002
(factors of exponential families).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from scipy import sparse

from clso.counting import FloatArray
from clso.library.entry import FloatMatrix
from clso.threads import one_thread

__all__ = ["ContextTable", "DenseRows", "EqualRows", "Rows", "fit_embedding", "fit_factors"]

_TILE = 2**20  # elements: beyond this, products of tiles leave the cache
_CG_STEPS = 2
_DAMPING = 1.0  # rho
_RIDGE = 1e-3  # of the mean diagonal of C: its inverse is the preconditioner
_MULTIPLES = (1, 2, 3, 4, 6)  # of half a step
_TINY = 1e-30


class Rows(Protocol):
    """A distribution over m outcomes for each of n contexts."""

    def tile(self, rows: slice, columns: slice) -> torch.Tensor:
        """Return the probabilities of some contexts and outcomes, float32."""


@dataclass(frozen=True)
class EqualRows:
    """The same distribution in all contexts, `(m,)` float32."""

    p: torch.Tensor

    def tile(self, rows: slice, columns: slice) -> torch.Tensor:
        """See `Rows`."""
        return self.p[columns].expand(rows.stop - rows.start, -1)


@dataclass(frozen=True)
class DenseRows:
    """Distributions in memory, `(n, m)` float32."""

    p: torch.Tensor

    @classmethod
    def mean(
        cls,
        weights: sparse.csr_array,
        higher: sparse.csr_array,
        gamma: FloatMatrix,
        lower: FloatMatrix,
    ) -> Self:
        """Return weighted means of interpolated distributions, w (H + gamma p).

        Args:
            weights: w, `(n, k)`; the rows sum to 1.
            higher: H, `(k, m)`.
            gamma: `(k,)`.
            lower: p, `(m,)`.
        """
        p = torch.empty(weights.shape[0], higher.shape[1])
        backoff, p_1 = torch.from_numpy(weights @ gamma), torch.from_numpy(lower)
        for rows in _slices(len(p), max(1, _TILE // p.shape[1])):
            p[rows] = torch.from_numpy((weights[rows] @ higher).toarray())
            p[rows].addr_(backoff[rows], p_1)
        return cls(p)

    def tile(self, rows: slice, columns: slice) -> torch.Tensor:
        """See `Rows`."""
        return self.p[rows, columns]


@dataclass(frozen=True)
class ContextTable:
    """What was counted after n contexts: P = observed + backoff * lower.

    Args:
        observed: discounted shares, `(n, m)` float32.
        backoff: the share that discounts free, `(n,)`.
        base: B.
        mass: r, `(n,)`.
        outcome_mass: c, `(m,)`.
        lower: what takes the freed share; `None`: B.
    """

    observed: sparse.csr_array
    backoff: FloatMatrix
    base: Rows
    mass: FloatArray
    outcome_mass: FloatArray
    lower: Rows | None = None

    def row_tiles(self) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield contexts, and P and log B of all their outcomes."""
        n, m = self.observed.shape
        for rows in _slices(n, max(1, _TILE // m)):
            yield rows, *self._tile(rows, slice(0, m), self.observed[rows])

    def column_tiles(self) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield outcomes, and P and log B of them in all contexts."""
        n, m = self.observed.shape
        by_column = self.observed.tocsc()
        for columns in _slices(m, max(1, _TILE // n)):
            yield columns, *self._tile(slice(0, n), columns, by_column[:, columns])

    def _tile(
        self, rows: slice, columns: slice, observed: sparse.sparray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        base = self.base.tile(rows, columns)
        lower = base if self.lower is None else self.lower.tile(rows, columns)
        p = torch.from_numpy(observed.toarray())
        p += torch.from_numpy(self.backoff[rows])[:, None] * lower
        return p, base.clamp_min(_TINY).log()


def fit_factors(
    table: ContextTable, embedding: FloatMatrix, readout: FloatMatrix, *, rounds: int
) -> tuple[FloatMatrix, FloatMatrix, tuple[float, ...]]:
    """Return E, U, and the cross entropy in nats before each step and at the end, on one thread.

    Args:
        embedding: E to start from, `(n, k)` float32, as a decomposition gives it.
        readout: U to start from, `(m, k)` float32.
        rounds: of a step of E and one of U. After them E takes one more.
    """
    e, u = torch.tensor(embedding), torch.tensor(readout)
    losses = []
    with one_thread(), torch.inference_mode():
        fit = _Fit(table)
        for _ in range(rounds):
            e, log_z, before, _ = fit.step_of_contexts(e, u)
            u = fit.step_of_outcomes(e, u, log_z)
            losses.append(before)
        e, _, before, after = fit.step_of_contexts(e, u)
    return e.numpy(), u.numpy(), (*losses, before, after)


def fit_embedding(
    table: ContextTable, embedding: FloatMatrix, readout: FloatMatrix, *, steps: int
) -> tuple[FloatMatrix, tuple[float, ...]]:
    """Return E after one step or more, and the loss before each and at the end.

    Raises:
        ValueError: there is no step.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    e, u = torch.tensor(embedding), torch.tensor(readout)
    losses, after = [], 0.0
    with one_thread(), torch.inference_mode():
        fit = _Fit(table)
        for _ in range(steps):
            e, _, before, after = fit.step_of_contexts(e, u)
            losses.append(before)
    return e.numpy(), (*losses, after)


class _Fit:
    def __init__(self, table: ContextTable) -> None:
        self._table = table
        self._mass = torch.from_numpy(table.mass.astype(np.float32))
        self._outcome_mass = torch.from_numpy(table.outcome_mass.astype(np.float32))

    def step_of_contexts(
        self, e: torch.Tensor, u: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, float, float]:
        """Return E after a step, log Z of each context, and the loss before and after it."""
        solve = _Solver(u, self._outcome_mass)
        stepped, log_z = torch.empty_like(e), torch.empty(len(e))
        before = gained = 0.0
        for rows, p, logits in self._table.row_tiles():
            mass = self._mass[rows, None]
            logits += e[rows] @ u.T
            z = torch.logsumexp(logits, 1, keepdim=True)
            q = (logits - z).exp_()
            step = solve(mass * torch.maximum(p, q), mass * (p - q))
            change = step @ u.T
            gains = _Gains(q, change, (p * change).sum(1))
            best = gains.matrix.argmax(1, keepdim=True)
            stepped[rows] = e[rows] + gains.multiples[best] * step
            gain = gains.matrix.gather(1, best)
            log_z[rows] = (z + gains.log_growth.gather(1, best))[:, 0]
            before += float((mass * (p * (z - logits)).sum(1, keepdim=True)).double().sum())
            gained += float((mass * gain).double().sum())
        n = float(self._mass.double().sum())
        return stepped, log_z, before / n, (before - gained) / n

    def step_of_outcomes(
        self, e: torch.Tensor, u: torch.Tensor, log_z: torch.Tensor
    ) -> torch.Tensor:
        """Return U after a step; `log_z` belongs to E and U."""
        solve = _Solver(e, self._mass)
        step = torch.empty_like(u)
        mass = self._mass[:, None]
        growth = torch.zeros(len(e), len(_MULTIPLES), dtype=torch.float64)
        linear = torch.zeros(len(e), dtype=torch.float64)
        for columns, p, logits in self._table.column_tiles():
            logits += e @ u[columns].T
            q = (logits - log_z[:, None]).exp_()
            step[columns] = solve((mass * torch.maximum(p, q)).T, (mass * (p - q)).T)
            change = e @ step[columns].T
            linear += (p * change).sum(1)
            growth += _grown(q, change)
        multiples = torch.tensor(_MULTIPLES, dtype=torch.float64) / 2
        gains = self._mass.double() @ (linear[:, None] * multiples - growth.log())
        best = int(torch.nan_to_num(gains, nan=-torch.inf).argmax())
        return u + float(multiples[best]) * step if gains[best] > 0 else u


class _Solver:
    """Solves the damped least-squares problems of many rows over one basis, `(s, k)`."""

    def __init__(self, basis: torch.Tensor, mass: torch.Tensor) -> None:
        self._basis = basis
        self._gram = (basis * (mass / mass.sum())[:, None]).T @ basis
        ridge = _RIDGE * self._gram.diagonal().mean() * torch.eye(basis.shape[1])
        self._inverse = torch.linalg.inv(self._gram + ridge)

    def __call__(self, weights: torch.Tensor, residuals: torch.Tensor) -> torch.Tensor:
        """Return the steps, `(t, k)`, for weights and residuals `(t, s)`."""
        scale = weights.sum(1, keepdim=True) + _DAMPING
        remaining = residuals @ self._basis
        step = torch.zeros_like(remaining)
        direction = conditioned = remaining @ self._inverse / scale
        size = (remaining * conditioned).sum(1, keepdim=True)
        for number in range(_CG_STEPS):
            image = ((direction @ self._basis.T) * weights) @ self._basis
            image += _DAMPING * (direction @ self._gram)
            length = size / (direction * image).sum(1, keepdim=True).clamp_min(_TINY)
            step += length * direction
            if number == _CG_STEPS - 1:
                break
            remaining = remaining - length * image
            conditioned = remaining @ self._inverse / scale
            last, size = size, (remaining * conditioned).sum(1, keepdim=True)
            direction = conditioned + size / last.clamp_min(_TINY) * direction
        return step


class _Gains:
    """What multiples of the steps of contexts gain, in nats, `(t, multiples)`; 0 is the first."""

    def __init__(self, q: torch.Tensor, change: torch.Tensor, linear: torch.Tensor) -> None:
        self.multiples = torch.tensor((0, *_MULTIPLES)) / 2
        grown = torch.cat([torch.ones(len(q), 1), _grown(q, change)], 1)
        self.log_growth = grown.log()
        gains = linear[:, None] * self.multiples - self.log_growth
        self.matrix = torch.nan_to_num(gains, nan=-torch.inf)


def _grown(q: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Return sum_y q exp(s change) for each multiple s, `(t, multiples)`."""
    half = (change / 2).exp_()
    sums, grown, power = [], q.clone(), 0
    for multiple in _MULTIPLES:
        while power < multiple:
            grown *= half
            power += 1
        sums.append(grown.sum(1))
    return torch.stack(sums, 1)


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))

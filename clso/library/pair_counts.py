r"""The vectors of pair memories, fitted on the counts of trigrams.

Notation: pairs (x2, x1) of neighbours; p_3 the interpolated Kneser-Ney trigram, p_2 the bigram, c
the counts; e, u and r the factors near and recent of a layout (`clso.library.reweighted`).

The pairs with the largest gains get a memory, sum_y c(x2, x1, y) log(p_3(y | x2 x1) / p_2(y | x1)).
With P = p_3 and

.. math::
    \log B(y) = \log p_1(y) + \gamma \, r_{x2} \cdot u^{recent}_y

the steps of reweighted least squares lead from e(x1) to e(x1) + v. B knows what the head for the
recent tokens says of x2, so that v does not say it again; gamma is the weight that it gives to x2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from clso.counting import TokenStream
from clso.floors import Bigram
from clso.library.cooccurrence import SpectralFactors
from clso.library.entry import FloatMatrix
from clso.library.reweighted import ContextTable, fit_embedding
from clso.mixture.counts import KneserNey
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["PairVectors"]

_STEPS = 2


@dataclass(frozen=True)
class PairVectors:
    """Pairs of tokens and their vectors in the coordinates near, the largest gains first.

    Attributes:
        pairs: `(n, 2)`, the earlier token first.
        vectors: `(n, near)` float32.
        losses: cross entropy of p_3 over the pairs in nats, before each step and at the end.
    """

    pairs: Int64Array
    vectors: FloatMatrix
    losses: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        splits: Sequence[TokenStream],
        factors: SpectralFactors,
        n_pairs: int,
        *,
        recent_weight: float,
    ) -> PairVectors:
        """Choose at most `n_pairs` pairs and fit their vectors, on one thread.

        Args:
            splits: the tokens that the factors were counted on; no trigram spans two of them.
            recent_weight: gamma.
        """
        trigrams = _Trigrams(splits, factors.vocab_size)
        rows = trigrams.best(Bigram.fit(splits, factors.vocab_size), n_pairs)
        pairs = trigrams.pairs[rows]
        near = slice(0, factors.layout.near)
        if not len(rows):
            return cls(pairs, np.zeros((0, factors.layout.near), dtype=np.float32), ())
        recent = slice(factors.layout.near, factors.layout.near + factors.layout.recent)
        outcomes = trigrams.outcomes
        readout = factors.readout[outcomes]
        log_prior = factors.log_prior[outcomes].astype(np.float32)
        if trigrams.n_others:
            log_prior[-1] += np.float32(np.log(trigrams.n_others))
        base = _LogLinearRows(
            torch.from_numpy(recent_weight * factors.embedding[pairs[:, 0], recent]),
            torch.from_numpy(readout[:, recent]),
            torch.from_numpy(log_prior),
        )
        start = factors.embedding[pairs[:, 1], near]
        table = trigrams.table(rows, np.exp(log_prior), base)
        found, losses = fit_embedding(table, start, readout[:, near], steps=_STEPS)
        return cls(pairs, found - start, losses)


@dataclass(frozen=True)
class _LogLinearRows:
    """Distributions softmax(E U^T + log p), for tiles of all outcomes."""

    e: torch.Tensor
    u: torch.Tensor
    log_p: torch.Tensor

    def tile(self, rows: slice, columns: slice) -> torch.Tensor:
        """See `clso.library.reweighted.Rows`."""
        del columns
        return torch.softmax(self.e[rows] @ self.u.T + self.log_p, 1)


@dataclass(frozen=True)
class _InterpolatedRows:
    """Distributions H + gamma p of one context each."""

    higher: sparse.csr_array
    gamma: FloatMatrix
    p: FloatMatrix

    def tile(self, rows: slice, columns: slice) -> torch.Tensor:
        """See `clso.library.reweighted.Rows`."""
        tile = self.higher[rows][:, columns].toarray()
        tile += self.gamma[rows, None] * self.p[columns]
        return torch.from_numpy(tile)


class _Trigrams:
    """The Kneser-Ney trigram as rows over outcomes: tokens that are targets, and all the others.

    Attributes:
        pairs: the contexts, `(n, 2)`, the earlier token first.
        outcomes: a token for each outcome, the last one for all others, if there are any.
        n_others: tokens that are never targets.
    """

    def __init__(self, splits: Sequence[TokenStream], vocab_size: int) -> None:
        (self._model,) = KneserNey.fit(FittingText(splits, vocab_size, {}), ["kn(1,2)"])
        first, second = self._model.contexts
        self._first_row = second.row_of_entries().astype(np.int64)
        last = first.symbols.astype(np.int64)[self._first_row]
        self.pairs = np.stack([second.symbols.astype(np.int64), last], axis=1)
        targets = self._model.levels[0].rows.symbols.astype(np.int64)
        others = np.setdiff1d(np.arange(vocab_size), targets)
        self.n_others = len(others)
        # the first of them has the row that all share, see `SpectralFactors.unseen`
        self.outcomes = np.concatenate([targets, others[:1]])
        self._column = np.full(vocab_size, len(targets))
        self._column[targets] = np.arange(len(targets))

    def best(self, bigram: Bigram, n_pairs: int) -> Int64Array:
        """Return the rows of the pairs with the largest gains above 0, the largest first."""
        table = self._model.levels[2]
        rows = table.rows.row_of_entries().astype(np.int64)
        targets = table.rows.symbols.astype(np.int64)
        pairs = self.pairs[rows]
        both = np.stack([targets, targets], axis=1)  # of which the second counts
        p_3 = self._model.target_probabilities(pairs, both)[:, 1]
        gains = table.counts * (np.log(p_3) + bigram.token_nll(pairs[:, 1], targets))
        gain = np.bincount(rows, gains, minlength=len(self.pairs))
        order = np.argsort(-gain, kind="stable")[:n_pairs]
        return np.asarray(order[gain[order] > 0])

    def table(self, rows: Int64Array, p_1: FloatMatrix, base: _LogLinearRows) -> ContextTable:
        """Return the table of some pairs."""
        counts = self._model.levels[2]
        contexts = self._first_row[rows]
        lower = _InterpolatedRows(
            self._shares(1)[contexts], self._backoff(1)[contexts], p_1.astype(np.float32)
        )
        mass = counts.totals[rows]
        columns = self._column[counts.rows.symbols.astype(np.int64)]
        counted = np.bincount(columns, counts.counts, minlength=len(self.outcomes))
        outcome_mass = counted.astype(np.float64) + 1.0
        return ContextTable(
            self._shares(2)[rows], self._backoff(2)[rows], base, mass, outcome_mass, lower
        )

    def _shares(self, level: int) -> sparse.csr_array:
        table = self._model.levels[level]
        totals = table.totals[table.rows.row_of_entries()]
        shares = table.discounted(slice(None), totals).astype(np.float32)
        columns = self._column[table.rows.symbols.astype(np.int64)]
        shape = table.rows.n_rows, len(self.outcomes)
        return sparse.csr_array((shares, columns, table.rows.starts.astype(np.int64)), shape=shape)

    def _backoff(self, level: int) -> npt.NDArray[np.float32]:
        return self._model.levels[level].backoff.astype(np.float32)

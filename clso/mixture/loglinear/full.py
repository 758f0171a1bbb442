r"""A log-linear function for all tokens at once, at neighbouring positions of a block.

Notation: as in `clso.mixture.loglinear.positions`; n positions, m columns, R rows of a model's
table, g its backoff weights, d its discounted counts, b its exponent.

The scores of all columns are one product of matrices: the topics and what never changes. A
Kneser-Ney model adds a row of logarithms, those of its longest context that has a table. Longer
contexts multiply all columns of it by the same number, which the sum over a class cancels, and add
to the few columns that followed them:

.. math:: b \log p(y \mid h) = b \log p(y \mid h') + b \log \prod g
    + b \log \Bigl( 1 + \frac{\sum d(y)}{\prod g \; p(y \mid h')} \Bigr)

All is in float64; `Positions` rounds logarithms to float32, so the two agree to six digits.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from scipy import sparse

from clso.counting import FloatArray
from clso.mixture.loglinear.counts import Contexts, CountExpert
from clso.mixture.loglinear.positions import (
    CLASS_HALF_LIFE,
    KAPPA,
    OFFSETS,
    TOKEN_HALF_LIVES,
    Experts,
)
from clso.scoring import Int64Array

__all__ = ["AllColumns", "AllTokens"]

_SMALLEST_TOTAL: Final = 1e-200


class AllColumns(NamedTuple):
    """Distributions at n positions.

    Attributes:
        p: the probability of a token of each column, `(m, n)`.
        tokens: tokens that have more than their column, `(n_more,)`.
        positions: where, `(n_more,)`.
        more: how much more, `(n_more,)`.
    """

    p: FloatArray
    tokens: Int64Array
    positions: Int64Array
    more: FloatArray


class AllTokens:
    """The experts with their exponents, arranged for all tokens at once."""

    def __init__(self, experts: Experts, exponents: FloatArray) -> None:
        self._experts = experts
        n = experts.n_class_exponents
        self._of_classes, self.exponents = exponents[:n], exponents
        of_columns = exponents[n:]
        n_models = len(experts.of_columns)
        self._models = of_columns[:n_models]
        self._topics = of_columns[n_models : n_models + len(TOKEN_HALF_LIVES)]
        unseen, rate, self._repeated, self._followed, self._new = of_columns[-5:]
        columns = experts.columns
        fixed = unseen * columns.is_unseen + rate * columns.log_rate
        self._tables: list[FloatArray | None] = []
        for exponent, expert in zip(self._models, experts.of_columns, strict=True):
            logs = np.log(expert.table.astype(np.float64)) * exponent
            self._tables.append(np.ascontiguousarray(logs.T) if len(logs) > 1 else None)
            if len(logs) == 1:
                fixed += logs[0]
        self._columns = np.concatenate([experts.column_vectors, fixed[:, None]], axis=1)
        self._scratch: FloatArray = np.zeros(0)
        starts = columns.starts
        self._class_sums = sparse.csr_matrix(
            (columns.multiplicity.astype(np.float64), np.arange(len(columns)), starts),
            shape=(columns.n_classes, len(columns)),
        )
        self._sizes = np.diff(starts)
        self._class_of = np.repeat(np.arange(columns.n_classes), self._sizes)

    def at(self, history: Int64Array, start: int) -> AllColumns:
        """Return the distributions after each token of a block's history from `start`."""
        experts, n = self._experts, len(history) - start
        found = _Found.of(history, start)
        contexts = self._contexts(history, start)
        decays = _Decays(history, start, experts.weighted_vectors)
        of_class = self._class_probabilities(history, start, contexts, found, decays)
        topics = np.ones((self._columns.shape[1], n))
        topics[:-1] = sum(
            exponent * decays.vectors(half_life)
            for exponent, half_life in zip(self._topics, TOKEN_HALF_LIVES, strict=True)
        ).T
        scores: FloatArray = self._columns @ topics
        for index, expert in enumerate(experts.of_columns):
            self._add_model(scores, index, expert, contexts)
        flat, of_token = scores.reshape(-1), experts.columns.of_token
        for (position, token), value in (
            (found.present, self._repeated * experts.repeated),
            (found.followed, np.broadcast_to(self._followed, len(of_token))),
        ):
            seen = ~experts.is_unseen[token]
            position, token = position[seen], token[seen]
            flat[of_token[token] * n + position] += value[token]
        position, token = found.present
        new = experts.is_unseen[token]
        position, token = position[new], token[new]
        gains = self._repeated * experts.repeated[token] + self._new
        gains += self._followed * found.has_followed(position, token, len(of_token))
        columns = of_token[token]
        return self._normalised(scores, of_class, columns, position, token, gains)

    def _normalised(
        self,
        scores: FloatArray,
        of_class: FloatArray,
        columns: Int64Array,
        position: Int64Array,
        token: Int64Array,
        gains: FloatArray,
    ) -> AllColumns:
        kept = scores.copy() if self._may_underflow(scores) else None
        with np.errstate(over="ignore"):
            weights = np.exp(scores, out=scores)
            totals = self._totals(weights, columns, position, gains)
        if not bool(((totals > _SMALLEST_TOTAL) & np.isfinite(totals)).all()):
            assert kept is not None
            largest = np.maximum.reduceat(kept, self._experts.columns.starts[:-1], axis=0)
            weights = np.exp(kept - np.repeat(largest, self._sizes, axis=0))
            totals = self._totals(weights, columns, position, gains)
        scale = of_class / totals
        weights *= np.take(scale, self._class_of, axis=0)
        more = weights[columns, position] * np.expm1(gains)
        return AllColumns(weights, token, position, more)

    @staticmethod
    def _may_underflow(scores: FloatArray) -> bool:
        return bool(np.abs(scores).max(initial=0.0) > 300.0)

    def _totals(
        self, weights: FloatArray, columns: Int64Array, position: Int64Array, gains: FloatArray
    ) -> FloatArray:
        totals: FloatArray = self._class_sums @ weights
        if len(columns):
            more = weights[columns, position] * np.expm1(gains)
            np.add.at(totals, (self._class_of[columns], position), more)
        return totals

    def _contexts(self, history: Int64Array, start: int) -> Contexts:
        """Return the context of every position per level, by the elements of a model."""
        contexts: dict[Any, list[Int64Array]] = {}
        for expert in (*self._experts.of_classes, *self._experts.of_columns):
            if expert.elements not in contexts:
                contexts[expert.elements] = expert.contexts_at(history, start)
        return contexts

    def _add_model(
        self, scores: FloatArray, index: int, expert: CountExpert, contexts: Contexts
    ) -> None:
        n = scores.shape[1]
        rows, longer = expert.split(contexts)
        table = self._tables[index]
        if table is not None:
            scores += table.take(rows, axis=1)
        flat, exponent = scores.reshape(-1), self._models[index]
        if self._scratch.size < flat.size:
            self._scratch = np.zeros(flat.size)
        scratch = self._scratch
        backoff = np.ones(n)
        parts = []
        for level, contexts_of_level in reversed(longer):
            active = np.flatnonzero(contexts_of_level >= 0)
            if not len(active):
                continue
            at = contexts_of_level[active]
            first = level.starts[at]
            lengths = level.starts[at + 1] - first
            ends = np.cumsum(lengths)
            entries = np.repeat(first - ends + lengths, lengths)
            entries += np.arange(ends[-1])
            columns = level.columns[entries]
            position = np.repeat(active, lengths)
            places = columns * n + position
            values = level.discounted[entries] * np.repeat(backoff[active], lengths)
            scratch[places] += values
            parts.append((columns, position, places))
            backoff[active] *= level.backoff[at]
        for columns, position, places in reversed(parts):
            added = scratch[places]
            scratch[places] = 0.0
            added /= expert.table[rows[position], columns] * backoff[position]
            flat[places] += exponent * np.log1p(added, out=added)

    def _class_probabilities(
        self,
        history: Int64Array,
        start: int,
        contexts: Contexts,
        found: _Found,
        decays: _Decays,
    ) -> FloatArray:
        """Return p(c | history) at all positions, `(C, n)`."""
        experts, n = self._experts, len(history) - start
        n_classes, positions = experts.columns.n_classes, np.arange(n)
        exponents = iter(self._of_classes)
        scores = np.zeros((n, n_classes))
        for expert in experts.of_classes:
            scores += next(exponents) * expert.log_probabilities(contexts, positions, 0, n_classes)
        classes = experts.classes[history]
        for offset, log_lift in zip(OFFSETS, experts.log_lifts, strict=True):
            earlier = np.full(n, n_classes)
            places = np.arange(start, len(history)) - (offset - 1)
            inside = places >= 0
            earlier[inside] = classes[places[inside]]
            scores += next(exponents) * log_lift[earlier]
        scores += next(exponents) * (decays.vectors(CLASS_HALF_LIFE) @ experts.class_vectors.T)
        in_block = np.zeros((n, n_classes))
        in_block[positions, classes[start:]] = 1.0
        in_block[0] += np.bincount(classes[:start], minlength=n_classes)
        np.cumsum(in_block, axis=0, out=in_block)
        scores += next(exponents) * np.log(in_block / experts.class_share + KAPPA)
        position, token = found.followers
        counts = np.bincount(position * n_classes + experts.classes[token], minlength=scores.size)
        scores += next(exponents) * np.log1p(counts.reshape(scores.shape))
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return np.ascontiguousarray(weights.T)


class _Found(NamedTuple):
    """What the block has at each position, as pairs of a position, counted from the first.

    Attributes:
        present: each different token up to the position.
        followers: what came after each earlier place of the position's token.
        followed: the same, each different token once.
    """

    present: tuple[Int64Array, Int64Array]
    followers: tuple[Int64Array, Int64Array]
    followed: tuple[Int64Array, Int64Array]

    @classmethod
    def of(cls, history: Int64Array, start: int) -> _Found:
        stop = len(history)
        tokens, first = np.unique(history, return_index=True)
        queries = np.arange(start, stop)
        position, index = np.nonzero(first <= queries[:, None])
        present = position, tokens[index]
        equal = history[start:, None] == history
        equal &= np.arange(stop) < queries[:, None]
        position, source = np.nonzero(equal)
        token = history[source + 1]
        bound = int(tokens[-1]) + 1
        distinct = np.unique(position * bound + token)
        return cls(present, (position, token), np.divmod(distinct, bound))

    def has_followed(self, position: Int64Array, token: Int64Array, vocab_size: int) -> Any:
        """Return whether tokens followed the token of their position, `(n_pairs,)`."""
        pairs = self.followed[0] * vocab_size + self.followed[1]
        return np.isin(position * vocab_size + token, pairs)


class _Decays:
    """Vectors of the block at n positions."""

    def __init__(self, history: Int64Array, start: int, weighted: FloatArray) -> None:
        self._weighted = weighted[history]
        lags = np.subtract.outer(np.arange(start, len(history)), np.arange(len(history)))
        self._is_past, self._lags = lags >= 0, np.abs(lags)

    def vectors(self, half_life: float) -> FloatArray:
        """Return tau with this half-life, `(n, d)`."""
        powers = (2.0 ** (-1.0 / half_life)) ** np.arange(len(self._weighted))
        vectors = np.where(self._is_past, powers[self._lags], 0.0) @ self._weighted
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(np.divide(vectors, lengths, out=vectors, where=lengths > 0))

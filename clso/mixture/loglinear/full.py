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

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.buffers import buffer
from clso.mixture.loglinear.counts import Contexts, CountExpert, CountLevel
from clso.mixture.loglinear.positions import (
    CLASS_HALF_LIFE,
    KAPPA,
    OFFSETS,
    TOKEN_HALF_LIVES,
    Experts,
)
from clso.scoring import Int64Array

__all__ = ["AllColumns", "AllTokens"]

_LARGEST_SCORE: Final = 300.0  # the exponentials of larger ones may pass the range of floats


class AllColumns(NamedTuple):
    """Distributions at n positions.

    Attributes:
        p: the probability of a token of each column, `(n, m)`.
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
            self._tables.append(logs if len(logs) > 1 else None)
            if len(logs) == 1:
                fixed += logs[0]
        self._columns = np.concatenate([experts.column_vectors.T, fixed[None]])
        self._multiplicity = columns.multiplicity.astype(np.float64)
        self._sizes = np.diff(columns.starts)
        self._class_of = np.repeat(np.arange(columns.n_classes), self._sizes)

    def at(self, history: Int64Array, start: int) -> AllColumns:
        """Return the distributions after each token of a block's history from `start`."""
        experts, n = self._experts, len(history) - start
        found = _Found.of(history, start)
        contexts = self._contexts(history, start)
        decays = _Decays(history, start, experts.weighted_vectors)
        of_class = self._class_probabilities(history, start, contexts, found, decays)
        topics = np.ones((n, len(self._columns)))
        topics[:, :-1] = sum(
            exponent * decays.vectors(half_life)
            for exponent, half_life in zip(self._topics, TOKEN_HALF_LIVES, strict=True)
        )
        scores: FloatArray = topics @ self._columns
        for index, expert in enumerate(experts.of_columns):
            self._add_model(scores, index, expert, contexts)
        of_token = experts.columns.of_token
        for (position, token), value in (
            (found.present, self._repeated * experts.repeated),
            (found.followed, np.broadcast_to(self._followed, len(of_token))),
        ):
            seen = ~experts.is_unseen[token]
            position, token = position[seen], token[seen]
            scores[position, of_token[token]] += value[token]
        position, token = found.present
        new = experts.is_unseen[token]
        position, token = position[new], token[new]
        gains = self._repeated * experts.repeated[token] + self._new
        gains += self._followed * found.has_followed(position, token, len(of_token))
        factors = np.expm1(gains)
        weights, totals = self._weights(scores, position, of_token[token], factors)
        scale = of_class / totals
        # classes are neighbouring columns
        weights *= np.repeat(scale, self._sizes, axis=1)
        return AllColumns(weights, token, position, weights[position, of_token[token]] * factors)

    def _weights(
        self, scores: FloatArray, position: Int64Array, column: Int64Array, factors: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return weights of all columns, `(n, m)`, and the sums of classes, `(n, C)`.

        New repeats, `(n_more,)` each, add to the sums. The scores are overwritten.
        """
        starts = self._experts.columns.starts[:-1]
        if float(scores.max()) > _LARGEST_SCORE or float(scores.min()) < -_LARGEST_SCORE:
            largest = np.maximum.reduceat(scores, starts, axis=1)
            scores -= np.repeat(largest, self._sizes, axis=1)
        weights = np.exp(scores, out=scores)
        totals = np.add.reduceat(weights * self._multiplicity, starts, axis=1)
        more = weights[position, column] * factors
        np.add.at(totals, (position, self._class_of[column]), more)
        return weights, totals

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
        n, m = scores.shape
        rows, longer = expert.split(contexts)
        table, exponent = self._tables[index], self._models[index]
        if n == 1:
            self._add_model_at_one(scores[0], table, exponent, expert, int(rows[0]), longer)
            return
        if table is not None:
            scores += table.take(rows, axis=0)
        flat = scores.reshape(-1)
        added = buffer("added", (n, m)).reshape(-1)
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
            columns, position = level.columns[entries], np.repeat(active, lengths)
            places = position * m + columns
            added[places] = 0.0
            parts.append((columns, position, places, level.discounted[entries] * backoff[position]))
            backoff[active] *= level.backoff[at]
        for _, _, places, values in parts:
            added[places] += values
        for columns, position, places, _ in reversed(parts):
            ratio = added[places]
            added[places] = 0.0  # longer contexts have some of these columns, too
            ratio /= expert.table[rows[position], columns] * backoff[position]
            flat[places] += exponent * np.log1p(ratio, out=ratio)

    @staticmethod
    def _add_model_at_one(
        scores: FloatArray,
        table: FloatArray | None,
        exponent: float,
        expert: CountExpert,
        row: int,
        longer: Sequence[tuple[CountLevel, Int64Array]],
    ) -> None:
        if table is not None:
            scores += table[row]
        added, backoff = np.zeros(0), 1.0
        columns = np.zeros(0, dtype=np.int64)
        for level, (context,) in longer:
            if context < 0:
                break
            entries = slice(*level.starts[context : context + 2])
            gamma = float(level.backoff[context])
            added, backoff = added * gamma, backoff * gamma
            columns = np.concatenate([columns, level.columns[entries]])
            added = np.concatenate([added, level.discounted[entries]])
        if len(columns):
            columns, index = np.unique(columns, return_inverse=True)
            ratio = np.bincount(index, added) / (
                expert.table[row, columns].astype(np.float64) * backoff
            )
            scores[columns] += exponent * np.log1p(ratio)

    def _class_probabilities(
        self,
        history: Int64Array,
        start: int,
        contexts: Contexts,
        found: _Found,
        decays: _Decays,
    ) -> FloatArray:
        """Return p(c | history) at all positions, `(n, C)`."""
        experts, n = self._experts, len(history) - start
        n_classes, positions = experts.columns.n_classes, np.arange(n)
        exponents = iter(self._of_classes)
        scores = np.zeros((n, n_classes))
        for expert in experts.of_classes:
            if n == 1:
                scores[0] += next(exponents) * expert.log_probabilities_at_one(contexts)
            else:
                logs = expert.log_probabilities(contexts, positions, 0, n_classes)
                scores += next(exponents) * logs
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
        return np.asarray(weights)


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

    def has_followed(
        self, position: Int64Array, token: Int64Array, vocab_size: int
    ) -> npt.NDArray[np.bool_]:
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

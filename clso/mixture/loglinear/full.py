r"""A log-linear function for all tokens at once, at neighbouring positions of a block.

Notation: as in `clso.mixture.loglinear.positions`; n positions, m columns, R rows of the models'
table, g backoff weights, d discounted counts, b the exponent of a model.

The scores of all columns are one product of matrices: the topics and what never changes. A
Kneser-Ney model adds a row of logarithms, those of its longest context that has a table. Longer
contexts multiply all columns of it by the same number, which the sum over a class cancels, and add
to the few columns that followed them:

.. math:: b \log p(y \mid h) = b \log p(y \mid h') + b \log \prod g
    + b \log \Bigl( 1 + \frac{\sum d(y)}{\prod g \; p(y \mid h')} \Bigr)

`Scores` rounds logarithms to float32 for given targets, so the two agree to six digits.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array
from clso.mixture.buffers import buffer
from clso.mixture.compiled import compiled, dot_product
from clso.mixture.loglinear.counts import table_row
from clso.mixture.loglinear.positions import Experts
from clso.mixture.loglinear.scores import NEW_REPEAT, Scores
from clso.scoring import Int64Array

__all__ = ["AllColumns", "AllTokens"]

_LARGEST_SCORE: Final = 300.0  # the exponentials of larger ones may pass the range of floats
_PLACE: Final = np.dtype([("position", np.int32), ("column", np.int32), ("model", np.int64)])


class AllColumns(NamedTuple):
    """Distributions at n positions.

    Attributes:
        p: the probability of a token of each column, `(n, m)`; overwritten by the thread's next.
        tokens: tokens that have more than their column, `(n_more,)`.
        positions: where, `(n_more,)`.
        more: how much more, `(n_more,)`.
    """

    p: FloatArray
    tokens: Int64Array
    positions: Int64Array
    more: FloatArray


class AllTokens:
    """The scores of an instance of `Scores`, arranged for all tokens at once."""

    def __init__(self, experts: Experts, scores: Scores) -> None:
        self.scores = scores
        self._experts = experts
        columns, models = experts.columns, experts.of_columns
        bounds = np.append(models.roots, len(models.table))
        logs = np.log(models.table)
        for exponent, start, stop in zip(scores.models, bounds[:-1], bounds[1:], strict=True):
            logs[start:stop] *= exponent
        self._logs = logs
        # models without rows for contexts add the same to every position
        self._has_rows = np.diff(bounds) > 1
        fixed = scores.fixed + logs[models.roots[~self._has_rows]].sum(axis=0, dtype=np.float64)
        self._columns = np.concatenate([experts.column_vectors.T, fixed[None]])
        self._multiplicity = columns.multiplicity.astype(np.float64)

    def at(self, history: Int64Array, start: int, weights: FloatArray) -> AllColumns:
        """Return w(t) p(. | history up to t) for each token from `start`; `weights` is `(n,)`."""
        experts, columns, scores = self._experts, self._experts.columns, self.scores
        inputs = np.ascontiguousarray(history[None], dtype=np.int64)
        positions = np.arange(start, len(history))
        places = np.arange(len(positions))
        contexts = experts.walk.find(inputs, start)
        of_class = scores.class_weights(inputs, positions, contexts, places)
        topics = np.ones((len(positions), len(self._columns)))
        topics[:, :-1] = scores.token_topics(inputs, positions)
        p = np.matmul(topics, self._columns, out=buffer("columns", len(positions), len(columns)))
        models = experts.of_columns
        n_ratios = 1 + models.n_entries(contexts)
        ratios, at = buffer("ratios", n_ratios), np.empty(n_ratios, dtype=_PLACE)
        n_ratios = _add_rows(
            p,
            ratios,
            at,
            self._logs,
            self._has_rows,
            models.table,
            models.roots,
            models.levels,
            *models.sparse,
            contexts,
        )
        np.log1p(ratios[:n_ratios], out=ratios[:n_ratios])
        n_unseen = np.cumsum(experts.is_unseen[inputs[0]])[start:]
        new = np.empty(int(n_unseen.sum()), dtype=NEW_REPEAT)
        n_new = _add_repeats(
            p,
            new,
            ratios[:n_ratios],
            at,
            scores.models,
            scores.repeated,
            scores.followed,
            scores.new,
            experts.is_unseen,
            columns.of_token,
            inputs[0],
            start,
        )
        if float(p.max()) > _LARGEST_SCORE or float(p.min()) < -_LARGEST_SCORE:
            sizes = np.diff(columns.starts)
            p -= np.repeat(np.maximum.reduceat(p, columns.starts[:-1], axis=1), sizes, axis=1)
        np.exp(p, out=p)
        of_class *= (weights / of_class.sum(axis=1))[:, None]
        new = new[:n_new]
        _normalize(p, new, of_class, columns.starts, self._multiplicity, columns.of_token)
        return AllColumns(p, new["token"], new["index"], new["gain"])


@compiled
def _add_rows(
    scores: FloatArray,
    ratios: FloatArray,
    at: Any,  # noqa: ANN401 - records
    logs: Float32Array,
    has_rows: npt.NDArray[np.bool_],
    table: Float32Array,
    roots: Int64Array,
    levels: Int64Array,
    rows: Any,  # noqa: ANN401 - records
    entries: Any,  # noqa: ANN401 - records
    contexts: Int64Array,
) -> int:
    """Add rows of logarithms; write ratios of counts to rows, and where; return their number."""
    (n_positions, n_columns), n_levels, n_ratios = scores.shape, levels.shape[1], 0
    added, touched = np.zeros(n_columns), np.empty(n_columns, dtype=np.int64)
    for model in range(len(roots)):
        for position in range(n_positions):
            row, level = table_row(roots, levels, contexts, model, position)
            if has_rows[model]:
                for column in range(n_columns):
                    scores[position, column] += logs[row, column]
            first = level
            while level < n_levels and levels[model, level, 2] == 0:
                if contexts[levels[model, level, 0], position] < 0:
                    break
                level += 1
            # the longest context first: what it leaves is a factor of the shorter ones
            left, n_touched = 1.0, 0
            while level > first:
                level -= 1
                context = levels[model, level, 1] + contexts[levels[model, level, 0], position]
                for entry in range(rows[context].start, rows[context + 1].start):
                    column = entries[entry].column
                    if added[column] == 0.0:
                        touched[n_touched] = column
                        n_touched += 1
                    added[column] += left * entries[entry].discounted
                left *= rows[context].backoff
            for index in range(n_touched):
                column = touched[index]
                ratios[n_ratios] = added[column] / (left * table[row, column])
                at[n_ratios].position, at[n_ratios].column = position, column
                at[n_ratios].model = model
                added[column] = 0.0
                n_ratios += 1
    return n_ratios


@compiled
def _add_repeats(
    scores: FloatArray,
    new: Any,  # noqa: ANN401 - records
    log_ratios: FloatArray,
    at: Any,  # noqa: ANN401 - records
    exponents: FloatArray,
    repeated: FloatArray,
    of_followed: float,
    of_new: float,
    is_unseen: npt.NDArray[np.bool_],
    column_of: Int64Array,
    history: Int64Array,
    start: int,
) -> int:
    """Add logarithms of ratios, and repeats; write new repeats and return their number."""
    for index in range(len(log_ratios)):
        place = at[index]
        scores[place.position, place.column] += exponents[place.model] * log_ratios[index]
    length, n_new = len(history), 0
    latest = np.full(len(is_unseen), -1)
    previous = np.empty(length, dtype=np.int64)
    found = np.zeros(len(is_unseen), dtype=np.int64)
    after = np.zeros(len(is_unseen), dtype=np.int64)
    for place in range(length):
        token = history[place]
        previous[place] = latest[token]
        latest[token] = place
        position, stamp = place - start, place + 1
        if position < 0:
            continue
        source = previous[place]
        while source >= 0:
            token = history[source + 1]
            if after[token] != stamp:
                after[token] = stamp
                if not is_unseen[token]:
                    scores[position, column_of[token]] += of_followed
            source = previous[source]
        for source in range(stamp):
            token = history[source]
            if found[token] != stamp:
                found[token] = stamp
                if is_unseen[token]:
                    gain = repeated[token] + of_new
                    if after[token] == stamp:
                        gain += of_followed
                    new[n_new].index, new[n_new].token, new[n_new].gain = position, token, gain
                    n_new += 1
                else:
                    scores[position, column_of[token]] += repeated[token]
    return n_new


@compiled
def _normalize(
    weights: FloatArray,
    new: Any,  # noqa: ANN401 - records
    of_class: FloatArray,
    starts: Int64Array,
    multiplicity: FloatArray,
    column_of: Int64Array,
) -> None:
    """Turn weights, `(n, m)`, into p, and gains of new repeats into what they have beyond."""
    n_positions, n_classes = of_class.shape
    class_of, scales = np.empty(weights.shape[1], dtype=np.int64), np.empty(n_classes)
    entry = 0
    for label in range(n_classes):
        for column in range(starts[label], starts[label + 1]):
            class_of[column] = label
    for position in range(n_positions):
        for label in range(n_classes):
            scales[label] = _weighted(
                weights, position, starts[label], starts[label + 1], multiplicity
            )
        first = entry
        while entry < len(new) and new[entry].index == position:
            column = column_of[new[entry].token]
            new[entry].gain = weights[position, column] * math.expm1(new[entry].gain)
            scales[class_of[column]] += new[entry].gain
            entry += 1
        for label in range(n_classes):
            scales[label] = of_class[position, label] / scales[label]
            scale = scales[label]
            for column in range(np.uint64(starts[label]), np.uint64(starts[label + 1])):
                weights[position, column] *= scale
        for index in range(first, entry):
            new[index].gain *= scales[class_of[column_of[new[index].token]]]


@dot_product
def _weighted(
    weights: FloatArray, position: int, start: int, stop: int, multiplicity: FloatArray
) -> float:
    """Return the sum of a class's weights, each as often as its column has tokens."""
    total = 0.0
    for column in range(np.uint64(start), np.uint64(stop)):
        total += weights[position, column] * multiplicity[column]
    return total

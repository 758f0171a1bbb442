r"""The scores of a log-linear function: sums of exponents times experts at successive positions.

Notation: as in `clso.mixture.loglinear.positions`; n positions of blocks `(B, T)`, from number
`first` to `stop` - 1; exponents a of the experts on classes, b of those on columns.

A compiled loop goes through a block and keeps what a step changes little: where each token and each
class was last seen, and how often each class. Logarithms and exponentials are numpy's, of many
positions at once, because a processor computes eight or sixteen of them together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array
from clso.mixture.buffers import buffer
from clso.mixture.compiled import compiled, dot_product
from clso.mixture.loglinear.counts import Ranges
from clso.mixture.loglinear.positions import (
    CLASS_HALF_LIFE,
    KAPPA,
    OFFSETS,
    TOKEN_HALF_LIVES,
    Experts,
)
from clso.mixture.loglinear.topic import block_vectors
from clso.scoring import Int64Array

__all__ = ["NEW_REPEAT", "Scores"]

NEW_REPEAT: Final = np.dtype([("index", np.int64), ("token", np.int64), ("gain", np.float64)])
"""A token of the block that does not occur in the text: the index of the position, the token, and
what is added to the score of its column."""

_PART_ELEMENTS: Final = 1 << 19  # probabilities of one part; they fit a processor's cache


class Scores:
    """The experts with their exponents, `(J,)`."""

    def __init__(self, experts: Experts, exponents: FloatArray) -> None:
        self._experts = experts
        n, n_models = experts.n_class_exponents, experts.of_columns.n_models
        self.exponents = exponents
        self._of_classes, self._of_columns = exponents[:n], exponents[n:]
        self.models = np.ascontiguousarray(self._of_columns[:n_models])
        self._topics = self._of_columns[n_models : n_models + len(TOKEN_HALF_LIVES)]
        unseen, rate, repeated, followed, new = self._of_columns[-5:]
        columns = experts.columns
        self.fixed: FloatArray = unseen * columns.is_unseen + rate * columns.log_rate
        self.repeated: FloatArray = repeated * experts.repeated
        self.followed, self.new = float(followed), float(new)
        self._vectors = experts.column_vectors
        self._multiplicity = columns.multiplicity.astype(np.float64)

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(target) of blocks, `(B, T)`."""
        experts, columns = self._experts, self._experts.columns
        inputs = np.ascontiguousarray(inputs, dtype=np.int64)
        tokens = targets.reshape(-1).astype(np.int64)
        labels = experts.classes[tokens]
        first, stop = columns.starts[labels], columns.starts[labels + 1]
        chosen = columns.of_token[tokens] - first
        contexts = experts.walk.find(inputs)
        n_unseen = np.cumsum(experts.is_unseen[inputs], axis=1).reshape(-1)
        p = np.empty(len(tokens))
        elements = experts.of_classes.n_models * columns.n_classes
        for part in _parts(elements + experts.of_columns.n_models * (stop - first)):
            positions = np.arange(part.start, part.stop)
            of_class = self.class_weights(inputs, positions, contexts, positions)
            p[part] = of_class[np.arange(len(positions)), labels[part]] / of_class.sum(axis=1)
            ranges = Ranges.of(positions, first[part], stop[part])
            logs = experts.of_columns.log_probabilities(contexts, ranges)
            scores = buffer("scores of columns", int(ranges.offsets[-1]))
            new = np.empty(int(n_unseen[part].sum()), dtype=NEW_REPEAT)
            n_new = _write_column_scores(
                scores,
                new,
                logs,
                self.models,
                self.token_topics(inputs, positions),
                self._vectors,
                self.fixed,
                self.repeated,
                self.followed,
                self.new,
                experts.is_unseen,
                columns.of_token,
                experts.classes,
                inputs,
                labels[part],
                *ranges,
            )
            np.exp(scores, out=scores)
            _multiply_shares(
                p[part],
                scores,
                chosen[part],
                tokens[part],
                columns.of_token,
                self._multiplicity,
                new[:n_new],
                *ranges,
            )
        return p.reshape(inputs.shape)

    def class_weights(
        self, inputs: Int64Array, positions: Int64Array, contexts: Int64Array, places: Int64Array
    ) -> FloatArray:
        """Return numbers that p(c) is proportional to at successive positions, `(n, C)`.

        `places` are the indices of the positions in `contexts`. The thread's next call overwrites
        the result.
        """
        experts = self._experts
        ranges = Ranges.of(places, 0, experts.columns.n_classes)
        logs = experts.of_classes.log_probabilities(contexts, ranges)
        scores = np.matmul(
            block_vectors(inputs, experts.weighted_vectors, CLASS_HALF_LIFE, positions),
            experts.class_vectors.T,
            out=buffer("scores of classes", len(positions), experts.columns.n_classes),
        )
        _add_class_scores(
            scores,
            logs,
            self._of_classes,
            experts.log_lifts,
            _LIFT_OFFSETS,
            experts.classes,
            experts.class_share,
            inputs,
            positions,
        )
        return np.asarray(np.exp(scores, out=scores))

    def token_topics(self, inputs: Int64Array, positions: Int64Array) -> FloatArray:
        """Return the sum of b tau over the topics of tokens, `(n, d)`."""
        return np.asarray(
            sum(
                exponent
                * block_vectors(inputs, self._experts.weighted_vectors, half_life, positions)
                for exponent, half_life in zip(self._topics, TOKEN_HALF_LIVES, strict=True)
            )
        )


_LIFT_OFFSETS: Final = np.array(OFFSETS)


def _parts(elements: Int64Array) -> Iterator[slice]:
    """Yield ranges of positions that together have about as many elements as a cache."""
    ends, start = np.cumsum(elements), 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + _PART_ELEMENTS, side="right"))
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop


@compiled
def _add_class_scores(
    scores: FloatArray,
    logs: Float32Array,
    exponents: FloatArray,
    log_lifts: FloatArray,
    offsets: Int64Array,
    classes: Int64Array,
    share: FloatArray,
    inputs: Int64Array,
    positions: Int64Array,
) -> None:
    """Turn products with the topic into scores less their largest, `(n, C)`."""
    n_classes, length = scores.shape[1], inputs.shape[1]
    n_models = len(exponents) - len(offsets) - 3
    topic, shared, followed = exponents[-3], exponents[-2], exponents[-1]
    in_block = np.zeros(n_classes)
    adapted = np.full(n_classes, math.log(KAPPA))
    after = np.zeros(n_classes, dtype=np.int64)
    latest = np.full(len(classes), -1)  # where a token was last seen in the block
    previous = np.empty(length, dtype=np.int64)  # where the token of a position was seen before
    total = np.empty(n_classes)
    begin = positions[0] - positions[0] % length
    for position in range(begin, positions[-1] + 1):
        block, place = position // length, position % length
        if place == 0:
            for number in range(n_classes):
                in_block[number], adapted[number] = 0.0, math.log(KAPPA)
            for number in range(length):
                latest[inputs[max(block - 1, 0), number]] = -1
        token = inputs[block, place]
        label = classes[token]
        previous[place] = latest[token]
        latest[token] = place
        in_block[label] += 1
        adapted[label] = math.log(in_block[label] / share[label] + KAPPA)
        index = position - positions[0]
        if index < 0:
            continue
        for column in range(n_classes):
            total[column] = 0.0
        for model in range(n_models):
            start, exponent = np.uint64((index * n_models + model) * n_classes), exponents[model]
            for column in range(np.uint64(n_classes)):
                total[column] += exponent * logs[start + column]
        for number in range(len(offsets)):
            earlier = place - offsets[number] + 1
            if earlier >= 0:
                exponent, label = exponents[n_models + number], classes[inputs[block, earlier]]
                for column in range(n_classes):
                    total[column] += exponent * log_lifts[number, label, column]
        for column in range(n_classes):
            total[column] += topic * scores[index, column]
            total[column] += shared * adapted[column]
        source = previous[place]
        while source >= 0:
            after[classes[inputs[block, source + 1]]] += 1
            source = previous[source]
        source = previous[place]
        while source >= 0:
            label = classes[inputs[block, source + 1]]
            if after[label]:
                total[label] += followed * math.log1p(after[label])
                after[label] = 0
            source = previous[source]
        largest = total[0]
        for column in range(1, n_classes):
            largest = max(largest, total[column])
        for column in range(n_classes):
            scores[index, column] = total[column] - largest


@dot_product
def _dot(first: FloatArray, row: int, second: FloatArray, index: int) -> float:
    """Return the product of a row of one matrix and a row of another."""
    total = 0.0
    for number in range(first.shape[1]):
        total += first[row, number] * second[index, number]
    return total


@compiled
def _write_column_scores(
    scores: FloatArray,
    new: Any,  # noqa: ANN401 - records
    logs: Float32Array,
    exponents: FloatArray,
    topics: FloatArray,
    vectors: FloatArray,
    fixed: FloatArray,
    repeated: FloatArray,
    of_followed: float,
    of_new: float,
    is_unseen: npt.NDArray[np.bool_],
    column_of: Int64Array,
    classes: Int64Array,
    inputs: Int64Array,
    labels: Int64Array,
    positions: Int64Array,
    first: Int64Array,
    stop: Int64Array,
    offsets: Int64Array,
) -> int:
    """Write scores of a class's columns, less their largest; return the number of new repeats."""
    length, n_models, n_new = inputs.shape[1], len(exponents), 0
    latest = np.full(len(classes), -1)
    previous = np.empty(length, dtype=np.int64)
    latest_of_class = np.full(len(classes), -1)  # where a class was last seen in the block
    previous_of_class = np.empty(length, dtype=np.int64)
    # the last position, + 1, where a token was found in the block, and after the last token there
    found, after = np.zeros(len(classes), dtype=np.int64), np.zeros(len(classes), dtype=np.int64)
    for position in range(positions[0] - positions[0] % length, positions[-1] + 1):
        block, place = position // length, position % length
        if place == 0:
            for number in range(length):
                token = inputs[max(block - 1, 0), number]
                latest[token] = latest_of_class[classes[token]] = -1
        token = inputs[block, place]
        previous[place] = latest[token]
        latest[token] = place
        previous_of_class[place] = latest_of_class[classes[token]]
        latest_of_class[classes[token]] = place
        index = position - positions[0]
        if index < 0:
            continue
        left, begin, label = first[index], offsets[index], labels[index]
        width = stop[index] - left
        # an unsigned index need not be asked whether it counts from the end
        at, from_column = np.uint64(begin), np.uint64(left)
        for column in range(np.uint64(width)):
            scores[at + column] = fixed[from_column + column]
        for model in range(n_models):
            start, exponent = np.uint64(n_models * begin + model * width), exponents[model]
            for column in range(np.uint64(width)):
                scores[at + column] += exponent * logs[start + column]
        for column in range(width):
            scores[begin + column] += _dot(topics, index, vectors, left + column)
        stamp, source = position + 1, previous[place]
        while source >= 0:
            token = inputs[block, source + 1]
            if classes[token] == label and after[token] != stamp:
                after[token] = stamp
                if not is_unseen[token]:
                    scores[begin + column_of[token] - left] += of_followed
            source = previous[source]
        source = latest_of_class[label]
        while source >= 0:
            token = inputs[block, source]
            if found[token] != stamp:
                found[token] = stamp
                if is_unseen[token]:
                    gain = repeated[token] + of_new
                    if after[token] == stamp:
                        gain += of_followed
                    new[n_new].index, new[n_new].token, new[n_new].gain = index, token, gain
                    n_new += 1
                else:
                    scores[begin + column_of[token] - left] += repeated[token]
            source = previous_of_class[source]
        largest = scores[begin]
        for column in range(np.uint64(width)):
            largest = max(largest, scores[at + column])
        for column in range(np.uint64(width)):
            scores[at + column] -= largest
    return n_new


@dot_product
def _weighted(
    weights: FloatArray, begin: int, width: int, multiplicity: FloatArray, left: int
) -> float:
    """Return the sum of a class's weights, each as often as its column has tokens."""
    total, at, from_column = 0.0, np.uint64(begin), np.uint64(left)
    for column in range(np.uint64(width)):
        total += weights[at + column] * multiplicity[from_column + column]
    return total


@compiled
def _multiply_shares(
    p: FloatArray,
    weights: FloatArray,
    chosen: Int64Array,
    targets: Int64Array,
    column_of: Int64Array,
    multiplicity: FloatArray,
    new: Any,  # noqa: ANN401 - records
    positions: Int64Array,
    first: Int64Array,
    stop: Int64Array,
    offsets: Int64Array,
) -> None:
    """Multiply p of the target's class by the target's share of the class's weights."""
    entry = 0
    for index in range(len(positions)):
        begin, left = offsets[index], first[index]
        total = _weighted(weights, begin, stop[index] - left, multiplicity, left)
        own = weights[begin + chosen[index]]
        while entry < len(new) and new[entry].index == index:
            column = column_of[new[entry].token] - left
            total += weights[begin + column] * math.expm1(new[entry].gain)
            if new[entry].token == targets[index]:
                own *= math.exp(new[entry].gain)
            entry += 1
        p[index] *= own / total

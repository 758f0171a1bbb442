r"""The experts of a log-linear function at the positions of blocks.

Notation: V tokens, C classes c; B blocks of T positions, and position b T + t; x_t the last token;
n positions, m columns (`clso.mixture.loglinear.columns`). The experts on classes, f_j, and on
columns, g_j, in the order of their exponents:

    log of Kneser-Ney models of the next class                f
    log of lifts, 4 to 8 tokens before the next token         f    `FittingText.lift`
    tau . e_c, H = 32                                         f    `clso.mixture.loglinear.topic`
    log(h(c) / u(c) + 40), h(c) tokens of the block           f
    log(1 + r(c)), r(c) times c followed x_t in the block     f
    log of Kneser-Ney models of the next token                g
    tau . e_y, H = 8, and without decay                       g
    1 if y does not occur in the text                         g
    log r(y) if y does not occur in the text                  g    `clso.mixture.loglinear.columns`
    max(log(N / (c(y) + 1)) - 3, 0) if y is in the block      g
    1 if y followed x_t in the block                          g
    1 if y is in the block and does not occur in the text     g

u(c) is the share of a class in the text. Tokens of one column have equal values of all experts but
the last three, where they do not occur in the text but in the block: these are *new repeats*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array, UnsignedArray
from clso.mixture.counts import KneserNey, Pattern
from clso.mixture.counts.walk import ContextWalk
from clso.mixture.loglinear.columns import TokenColumns
from clso.mixture.loglinear.counts import CountExperts, Ranges
from clso.mixture.loglinear.exponents import Choices
from clso.mixture.loglinear.name import LogLinearName
from clso.mixture.loglinear.topic import block_vectors, rarity
from clso.mixture.pointer import BlockView
from clso.scoring import Int64Array

__all__ = [
    "CLASS_HALF_LIFE",
    "KAPPA",
    "OFFSETS",
    "TOKEN_HALF_LIVES",
    "Experts",
    "NewRepeats",
    "Positions",
]

FloatingArray = npt.NDArray[np.floating[Any]]

OFFSETS: Final = (4, 5, 6, 7, 8)
"""The offsets of the lifts."""

CLASS_HALF_LIFE: Final = 32.0
TOKEN_HALF_LIVES: Final = (8.0, np.inf)
"""The half-lives of the topics of classes, and of tokens; see `clso.mixture.loglinear.topic`."""

KAPPA: Final = 40.0
_COMMON: Final = 4.0  # tokens more frequent than exp(-4) say nothing of the topic
_COMMON_REPEATED: Final = 3.0
_CHUNK_ELEMENTS: Final = 1 << 18  # they fit a processor's cache
# The exponents without held-out text, and where Newton's method starts: rounded from those that it
# found on 256,000 tokens of WikiText. Models of one kind share theirs equally.
_CLASS_MODELS, _LIFT, _CLASS_TOPIC, _CLASS_SHARE, _CLASS_FOLLOWED = 1.0, 0.05, 2.0, 0.3, 0.8
_TOKEN_MODELS, _TOPICS, _UNSEEN, _RATE = 0.65, (1.3, 3.5), 1.3, 0.7
_REPEATED, _FOLLOWED, _NEW_REPEATED = 0.35, 1.3, 4.0
_N_REPEATS: Final = 3  # experts that tell repeats
# In place of a column's number of tokens, where all of them are new repeats.
_HARDLY_ANY: Final = 1e-9


class Experts:
    """What the experts have counted, arranged for evaluation.

    Args:
        counts: how often each token occurs in the text, `(V,)`.
        models: Kneser-Ney models by their patterns; at least those of the settings.
        classes: the class of each token, `(V,)`.
        lifts: of classes after classes, `(C, C)` per offset.
        vectors: of tokens, `(V, d)`.

    Attributes:
        default_exponents: of the experts on classes, then of those on columns, `(J,)`.
        n_class_exponents: how many of the exponents are those on classes.
    """

    def __init__(
        self,
        settings: LogLinearName,
        counts: UnsignedArray,
        models: Mapping[Pattern, KneserNey],
        classes: UnsignedArray,
        lifts: Sequence[Float32Array],
        vectors: Float32Array,
    ) -> None:
        columns = self.columns = TokenColumns(classes, counts)
        labels = np.arange(columns.n_classes)
        class_models = [models[pattern] for pattern in settings.class_patterns]
        token_models = [models[pattern] for pattern in settings.token_patterns]
        self.walk = ContextWalk([*class_models, *token_models])
        self.of_classes = CountExperts(class_models, self.walk, labels, labels)
        self.of_columns = CountExperts(token_models, self.walk, columns.of_token, columns.token)
        self.classes = classes.astype(np.int64)
        in_class = np.bincount(self.classes, counts) + 1e-3
        self.class_share = in_class / in_class.sum()
        self.log_lifts = np.log(np.array(lifts, dtype=np.float32)).astype(np.float64)
        self.weighted_vectors: FloatArray = vectors * rarity(counts, _COMMON)[:, None]
        self.column_vectors = vectors[columns.token].astype(np.float64)
        self.class_vectors = columns.class_means(self.column_vectors, counts)
        self.repeated = rarity(counts, _COMMON_REPEATED)
        self.is_unseen = counts == 0
        of_classes = [_CLASS_MODELS / len(class_models)] * len(class_models)
        of_classes += [_LIFT] * len(OFFSETS) + [_CLASS_TOPIC, _CLASS_SHARE, _CLASS_FOLLOWED]
        of_columns = [_TOKEN_MODELS / len(token_models)] * len(token_models)
        of_columns += [*_TOPICS, _UNSEEN, _RATE, _REPEATED, _FOLLOWED, _NEW_REPEATED]
        self.default_exponents = np.array([*of_classes, *of_columns])
        self.n_class_exponents = len(of_classes)


class _Repeats(NamedTuple):
    """What the block repeats, as pairs of the index of a position and a token.

    Attributes:
        present: the token is in the block, two `(n_pairs,)`.
        followed: the token followed the position's token in the block, two `(n_pairs,)`.
    """

    present: tuple[Int64Array, Int64Array]
    followed: tuple[Int64Array, Int64Array]


class NewRepeats(NamedTuple):
    """Pairs of a position and a token of its block that does not occur in the text.

    Attributes:
        query: the index of the position, `(n_pairs,)`.
        token: `(n_pairs,)`.
        features: the experts that tell repeats, `(3, n_pairs)`; those of the column have 0.
    """

    query: Int64Array
    token: Int64Array
    features: FloatArray


class Positions:
    """The experts at all positions of a view."""

    def __init__(self, experts: Experts, view: BlockView) -> None:
        self._experts = experts
        self._view = view
        self._contexts = experts.walk.find(view.inputs)
        positions = np.arange(view.inputs.size)
        self._topics = [
            block_vectors(view.inputs, experts.weighted_vectors, half_life, positions)
            for half_life in TOKEN_HALF_LIVES
        ]
        repeats, tokens = view.repeats(1), view.inputs.reshape(-1)
        self._followed = repeats.query, tokens[repeats.source + 1]

    def class_choices(self) -> Choices:
        """Return the experts on classes and the classes of the targets."""
        return Choices(
            np.stack([feature.astype(np.float32) for feature in self._class_features()]),
            np.zeros(self._experts.columns.n_classes, np.float32),
            self._experts.classes[self._view.targets.reshape(-1)],
        )

    def column_choices(self) -> Iterator[Choices]:
        """Yield the experts on columns and what came, class after class.

        The outcomes are the columns of the class, then each new repeat that a position has.
        """
        columns, all_targets = self._experts.columns, self._view.targets.reshape(-1)
        for positions, start, stop, repeats in self._by_class():
            by_expert = self._column_features(positions, start, stop, repeats)
            features = np.stack([feature.astype(np.float32) for feature in by_expert])
            new, targets = self._new_repeats(repeats), all_targets[positions]
            tokens, place = np.unique(new.token, return_inverse=True)
            column = columns.of_token[tokens] - start
            of_tokens = features[:, :, column]
            of_tokens[-_N_REPEATS:, new.query, place] = new.features
            left = columns.multiplicity[start:stop] - np.bincount(column, minlength=stop - start)
            multiplicity = np.concatenate([np.maximum(left, _HARDLY_ANY), np.ones(len(tokens))])
            chosen = columns.of_token[targets] - start
            apart = np.isin(targets, tokens)
            chosen[apart] = stop - start + np.searchsorted(tokens, targets[apart])
            yield Choices(
                np.concatenate([features, of_tokens], axis=2),
                np.log(multiplicity).astype(np.float32),
                chosen,
            )

    def _class_features(self) -> Iterator[FloatingArray]:
        """Yield f_j at all positions, `(n, C)` each."""
        experts, inputs = self._experts, self._view.inputs
        n_classes, block_size = experts.columns.n_classes, inputs.shape[1]
        positions = np.arange(inputs.size)
        yield from self._of_models(experts.of_classes, positions, 0, n_classes)
        classes = experts.classes[inputs]
        for offset, log_lift in zip(OFFSETS, experts.log_lifts, strict=True):
            # before the start of the block, no class is likelier
            feature = np.zeros((*inputs.shape, n_classes))
            feature[:, offset - 1 :] = log_lift[classes[:, : max(block_size - offset + 1, 0)]]
            yield feature.reshape(-1, n_classes)
        topics = block_vectors(inputs, experts.weighted_vectors, CLASS_HALF_LIFE, positions)
        yield topics @ experts.class_vectors.T
        in_block = np.zeros((*inputs.shape, n_classes))
        np.put_along_axis(in_block, classes[..., None], 1.0, axis=2)
        in_block = np.cumsum(in_block, axis=1).reshape(inputs.size, n_classes)
        yield np.log(in_block / experts.class_share + KAPPA)
        query, token = self._followed
        places = query * n_classes + experts.classes[token]
        followed = np.bincount(places, minlength=inputs.size * n_classes)
        yield np.log1p(followed.reshape(inputs.size, n_classes))

    def _column_features(
        self, positions: Int64Array, start: int, stop: int, repeats: _Repeats
    ) -> Iterator[FloatingArray]:
        """Yield g_j of a range of columns at some positions, `(n, m)` each."""
        experts, shape = self._experts, (len(positions), stop - start)
        of_token = experts.columns.of_token
        yield from self._of_models(experts.of_columns, positions, start, stop)
        for topics in self._topics:
            yield topics[positions] @ experts.column_vectors[start:stop].T
        columns = experts.columns
        yield np.broadcast_to(columns.is_unseen[start:stop].astype(np.float64), shape)
        yield np.broadcast_to(columns.log_rate[start:stop], shape)
        for (index, token), value in zip(repeats, (experts.repeated, np.ones(1)), strict=True):
            repeated, seen = np.zeros(shape), ~experts.is_unseen[token]
            places = index[seen], of_token[token[seen]] - start
            repeated[places] = np.broadcast_to(value, len(of_token))[token[seen]]
            yield repeated
        yield np.broadcast_to(np.zeros(1), shape)

    def _of_models(
        self, experts: CountExperts, positions: Int64Array, start: int, stop: int
    ) -> Iterator[Float32Array]:
        """Yield the logarithms of Kneser-Ney models at some positions, `(n, m)` each."""
        ranges = Ranges.of(positions, start, stop)
        logs = experts.log_probabilities(self._contexts, ranges)
        shape = len(positions), experts.n_models, stop - start
        yield from logs.reshape(shape).swapaxes(0, 1).copy()

    def _new_repeats(self, repeats: _Repeats) -> NewRepeats:
        experts, vocab_size = self._experts, len(self._experts.is_unseen)
        present, followed = (
            np.unique((index * vocab_size + token)[experts.is_unseen[token]])
            for index, token in repeats
        )
        index, token = np.divmod(present, vocab_size)
        features = [experts.repeated[token], np.isin(present, followed), np.ones(len(token))]
        return NewRepeats(index, token, np.array(features, dtype=np.float64))

    def _by_class(self) -> Iterator[tuple[Int64Array, int, int, _Repeats]]:
        """Yield positions whose targets have one class, its range of columns, and repeats in it."""
        experts, view = self._experts, self._view
        classes = experts.classes
        of_target = classes[view.targets.reshape(-1)]
        hits = view.equal(classes[view.targets], classes[view.inputs])
        present = _grouped(hits.query, view.inputs.reshape(-1)[hits.source], of_target)
        query, token = self._followed
        same = classes[token] == of_target[query]
        followed = _grouped(query[same], token[same], of_target)
        order = np.argsort(of_target, kind="stable")
        bounds = np.searchsorted(of_target[order], np.arange(experts.columns.n_classes + 1))
        index_of = np.empty(len(order), dtype=np.int64)
        for label in np.unique(of_target):
            start, stop = experts.columns.starts[label : label + 2]
            members = order[bounds[label] : bounds[label + 1]]
            size = max(_CHUNK_ELEMENTS // int(stop - start), 1)
            for first in range(0, len(members), size):
                positions = members[first : first + size]
                index_of[positions] = np.arange(len(positions))
                in_part = [
                    pairs.of(label, positions[0], positions[-1]) for pairs in (present, followed)
                ]
                repeats = _Repeats(*((index_of[query], token) for query, token in in_part))
                yield positions, int(start), int(stop), repeats


class _Grouped(NamedTuple):
    """Pairs of a position and a token, sorted by the class of the position's target, then position.

    Attributes:
        bounds: the first pair of each class, and the number of pairs.
    """

    query: Int64Array
    token: Int64Array
    bounds: Int64Array

    def of(self, label: int, first: int, last: int) -> tuple[Int64Array, Int64Array]:
        """Return the pairs of a class with positions from `first` to `last`."""
        of_class = slice(*self.bounds[label : label + 2])
        query = self.query[of_class]
        chosen = slice(*np.searchsorted(query, [first, last + 1]))
        return query[chosen], self.token[of_class][chosen]


def _grouped(query: Int64Array, token: Int64Array, of_target: Int64Array) -> _Grouped:
    order = np.argsort(of_target[query], kind="stable")
    labels = of_target[query][order]
    bounds = np.searchsorted(labels, np.arange(int(of_target.max(initial=0)) + 2))
    return _Grouped(query[order], token[order], bounds)

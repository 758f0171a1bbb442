r"""A product of experts over token classes: one expert per earlier token, one for the block.

Notation: V tokens y of K classes c = a(y), which are predicted. Earlier tokens x are seen through
a second map b of C classes. u(c) is the unigram probability of a class, h_t(c) the number of
tokens of class c among x_0 .. x_t. lift_o is `FittingText.lift` at offset o.

.. math::
    p(y \mid x_0 .. x_t) = \frac{p(y)}{u(a(y))} \, q(a(y)), \qquad
    q(c) \propto p(c \mid x_t) \prod_{o=2}^{5} \mathrm{lift}_o(c \mid b(x_{t+1-o}))^{\lambda_o}
    \left( \frac{h_t(c) + \kappa \, u(c)}{u(c)} \right)^A

A mixture adds the predictions of functions. A product multiplies them, so that every expert can
make a class unlikely. Its normalisation, a sum over all outcomes, is cheap because there are few
classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.errors import ArtifactError
from clso.mixture.arrays import Float32Array, UnsignedArray, check_tokens, stored_array
from clso.mixture.buffers import buffer
from clso.mixture.compiled import compiled, dot_product
from clso.mixture.full import DistributionSum, Groups
from clso.mixture.pointer.base import BlockFunction
from clso.mixture.pointer.names import ProductName
from clso.mixture.pointer.pairs import BlockView
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["EXPONENTS", "Product"]

# lambda by offset
EXPONENTS: Final[Mapping[int, float]] = {2: 0.5, 3: 0.3, 4: 0.2, 5: 0.2}
_TOKEN_COUNT: Final = 20.0
_CLASS_COUNT: Final = 10.0
_KAPPA: Final = 40.0
_CHUNK_ELEMENTS: Final = 1 << 16  # positions times classes that fit a processor's cache
_OFFSETS: Final = np.array(list(EXPONENTS))


class Product(BlockFunction):
    r"""Predicts the class of the next token by the last five tokens and the classes of the block.

    .. math::
        p(c \mid x) = \frac{n(x, c) + 20 \, p(c \mid a(x))}{n(x) + 20}, \qquad
        p(c \mid c') = \frac{n(c', c) + 10 \, u(c)}{n(c') + 10}, \qquad \kappa = 40

    Args:
        classes: the map a, `(V,)`.
        via: the map b, `(V,)`.
        successors: keys and counts of n(x, c), as `FittingText.successors` returns them.
        lifts: the lift of classes of a after classes of b, `(C, K)` per offset of `EXPONENTS`.

    Source: Hinton 2002 (products of experts); Kneser, Peters and Klakow 1997 (adaptation by the
    ratio of marginals).
    """

    family = "class"
    settings: ProductName
    parse = staticmethod(ProductName.parse)

    def __init__(
        self,
        settings: ProductName,
        unigram: FloatArray,
        classes: UnsignedArray,
        via: UnsignedArray,
        successors: tuple[Int64Array, npt.NDArray[np.uint32]],
        lifts: Sequence[Float32Array],
    ) -> None:
        super().__init__(settings, unigram)
        self.classes = classes
        self.via = via
        self.successors = successors
        self.lifts = list(lifts)
        self._class_share: FloatArray = np.bincount(classes, unigram).astype(np.float64)
        self._within_class = unigram / self._class_share[classes]

    def view_probabilities(self, view: BlockView) -> FloatArray:
        """Return p(target), `(B, T)`."""
        targets = view.targets.reshape(-1)
        labels, size = self.classes[targets], max(_CHUNK_ELEMENTS // len(self._class_share), 1)
        probability = np.empty(len(targets))
        for start in range(0, len(targets), size):
            positions = np.arange(start, min(start + size, len(targets)))
            weights, totals = self._weights(view.inputs, positions)
            of_target = weights[np.arange(len(positions)), labels[positions]]
            probability[positions] = of_target / totals
        probability *= self._within_class[targets]
        return probability.reshape(view.shape)

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block."""
        history = check_tokens(history, self.vocab_size, self.name)
        weights, totals = self._weights(history[None], np.array([len(history) - 1]))
        return np.asarray((weights[0] / totals[0])[self.classes] * self._within_class)

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w(t) p(. | history up to t) at all positions of a sum; `weights` is `(n,)`."""
        history = check_tokens(out.history, self.vocab_size, self.name)
        of_class, totals = self._weights(history[None], np.arange(out.start, len(history)))
        groups = Groups(self.classes, self._within_class, of_class.shape[1])
        values = of_class * (weights / totals)[:, None]
        out.add_values(f"unigram->{self.settings.classes}", groups, values)

    def _weights(self, inputs: Int64Array, positions: Int64Array) -> tuple[FloatArray, FloatArray]:
        """Return numbers that q(c) is proportional to at successive positions, and their sums.

        They are `(n, K)` and `(n,)`; the positions are numbers b T + t of blocks `(B, T)`. The
        thread's next call overwrites the former.
        """
        n_classes = len(self._class_share)
        weights, totals = buffer("product", len(positions), n_classes), np.empty(len(positions))
        _write_weights(
            weights,
            totals,
            self._class_share,
            self.settings.adapt,
            self._after_class,
            self._first_successors,
            *self.successors,
            self._powers,
            _OFFSETS,
            self.classes,
            self.via,
            np.ascontiguousarray(inputs, dtype=np.int64),
            positions,
        )
        return weights, totals

    @cached_property
    def _after_class(self) -> FloatArray:
        """20 p(c | a(x)) by the class of x, `(K, K)`."""
        n_classes = len(self._class_share)
        tokens, following = np.divmod(self.successors[0], n_classes)
        pairs = self.classes[tokens].astype(np.int64) * n_classes + following
        after = np.bincount(pairs, self.successors[1], n_classes**2).reshape(n_classes, n_classes)
        total = after.sum(axis=1, keepdims=True) + _CLASS_COUNT
        return np.asarray(_TOKEN_COUNT * (after + _CLASS_COUNT * self._class_share) / total)

    @cached_property
    def _first_successors(self) -> Int64Array:
        """The first of each token's successors, and their number, `(V + 1,)`."""
        first = np.arange(self.vocab_size + 1) * len(self._class_share)
        return np.searchsorted(self.successors[0], first)

    @cached_property
    def _powers(self) -> FloatArray:
        """lift^lambda by offset, `(4, C, K)`."""
        exponents = np.array(list(EXPONENTS.values()))[:, None, None]
        return np.asarray(np.array(self.lifts, dtype=np.float64) ** exponents)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return unigram and class maps, `(V,)`, sparse successor counts and lifts, `(C, K)`."""
        names = _array_names(self.settings)
        arrays = [self.classes, self.via, *self.successors, *self.lifts]
        return {**super().to_arrays(), **dict(zip(names, arrays, strict=True))}

    @classmethod
    def from_text(cls, settings: ProductName, text: FittingText) -> Self:
        """Count what the settings need in a text; see `BlockFunction.from_text`."""
        classes, via = text.class_map(settings.classes), text.class_map(settings.via)
        lifts = [text.lift(settings.via, settings.classes, offset) for offset in EXPONENTS]
        successors = text.successors(settings.classes)
        return cls(settings, text.unigram.p, classes, via, successors, lifts)

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target.

        Each class takes 5 operations for p(c | x), 4 for the lifts, 2 for exponential and sum,
        and 3 for the adaptation. Two keys are looked up to find the row of the token; the quotient
        and p(y | c) take 2.
        """
        per_class = 5 + len(EXPONENTS) + 2 + 3 * (self.settings.adapt > 0)
        return per_class * len(self._class_share) + 2 * len(self.successors[0]).bit_length() + 2

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild the stored function; see `BlockFunction.from_arrays`."""
        settings, vocab_size = cls.parse(spec["name"]), spec["vocab_size"]
        a, b, keys, counts, *lift_names = _array_names(settings)
        unigram, classes, via = (
            stored_array(arrays, name, (vocab_size,)) for name in ("unigram", a, b)
        )
        n_classes, n_via = int(classes.max()) + 1, int(via.max()) + 1
        n_pairs = arrays[keys].size if keys in arrays else 0
        pairs, pair_counts = (stored_array(arrays, name, (n_pairs,)) for name in (keys, counts))
        if n_pairs and not 0 <= pairs.min() <= pairs.max() < vocab_size * n_classes:
            raise ArtifactError(
                f"{keys} goes beyond the {n_classes} classes of {vocab_size:,} tokens",
                remedy="delete the stored functions and build the library again",
            )
        lifts = [stored_array(arrays, name, (n_via, n_classes)) for name in lift_names]
        return cls(settings, unigram, classes, via, (pairs, pair_counts), lifts)


@compiled
def _write_weights(
    weights: FloatArray,
    totals: FloatArray,
    share: FloatArray,
    adapt: float,
    after_class: FloatArray,
    first: Int64Array,
    keys: Int64Array,
    counts: npt.NDArray[np.uint32],
    powers: FloatArray,
    offsets: Int64Array,
    classes: UnsignedArray,
    via: UnsignedArray,
    inputs: Int64Array,
    positions: Int64Array,
) -> None:
    """Write p(c | x_t), times n(x_t) + 20, times the other experts, and the sums of positions."""
    length, n_classes = inputs.shape[1], len(share)
    in_block, adapted, others = np.empty(n_classes), np.empty(n_classes), np.empty(n_classes)
    for position in range(positions[0] - positions[0] % length, positions[-1] + 1):
        block, place = position // length, position % length
        if place == 0:
            for number in range(n_classes):
                in_block[number], adapted[number] = 0.0, _KAPPA**adapt
        token = inputs[block, place]
        label = np.int64(classes[token])
        in_block[label] += 1.0
        adapted[label] = (in_block[label] / share[label] + _KAPPA) ** adapt
        index = position - positions[0]
        if index < 0:
            continue
        for number in range(n_classes):
            others[number] = adapted[number]
        for offset in range(len(offsets)):
            earlier = place - offsets[offset] + 1
            if earlier >= 0:
                of_earlier = np.int64(via[inputs[block, earlier]])
                for number in range(n_classes):
                    others[number] *= powers[offset, of_earlier, number]
        for number in range(n_classes):
            weights[index, number] = after_class[label, number] * others[number]
        for entry in range(first[token], first[token + 1]):
            number = keys[entry] - token * n_classes
            weights[index, number] += counts[entry] * others[number]
        totals[index] = _sum(weights, index)


@dot_product
def _sum(weights: FloatArray, row: int) -> float:
    total = 0.0
    for number in range(weights.shape[1]):
        total += weights[row, number]
    return total


def _array_names(settings: ProductName) -> list[str]:
    classes, via = settings.classes, settings.via
    lifts = [f"lift({via},{offset},{classes})" for offset in EXPONENTS]
    successors = [f"successors({classes}).keys", f"successors({classes}).counts"]
    return [f"classes({classes})", f"classes({via})", *successors, *lifts]

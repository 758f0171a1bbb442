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
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.errors import ArtifactError
from clso.mixture.arrays import Float32Array, UnsignedArray, check_tokens, stored_array
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
# positions times classes that are scored together fit a processor's cache
_CHUNK_ELEMENTS: Final = 1 << 19


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
        self._class_share = np.bincount(classes, unigram)
        self._within_class = unigram / self._class_share[classes]
        self._pseudo_counts = (_KAPPA * self._class_share).astype(np.float32)
        n_classes = len(self._class_share)
        tokens, following = np.divmod(successors[0], n_classes)
        pairs = classes[tokens].astype(np.int64) * n_classes + following
        after = np.bincount(pairs, successors[1], n_classes**2).reshape(n_classes, n_classes)
        total = after.sum(axis=1, keepdims=True) + _CLASS_COUNT
        self._after_class = (after + _CLASS_COUNT * self._class_share) / total
        # the last row is for an offset before the start of the block, where no class is likelier
        self._log_lifts = [
            np.vstack([exponent * np.log(lift), np.zeros((1, n_classes))]).astype(np.float32)
            for exponent, lift in zip(EXPONENTS.values(), self.lifts, strict=True)
        ]

    def view_probabilities(self, view: BlockView) -> FloatArray:
        """Return p(target), `(B, T)`."""
        n_blocks, block_size = view.shape
        distinct, number = np.unique(view.inputs, return_inverse=True)
        by_last_token = self._by_last_token(distinct)
        number = number.reshape(view.shape)
        target_classes = self.classes[view.targets].astype(np.int64)
        probability = np.empty(view.shape)
        size = max(_CHUNK_ELEMENTS // (block_size * len(self._class_share)), 1)
        for start in range(0, n_blocks, size):
            blocks = slice(start, min(start + size, n_blocks))
            inputs = view.inputs[blocks]
            logs = by_last_token[number[blocks]]  # (b, T, K)
            if self.settings.adapt:
                class_counts = np.zeros(logs.shape, dtype=np.float32)
                own = self.classes[inputs].astype(np.int64)[..., None]
                np.put_along_axis(class_counts, own, np.float32(1), axis=2)
                np.cumsum(class_counts, axis=1, out=class_counts)
                logs += self._adaptation(class_counts)
            for log_lift, classes in zip(self._log_lifts, self._earlier(inputs), strict=True):
                logs += log_lift[classes]
            unnormalised = np.exp(logs)
            chosen = target_classes[blocks][..., None]
            of_target = np.take_along_axis(unnormalised, chosen, axis=2)[..., 0]
            probability[blocks] = of_target / unnormalised.sum(axis=2, dtype=np.float64)
        return probability * self._within_class[view.targets]

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block."""
        history = check_tokens(history, self.vocab_size, self.name)
        q = self._of_classes(history, len(history) - 1)[0]
        return np.asarray(q[self.classes] * self._within_class)

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w(t) p(. | history up to t) at all positions of a sum; `weights` is `(n,)`."""
        history = check_tokens(out.history, self.vocab_size, self.name)
        q = self._of_classes(history, out.start)
        groups = Groups(self.classes, self._within_class, q.shape[1])
        out.add_values(f"unigram->{self.settings.classes}", groups, q * weights[:, None])

    def _of_classes(self, history: Int64Array, start: int) -> FloatArray:
        """Return q(c) after each token from `start`, `(t - start, K)`."""
        distinct, number = np.unique(history[start:], return_inverse=True)
        logs = self._by_last_token(distinct)[number]
        if self.settings.adapt:
            n_classes, classes = len(self._class_share), self.classes[history]
            before = np.bincount(classes[:start], minlength=n_classes).astype(np.float32)
            counts = np.zeros(logs.shape, dtype=np.float32)
            counts[np.arange(len(logs)), classes[start:]] = 1
            logs += self._adaptation(np.cumsum(counts, axis=0) + before)
        for log_lift, earlier in zip(self._log_lifts, self._earlier(history[None]), strict=True):
            logs += log_lift[earlier[0, start:]]
        unnormalised = np.exp(logs).astype(np.float64)
        return np.asarray(unnormalised / unnormalised.sum(axis=1, keepdims=True))

    def _by_last_token(self, tokens: Int64Array) -> Float32Array:
        """Return log p(c | x) - A log u(c), `(n, K)`, of distinct sorted tokens."""
        n_classes = len(self._class_share)
        counts = np.zeros((len(tokens), n_classes))
        keys, key_counts = self.successors
        bounds = np.searchsorted(keys, np.stack([tokens, tokens + 1]) * n_classes)
        lengths = bounds[1] - bounds[0]
        rows = np.repeat(np.arange(len(tokens)), lengths)
        entries = np.arange(lengths.sum()) + np.repeat(
            bounds[0] - np.cumsum(lengths) + lengths, lengths
        )
        counts[rows, keys[entries] % n_classes] = key_counts[entries]
        total = counts.sum(axis=1, keepdims=True) + _TOKEN_COUNT
        after = (counts + _TOKEN_COUNT * self._after_class[self.classes[tokens]]) / total
        logs = np.log(after) - self.settings.adapt * np.log(self._class_share)
        return np.asarray(logs, dtype=np.float32)

    def _adaptation(self, class_counts: Float32Array) -> Float32Array:
        """Return A log(h_t(c) + kappa u(c)), in the shape of h_t."""
        adapted = np.log(class_counts + self._pseudo_counts)
        adapted *= np.float32(self.settings.adapt)
        return np.asarray(adapted)

    def _earlier(self, inputs: Int64Array) -> list[Int64Array]:
        """Return the class of map b at each offset, `(b, T)`; C before the start of the block."""
        earlier = []
        for offset in EXPONENTS:
            back = offset - 1
            classes = np.full(inputs.shape, len(self._log_lifts[0]) - 1)
            classes[:, back:] = self.via[inputs[:, : max(inputs.shape[1] - back, 0)]]
            earlier.append(classes)
        return earlier

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


def _array_names(settings: ProductName) -> list[str]:
    classes, via = settings.classes, settings.via
    lifts = [f"lift({via},{offset},{classes})" for offset in EXPONENTS]
    successors = [f"successors({classes}).keys", f"successors({classes}).counts"]
    return [f"classes({classes})", f"classes({via})", *successors, *lifts]

r"""A product of experts over token classes: each place before the next token has its say.

Notation: K classes c are predicted, those of map a; C classes of map b are what earlier tokens
are seen through; u(c) is the unigram's mass of a class, h_t(c) how many of x_0 .. x_t are in it.

.. math::
    p(y \mid x_0 .. x_t) = \frac{p(y)}{u(a(y))} \, q(a(y)), \qquad
    q(c) \propto p(c \mid x_t) \prod_{o=2}^{5} \mathrm{lift}_o(c \mid b(x_{t+1-o}))^{\lambda_o}
    \left( \frac{h_t(c) + \kappa \, u(c)}{u(c)} \right)^A

Linear mixtures add what functions know, this multiplies it; the classes are few enough to
normalise over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.errors import ArtifactError
from clso.mixture.arrays import Float32Array, UnsignedArray, stored_array
from clso.mixture.pointer.base import BlockFunction
from clso.mixture.pointer.names import ProductName
from clso.mixture.pointer.pairs import BlockView
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["EXPONENTS", "Product"]

# offset: lambda
EXPONENTS: Final[Mapping[int, float]] = {2: 0.5, 3: 0.3, 4: 0.2, 5: 0.2}
_TOKEN_COUNT: Final = 20.0
_CLASS_COUNT: Final = 10.0
_KAPPA: Final = 40.0
# positions times classes that are looked at together: what a processor's cache holds
_CHUNK_ELEMENTS: Final = 1 << 19


class Product(BlockFunction):
    r"""Predicts the next token's class by the last five tokens and the classes of the block.

    .. math::
        p(c \mid x) = \frac{n(x, c) + 20 \, p(c \mid a(x))}{n(x) + 20}, \qquad
        p(c \mid c') = \frac{n(c', c) + 10 \, u(c)}{n(c') + 10}, \qquad \kappa = 40

    Args:
        settings: class maps and A.
        unigram: p(y), `(V,)`.
        classes: the map a, `(V,)`.
        via: the map b, `(V,)`.
        successors: keys and counts of n(x, c), as `count_successors` returns them.
        lifts: `class_lift` of map b before map a, `(C, K)` for each offset of `EXPONENTS`.

    Source: Hinton 2002 (products of experts); Kneser, Peters and Klakow 1997 (adaptation by the
    ratio of marginals).
    """

    family = "class"

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
        self.settings = settings
        self.classes = classes
        self.via = via
        self.successors = successors
        self.lifts = list(lifts)
        self._share = np.bincount(classes, unigram)
        self._within = unigram / self._share[classes]
        self._prior = (_KAPPA * self._share).astype(np.float32)
        n_classes = len(self._share)
        tokens, following = np.divmod(successors[0], n_classes)
        after = np.bincount(
            classes[tokens].astype(np.int64) * n_classes + following,
            successors[1],
            n_classes**2,
        ).reshape(n_classes, n_classes)
        total = after.sum(axis=1, keepdims=True) + _CLASS_COUNT
        self._after_class = (after + _CLASS_COUNT * self._share) / total
        # the last row: no token there, nothing said
        self._says = [
            np.vstack([exponent * np.log(lift), np.zeros((1, n_classes))]).astype(np.float32)
            for exponent, lift in zip(EXPONENTS.values(), self.lifts, strict=True)
        ]

    def view_probabilities(self, view: BlockView) -> FloatArray:
        """Return p(target), `(B, T)`."""
        n_blocks, block_size = view.shape
        known, number = np.unique(view.inputs, return_inverse=True)
        first = self._by_last_token(known)
        number = number.reshape(view.shape)
        wanted = self.classes[view.targets].astype(np.int64)
        probability = np.empty(view.shape)
        size = max(_CHUNK_ELEMENTS // (block_size * len(self._share)), 1)
        for start in range(0, n_blocks, size):
            blocks = slice(start, min(start + size, n_blocks))
            inputs = view.inputs[blocks]
            logs = first[number[blocks]]  # (b, T, K)
            if self.settings.adapt:
                present = np.zeros(logs.shape, dtype=np.float32)
                own = self.classes[inputs].astype(np.int64)[..., None]
                np.put_along_axis(present, own, np.float32(1), axis=2)
                np.cumsum(present, axis=1, out=present)
                logs += self._adaptation(present)
            for says, classes in zip(self._says, self._earlier(inputs), strict=True):
                logs += says[classes]
            experts = np.exp(logs)
            right = np.take_along_axis(experts, wanted[blocks][..., None], axis=2)[..., 0]
            probability[blocks] = right / experts.sum(axis=2, dtype=np.float64)
        return probability * self._within[view.targets]

    def history_distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, of tokens that are known to be in the vocabulary."""
        logs = self._by_last_token(history[-1:])[0]
        if self.settings.adapt:
            present = np.bincount(self.classes[history], minlength=len(self._share))
            logs += self._adaptation(present.astype(np.float32))
        for says, classes in zip(self._says, self._earlier(history[None]), strict=True):
            logs += says[classes[0, -1]]
        experts = np.exp(logs).astype(np.float64)
        return np.asarray((experts / experts.sum())[self.classes] * self._within)

    def _by_last_token(self, tokens: Int64Array) -> Float32Array:
        """Return log p(c | x) - A log u(c), `(n, K)`, of distinct sorted tokens."""
        n_classes = len(self._share)
        counts = np.zeros((len(tokens), n_classes))
        keys, found = self.successors
        bounds = np.searchsorted(keys, np.stack([tokens, tokens + 1]) * n_classes)
        lengths = bounds[1] - bounds[0]
        rows = np.repeat(np.arange(len(tokens)), lengths)
        entries = np.arange(lengths.sum()) + np.repeat(
            bounds[0] - np.cumsum(lengths) + lengths, lengths
        )
        counts[rows, keys[entries] % n_classes] = found[entries]
        total = counts.sum(axis=1, keepdims=True) + _TOKEN_COUNT
        after = (counts + _TOKEN_COUNT * self._after_class[self.classes[tokens]]) / total
        logs = np.log(after) - self.settings.adapt * np.log(self._share)
        return np.asarray(logs, dtype=np.float32)

    def _adaptation(self, present: Float32Array) -> Float32Array:
        adapted = np.log(present + self._prior)
        adapted *= np.float32(self.settings.adapt)
        return np.asarray(adapted)

    def _earlier(self, inputs: Int64Array) -> list[Int64Array]:
        """Return the class at each offset before the next token, `(b, T)`; C if there is none."""
        earlier = []
        for offset in EXPONENTS:
            back = offset - 1
            classes = np.full(inputs.shape, len(self._says[0]) - 1)
            classes[:, back:] = self.via[inputs[:, : max(inputs.shape[1] - back, 0)]]
            earlier.append(classes)
        return earlier

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return unigram and class maps, `(V,)`, sparse successor counts, and lifts, `(C, K)`."""
        names = _array_names(self.settings)
        arrays = [self.classes, self.via, *self.successors, *self.lifts]
        return {**super().to_arrays(), **dict(zip(names, arrays, strict=True))}

    @classmethod
    def parse(cls, text: str) -> ProductName:
        """Read the name; see `ProductName.parse`."""
        return ProductName.parse(text)

    @classmethod
    def from_text(cls, settings: ProductName, text: FittingText) -> Product:
        """Count what the settings need in a text.

        Raises:
            ConfigError: a class map is missing or not `(V,)`.
        """
        classes, via = text.class_map(settings.classes), text.class_map(settings.via)
        lifts = [text.lift(settings.via, settings.classes, offset) for offset in EXPONENTS]
        successors = text.successors(settings.classes)
        return cls(settings, text.unigram.p, classes, via, successors, lifts)

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target.

        Per class 5 for p(c | x), 4 for the lifts, 2 for exponential and sum, 3 for the adaptation;
        the token's row is found by two keys, 2 for the quotient and p(y | c).
        """
        per_class = 5 + len(EXPONENTS) + 2 + 3 * (self.settings.adapt > 0)
        return per_class * len(self._share) + 2 * len(self.successors[0]).bit_length() + 2

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Make the function again, equal to the last bit.

        Raises:
            ArtifactError: an array is missing or does not fit.
        """
        settings = cls.parse(spec["name"])
        vocab_size = spec["vocab_size"]
        a, b, keys, counts, *lifts = _array_names(settings)
        classes, via = (stored_array(arrays, name, (vocab_size,)) for name in (a, b))
        n_classes, n_via = int(classes.max()) + 1, int(via.max()) + 1
        n_pairs = arrays[keys].size if keys in arrays else 0
        successors = (
            stored_array(arrays, keys, (n_pairs,)),
            stored_array(arrays, counts, (n_pairs,)),
        )
        if n_pairs and not 0 <= successors[0].min() <= successors[0].max() < vocab_size * n_classes:
            raise ArtifactError(
                f"{keys} goes beyond the {n_classes} classes of {vocab_size:,} tokens",
                remedy="build the library again",
            )
        return cls(
            settings,
            stored_array(arrays, "unigram", (vocab_size,)),
            classes,
            via,
            successors,
            [stored_array(arrays, name, (n_via, n_classes)) for name in lifts],
        )


def _array_names(settings: ProductName) -> list[str]:
    classes, via = settings.classes, settings.via
    lifts = [f"lift({via},{offset},{classes})" for offset in EXPONENTS]
    successors = [f"successors({classes}).keys", f"successors({classes}).counts"]
    return [f"classes({classes})", f"classes({via})", *successors, *lifts]

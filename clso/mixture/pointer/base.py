r"""What functions of the block have in common, and the definition of a pointer.

A pointer has a weight w(t, s) for each source s up to the query t and gives the next token the
share of the sources that have this token:

.. math:: p(y \mid x_0 .. x_t) = \frac{\sum_{s \le t} w(t, s) [x_s = y]}{\sum_{s \le t} w(t, s)}

The weights depend on x_0 .. x_t only. Where all of them are 0, p is the unigram.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import check_tokens, stored_array
from clso.mixture.full import DistributionSum
from clso.mixture.pointer.names import PointerName
from clso.mixture.pointer.pairs import BlockView
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["BlockFunction", "Pointer", "flops_over_sources"]

_NO_TOKENS = np.empty(0, dtype=np.int64)


def flops_over_sources(per_source: int, block_size: int) -> int:
    """Return the operations for all sources of a query: (T + 1) / 2 on average, rounded up."""
    return -(-per_source * (block_size + 1) // 2)


class BlockFunction(ABC):
    """A basis function of the tokens of the block so far; it scores a view of blocks at a time.

    Args:
        unigram: p(y), `(V,)`; kept, not copied.
    """

    family = "pointer"

    def __init__(self, settings: PointerName, unigram: FloatArray) -> None:
        self.settings = settings
        self.name = settings.name
        self.unigram = unigram

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @staticmethod
    @abstractmethod
    def parse(text: str) -> PointerName:
        """Read a name; see `PointerName.parse`."""

    @classmethod
    def from_text(cls, settings: Any, text: FittingText) -> Self:  # noqa: ANN401 - see parse
        """Count what the settings need in a text.

        Raises:
            ConfigError: a class map is missing or not `(V,)`.
        """
        return cls(settings, text.unigram.p)

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild the stored function, equal to the last bit.

        Raises:
            ArtifactError: an array is missing or does not fit.
        """
        return cls(cls.parse(spec["name"]), stored_array(arrays, "unigram", (spec["vocab_size"],)))

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.unigram)

    @property
    def stored_bytes(self) -> int:
        """Size of the arrays that `to_arrays` returns."""
        return sum(array.nbytes for array in self.to_arrays().values())

    @abstractmethod
    def view_probabilities(self, view: BlockView) -> FloatArray:
        """Return p(target), `(B, T)`; functions that share a view share its pairs."""

    @abstractmethod
    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block.

        Raises:
            DataError: a token is outside the vocabulary.
        """

    @abstractmethod
    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target; see `clso.mixture.function`."""

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        for tokens in (inputs, targets):
            check_tokens(tokens, self.vocab_size, self.name)
        return np.asarray(self.score_together([self], inputs, targets)[0])

    @staticmethod
    def score_together(
        functions: Sequence[BlockFunction], inputs: Int64Array, targets: Int64Array
    ) -> FloatArray:
        """Return p(targets) of several functions, `(n_functions, B, T)`.

        The result is that of `target_probabilities` of each function. It takes less time, because
        the functions share the pairs of a view.
        """
        probabilities = np.empty((len(functions), *inputs.shape))
        for blocks, view in BlockView.cut(inputs, targets):
            for row, function in zip(probabilities, functions, strict=True):
                row[blocks] = function.view_probabilities(view)
        return probabilities

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return p(y) as `unigram`, `(V,)`.

        Functions that were fitted together have equal arrays under equal names.
        """
        return {"unigram": self.unigram}


class Pointer(BlockFunction):
    """A basis function that points at the tokens of the block so far."""

    @property
    @abstractmethod
    def flops_per_source(self) -> int:
        """The operations for one source."""

    @abstractmethod
    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the summed weight of the sources with the target, and of all; each `(B, T)`."""

    @abstractmethod
    def weights(self, history: Int64Array, start: int) -> FloatArray:
        """Return the weight of each source for the tokens from `start`, `(t - start, t)`.

        It is 0 where the source comes after the token.
        """

    def view_probabilities(self, view: BlockView) -> FloatArray:
        """Return p(target), `(B, T)`; pointers that share a view share its pairs."""
        hit, total = self.masses(view)
        has_weight = total > 0
        probability: FloatArray = np.divide(hit, total, out=np.zeros_like(hit), where=has_weight)
        probability[~has_weight] = self.unigram[view.targets[~has_weight]]
        return probability

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block."""
        check_tokens(history, self.vocab_size, self.name)
        weights = self.weights(history, len(history) - 1)[0]
        total = weights.sum()
        if not total > 0:
            return self.unigram.copy()
        return np.asarray(np.bincount(history, weights, self.vocab_size) / total)

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w(t) p(. | history up to t) at all positions of a sum; `weights` is `(n,)`."""
        history = check_tokens(out.history, self.vocab_size, self.name)
        masses = self.weights(history, out.start)
        totals = masses.sum(axis=1)
        has_weight = totals > 0
        positions, sources = np.nonzero(masses)
        shares = np.divide(weights, totals, out=np.zeros(len(totals)), where=has_weight)
        values = masses[positions, sources] * shares[positions]
        out.add_tokens(history[sources], positions, values)
        if not has_weight.all():
            backed_off = np.where(has_weight, 0.0, weights)
            out.add_vector("unigram", self.unigram, _NO_TOKENS, backed_off)

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target: those of the sources, and 1 for the quotient."""
        return flops_over_sources(self.flops_per_source, block_size) + 1

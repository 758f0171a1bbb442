r"""What all pointers share: the next token is one of those in the block so far, or any at all.

.. math:: p(y \mid x_0 .. x_t) = \frac{\sum_{s \le t} w(t, s) [x_s = y]}{\sum_{s \le t} w(t, s)}

with weights w that depend on x_0 .. x_t only; where they are all 0, p is the unigram. This is
attention whose weights are computed, not learned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.errors import DataError
from clso.mixture.pointer.names import PointerName
from clso.mixture.pointer.pairs import BlockView
from clso.scoring import Int64Array

__all__ = [
    "BlockFunction",
    "Pointer",
    "flops_over_sources",
    "target_probabilities",
    "views",
]

# B * T * T, and so the number of pairs, of the blocks that are looked at together
_VIEW_ELEMENTS: Final = 1 << 24


def views(inputs: Int64Array, targets: Int64Array) -> Iterator[tuple[slice, BlockView]]:
    """Cut blocks so that the pairs of each view stay within memory."""
    n_blocks, block_size = inputs.shape
    size = max(_VIEW_ELEMENTS // block_size**2, 1)
    for start in range(0, n_blocks, size):
        blocks = slice(start, min(start + size, n_blocks))
        yield blocks, BlockView(inputs[blocks], targets[blocks])


class BlockFunction(ABC):
    """A basis function of all tokens of the block so far, scored a view of blocks at a time.

    Args:
        settings: its name, parsed.
        unigram: p(y), `(V,)`; kept, not copied.
    """

    family = "pointer"

    def __init__(self, settings: PointerName, unigram: FloatArray) -> None:
        self.name = settings.name
        self.unigram = unigram

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

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
        """Return p(target), `(B, T)`; functions that share a view share its look-ups."""

    @abstractmethod
    def history_distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, of tokens that are known to be in the vocabulary."""

    @abstractmethod
    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target; see `clso.mixture.function`."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Make the function again, equal to the last bit."""

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        _check_tokens(self, inputs)
        _check_tokens(self, targets)
        probability = np.empty(inputs.shape)
        for blocks, view in views(inputs, targets):
            probability[blocks] = self.view_probabilities(view)
        return probability

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, for the tokens of the block so far, `(t,)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        _check_tokens(self, history)
        return self.history_distribution(history)

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return p(y) as `unigram`, `(V,)`.

        Of functions fitted together, arrays of one name are equal.
        """
        return {"unigram": self.unigram}


class Pointer(BlockFunction):
    """A basis function that points at the tokens of the block so far."""

    @abstractmethod
    def masses(self, view: BlockView) -> tuple[FloatArray, FloatArray]:
        """Return the weight on the target and the weight on all sources, each `(B, T)`."""

    @abstractmethod
    def weights(self, history: Int64Array) -> FloatArray:
        """Return the weight of each source after the history's last token, `(t,)`."""

    def view_probabilities(self, view: BlockView) -> FloatArray:
        """Return p(target), `(B, T)`; pointers that share a view share its look-ups."""
        hit, total = self.masses(view)
        anywhere = total > 0
        probability: FloatArray = np.divide(hit, total, out=np.zeros_like(hit), where=anywhere)
        probability[~anywhere] = self.unigram[view.targets[~anywhere]]
        return probability

    def history_distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, of tokens that are known to be in the vocabulary."""
        weights = self.weights(history)
        total = weights.sum()
        if not total > 0:
            return self.unigram.copy()
        return np.asarray(np.bincount(history, weights, self.vocab_size) / total)


def target_probabilities(
    functions: Sequence[BlockFunction], inputs: Int64Array, targets: Int64Array
) -> FloatArray:
    """Return p(target) of several functions, `(n_functions, B, T)`.

    The same as each one's `target_probabilities`, in less time: they share look-ups.
    """
    probabilities = np.empty((len(functions), *inputs.shape))
    for blocks, view in views(inputs, targets):
        for row, function in zip(probabilities, functions, strict=True):
            row[blocks] = function.view_probabilities(view)
    return probabilities


def flops_over_sources(per_source: int, block_size: int) -> int:
    """Return the operations for the sources of a position, as many as it has on average."""
    return -(-per_source * (block_size + 1) // 2)


def _check_tokens(function: BlockFunction, tokens: Int64Array) -> None:
    if tokens.size and (int(tokens.min()) < 0 or int(tokens.max()) >= function.vocab_size):
        raise DataError(
            f"tokens {tokens.min()} to {tokens.max()} were given to {function.name}, expected 0 "
            f"to {function.vocab_size - 1}",
            remedy="score text with the vocabulary that the function was fitted with",
        )

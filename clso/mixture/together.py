"""Functions that price targets together, because they share contexts, orders or pairs of tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from clso.counting import FloatArray
from clso.mixture.counts import CountedTogether, KneserNey
from clso.mixture.function import BasisFunction
from clso.mixture.pointer import BlockFunction
from clso.scoring import Int64Array

__all__ = ["Together"]


class Together:
    """Functions by their numbers.

    Attributes:
        counted: the numbers of the functions of counts.
    """

    def __init__(self, functions: Sequence[BasisFunction]) -> None:
        self._functions = functions
        self._of_counts = {i: f for i, f in enumerate(functions) if isinstance(f, KneserNey)}
        self.counted = list(self._of_counts)
        self._of_block = {i: f for i, f in enumerate(functions) if isinstance(f, BlockFunction)}

    @cached_property
    def counts(self) -> CountedTogether | None:
        """The functions of counts; `None`: there are none. Arranged when they are first needed."""
        models = list(self._of_counts.values())
        return CountedTogether(models) if models else None

    def prices(
        self, inputs: Int64Array, targets: Int64Array, *, without: Collection[int] = ()
    ) -> Iterator[tuple[int, FloatArray]]:
        """Yield numbers of functions and their p(targets), `(B, T)`, in no certain order.

        Functions whose numbers are in `without` are left out; they share nothing.
        """
        if self.counts is not None:
            yield from zip(
                self.counted, self.counts.target_probabilities(inputs, targets), strict=True
            )
        if self._of_block:
            scored = BlockFunction.score_together(list(self._of_block.values()), inputs, targets)
            yield from zip(self._of_block, scored, strict=True)
        shared = {*self.counted, *self._of_block, *without}
        for index, function in enumerate(self._functions):
            if index not in shared:
                yield index, function.target_probabilities(inputs, targets)

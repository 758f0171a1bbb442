"""What benchmarks measure with in place of a data set and of a problem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["LossTable", "Stream"]


class Stream:
    """Tokens in memory or in a mapped file, as a `clso.counting.TokenStream`."""

    def __init__(self, tokens: npt.NDArray[np.integer]) -> None:
        self._tokens = tokens
        self.n_tokens = len(tokens) - 1

    def tokens(self, start: int, stop: int) -> npt.NDArray[np.integer]:
        """Return the tokens from `start` to `stop` - 1."""
        return self._tokens[start:stop]


class LossTable:
    """A problem that costs nothing: a loss is a sum of random numbers, one for each gene's option.

    Args:
        cardinalities: options of each gene.
    """

    def __init__(self, cardinalities: Sequence[int]) -> None:
        rng = np.random.default_rng(0)
        self._table = [rng.normal(size=options).tolist() for options in cardinalities]

    def losses(self, genomes: Sequence[Sequence[int]]) -> list[float]:
        """Return the loss of each genome."""
        return [
            sum(of_gene[option] for of_gene, option in zip(self._table, genome, strict=True))
            for genome in genomes
        ]

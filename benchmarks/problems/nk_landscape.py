r"""NK landscapes: every gene adds a number that depends on itself and on K other genes.

.. math:: f(x) = \frac{1}{N} \sum_i t_i(x_i, x_{i_1}, ..., x_{i_K})

with the K others of each gene drawn without repetition and every entry of the tables t uniform in
(0, 1). The tables are losses; maximising uniform tables is the same problem. With K the number of
local optima grows.

Source: Kauffman and Weinberger 1989.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["NkLandscape"]


class NkLandscape:
    """The mean of the tables' entries; each gene has `options` and meets `others`."""

    def __init__(
        self, instance: int = 0, *, genes: int = 20, others: int = 2, options: int = 2
    ) -> None:
        rng = np.random.default_rng(instance)
        self.cardinalities = (options,) * genes
        met = []
        for gene in range(genes):
            rest = np.delete(np.arange(genes), gene)
            met.append([gene, *rng.choice(rest, size=others, replace=False)])
        self._met = np.array(met)
        self._tables = rng.random((genes, options ** (others + 1)))
        self._places = options ** np.arange(others + 1)

    def __call__(self, genome: Sequence[int]) -> float:
        """Return the mean entry, in [0, 1]."""
        entries = np.asarray(genome)[self._met] @ self._places
        return float(self._tables[np.arange(len(entries)), entries].mean())

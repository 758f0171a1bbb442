"""A problem whose evaluations are free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clso.genome import Genome, GenomeSpace, Slot
from clso.problem import Evaluation

__all__ = ["TableProblem"]


class TableProblem:
    r"""A problem whose losses are sums of table entries.

    .. math:: loss(g) = 10 + \sum_i a_i[g_i] + \sum_i b_i[g_i, g_{(i+1) \bmod n}]

    with a_i standard normal and b_i normal of standard deviation `interaction`.

    Args:
        cardinalities: options per gene, `(n,)`.
        interaction: how far the best option of a gene depends on the next gene.
        seed: of the tables.
    """

    fidelities: tuple[float, ...] = (1.0,)

    def __init__(self, cardinalities: Sequence[int], *, interaction: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        following = [*cardinalities[1:], cardinalities[0]]
        self.space = GenomeSpace(
            tuple(Slot(f"gene{i}", cardinality) for i, cardinality in enumerate(cardinalities))
        )
        self.fingerprint = f"table-{seed}-{interaction}-" + "x".join(map(str, cardinalities))
        self._alone = [rng.normal(size=cardinality) for cardinality in cardinalities]
        self._paired = [
            rng.normal(size=shape) * interaction
            for shape in zip(cardinalities, following, strict=True)
        ]

    def loss(self, genome: Genome) -> float:
        """Return a genome's loss."""
        following = (*genome[1:], genome[0])
        return 10.0 + float(
            sum(table[gene] for table, gene in zip(self._alone, genome, strict=True))
            + sum(
                table[gene, next_gene]
                for table, gene, next_gene in zip(self._paired, genome, following, strict=True)
            )
        )

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Look losses up; every fidelity gives the whole loss."""
        return [Evaluation(self.loss(genome), "evaluated") for genome in genomes]

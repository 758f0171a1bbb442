r"""Ising sparsification: which of the 24 edges of a 4 x 4 grid to keep.

Spins s in {-1, 1} have :math:`p(s) \propto \exp(\sum_{ij} J_{ij} s_i s_j)` over the edges ij of the
grid, and :math:`q_x` keeps the edges with :math:`x_{ij} = 1`. The loss is

.. math::
    D(p \| q_x) + \lambda \sum_{ij} x_{ij}, \qquad
    D = \sum_{ij} (1 - x_{ij}) J_{ij} E_p[s_i s_j] + \log Z(x \circ J) - \log Z(J),

exact: Z is a sum over all states, halved because s and -s have equal weight. The size of a J is
uniform in (0.05, 5) and its sign is drawn.

Source: Baptista and Poloczek 2018 (BOCS), section 4.1; Oh et al. 2019 (COMBO), its lambda 1e-2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

__all__ = ["IsingSparsification"]

_WEAKEST, _STRONGEST = 0.05, 5.0


class IsingSparsification:
    """The divergence of a sparse model and the number of its edges, weighted by `per_edge`."""

    def __init__(self, instance: int = 0, *, side: int = 4, per_edge: float = 0.01) -> None:
        rng = np.random.default_rng(instance)
        ends = np.array(_edges(side))
        self.cardinalities = (2,) * len(ends)
        self._per_edge = per_edge
        sizes = rng.uniform(_WEAKEST, _STRONGEST, size=len(ends))
        self._couplings = sizes * rng.choice((-1.0, 1.0), size=len(ends))
        states = np.arange(2 ** (side * side - 1))  # the last spin is -1
        spins = (2 * (states >> np.arange(side * side)[:, None] & 1) - 1).astype(np.float32)
        self._products = spins[ends[:, 0]] * spins[ends[:, 1]]  # (edges, states)
        energies = self._energies(self._couplings)
        self._log_partition = float(logsumexp(energies))
        probabilities = np.exp(energies - self._log_partition)
        self._correlations = self._products @ probabilities

    def _energies(self, couplings: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        kept = np.flatnonzero(couplings)
        return couplings[kept] @ self._products[kept].astype(np.float64)

    def __call__(self, genome: Sequence[int]) -> float:
        """Return the loss of the edges with a 1."""
        kept = np.asarray(genome, dtype=np.float64)
        log_partition = float(logsumexp(self._energies(kept * self._couplings)))
        dropped = float(((1.0 - kept) * self._couplings) @ self._correlations)
        divergence = dropped + log_partition - self._log_partition
        return divergence + self._per_edge * float(kept.sum())


def _edges(side: int) -> list[tuple[int, int]]:
    """Return the pairs of neighbouring places of a square grid."""
    across = [(row * side + c, row * side + c + 1) for row in range(side) for c in range(side - 1)]
    down = [(place, place + side) for place in range(side * (side - 1))]
    return across + down

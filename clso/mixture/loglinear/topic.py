r"""What a block is about: vectors of tokens from their wide neighbourhoods, and their decayed sum.

Notation: V tokens; n(x, y) is how often y stands up to 20 places before or after x, c(x) the count
of a token, N that of all. The vectors e(x) are the rows, with length 1, of
:math:`U \Sigma^{1/2}` of a singular value decomposition of rank d. The decomposed matrix has a
column per frequent token y:

.. math:: \min(1, \sqrt{c(x) / 2}) \, \max \Bigl( \log \frac{n(x, y) N'}{n(x) n(y)}, 0 \Bigr)

with N' the sum of all n(x, y). A block's vector is

.. math::
    \tau_t = \mathrm{unit} \sum_{s \le t} 2^{-(t - s) / H} \,
        \max(\log \tfrac{N}{c(x_s) + 1} - 4, 0) \, e(x_s)

so frequent tokens, which stand everywhere, say nothing. The vector of a token that does not occur
is 0.

Sources: Bellegarda 2000 (latent semantic analysis in language models); Levy, Goldberg and Dagan
2015 (PMI, the square root of the singular values).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from clso.counting import FloatArray, TokenStream
from clso.mixture.arrays import Float32Array
from clso.mixture.compiled import compiled, dot_product
from clso.mixture.neighbours import NeighbourCounts, SparseMatrix, unit_left_factors
from clso.scoring import Int64Array

__all__ = ["block_vectors", "rarity", "token_vectors"]

_WINDOW: Final = 20
_NEIGHBOURS: Final = 3000


def token_vectors(
    streams: Sequence[TokenStream], counts: Int64Array, rng: np.random.Generator
) -> Float32Array:
    """Return a vector per token, `(V, d)`; `counts` has c(x), `(V,)`."""
    seen = np.flatnonzero(counts)
    if not len(seen):
        return np.zeros((len(counts), 1), dtype=np.float32)
    offsets = tuple(range(1, _WINDOW + 1))
    vectors = unit_left_factors(_information(streams, seen, counts, offsets), rng, power=0.5)
    table = np.zeros((len(counts), vectors.shape[1]), dtype=np.float32)
    table[seen] = vectors
    return table


def _information(
    streams: Sequence[TokenStream], seen: Int64Array, counts: Int64Array, offsets: Sequence[int]
) -> SparseMatrix:
    """Return the matrix that is decomposed, a row per seen token."""
    occurrences = counts[seen]
    frequent = np.argsort(-occurrences, kind="stable")[:_NEIGHBOURS]
    column = np.full(len(seen), -1)
    column[frequent] = np.arange(len(frequent))
    shape = len(seen), len(frequent)
    later = NeighbourCounts.from_text(streams, seen, len(counts), offsets)
    together: SparseMatrix = sparse.csr_matrix(shape)
    for pairs in (later, later.reversed()):
        kept = column[pairs.second] >= 0
        places = pairs.first[kept], column[pairs.second[kept]]
        together = together + sparse.csr_matrix((pairs.counts[kept], places), shape=shape)
    together = together.tocoo()
    of_row = np.bincount(together.row, together.data, shape[0])
    of_column = np.bincount(together.col, together.data, shape[1])
    expected = of_row[together.row] * of_column[together.col] / max(together.data.sum(), 1.0)
    information = np.maximum(np.log(together.data / expected), 0.0)
    information *= np.minimum(np.sqrt(occurrences / 2), 1.0)[together.row]
    return sparse.csr_matrix(
        (information.astype(np.float32), (together.row, together.col)), shape=shape
    )


def rarity(counts: npt.NDArray[Any], common: float) -> FloatArray:
    """Return max(log(N / (c + 1)) - common, 0) of each token, `(V,)`."""
    return np.asarray(np.maximum(np.log(max(int(counts.sum()), 1) / (counts + 1.0)) - common, 0.0))


def block_vectors(
    inputs: Int64Array, weighted: FloatArray, half_life: float, positions: Int64Array
) -> FloatArray:
    """Return tau at successive positions b T + t of blocks `(B, T)`, `(n, d)`.

    `weighted` has the vectors of all tokens, times their rarity, `(V, d)`.
    """
    vectors = np.empty((len(positions), weighted.shape[1]))
    _write_vectors(vectors, inputs, weighted, 2.0 ** (-1.0 / half_life), positions)
    return vectors


@dot_product
def _square(vector: FloatArray) -> float:
    """Return the square of a vector's length."""
    total = 0.0
    for number in range(len(vector)):
        total += vector[number] * vector[number]
    return total


@compiled
def _write_vectors(
    vectors: FloatArray,
    inputs: Int64Array,
    weighted: FloatArray,
    decay: float,
    positions: Int64Array,
) -> None:
    length, total = inputs.shape[1], np.zeros(weighted.shape[1])
    for position in range(positions[0] - positions[0] % length, positions[-1] + 1):
        block, place = position // length, position % length
        token = inputs[block, place]
        kept = 0.0 if place == 0 else decay
        for number in range(len(total)):
            total[number] = total[number] * kept + weighted[token, number]
        index = position - positions[0]
        if index >= 0:
            size = math.sqrt(_square(total))
            for number in range(len(total)):
                vectors[index, number] = total[number] / size if size > 0 else total[number]

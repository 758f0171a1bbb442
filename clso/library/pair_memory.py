r"""MLP matrices as memories of token pairs: what to predict after x2 x1 beyond what x1 says.

Notation: the layout of `clso.library.residual_layout` with codes of length l; s and t are the codes
of x1 (coordinates code) and x2 (coordinates previous, which attention has filled); 4 d units.

Unit i of a layer knows one pair. Its input is

.. math::
    g \, (c(x_1) \cdot s + c(x_2) \cdot t - \theta), \qquad \theta = 2 l - l / 4

with the codes c of its pair: the products are l for equal tokens and at most l / 2 for others
(`clso.library.token_code`), so this is g l / 4 for its pair and at most - g l / 4 for any other.
With g l / 4 = 8 the activation is 8 for its pair, and 0 for all others. The output of the unit is
an eighth of a vector v in the coordinates near. A strength other than 1 is a factor on the input,
and so on v. `clso.library.pair_counts` fits v on counts.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from clso.library.derived import DerivedEntry
from clso.library.entry import FloatMatrix
from clso.library.residual_layout import ResidualLayout
from clso.library.token_code import least_difference, token_codes

__all__ = ["PairDetector", "PairMemory"]

_ACTIVATION = 8.0  # gelu is the identity here to the last bit of float32, and 0 at its negative


class PairDetector(DerivedEntry):
    """`mlp_up`: units that are active after one pair of tokens each.

    Arrays: `pairs` `(n, 2)` int32, the earlier token first; n at most 4 d.

    Parameters: `strength`; `code`, `code_start`, `code_size` and `loud`, from the layout.
    """

    family = "pair_detector"
    array_types = (("pairs", np.int32),)
    parameter_names = frozenset({"strength", "code", "code_start", "code_size", "loud"})

    @classmethod
    def of(cls, layout: ResidualLayout, pairs: npt.NDArray[np.integer], strength: float) -> Self:
        """Return the detectors of pairs `(n, 2)`."""
        return cls(
            (layout.n_embd, 4 * layout.n_embd),
            {
                "strength": strength,
                "code": layout.code,
                "code_start": layout.code_start,
                "code_size": layout.code_size,
                "loud": layout.loud,
            },
            {"pairs": np.asarray(pairs, dtype=np.int32)},
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(d, 4 d)` float32."""
        pairs, length = self.arrays["pairs"], int(self.parameters["code"])
        start = int(self.parameters["code_start"])
        margin = least_difference(length) / 2
        gain = self.parameters["strength"] * _ACTIVATION / margin
        weight = np.zeros(self.shape, dtype=np.float32)
        size = self.parameters["code_size"]
        for tokens, first in ((pairs[:, 1], start), (pairs[:, 0], start + length)):
            rows = slice(first, first + length)
            weight[rows, : len(pairs)] = gain / size * token_codes(tokens, length).T
        bias = gain * (2 * length - margin) / (2 * self.parameters["loud"])
        weight[-2:, : len(pairs)] = [[-bias], [bias]]
        return weight

    @property
    def flops(self) -> int:
        """A multiplication and an addition per coordinate of two codes, and a bias, per unit."""
        return len(self.arrays["pairs"]) * (4 * int(self.parameters["code"]) + 1)

    def defect(self) -> str:
        """See the base class."""
        if not self.parameters.keys() >= self.parameter_names:
            return f"expected the parameters {', '.join(sorted(self.parameter_names))}"
        pairs = self.arrays["pairs"]
        if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) > self.shape[1]:
            return f"pairs has the shape {pairs.shape}, expected (n, 2) with n <= {self.shape[1]}"
        return "a pair has a negative token" if pairs.min(initial=0) < 0 else ""


class PairMemory(DerivedEntry):
    """`mlp_down`: what each unit adds to the coordinates near, balanced.

    Arrays: `vectors` `(n, near)` float16.

    Parameters: `source`, the tokens that were counted.
    """

    family = "pair_memory"
    array_types = (("vectors", np.float16),)

    @classmethod
    def of(cls, layout: ResidualLayout, vectors: FloatMatrix, source: str) -> Self:
        """Return the memory of vectors `(n, near)`."""
        shape = (4 * layout.n_embd, layout.n_embd)
        return cls(shape, {"source": source}, {"vectors": vectors.astype(np.float16)})

    def dense(self) -> FloatMatrix:
        """Return W, `(4 d, d)` float32; every row sums to 0."""
        vectors = self.arrays["vectors"].astype(np.float32) / np.float32(_ACTIVATION)
        weight = np.zeros(self.shape, dtype=np.float32)
        weight[: len(vectors), : vectors.shape[1]] = vectors
        weight[: len(vectors), -2:] = -vectors.sum(1)[:, None] / 2
        return weight

    @property
    def flops(self) -> int:
        """A multiplication and an addition per stored element."""
        return 2 * int(self.arrays["vectors"].size)

    def defect(self) -> str:
        """See the base class."""
        shape = self.arrays["vectors"].shape
        if len(shape) != 2 or shape[0] > self.shape[0] or shape[1] > self.shape[1] - 2:
            return f"vectors has the shape {shape}, which does not fit"
        return ""

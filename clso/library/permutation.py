"""Signed permutations, tiled to any shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape, norm_scale
from clso.library.packing import draw_signs, narrow, packed_defect, unpack_signs

__all__ = ["Permutation"]


class Permutation(LibraryEntry):
    """Random signed permutation matrices side by side, or stacked: W = s [P_1, P_2, ...].

    Every line along the longer side (a column of a wide matrix, a row of a tall one) has exactly
    one element that is not zero; the lines along the shorter side have floor(long / short) or one
    more. A square W is s times an orthogonal matrix, a wide one reads every input, a tall one
    sends every input to one output.

    Arrays: `partners` `(long,)`, for each line along the longer side the line of the shorter side
    that it meets, in the smallest unsigned type; `signs` `(long / 8,)` uint8, a bit each; `scale`
    `()` float32, s.

    Parameters: none.
    """

    family = "permutation"

    class Settings(FamilySettings):
        """Signed permutations, tiled to the slot's shape."""

        family: Literal["permutation"] = "permutation"

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        short, long = min(shape), max(shape)
        turns = [rng.permutation(short) for _ in range(-(-long // short))]
        return cls(
            shape,
            {"gain": gain},
            {
                "partners": narrow(np.concatenate(turns)[:long], short),
                "signs": draw_signs(rng, long),
                "scale": np.asarray(norm_scale(float(long), shape, gain), dtype=np.float32),
            },
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        partners = self.arrays["partners"]
        lines = np.arange(len(partners))
        at = (partners, lines) if self.shape[0] <= self.shape[1] else (lines, partners)
        weight = np.zeros(self.shape, dtype=np.float32)
        weight[at] = unpack_signs(self.arrays["signs"], len(lines)) * self.arrays["scale"]
        return weight

    @property
    def flops(self) -> int:
        """A multiplication and an addition per element that is not zero."""
        return 2 * max(self.shape)

    def _singular_values(self) -> npt.NDArray[np.float64]:
        # no two lines of the shorter side overlap, so their lengths are the singular values
        meetings = np.sort(np.bincount(self.arrays["partners"], minlength=min(self.shape)))[::-1]
        return np.asarray(np.sqrt(meetings) * float(self.arrays["scale"]), dtype=np.float64)

    def defect(self) -> str:
        """See the base class."""
        if self.arrays.keys() != {"partners", "signs", "scale"}:
            return "expected the arrays `partners`, `signs` and `scale`"
        partners, signs, scale = (self.arrays[name] for name in ("partners", "signs", "scale"))
        short, long = min(self.shape), max(self.shape)
        if partners.shape != (long,) or scale.shape != () or scale.dtype != np.float32:
            return f"partners have the shape {partners.shape}, expected {long} and a float32 scale"
        problem = packed_defect(partners, short, signs, long)
        if problem:
            return problem
        meetings = np.bincount(partners, minlength=short)
        if meetings.min() < long // short or meetings.max() > -(-long // short):
            return "some lines are met too often, others too rarely, for tiled permutations"
        return ""

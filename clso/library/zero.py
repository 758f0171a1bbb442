"""The zero matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np

from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape

__all__ = ["Zero"]


class Zero(LibraryEntry):
    """No matrix at all: its slot is idle.

    Of all families it alone cannot have the norm of the others. Neither generator nor gain make
    a difference, so a drawn zero and a spectral library's are the same entry; genomes that pick
    one or another of several are one model (`clso.gpt.genome`).

    Arrays: none. Parameters: none. Rank, density and spectral norm are 0.
    """

    family = "zero"

    class Settings(FamilySettings):
        """The zero matrix: its slot is idle; several in one slot are still one choice."""

        family: Literal["zero"] = "zero"

    @classmethod
    def of(cls, shape: Shape) -> Self:
        """Return the zero matrix of a shape."""
        return cls(shape, {}, {})

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        return cls.of(shape)

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        return np.zeros(self.shape, dtype=np.float32)

    @property
    def flops(self) -> int:
        """None."""
        return 0

    def defect(self) -> str:
        """See the base class."""
        return "expected no arrays" if self.arrays else ""

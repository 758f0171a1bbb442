"""The zero matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape, Work
from clso.library.linear_map import LinearMap

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["Zero"]


class Zero(LibraryEntry):
    """The zero matrix: the slot adds nothing to the model.

    Only this family has another norm. Generator and gain make no difference, so a drawn zero and
    the zero of a spectral library are the same entry. Genomes that differ only in which of several
    zeros they pick are one model (`clso.gpt.genome`).

    Arrays: none. Parameters: none. Rank, density and spectral norm are 0.
    """

    family = "zero"
    array_types = ()

    class Settings(FamilySettings):
        """The zero matrix; several in one slot are still one choice."""

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
        """Return 0."""
        return 0

    @property
    def work(self) -> Work:
        """Nothing: a branch with it is not run."""
        return Work(0, 0)

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        return _ZeroMap(self.shape)


class _ZeroMap(LinearMap):
    is_zero = True

    def product(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), self.shape[1])

"""A matrix family of another package: every diagonal has one value."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np

from clso.library import FamilySettings, LibraryEntry, norm_scale
from clso.section import NotNegative


class Toeplitz(LibraryEntry):
    """W[i, j] depends on j - i alone, and is the smaller the farther from the diagonal."""

    family = "toeplitz"

    class Settings(FamilySettings):
        family: Literal["toeplitz"] = "toeplitz"
        decay: NotNegative = 0.1

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        shape: tuple[int, int],
        gain: float,
        parameters: Mapping[str, Any],
    ) -> Self:
        lags = np.arange(1 - shape[0], shape[1])
        diagonals = rng.standard_normal(len(lags)) * np.exp(-parameters["decay"] * np.abs(lags))
        lengths = np.minimum(np.minimum(lags + shape[0], shape[1] - lags), min(shape))
        diagonals *= norm_scale(float(diagonals**2 @ lengths), shape, gain)
        return cls(shape, {**parameters, "gain": gain}, {"diagonals": diagonals.astype(np.float32)})

    def dense(self) -> np.ndarray:
        rows, columns = np.indices(self.shape)
        return self.arrays["diagonals"][columns - rows + self.shape[0] - 1]

    @property
    def flops(self) -> int:
        return 2 * self.shape[0] * self.shape[1]

"""A matrix family of your own: Toeplitz matrices, in which every diagonal has one value.

A family is one class. `Settings` says what YAML may set, `draw` makes an entry, `dense` returns
its matrix, and `flops` counts the operations of a product. `pyproject.toml` names the class.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np

from clso.library import FamilySettings, LibraryEntry, norm_scale
from clso.section import NotNegative


class Toeplitz(LibraryEntry):
    """W[i, j] depends on j - i alone; entries far from the main diagonal are small."""

    family = "toeplitz"

    class Settings(FamilySettings):
        """What YAML may set: `{family: toeplitz, decay: 0.3}`."""

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
        """Draw one Gaussian value per diagonal, scaled to the output variance `gain**2`."""
        lags = np.arange(1 - shape[0], shape[1])
        diagonals = rng.standard_normal(len(lags)) * np.exp(-parameters["decay"] * np.abs(lags))
        lengths = np.minimum(np.minimum(lags + shape[0], shape[1] - lags), min(shape))
        diagonals *= norm_scale(float(diagonals**2 @ lengths), shape, gain)
        return cls(shape, {**parameters, "gain": gain}, {"diagonals": diagonals.astype(np.float32)})

    def dense(self) -> np.ndarray:
        """Return W, `(in, out)` float32."""
        rows, columns = np.indices(self.shape)
        return self.arrays["diagonals"][columns - rows + self.shape[0] - 1]

    @property
    def flops(self) -> int:
        """Operations of one product x W."""
        return 2 * self.shape[0] * self.shape[1]

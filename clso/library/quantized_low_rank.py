"""Matrices of low rank whose two factors hold few-bit integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from clso.errors import ConfigError
from clso.library.entry import FamilySettings, FloatMatrix, LibraryEntry, Shape, Work, norm_scale
from clso.library.linear_map import LinearMap
from clso.section import Count

if TYPE_CHECKING:  # takes seconds: settings do without
    import torch

__all__ = ["QuantizedLowRank"]


class QuantizedLowRank(LibraryEntry):
    """A scaled product of integer factors, W = s L R.

    The product of the integers is exact in float64 in any order of summation, so W has the same
    bits on every machine.

    Arrays: `left` `(in, r)` int8; `right` `(r, out)` int8; `scale` `()` float32.

    Parameters: `rank` r, 1 to min(in, out); `bits` b, 2 to 8. Each factor is Gaussian, quantized
    by its largest element to the levels -m to m, m = 2^(b-1) - 1.
    """

    family = "quantized_low_rank"
    array_types = (("left", np.int8), ("right", np.int8), ("scale", np.float32))

    class Settings(FamilySettings):
        """Product of two Gaussian factors, each quantized to `2**bits - 1` symmetric levels."""

        family: Literal["quantized_low_rank"] = "quantized_low_rank"
        rank: Count = 8
        bits: Annotated[int, Field(ge=2, le=8)] = 4

        def misfit(self, n_embd: int) -> str:
            """See the base class."""
            if self.rank <= n_embd:
                return ""
            return f"rank {self.rank} is more than model.n_embd {n_embd}, which bounds it"

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        rank, bits = parameters["rank"], parameters["bits"]
        if rank > min(shape):
            raise ConfigError(
                f"library family {cls.family}: rank is {rank}, but a {shape[0]} x {shape[1]} "
                f"matrix has rank {min(shape)} at most",
                remedy=f"choose a rank of at most {min(shape)}, or a larger n_embd",
            )
        squared_norm = 0.0
        while squared_norm == 0.0:  # the product of tiny factors with few levels can be exactly 0
            left = _quantize(rng.standard_normal((shape[0], rank)), bits)
            right = _quantize(rng.standard_normal((rank, shape[1])), bits)
            squared_norm = float(np.square(_product(left, right)).sum())
        scale = np.float32(norm_scale(squared_norm, shape, gain))
        return cls(
            shape,
            {"rank": rank, "bits": bits, "gain": gain},
            {"left": left, "right": right, "scale": np.asarray(scale)},
        )

    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32."""
        product = _product(self.arrays["left"], self.arrays["right"])
        return (product * float(self.arrays["scale"])).astype(np.float32)

    @property
    def flops(self) -> int:
        """A multiplication and an addition per element of the factors, one product by `scale`."""
        inner = int(self.arrays["left"].shape[1])
        return 2 * inner * sum(self.shape) + inner

    @property
    def work(self) -> Work:
        """Two products, (x s L) R: s is multiplied into L once."""
        inner = int(self.arrays["left"].shape[1])
        return Work(2 * inner * sum(self.shape), 4 * (sum(self.shape) + 2 * inner))

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """See the base class."""
        import torch

        left = self.arrays["left"].astype(np.float32) * self.arrays["scale"]
        factors = (left, self.arrays["right"].astype(np.float32))
        return _LowRankMap(self.shape, *(torch.tensor(factor, device=device) for factor in factors))

    def _singular_values(self) -> npt.NDArray[np.float64]:
        _, left = np.linalg.qr(self.arrays["left"].astype(np.float64))
        _, right = np.linalg.qr(self.arrays["right"].T.astype(np.float64))
        values = np.linalg.svd(left @ right.T, full_matrices=False, compute_uv=False)
        return np.asarray(values * float(self.arrays["scale"]), dtype=np.float64)

    def defect(self) -> str:
        """See the base class."""
        rank = int(self.parameters.get("rank", 0))
        return self.wrong_shapes(left=(self.shape[0], rank), right=(rank, self.shape[1]), scale=())


class _LowRankMap(LinearMap):
    def product(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self._tensors
        return (x @ left) @ right

    def added(self, residual: torch.Tensor, x: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
        left, right = self._tensors
        return residual.addmm(x @ left, right, alpha=alpha)


def _quantize(values: npt.NDArray[np.float64], bits: int) -> npt.NDArray[np.int8]:
    largest = 2 ** (bits - 1) - 1
    levels: npt.NDArray[np.float64] = np.rint(values * (largest / np.abs(values).max()))
    return levels.astype(np.int8)


def _product(left: npt.NDArray[np.int8], right: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    return left.astype(np.float64) @ right.astype(np.float64)

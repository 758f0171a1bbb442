"""The base of matrices that are made of two Gaussian factors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from clso.errors import ConfigError
from clso.library.entry import ArrayTypes, FamilySettings, LibraryEntry, Shape, norm_scale

__all__ = ["Divisor", "Factor", "FactorPair", "FactorShapes"]

Divisor = Annotated[int, Field(ge=2, le=10**6)]
Factor = npt.NDArray[np.float64]
FactorShapes = tuple[tuple[int, ...], tuple[int, ...]]


class FactorPair(LibraryEntry):
    """A matrix of two factors, whose shapes follow from a divisor of both sides of the matrix.

    Arrays: both factors, float32. Parameters: the divisor, at least 2; `divisor` is its name.
    """

    divisor: ClassVar[str]
    array_types: ClassVar[ArrayTypes]

    class Settings(FamilySettings):
        """The common settings of these families; a subclass adds the divisor."""

        def misfit(self, n_embd: int) -> str:
            """See the base class."""
            ((name, divisor),) = self.parameters.items()
            if n_embd % divisor == 0:
                return ""
            return f"{name} {divisor} does not divide model.n_embd {n_embd}; choose a divisor of it"

    @classmethod
    @abstractmethod
    def factor_shapes(cls, shape: Shape, divisor: int) -> FactorShapes:
        """Return the shapes of both factors."""

    @staticmethod
    @abstractmethod
    def squared_norm(first: Factor, second: Factor) -> float:
        """Return the squared Frobenius norm of the matrix that two factors make."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """See the base class."""
        divisor = parameters[cls.divisor]
        if shape[0] % divisor or shape[1] % divisor:
            raise ConfigError(
                f"library family {cls.family}: {cls.divisor} is {divisor}, which does not divide "
                f"both sides of a {shape[0]} x {shape[1]} matrix",
                remedy=f"choose {cls.divisor} as a divisor of n_embd",
            )
        first, second = map(rng.standard_normal, cls.factor_shapes(shape, divisor))
        # shared evenly, so that float32 rounds both factors alike
        scale = np.sqrt(norm_scale(cls.squared_norm(first, second), shape, gain))
        scaled = [(factor * scale).astype(np.float32) for factor in (first, second)]
        arrays = dict(zip(dict(cls.array_types), scaled, strict=True))
        return cls(shape, {cls.divisor: divisor, "gain": gain}, arrays)

    def defect(self) -> str:
        """See the base class."""
        divisor = int(self.parameters.get(self.divisor, 0))
        if divisor < 1 or self.shape[0] % divisor or self.shape[1] % divisor:
            return f"{self.divisor} {divisor} does not divide both sides"
        shapes = self.factor_shapes(self.shape, divisor)
        return self.wrong_shapes(**dict(zip(dict(self.array_types), shapes, strict=True)))

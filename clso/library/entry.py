"""A library entry: one structured matrix, stored compactly and densified on use.

Notation: W is `(in, out)`, the orientation of transformers' `Conv1D`, so y = x W for a row x.
Every family scales its matrices to the same Frobenius norm,

    ||W||_F^2 = gain^2 * out,

so that inputs of unit variance give outputs of variance gain^2 on average over the columns, and
no family wins a slot by loudness alone. The zero matrix alone cannot have it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from clso.errors import ArtifactError, ConfigError
from clso.section import Positive, Section

__all__ = [
    "FamilySettings",
    "FloatMatrix",
    "LibraryEntry",
    "Shape",
    "check_at_least_one",
    "check_divides",
    "norm_scale",
    "not_dividing",
]

FloatMatrix = npt.NDArray[np.float32]
Shape = tuple[int, int]

# Singular values below this share of the largest are rounding: what is stored is float32.
_RANK_TOLERANCE = 1e-5


class FamilySettings(Section):
    """A family's part in a library, and what its matrices are drawn with.

    Attributes:
        share: of a slot's entries, relative to the other families' shares.
        family: its name; a family narrows this to a `Literal` of its own, with that default.
    """

    share: Positive = 1.0
    family: str

    def misfit(self, n_embd: int) -> str:
        """Say why there are no such matrices in a model of this width; empty if there are."""
        return ""

    @property
    def parameters(self) -> dict[str, Any]:
        """What a matrix is drawn with."""
        return self.model_dump(exclude={"family", "share"})


class LibraryEntry(ABC):
    """One matrix of a library; a subclass is a family.

    A package offers a family of its own under the entry-point group `clso.matrix_families`, by
    the name that its `family` has: a subclass with `Settings`, `draw`, `dense` and `flops`.

    Args:
        shape: `(in, out)`.
        parameters: the settings it was drawn with, JSON values.
        arrays: its compact form, by name; they become read-only.

    Raises:
        ArtifactError: the arrays do not make a matrix of this family and shape.
    """

    family: ClassVar[str]
    Settings: ClassVar[type[FamilySettings]] = FamilySettings

    def __init__(
        self, shape: Shape, parameters: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        self.shape: Shape = (int(shape[0]), int(shape[1]))
        self.parameters: dict[str, Any] = dict(parameters)
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        for name, array in arrays.items():
            view = np.ascontiguousarray(array).reshape(np.shape(array)).view()
            view.flags.writeable = False
            self.arrays[name] = view
        problem = self.defect()
        if problem:
            raise ArtifactError(
                f"a {self.family} matrix of shape {self.shape} is damaged: {problem}",
                remedy="delete the library and generate it again",
            )

    @classmethod
    def generate(
        cls, rng: np.random.Generator, shape: Shape, *, gain: float, **parameters: float
    ) -> Self:
        """Draw one matrix.

        Args:
            rng: all randomness comes from here.
            shape: `(in, out)`.
            gain: see the module.
            **parameters: the family's own, as its `Settings` name them.

        Raises:
            ConfigError: a parameter that is missing, unknown, or that no such matrix can have.
        """
        names = cls.Settings.model_fields.keys() - {"family", "share"}
        if parameters.keys() != names:
            raise ConfigError(
                f"library family {cls.family} got the parameters {sorted(parameters)}, "
                f"expected {sorted(names)}"
            )
        return cls.draw(rng, shape, gain, parameters)

    @classmethod
    @abstractmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """Check the parameters' values and draw; `generate` has checked their names."""

    @abstractmethod
    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32, the same bits at every call."""

    @property
    @abstractmethod
    def flops(self) -> int:
        """Floating-point operations of x W for one row x, in the structured form."""

    def defect(self) -> str:
        """Say what is wrong with `arrays`; empty if nothing is."""
        return ""

    def _singular_values(self) -> npt.NDArray[np.float64]:
        dense = self.dense().astype(np.float64)
        # the smaller Gram matrix: squaring costs digits only far below the rank tolerance
        gram = dense @ dense.T if self.shape[0] <= self.shape[1] else dense.T @ dense
        squares = np.asarray(np.linalg.eigvalsh(gram)[::-1], dtype=np.float64)
        return np.sqrt(np.maximum(squares, 0.0))

    @cached_property
    def _spectrum(self) -> npt.NDArray[np.float64]:
        return self._singular_values()

    @property
    def stored_bytes(self) -> int:
        """Size of the compact form."""
        return sum(array.nbytes for array in self.arrays.values())

    @cached_property
    def density(self) -> float:
        """Share of the elements of W that are not zero."""
        return float(np.count_nonzero(self.dense()) / (self.shape[0] * self.shape[1]))

    @property
    def rank(self) -> int:
        """Number of singular values above 1e-5 of the largest; 0 where all are 0."""
        spectrum = self._spectrum
        return int(np.count_nonzero(spectrum > _RANK_TOLERANCE * spectrum[0]))

    @property
    def spectral_norm(self) -> float:
        """The largest singular value."""
        return float(self._spectrum[0])

    def to_record(self) -> dict[str, Any]:
        """Return plain values, the columns of the table `library` but slot and index."""
        return {
            "family": self.family,
            "rows": self.shape[0],
            "columns": self.shape[1],
            "parameters": json.dumps(self.parameters, sort_keys=True),
            "arrays": [
                {
                    "name": name,
                    "dtype": array.dtype.newbyteorder("<").str,
                    "shape": list(array.shape),
                    "data": array.astype(array.dtype.newbyteorder("<")).tobytes(),
                }
                for name, array in sorted(self.arrays.items())
            ],
            "stored_bytes": self.stored_bytes,
            "flops": self.flops,
            "density": self.density,
            "rank": self.rank,
            "spectral_norm": self.spectral_norm,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Rebuild an entry from `to_record`, bit for bit.

        Raises:
            ArtifactError: the record does not describe a matrix of this family.
        """
        try:
            shape = (int(record["rows"]), int(record["columns"]))
            parameters = json.loads(record["parameters"])
            arrays = {
                item["name"]: np.frombuffer(item["data"], dtype=item["dtype"]).reshape(
                    item["shape"]
                )
                for item in record["arrays"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"a {cls.family} matrix cannot be read back: {error!r}",
                remedy="delete the library and generate it again",
            ) from error
        return cls(shape, parameters, arrays)

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in self.parameters.items())
        size = f"{self.shape[0]} x {self.shape[1]}"
        return f"{type(self).__name__}({size}{', ' if settings else ''}{settings})"


def norm_scale(squared_norm: float, shape: Shape, gain: float) -> float:
    r"""Return the factor that takes :math:`\|W\|_F^2` to :math:`gain^2 \cdot out`."""
    return gain * float(np.sqrt(shape[1] / squared_norm))


def check_at_least_one(family: str, **values: int) -> None:
    """Refuse counts below 1.

    Raises:
        ConfigError: names the family, the parameter and its value.
    """
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"library family {family}: {name} is {value}, expected at least 1")


def check_divides(family: str, shape: Shape, **values: int) -> None:
    """Refuse block sizes or counts below 2, or that do not divide both sides of a matrix.

    Raises:
        ConfigError: names the family, the parameter, its value and the shape.
    """
    for name, value in values.items():
        if value < 2:
            raise ConfigError(f"library family {family}: {name} is {value}, expected at least 2")
        if shape[0] % value or shape[1] % value:
            raise ConfigError(
                f"library family {family}: {name} is {value}, which does not divide both sides of "
                f"a {shape[0]} x {shape[1]} matrix",
                remedy=f"choose {name} as a divisor of n_embd",
            )


def not_dividing(name: str, value: int, n_embd: int) -> str:
    """Say that a value does not divide a model's width; empty if it does."""
    if n_embd % value == 0:
        return ""
    return f"{name} {value} does not divide model.n_embd {n_embd}; choose a divisor of it"

"""A library entry: one structured matrix, stored compactly, applied by its structure or densified.

Notation: W is `(in, out)`, the orientation of transformers' `Conv1D`, so y = x W for a row x.
Every family scales its matrices to the same Frobenius norm,

    ||W||_F^2 = gain^2 * out,

so that inputs of unit variance give outputs of variance gain^2 on average over the columns, and
no family wins a slot by the size of its numbers. Only the zero matrix has another norm.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from clso.errors import ArtifactError, ConfigError
from clso.section import Positive, Section, mistakes
from clso.threads import one_thread

if TYPE_CHECKING:  # the two modules name each other's classes
    import torch

    from clso.library.linear_map import LinearMap

__all__ = [
    "ArrayTypes",
    "FamilySettings",
    "FloatMatrix",
    "LibraryEntry",
    "Shape",
    "Work",
    "norm_scale",
    "similarity",
]

FloatMatrix = npt.NDArray[np.float32]
Shape = tuple[int, int]
ArrayTypes = tuple[tuple[str, type[np.generic]], ...]

# Singular values below this share of the largest are rounding errors: arrays are float32.
_RANK_TOLERANCE = 1e-5
_CHUNK = 2**16  # elements of each matrix that are widened to float64 at once


class Work(NamedTuple):
    """What x W takes for one row x, apart from reading W, which many rows share.

    Attributes:
        flops: multiplications and additions, as they are computed.
        moved_bytes: what the steps read and write of x, intermediate results and x W.
        calls: of kernels for 256 rows, where they are so many and small that starting them counts.
    """

    flops: int
    moved_bytes: int
    calls: int = 0

    @classmethod
    def of_dense(cls, shape: Shape) -> Self:
        """Return the work of a plain product."""
        return cls(2 * shape[0] * shape[1], 4 * sum(shape))


class FamilySettings(Section):
    """A family's share of a library, and the parameters that its matrices are drawn with.

    Attributes:
        share: of a slot's entries, relative to the shares of the other families.
        family: its name; each family narrows this to a `Literal` and gives the default.
    """

    share: Positive = 1.0
    family: str

    def misfit(self, n_embd: int) -> str:
        """Return why a model of this width cannot have such matrices; empty if it can."""
        return ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The values that a matrix is drawn with."""
        return self.model_dump(exclude={"family", "share"})


class LibraryEntry(ABC):
    """One matrix of a library; each subclass is a family.

    A package adds a family through the entry-point group `clso.matrix_families`, under the name in
    `family`: a subclass with `Settings`, `draw`, `dense` and `flops`.

    Args:
        shape: `(in, out)`.
        parameters: the settings that the matrix was drawn with, JSON values.
        arrays: the compact form, by name; made read-only.

    Attributes:
        array_types: names and types of the arrays, checked at construction; `None`: not checked.

    Raises:
        ArtifactError: the arrays do not make a matrix of this family and shape.
    """

    family: ClassVar[str]
    Settings: ClassVar[type[FamilySettings]] = FamilySettings
    array_types: ClassVar[ArrayTypes | None] = None

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
        problem = self._wrong_types() or self.defect()
        if problem:
            raise ArtifactError(
                f"a {self.family} matrix of shape {self.shape} is damaged: {problem}",
                remedy="delete the library and generate it again",
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # through the constructor, so that the arrays of a copy are read-only again
        return type(self), (self.shape, self.parameters, self.arrays)

    @classmethod
    def generate(
        cls, rng: np.random.Generator, shape: Shape, *, gain: float, **parameters: float
    ) -> Self:
        """Draw one matrix.

        Args:
            rng: all randomness comes from here.
            shape: `(in, out)`.
            gain: standard deviation of outputs for inputs of unit variance.
            **parameters: all parameters of the family's `Settings`.

        Raises:
            ConfigError: a parameter is missing, unknown or out of range.
        """
        names = cls.Settings.model_fields.keys() - {"family", "share"}
        if parameters.keys() != names:
            raise ConfigError(
                f"library family {cls.family} got the parameters {sorted(parameters)}, "
                f"expected {sorted(names)}"
            )
        try:
            settings = cls.Settings.model_validate({"family": cls.family, **parameters})
        except ValidationError as error:
            raise ConfigError(
                f"library family {cls.family}: {'; '.join(mistakes(error, cls.Settings))}"
            ) from error
        return cls.draw(rng, shape, gain, settings.parameters)

    @classmethod
    @abstractmethod
    def draw(
        cls, rng: np.random.Generator, shape: Shape, gain: float, parameters: Mapping[str, Any]
    ) -> Self:
        """Draw one matrix; `generate` has checked the parameters by themselves.

        Raises:
            ConfigError: no matrix of this shape can have these parameters.
        """

    @abstractmethod
    def dense(self) -> FloatMatrix:
        """Return W, `(in, out)` float32; every call returns the same bits."""

    def distinct_rows(self) -> tuple[FloatMatrix, npt.NDArray[np.int64]] | None:
        """Return rows `(m, out)` and the row that each row of W is, `(in,)`, if m is much smaller.

        `None`: most rows of W may differ.
        """
        return None

    @property
    @abstractmethod
    def flops(self) -> int:
        """Floating-point operations of x W for one row x, by the fastest structured algorithm."""

    @property
    def work(self) -> Work | None:
        """What x W takes in the form that `structured` computes; `None`: there is no such form."""
        return None

    def structured(self, device: torch.device | str = "cpu") -> LinearMap:
        """Return x -> x W without the dense matrix, where `work` is not `None`.

        Products are those of the dense matrix but for rounding.
        """
        raise NotImplementedError(f"{self.family} matrices are applied as dense ones")

    def defect(self) -> str:
        """Return the fault in parameters or arrays of the right types; empty if there is none."""
        return ""

    def wrong_shapes(self, **expected: tuple[int, ...]) -> str:
        """Return which of these arrays has another shape; empty if none has."""
        for name, shape in expected.items():
            if self.arrays[name].shape != shape:
                return f"{name} has the shape {self.arrays[name].shape}, expected {shape}"
        return ""

    def _wrong_types(self) -> str:
        if self.array_types is None:
            return ""
        types = dict(self.array_types)
        if self.arrays.keys() == types.keys() and all(
            np.issubdtype(array.dtype, types[name]) for name, array in self.arrays.items()
        ):
            return ""
        actual = ", ".join(f"{name} {array.dtype}" for name, array in self.arrays.items())
        expected = ", ".join(f"{name} {kind.__name__}" for name, kind in types.items())
        return f"the arrays are {actual or 'missing'}, expected {expected or 'no arrays'}"

    def _singular_values(self) -> npt.NDArray[np.float64]:
        dense = self.dense()
        # derived matrices are zero in most rows or columns, which add only zeros
        dense = dense[np.ix_(dense.any(1), dense.any(0))].astype(np.float64)
        if not dense.size:
            return np.zeros(1)
        # of the smaller Gram matrix: squaring loses digits only far below the rank tolerance
        rows, columns = dense.shape
        gram = dense @ dense.T if rows <= columns else dense.T @ dense
        squares = np.asarray(np.linalg.eigvalsh(gram)[::-1], dtype=np.float64)
        return np.sqrt(np.maximum(squares, 0.0))

    @cached_property
    def _spectrum(self) -> npt.NDArray[np.float64]:
        with one_thread():  # the last digits depend on the number of threads
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

    @property
    def description(self) -> dict[str, float]:
        """Density, rank and spectral norm: the columns that take long to compute."""
        names = ("density", "rank", "spectral_norm")
        return {name: getattr(self, name) for name in names}

    def content(self) -> Iterator[bytes]:
        """Yield everything that decides the matrix: family, parameters and arrays."""
        yield f"{self.family} {sorted(self.parameters.items())}".encode()
        for name, array in sorted(self.arrays.items()):
            yield f"{name} {array.dtype.str} {array.shape}".encode()
            yield array.tobytes()

    def to_record(self, description: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Return the columns of the table `library` except slot and index.

        `description` is that of an equal matrix; `None`: it is computed.
        """
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
            **(self.description if description is None else description),
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
    r"""Return the factor that scales :math:`\|W\|_F^2` to :math:`gain^2 \cdot out`."""
    return gain * float(np.sqrt(shape[1] / squared_norm))


def similarity(entries: Sequence[LibraryEntry]) -> npt.NDArray[np.float64]:
    r"""Return the cosines between N matrices as vectors of their elements, `(N, N)` float64.

    .. math:: S_{ij} = \langle W_i, W_j \rangle_F / (\|W_i\|_F \|W_j\|_F)

    A cosine of 1 means the same map up to a positive factor, -1 the opposite map, and 0 outputs
    that do not correlate for inputs of independent coordinates. Cosines of independent draws have
    mean 0, and as standard deviation the number of independent elements to the power -1/2:
    :math:`(in \cdot out)^{-1/2}` in general, :math:`max(in, out)^{-1/2}` for circulants. Larger
    cosines mean common structure. The row and column of a zero matrix are NaN.

    S is symmetric, and its diagonal exactly 1. Subspaces are not compared, because most families
    have full rank.

    Raises:
        ValueError: the matrices have several shapes.
    """
    shapes = sorted({entry.shape for entry in entries})
    if len(shapes) > 1:
        raise ValueError(f"the entries have the shapes {shapes}, expected one shape")
    n = len(entries)
    gram = np.zeros((n, n))
    if n:
        vectors = np.stack([entry.dense().ravel() for entry in entries])
        for start in range(0, vectors.shape[1], _CHUNK):
            part = vectors[:, start : start + _CHUNK].astype(np.float64)
            gram += part @ part.T
    lengths = np.sqrt(np.diagonal(gram))
    lengths[lengths == 0.0] = np.nan
    cosines = np.clip(gram / np.outer(lengths, lengths), -1.0, 1.0)
    np.fill_diagonal(cosines, np.where(np.isnan(lengths), np.nan, 1.0))
    return np.asarray((cosines + cosines.T) / 2)

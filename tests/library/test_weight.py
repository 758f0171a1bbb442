"""A matrix that is applied as the block of its rows and columns that are not zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clso.library import FAMILIES, LibraryEntry, Weight
from clso.library.weight import applied, counted_gain, is_structured


def matrix(kind: str) -> np.ndarray:
    dense = np.random.default_rng(0).standard_normal((40, 24)).astype(np.float32)
    if kind == "block":
        dense[:30] = 0
        dense[:, 3:9] = 0
        dense[35, 10] = 0
    elif kind == "zero":
        dense[:] = 0
    elif kind == "a row":
        dense[1:] = 0
    elif kind == "some rows":
        dense[::3] = dense[1::3] = 0
    elif kind == "some columns":
        dense[:, ::2] = 0
    return dense


@pytest.mark.parametrize("kind", ["full", "block", "zero", "a row", "some rows", "some columns"])
def test_products_are_those_of_the_dense_matrix(kind: str) -> None:
    dense = matrix(kind)
    weight = Weight(dense)
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((7, 40)).astype(np.float32))
    residual = torch.from_numpy(rng.standard_normal((7, 24)).astype(np.float32))
    kept = residual.clone()
    expected = x.double() @ torch.from_numpy(dense).double()
    torch.testing.assert_close(weight.product(x).double(), expected, atol=1e-5, rtol=1e-5)
    for alpha in (1.0, 0.5):
        added = weight.added(residual, x, alpha).double()
        torch.testing.assert_close(
            added, residual.double() + alpha * expected, atol=1e-5, rtol=1e-5
        )
    assert torch.equal(residual, kept)
    assert weight.shape == (40, 24)
    assert weight.is_zero == (kind == "zero")


def test_a_block_takes_the_memory_of_a_block() -> None:
    assert Weight(matrix("full")).nbytes == 4 * 40 * 24
    assert Weight(matrix("block")).nbytes == 4 * 10 * 18 + 8 * (10 + 18)
    assert Weight(matrix("some rows")).nbytes == 4 * 13 * 24 + 8 * 13
    assert Weight(matrix("some columns")).nbytes == 4 * 40 * 12 + 8 * 12


def entry(family: str, shape: tuple[int, int], **parameters: float) -> LibraryEntry:
    kind = FAMILIES.get(family)
    given = {**kind.Settings().parameters, **parameters}
    return kind.generate(np.random.default_rng(0), shape, gain=1.0, **given)


@pytest.mark.parametrize("family", sorted(FAMILIES.names()))
def test_matrices_of_a_width_below_256_are_dense(family: str) -> None:
    for shape in [(128, 384), (128, 512), (512, 128), (128, 128)]:
        matrix = entry(family, shape)
        assert not is_structured(matrix)
        weight = applied(matrix)
        assert isinstance(weight, Weight)
        x = torch.eye(shape[0])
        assert torch.equal(weight.product(x), torch.from_numpy(matrix.dense()))


@pytest.mark.parametrize(
    ("family", "parameters", "structured"),
    [
        ("zero", {}, True),
        ("quantized_low_rank", {"rank": 8}, True),
        ("quantized_low_rank", {"rank": 200}, False),
        ("permutation", {}, True),
        ("circulant", {}, True),
        ("hadamard", {}, True),
        ("kronecker", {"block": 8}, True),
        ("kronecker", {"block": 256}, False),
        ("monarch", {"blocks": 8}, True),
        ("monarch", {"blocks": 2}, False),
        ("block_sparse", {"block": 16}, False),
        ("block_sparse", {"block": 8, "density": 0.1}, False),
        ("block_sparse", {"block": 64}, True),
        ("block_sparse", {"block": 64, "density": 0.9}, False),
    ],
)
def test_the_count_decides_how_a_matrix_is_applied(
    family: str, parameters: dict[str, float], structured: bool
) -> None:
    matrix = entry(family, (512, 512), **parameters)
    assert is_structured(matrix) == structured
    form = applied(matrix)
    assert isinstance(form, Weight) != structured
    if structured:
        assert form.nbytes < 4 * 512 * 512 / 2
    gain = counted_gain(matrix)
    assert gain is not None
    assert (gain >= 1.4) == structured


def test_a_family_without_a_structured_form_is_dense() -> None:
    class Diagonal(LibraryEntry):
        family = "diagonal"

        def dense(self) -> np.ndarray:
            return np.eye(*self.shape, dtype=np.float32)

        @classmethod
        def draw(cls, rng: object, shape: object, gain: object, parameters: object) -> Diagonal:
            raise AssertionError

        @property
        def flops(self) -> int:
            return self.shape[0]

    matrix = Diagonal((512, 512), {}, {})
    assert counted_gain(matrix) is None
    assert isinstance(applied(matrix), Weight)
    with pytest.raises(NotImplementedError, match="diagonal matrices are applied as dense ones"):
        matrix.structured()

"""A matrix that is applied as the block of its rows and columns that are not zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clso.library import Weight


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

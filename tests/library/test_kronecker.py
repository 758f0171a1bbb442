from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ConfigError
from clso.library import Kronecker

FACTORS = st.integers(1, 8)


def draw(rows: int, columns: int, block: int) -> Kronecker:
    rng = np.random.default_rng(0)
    return Kronecker.generate(rng, (rows, columns), gain=1.0, block=block)


@settings(max_examples=40, deadline=None)
@given(down=FACTORS, across=FACTORS, block=st.integers(2, 8))
def test_it_is_the_kronecker_product_of_its_factors(down: int, across: int, block: int) -> None:
    entry = draw(down * block, across * block, block)
    left, right = entry.arrays["left"], entry.arrays["right"]
    assert left.shape == (down, across)
    np.testing.assert_array_equal(entry.dense(), np.kron(left, right))
    assert entry.rank == min(down, across) * block
    assert entry.flops <= 2 * entry.shape[0] * entry.shape[1]


def test_a_product_needs_the_factors_alone() -> None:
    entry = draw(12, 36, 4)
    x = np.random.default_rng(1).standard_normal(12)
    left, right = (entry.arrays[name].astype(np.float64) for name in ("left", "right"))
    by_factors = left.T @ x.reshape(3, 4) @ right
    np.testing.assert_allclose(x @ np.kron(left, right), by_factors.ravel(), atol=1e-12)
    assert entry.flops == 2 * (3 * 9 * 4 + 3 * 4 * 4)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (1, r"kronecker: block: .*greater than or equal to 2 \(given 1\)"),
        (5, r"block is 5, which does not divide both sides of a 12 x 36 matrix[\s\S]*divisor"),
        (9, "block is 9, which does not divide both sides"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(block: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw(12, 36, block)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag

from clso.errors import ConfigError
from clso.library import Monarch

FACTORS = st.integers(1, 6)


def draw(rows: int, columns: int, blocks: int) -> Monarch:
    rng = np.random.default_rng(0)
    return Monarch.generate(rng, (rows, columns), gain=1.0, blocks=blocks)


def shuffle(n: int, blocks: int) -> np.ndarray:
    """P with x P = x, written as `blocks` rows, read by columns."""
    order = np.arange(n).reshape(blocks, n // blocks).T.ravel()
    return np.eye(n)[:, order]


@settings(max_examples=40, deadline=None)
@given(down=FACTORS, across=FACTORS, blocks=st.integers(2, 6))
def test_it_is_the_product_of_its_factors(down: int, across: int, blocks: int) -> None:
    rows, columns = down * blocks, across * blocks
    entry = draw(rows, columns, blocks)
    first, second = (entry.arrays[name].astype(np.float64) for name in ("first", "second"))
    product = (
        block_diag(*first)
        @ shuffle(min(rows, columns), blocks)
        @ block_diag(*second)
        @ shuffle(columns, blocks)
    )
    np.testing.assert_allclose(entry.dense(), product, rtol=1e-6, atol=1e-7)
    assert entry.rank <= min(rows, columns)
    assert entry.flops == 2 * (first.size + second.size) <= 2 * rows * columns


def test_every_output_depends_on_every_input() -> None:
    assert draw(16, 64, 4).density == 1.0
    assert draw(16, 64, 8).density == 0.25


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (1, r"monarch: blocks: .*greater than or equal to 2 \(given 1\)"),
        (5, r"blocks is 5, which does not divide both sides of a 12 x 36 matrix[\s\S]*divisor"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(blocks: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw(12, 36, blocks)

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.library import Circulant

SIDES = st.integers(1, 40)


def draw(rows: int, columns: int) -> Circulant:
    return Circulant.generate(np.random.default_rng(0), (rows, columns), gain=1.0)


@settings(max_examples=40, deadline=None)
@given(rows=SIDES, columns=SIDES)
def test_a_row_is_the_one_above_moved_right(rows: int, columns: int) -> None:
    dense = draw(rows, columns).dense()
    np.testing.assert_array_equal(dense[1:, 1:], dense[:-1, :-1])
    if columns >= rows:
        np.testing.assert_array_equal(dense[1:, 0], dense[:-1, -1])
    else:
        np.testing.assert_array_equal(dense[0, 1:], dense[-1, :-1])


@settings(max_examples=40, deadline=None)
@given(rows=SIDES, columns=SIDES)
def test_a_product_is_a_circular_convolution(rows: int, columns: int) -> None:
    entry = draw(rows, columns)
    x = np.random.default_rng(1).standard_normal((3, rows))
    n = max(rows, columns)
    spectrum = np.fft.rfft(entry.arrays["first_row"].astype(np.float64))
    convolved = np.fft.irfft(np.fft.rfft(x, n) * spectrum, n)[:, :columns]
    np.testing.assert_allclose(x @ entry.dense().astype(np.float64), convolved, atol=1e-9)


def test_the_spectrum_of_a_square_one_is_that_of_its_first_row() -> None:
    entry = draw(24, 24)
    largest = np.abs(np.fft.fft(entry.arrays["first_row"].astype(np.float64))).max()
    np.testing.assert_allclose(entry.spectral_norm, largest, rtol=1e-6)


def test_operations_are_those_of_two_transforms_and_a_product() -> None:
    assert draw(128, 128).flops == 5 * 128 * 7 + 6 * 65
    assert draw(2, 2).flops == 8

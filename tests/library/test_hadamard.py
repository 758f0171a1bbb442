from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ArtifactError
from clso.library import Hadamard


def draw(rows: int, columns: int, gain: float = 1.0) -> Hadamard:
    return Hadamard.generate(np.random.default_rng(0), (rows, columns), gain=gain)


def fast_transform(values: np.ndarray) -> np.ndarray:
    """The Walsh-Hadamard transform of `(..., n)`, n a power of two."""
    half = values.shape[-1] // 2
    if half == 0:
        return values
    top, bottom = fast_transform(values[..., :half]), fast_transform(values[..., half:])
    return np.concatenate([top + bottom, top - bottom], axis=-1)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), gain=st.floats(0.1, 4.0))
def test_every_element_has_the_same_size(rows: int, columns: int, gain: float) -> None:
    dense = draw(rows, columns, gain).dense()
    np.testing.assert_allclose(np.abs(dense), gain / np.sqrt(rows), rtol=1e-6)


@pytest.mark.parametrize(("short", "long"), [(16, 16), (16, 48), (16, 64), (12, 48), (5, 8)])
def test_rows_are_orthogonal_where_tiles_are_whole(short: int, long: int) -> None:
    wide = draw(short, long).dense().astype(np.float64)
    np.testing.assert_allclose(wide @ wide.T, long / short * np.eye(short), atol=1e-6)
    tall = draw(long, short).dense().astype(np.float64)
    np.testing.assert_allclose(tall.T @ tall, np.eye(short), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40))
def test_a_product_is_signs_then_the_fast_transform(rows: int, columns: int) -> None:
    entry = draw(rows, max(rows, columns))
    tiles = -(-entry.shape[1] // (1 << (rows - 1).bit_length()))
    n = 1 << (rows - 1).bit_length()
    x = np.random.default_rng(1).standard_normal((3, 1, rows))
    bits = np.unpackbits(entry.arrays["signs"], count=tiles * rows).reshape(tiles, rows)
    padded = np.zeros((3, tiles, n))
    padded[..., :rows] = np.where(bits, -x, x)
    transformed = fast_transform(padded)
    columns_of = np.arange(entry.shape[1])
    found = transformed[:, columns_of // n, entry.arrays["picked"]] * float(entry.arrays["scale"])
    np.testing.assert_allclose(x[:, 0] @ entry.dense().astype(np.float64), found, atol=1e-9)


def test_operations_are_those_of_the_fast_transform() -> None:
    assert draw(128, 128).flops == 128 * 7 + 2 * 128
    assert draw(128, 512).flops == 4 * draw(128, 128).flops


def test_indices_take_a_byte_and_signs_a_bit() -> None:
    assert draw(128, 512).stored_bytes == 512 + 4 * 128 // 8 + 4


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("picked", np.zeros(8, dtype=np.uint8), "a tile has a number twice"),
        (
            "picked",
            np.arange(1, 9, dtype=np.uint8),
            "a line has the number 8, expected less than 8",
        ),
        (
            "picked",
            np.arange(7, dtype=np.uint8),
            r"picked has the shape \(7,\), expected \(8,\)",
        ),
        (
            "signs",
            np.zeros(2, dtype=np.uint8),
            r"signs has the shape \(2,\), expected \(1,\)",
        ),
    ],
)
def test_what_is_no_hadamard_matrix_is_refused(name: str, array: np.ndarray, message: str) -> None:
    entry = draw(8, 8)
    with pytest.raises(ArtifactError, match=message):
        Hadamard(entry.shape, entry.parameters, {**entry.arrays, name: array})

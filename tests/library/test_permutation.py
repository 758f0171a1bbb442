from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ArtifactError
from clso.library import Permutation

SIDES = st.integers(1, 40)


def draw(rows: int, columns: int, gain: float = 1.0, seed: int = 0) -> Permutation:
    return Permutation.generate(np.random.default_rng(seed), (rows, columns), gain=gain)


@settings(max_examples=40, deadline=None)
@given(rows=SIDES, columns=SIDES)
def test_one_element_per_line_of_the_longer_side_and_the_rest_evenly(
    rows: int, columns: int
) -> None:
    found = draw(rows, columns).dense() != 0
    long, short = (0, 1) if columns >= rows else (1, 0)  # the axis that is summed over
    assert (found.sum(axis=long) == 1).all()
    shared = found.sum(axis=short)
    assert {max(rows, columns) // min(rows, columns)} <= set(shared.tolist())
    assert shared.max() - shared.min() <= 1


@settings(max_examples=20, deadline=None)
@given(side=SIDES, gain=st.floats(0.1, 4.0))
def test_a_square_one_is_orthogonal(side: int, gain: float) -> None:
    dense = draw(side, side, gain).dense().astype(np.float64)
    np.testing.assert_allclose(dense @ dense.T, gain**2 * np.eye(side), rtol=1e-6)


def test_its_elements_differ_in_sign_alone() -> None:
    dense = draw(24, 96).dense()
    values = dense[dense != 0]
    assert set(np.abs(values)) == {np.float32(1.0)}
    assert 0.25 < (values < 0).mean() < 0.75


def test_tiles_are_not_alike() -> None:
    one, two = np.split(np.abs(draw(16, 32).dense()), 2, axis=1)
    assert not np.array_equal(one, two)


def test_indices_take_a_byte_and_signs_a_bit() -> None:
    assert draw(128, 512).stored_bytes == 512 + 512 // 8 + 4
    assert draw(300, 300).arrays["partners"].dtype == np.uint16


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("partners", np.zeros(8, dtype=np.uint8), "a tile has a number twice"),
        (
            "partners",
            np.arange(1, 9, dtype=np.uint8),
            "a line has the number 8, expected less than 8",
        ),
        (
            "partners",
            np.arange(8, dtype=np.int32),
            "arrays are partners int32, .* expected partners unsignedinteger",
        ),
        (
            "partners",
            np.arange(7, dtype=np.uint8),
            r"partners has the shape \(7,\), expected \(8,\)",
        ),
        (
            "signs",
            np.zeros(2, dtype=np.uint8),
            r"signs has the shape \(2,\), expected \(1,\)",
        ),
        ("scale", np.zeros(()), "scale float64, expected .* scale float32"),
    ],
)
def test_what_is_no_permutation_is_refused(name: str, array: np.ndarray, message: str) -> None:
    entry = draw(8, 8)
    with pytest.raises(ArtifactError, match=message):
        Permutation(entry.shape, entry.parameters, {**entry.arrays, name: array})

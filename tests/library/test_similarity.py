from __future__ import annotations

import numpy as np
import pytest
from drawn_families import family_settings

from clso.library import BasisLibrary, LibraryEntry, Zero, similarity

FAMILIES = [
    family_settings("permutation"),
    family_settings("circulant"),
    family_settings("hadamard"),
]


@pytest.fixture(scope="module")
def entries() -> tuple[LibraryEntry, ...]:
    return BasisLibrary.generate(16, 9, FAMILIES, 1.0, 0)["mlp_up"]


def test_it_is_the_cosine_of_all_elements(entries: tuple[LibraryEntry, ...]) -> None:
    found = similarity(entries)
    vectors = [entry.dense().astype(np.float64).ravel() for entry in entries]
    for i, one in enumerate(vectors):
        for j, other in enumerate(vectors):
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            assert found[i, j] == pytest.approx(cosine, abs=1e-12)


def test_it_is_symmetric_with_ones_on_the_diagonal(entries: tuple[LibraryEntry, ...]) -> None:
    found = similarity(entries)
    assert found.shape == (9, 9)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diagonal(found), 1.0)
    assert np.abs(found).max() == 1.0


def test_independent_draws_are_as_far_apart_as_said() -> None:
    drawn = BasisLibrary.generate(32, 40, [family_settings("circulant")], 1.0, 0)["attn_out"]
    cosines = similarity(drawn)[np.triu_indices(40, 1)]
    # 32 numbers make up each of these 32 x 32 matrices
    assert np.std(cosines) == pytest.approx(32**-0.5, rel=0.15)


def test_the_matrices_are_read_in_parts(
    entries: tuple[LibraryEntry, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = similarity(entries)
    monkeypatch.setattr("clso.library.entry._CHUNK", 100)
    np.testing.assert_allclose(similarity(entries), whole, atol=1e-12)


def test_a_zero_matrix_has_no_direction(entries: tuple[LibraryEntry, ...]) -> None:
    found = similarity([entries[0], Zero.of((16, 64)), entries[1]])
    assert np.isnan(found[1]).all()
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[::2, ::2]).all()


def test_no_entries_have_no_similarities() -> None:
    assert similarity([]).shape == (0, 0)


def test_matrices_of_several_slots_are_refused(entries: tuple[LibraryEntry, ...]) -> None:
    with pytest.raises(ValueError, match=r"shapes \[\(16, 16\), \(16, 64\)\], expected one"):
        similarity([entries[0], Zero.of((16, 16))])

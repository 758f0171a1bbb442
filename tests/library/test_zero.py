from __future__ import annotations

import numpy as np
import pytest
from drawn_families import family_settings

from clso.errors import ArtifactError
from clso.gpt import GptFrame, GptGenomes, GptShape
from clso.library import FAMILIES, SLOTS, BasisLibrary, Zero


def test_it_is_zero_and_knows_it() -> None:
    entry = Zero.generate(np.random.default_rng(0), (7, 11), gain=3.0)
    assert not entry.dense().any()
    assert (entry.spectral_norm, entry.rank, entry.density) == (0.0, 0, 0.0)
    assert (entry.stored_bytes, entry.flops) == (0, 0)
    assert repr(entry) == "Zero(7 x 11)"


def test_a_drawn_zero_is_the_zero_of_spectral_libraries() -> None:
    drawn = Zero.generate(np.random.default_rng(0), (7, 11), gain=3.0)
    assert drawn.to_record() == Zero.of((7, 11)).to_record()


def test_several_zeros_are_one_choice() -> None:
    specs = [family_settings("permutation"), family_settings("zero")]
    library = BasisLibrary.generate(8, 6, specs, 1.0, 0)
    assert [entry.family for entry in library["mlp_up"]] == ["permutation"] * 3 + ["zero"] * 3
    frame = GptFrame(GptShape(1, 2, 8, 4, 9), seed=0)
    space = GptGenomes(library, frame, share_layers=True).space
    assert space.canonical((0, 3, 4, 5)) == (0, 3, 3, 3)
    again = BasisLibrary.from_table(library.to_table())
    assert again.fingerprint == library.fingerprint
    assert list(again) == list(SLOTS)


def test_a_zero_with_numbers_is_refused() -> None:
    record = Zero.of((7, 5)).to_record()
    record["arrays"] = [{"name": "x", "dtype": "<f4", "shape": [1], "data": b"\0\0\0\0"}]
    with pytest.raises(ArtifactError, match=r"zero matrix of shape .* expected no arrays"):
        FAMILIES.entry_from_record(record)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from drawn_families import family_settings
from elsewhere import Elsewhere
from moved import moved

from clso.errors import ArtifactError, ConfigError
from clso.library import SLOTS, BasisLibrary, MatrixCache, Weight

FAMILIES = [
    family_settings("block_sparse", 1.0, {"block": 4, "density": 0.3}),
    family_settings("quantized_low_rank", 1.0, {"rank": 3, "bits": 4}),
]


def make(size: int = 6, n_embd: int = 10, seed: int = 3, gain: float = 1.0) -> BasisLibrary:
    return BasisLibrary.generate(n_embd, size, FAMILIES, gain, seed)


def same(one: BasisLibrary, other: BasisLibrary) -> bool:
    return one.fingerprint == other.fingerprint and all(
        np.array_equal(a.dense(), b.dense())
        for slot in SLOTS
        for a, b in zip(one[slot], other[slot], strict=True)
    )


def test_slots_have_the_orientation_of_conv1d() -> None:
    library = make(n_embd=10)
    assert [library[slot][0].dense().shape for slot in SLOTS] == [
        (10, 30),
        (10, 10),
        (10, 40),
        (40, 10),
    ]


def test_it_is_a_read_only_mapping_of_slots() -> None:
    library = make(size=6)
    assert list(library) == list(SLOTS)
    assert len(library) == 4
    assert library.size == 6
    with pytest.raises(TypeError):
        library["attn_out"] = ()  # type: ignore[index]
    with pytest.raises(KeyError):
        library["lm_head"]


def test_families_come_in_order_by_share() -> None:
    library = make(size=5)
    names = [entry.family for entry in library["mlp_up"]]
    assert names == ["block_sparse"] * 3 + ["quantized_low_rank"] * 2


def test_a_seed_reproduces_every_bit_and_another_seed_does_not() -> None:
    assert same(make(seed=3), make(seed=3))
    assert make(seed=3).fingerprint != make(seed=4).fingerprint


def test_gain_is_in_the_fingerprint() -> None:
    assert make(gain=1.0).fingerprint != make(gain=2.0).fingerprint


def test_all_entries_differ() -> None:
    library = make(size=8)
    for slot in SLOTS:
        assert len({entry.dense().tobytes() for entry in library[slot]}) == 8


def test_a_larger_library_keeps_the_entries_that_stay_in_their_family() -> None:
    small, large = make(size=4), make(size=8)
    for slot in SLOTS:
        for index in range(2):
            np.testing.assert_array_equal(small[slot][index].dense(), large[slot][index].dense())


def test_table_round_trip_is_exact(tmp_path: Path) -> None:
    library = make()
    assert same(BasisLibrary.from_table(library.to_table()), library)
    library.save(tmp_path / "library.parquet")
    back = BasisLibrary.load(tmp_path / "library.parquet")
    assert same(back, library)
    assert back.n_embd == library.n_embd
    assert back.stored_bytes == library.stored_bytes


def test_workers_of_an_engine_describe_the_same_matrices() -> None:
    assert make().to_table(Elsewhere()) == make().to_table()


def test_row_order_of_the_table_does_not_matter() -> None:
    library = make()
    table = library.to_table()
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert same(BasisLibrary.from_table(shuffled), library)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="none"),
        pytest.param([0, 0, *range(1, 24)], id="doubled"),
        pytest.param(list(range(1, 24)), id="first missing"),
        pytest.param(list(range(23)), id="last missing"),
        pytest.param(list(range(18)), id="slot missing"),
    ],
)
def test_missing_or_doubled_rows_are_refused(rows: list[int]) -> None:
    table = make().to_table().take(pa.array(rows, pa.int64()))
    with pytest.raises(ArtifactError, match="library"):
        BasisLibrary.from_table(table)


def test_entries_of_another_width_are_refused() -> None:
    library = make(n_embd=10)
    with pytest.raises(ArtifactError, match=r"entry 0 of attn_qkv has the shape \(10, 30\)"):
        BasisLibrary(12, library)


def test_a_rank_that_the_width_does_not_allow_is_named() -> None:
    with pytest.raises(ConfigError, match="rank is 3, but a 2 x 6 matrix"):
        make(n_embd=2)


@pytest.mark.parametrize("gain", [0.0, -1.0, float("nan"), float("inf")])
def test_gain_must_be_positive_and_finite(gain: float) -> None:
    with pytest.raises(ConfigError, match="gain"):
        make(gain=gain)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.parquet does not exist"):
        BasisLibrary.load(tmp_path / "gone.parquet")


def test_repr_is_short() -> None:
    assert repr(make(size=6)).startswith("BasisLibrary(n_embd=10, size=6, ")


# the cache of matrices


def dense(weight: Weight) -> torch.Tensor:
    return weight.product(torch.eye(weight.shape[0]))


def test_cache_hands_out_the_entry_itself() -> None:
    library = make()
    cache = MatrixCache(library)
    for slot in SLOTS:
        expected = torch.from_numpy(library[slot][2].dense())
        assert torch.equal(cache.matrix(slot, 1), torch.from_numpy(library[slot][1].dense()))
        assert torch.equal(dense(cache.weight(slot, 2)), expected)
        assert cache.weight(slot, 2) is cache.weight(slot, 2)


def test_cache_keeps_the_rows_of_an_embedding_that_are_asked_for() -> None:
    library, tokens = make(), np.array([1, 4, 7])
    cache = MatrixCache(library, tokens=tokens)
    rows = cache.matrix("attn_out", 1)
    assert torch.equal(rows, torch.from_numpy(library["attn_out"][1].dense()[tokens]))
    assert cache.size_bytes == rows.nbytes
    assert np.array_equal(moved(cache).tokens, tokens)


def test_cache_stays_within_its_bound_and_forgets_the_least_recently_used() -> None:
    library = make(size=4, n_embd=10)
    one = 4 * 10 * 10
    cache = MatrixCache(library, max_bytes=2 * one)
    first = cache.weight("attn_out", 0)
    second = cache.weight("attn_out", 1)
    assert cache.weight("attn_out", 0) is first
    cache.weight("attn_out", 2)
    assert cache.size_bytes == 2 * one
    assert cache.weight("attn_out", 0) is first
    again = cache.weight("attn_out", 1)
    assert again is not second
    assert torch.equal(dense(again), dense(second))


def test_a_matrix_larger_than_the_bound_is_handed_out_but_not_kept() -> None:
    cache = MatrixCache(make(), max_bytes=8)
    assert cache.weight("attn_out", 0).shape == (10, 10)
    assert cache.size_bytes == 0


def test_weights_are_aligned() -> None:
    cache = MatrixCache(make(n_embd=17))
    assert all(cache.weight(slot, 1)._block.data_ptr() % 64 == 0 for slot in SLOTS)
    assert all(cache.matrix(slot, 2).data_ptr() % 64 == 0 for slot in SLOTS)

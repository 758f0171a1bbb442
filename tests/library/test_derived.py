"""Derived entries: the contract of all entries, then what each is for."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_families import family_settings
from streams import Stream, stepping_walk

from clso.counting import count_pairs
from clso.errors import ArtifactError, ConfigError, DataError
from clso.floors import Bigram
from clso.library import (
    DERIVED_FAMILIES,
    FAMILIES,
    SLOTS,
    BasisLibrary,
    LibraryEntry,
    ResidualLayout,
)
from clso.library.cooccurrence import SpectralFactors
from clso.library.derived import ContextAttention, ContextMerge, HeadMerge, RecencyAttention
from clso.library.pair_memory import PairDetector, PairMemory
from clso.library.settings import SpectralSettings
from clso.library.spectral import (
    ReweightedEmbedding,
    ReweightedReadout,
    SpectralEmbedding,
    SpectralReadout,
)
from clso.library.spectral_library import with_spectral

VOCAB_SIZE, N_HEAD = 40, 2
LAYOUT = ResidualLayout(24, 6, 5, 16)
CODED = ResidualLayout(60, 6, 5, 16, 8)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return stepping_walk(VOCAB_SIZE)


def factors_of(stream: Stream, seed: int = 0, layout: ResidualLayout = LAYOUT) -> SpectralFactors:
    return SpectralFactors.fit(
        [stream], VOCAB_SIZE, layout, recent_reach=3, topic_reach=6, seed=seed, source="walk"
    )


@pytest.fixture(scope="module")
def factors(stream: Stream) -> SpectralFactors:
    return factors_of(stream)


@pytest.fixture(params=sorted(DERIVED_FAMILIES))
def entry(request: pytest.FixtureRequest, factors: SpectralFactors) -> LibraryEntry:
    entries: dict[str, LibraryEntry] = {
        "recency_attention": RecencyAttention.of(LAYOUT, N_HEAD, [0.7, 0.1]),
        "head_merge": HeadMerge.of(LAYOUT, N_HEAD, 1.1),
        "spectral_embedding": SpectralEmbedding.of(factors, 0.5),
        "spectral_readout": SpectralReadout.of(factors, [1.0, -0.5, -0.1]),
        "reweighted_embedding": ReweightedEmbedding.of(factors, 0.5),
        "reweighted_readout": ReweightedReadout.of(factors, [1.0, -0.5, -0.1]),
        "context_attention": ContextAttention.of(CODED, 3, [0.7, 0.1]),
        "context_merge": ContextMerge.of(CODED, 3, 1.1),
        "pair_detector": PairDetector.of(CODED, np.array([[1, 2], [3, 3]]), 0.9),
        "pair_memory": PairMemory.of(CODED, np.eye(2, CODED.near, dtype=np.float32), "walk"),
    }
    assert entries.keys() == DERIVED_FAMILIES.keys()
    return entries[request.param]


def test_dense_is_float32_and_repeatable(entry: LibraryEntry) -> None:
    dense = entry.dense()
    assert dense.dtype == np.float32
    assert dense.shape == entry.shape
    assert np.isfinite(dense).all()
    np.testing.assert_array_equal(dense, entry.dense())


def test_record_round_trip_is_exact(entry: LibraryEntry) -> None:
    back = FAMILIES.entry_from_record(entry.to_record())
    assert type(back) is type(entry)
    assert back.to_record() == entry.to_record()
    np.testing.assert_array_equal(back.dense(), entry.dense())


def test_facts_agree_with_the_dense_matrix(entry: LibraryEntry) -> None:
    dense = entry.dense().astype(np.float64)
    values = np.linalg.svd(dense, compute_uv=False)
    assert entry.spectral_norm == pytest.approx(values[0], rel=1e-5)
    assert entry.density == np.count_nonzero(dense) / dense.size
    assert entry.stored_bytes == sum(array.nbytes for array in entry.arrays.values())
    assert 0 < entry.flops < 2 * dense.size


def test_a_damaged_record_is_refused(entry: LibraryEntry) -> None:
    record = entry.to_record()
    record["arrays"] = [{"name": "x", "dtype": "<f4", "shape": [1], "data": b"\0\0\0\0"}]
    with pytest.raises(ArtifactError, match=f"{entry.family} matrix of shape .* is damaged"):
        FAMILIES.entry_from_record(record)


def test_distinct_rows_are_those_of_the_dense_matrix(entry: LibraryEntry) -> None:
    distinct = entry.distinct_rows()
    assert (distinct is not None) == entry.family.endswith("readout")
    if distinct is not None:
        rows, row_of_token = distinct
        np.testing.assert_array_equal(rows[row_of_token], entry.dense())


def test_it_is_not_drawn(entry: LibraryEntry) -> None:
    with pytest.raises(ConfigError, match=r"not drawn[\s\S]*gpt.spectral.enabled"):
        type(entry).generate(np.random.default_rng(0), (4, 4), gain=1.0)


def test_rows_of_the_residual_stream_sum_to_zero(factors: SpectralFactors) -> None:
    embedding = SpectralEmbedding.of(factors, 0.5).dense()
    np.testing.assert_allclose(embedding.sum(1), 0.0, atol=1e-5)
    np.testing.assert_allclose(LAYOUT.positions().sum(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(HeadMerge.of(LAYOUT, N_HEAD, 1.3).dense().sum(1), 0.0, atol=1e-6)


def test_all_but_the_constant_is_small(factors: SpectralFactors) -> None:
    rows = SpectralEmbedding.of(factors, 0.01).dense()[:, : sum(LAYOUT.widths)]
    lengths = np.linalg.norm(rows, axis=1)
    assert 0.01 * LAYOUT.loud < lengths.max() < 0.15 * LAYOUT.loud


@pytest.mark.parametrize("code", [0, 8])
def test_coordinates_that_near_leaves_stay_zero(stream: Stream, code: int) -> None:
    layout = ResidualLayout(80, 6, 5, 16, code, most_near=7)
    assert layout.widths == (7, 6, 5)
    factors = factors_of(stream, layout=layout)
    idle = slice(sum(layout.widths), layout.code_start)
    assert idle.stop - idle.start == 80 - 18 - 3 - (2 * 8 + 16 if code else 0)
    for dense in (SpectralEmbedding.of(factors, 0.5).dense(), layout.positions()):
        assert not dense[:, idle].any()
        assert dense[:, layout.code_start :].any()
        np.testing.assert_allclose(dense.sum(1), 0.0, atol=1e-5)
    assert not SpectralReadout.of(factors, [1.0, -0.5, -0.1]).dense()[:, idle].any()
    assert ResidualLayout(80, 6, 5, 16, code, most_near=500).near == 69 - 3 - (32 if code else 0)


def test_full_rank_is_the_kneser_ney_bigram(stream: Stream) -> None:
    layout = ResidualLayout(VOCAB_SIZE + 5, 1, 1, 16)
    found = factors_of(stream, layout=layout)
    near = slice(0, layout.near)
    logits = found.embedding[:, near] @ found.readout[:, near].T + found.log_prior
    bigram = Bigram(*count_pairs([stream], VOCAB_SIZE), VOCAB_SIZE)
    tokens = np.arange(VOCAB_SIZE - 1)
    expected = bigram.probabilities(tokens[None])[0]
    p = np.exp(logits[tokens] - logits[tokens].max(1, keepdims=True))
    np.testing.assert_allclose(p / p.sum(1, keepdims=True), expected, atol=2e-5)


def test_factors_follow_from_tokens_and_seed(stream: Stream, factors: SpectralFactors) -> None:
    again = factors_of(stream)
    for name in ("embedding", "readout", "counts", "log_prior"):
        np.testing.assert_array_equal(getattr(again, name), getattr(factors, name))
    other = factors_of(stream, seed=1)
    # another start of the same decomposition: the same matrix up to rounding
    near = slice(0, LAYOUT.near)
    one, two = (found.embedding[:, near] @ found.readout[:, near].T for found in (factors, other))
    np.testing.assert_allclose(one, two, atol=0.2)
    assert not factors.embedding[VOCAB_SIZE - 1].any()


def test_no_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="no two tokens in a row"):
        factors_of(Stream(np.array([1], dtype=np.uint16)))


def test_a_width_that_leaves_nothing_for_the_current_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be divided"):
        ResidualLayout(24, 15, 6, 16)


@pytest.mark.parametrize("n_head", [1, 6])
def test_heads_that_cannot_carry_the_layout_are_refused(n_head: int) -> None:
    with pytest.raises(ConfigError, match="cannot carry"):
        RecencyAttention.of(LAYOUT, n_head, [0.5, 0.1])


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ConfigError, match="near_gain"):
        SpectralSettings(near_gain=(2.0, 1.0))


def extended(factors: SpectralFactors, width: int = 24) -> BasisLibrary:
    families = [family_settings("quantized_low_rank", 1.0, {"rank": 3, "bits": 4})]
    drawn = BasisLibrary.generate(width, 2, families, 1.0, 0)
    spec = SpectralSettings(size=4, embeddings=2, readouts=3)
    return with_spectral(drawn, factors, spec, n_head=N_HEAD, seed=0)


def test_a_library_keeps_its_drawn_entries_and_gets_two_slots(factors: SpectralFactors) -> None:
    library = extended(factors)
    assert list(library) == [*SLOTS, "embedding", "readout"]
    families = {slot: [entry.family for entry in found] for slot, found in library.items()}
    drawn = ["quantized_low_rank"] * 2
    assert families["attn_qkv"] == [*drawn, *["recency_attention"] * 3, "zero"]
    assert families["attn_out"] == [*drawn, *["head_merge"] * 3, "zero"]
    assert families["mlp_up"] == families["mlp_down"] == [*drawn, *["zero"] * 4]
    assert (len(library["embedding"]), len(library["readout"])) == (2, 3)
    assert library.vocab_size == VOCAB_SIZE
    assert library["embedding"][0].parameters["source"] == "walk"


def test_a_library_with_token_slots_survives_its_table(factors: SpectralFactors) -> None:
    library = extended(factors)
    assert BasisLibrary.from_table(library.to_table()).fingerprint == library.fingerprint
    assert extended(factors).fingerprint == library.fingerprint


def test_half_a_pair_of_token_slots_is_refused(factors: SpectralFactors) -> None:
    entries = dict(extended(factors))
    del entries["readout"]
    with pytest.raises(ArtifactError, match="one of embedding, readout only"):
        BasisLibrary(24, entries)


def test_factors_of_another_width_are_refused(factors: SpectralFactors) -> None:
    with pytest.raises(ConfigError, match="n_embd 24, the library for 12"):
        extended(factors, width=12)

"""The contract of every matrix family, then what is particular to each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from drawn_families import family_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ArtifactError, ConfigError
from clso.library import (
    FAMILIES,
    BasisLibrary,
    BlockSparse,
    LibraryEntry,
    QuantizedLowRank,
)
from clso.library.entry import Work

PARAMETERS: dict[str, dict[str, float]] = {
    "block_sparse": {"block": 5, "density": 0.3},
    "quantized_low_rank": {"rank": 3, "bits": 4},
    "permutation": {},
    "circulant": {},
    "hadamard": {},
    "kronecker": {"block": 3},
    "monarch": {"blocks": 3},
    "zero": {},
}
# block sizes must divide the last shape too; nothing divides 7 and 11, and no family minds
SHAPES = [(12, 36), (12, 12), (48, 12), (15, 21)]
COPRIME = (7, 11)
ODD_SHAPES = [COPRIME, (11, 7), (33, 70), (300, 33), (5, 5)]
TYPICAL: dict[str, dict[str, float]] = {
    **PARAMETERS,
    "kronecker": {"block": 4},
    "monarch": {"blocks": 4},
}
DIVIDING = {"kronecker", "monarch"}

# Of `BasisLibrary.generate(16, 2, ...)` with the parameters below: what was drawn before must be
# drawn again, or stored libraries no longer are what their configuration says. The bits come
# from numpy's generators and correctly rounded operations; a sum's order moves them by less than
# float32 keeps.
GOLDEN = {
    "block_sparse": "888bef9c3ff748af",
    "quantized_low_rank": "361c4c4d3700c14c",
    "permutation": "1d833184c831a539",
    "circulant": "33db6ac0c86a05be",
    "hadamard": "3c01cf66f38ef9ce",
    "kronecker": "f66f7cde9537fd40",
    "monarch": "b05dc1afdcb1d745",
    "zero": "291d97b7ca6b6cb1",
}

Draw = Callable[..., LibraryEntry]


def draw(family: str, shape: tuple[int, int] = (12, 36), gain: float = 1.0) -> LibraryEntry:
    rng = np.random.default_rng(5)
    return FAMILIES.get(family).generate(rng, shape, gain=gain, **PARAMETERS[family])


@pytest.fixture(params=sorted(FAMILIES.names()))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(set(FAMILIES.names()) - {"zero"}))
def loud(request: pytest.FixtureRequest) -> str:
    """A family whose matrices have something to scale and to store."""
    return str(request.param)


@pytest.fixture(params=sorted(set(FAMILIES.names()) - {"zero"} - DIVIDING))
def any_shape(request: pytest.FixtureRequest) -> str:
    """A family that has matrices of every shape."""
    return str(request.param)


def test_every_family_is_under_contract() -> None:
    assert PARAMETERS.keys() == set(FAMILIES.names()) == GOLDEN.keys()


def test_a_seed_gives_the_matrices_that_it_always_gave(family: str) -> None:
    specs = [family_settings(family, 1.0, TYPICAL[family])]
    assert BasisLibrary.generate(16, 2, specs, 1.0, 3).fingerprint[:16] == GOLDEN[family]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gain", [0.1, 1.0, 3.0])
def test_frobenius_norm_is_gain_squared_times_outputs(
    loud: str, shape: tuple[int, int], gain: float
) -> None:
    dense = draw(loud, shape, gain).dense().astype(np.float64)
    assert np.square(dense).sum() == pytest.approx(gain**2 * shape[1], rel=1e-6)


def test_outputs_of_unit_variance_inputs_have_variance_gain_squared(loud: str) -> None:
    dense = draw(loud, (63, 252), gain=2.0).dense()
    inputs = np.random.default_rng(0).standard_normal((2000, 63), dtype=np.float32)
    assert np.square(inputs @ dense).mean() == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("shape", SHAPES)
def test_dense_is_float32_rows_by_columns_and_repeatable(
    family: str, shape: tuple[int, int]
) -> None:
    entry = draw(family, shape)
    dense = entry.dense()
    assert dense.dtype == np.float32
    assert dense.shape == entry.shape == shape
    assert dense.flags.c_contiguous
    np.testing.assert_array_equal(dense, entry.dense())


def test_the_same_generator_state_gives_the_same_bits(family: str) -> None:
    np.testing.assert_array_equal(draw(family).dense(), draw(family).dense())


@pytest.mark.parametrize("shape", SHAPES)
def test_record_round_trip_is_exact(family: str, shape: tuple[int, int]) -> None:
    entry = draw(family, shape)
    back = FAMILIES.entry_from_record(entry.to_record())
    assert type(back) is type(entry)
    assert back.to_record() == entry.to_record()
    np.testing.assert_array_equal(back.dense(), entry.dense())


@pytest.mark.parametrize("shape", SHAPES)
def test_facts_agree_with_the_dense_matrix(family: str, shape: tuple[int, int]) -> None:
    entry = draw(family, shape)
    dense = entry.dense().astype(np.float64)
    values = np.linalg.svd(dense, compute_uv=False)
    assert entry.spectral_norm == pytest.approx(values[0], rel=1e-6)
    assert entry.rank == np.linalg.matrix_rank(dense, tol=1e-5 * values[0])
    assert entry.density == np.count_nonzero(dense) / dense.size
    assert entry.stored_bytes == sum(array.nbytes for array in entry.arrays.values())
    assert 0 <= entry.flops <= 2 * dense.size
    assert (entry.flops > 0) == (family != "zero")


def test_every_shape_has_matrices(any_shape: str) -> None:
    entry = draw(any_shape, COPRIME)
    dense = entry.dense().astype(np.float64)
    values = np.linalg.svd(dense, compute_uv=False)
    assert np.square(dense).sum() == pytest.approx(COPRIME[1], rel=1e-6)
    assert entry.spectral_norm == pytest.approx(values[0], rel=1e-6)
    assert entry.rank == np.linalg.matrix_rank(dense, tol=1e-5 * values[0])
    assert entry.flops <= 2 * dense.size
    assert FAMILIES.entry_from_record(entry.to_record()).to_record() == entry.to_record()


@pytest.mark.parametrize("shape", [*SHAPES, *ODD_SHAPES])
@pytest.mark.parametrize("n", [1, 7, 600])  # of several chunks too
def test_the_structured_form_gives_the_product_of_the_dense_matrix(
    family: str, shape: tuple[int, int], n: int
) -> None:
    if family in DIVIDING and shape in ODD_SHAPES:
        shape = (3 * shape[0], 3 * shape[1])
    entry = draw(family, shape)
    form = entry.structured()
    rng = np.random.default_rng(n)
    x = torch.from_numpy(rng.standard_normal((n, shape[0]), dtype=np.float32))
    residual = torch.from_numpy(rng.standard_normal((n, shape[1]), dtype=np.float32))
    expected = x.double() @ torch.from_numpy(entry.dense()).double()
    product = form.product(x)
    assert product.is_contiguous()
    torch.testing.assert_close(product.double(), expected, atol=1e-5, rtol=1e-5)
    added = form.added(residual, x, 0.5).double()
    torch.testing.assert_close(added, residual.double() + 0.5 * expected, atol=1e-5, rtol=1e-5)
    assert form.shape == shape
    assert form.is_zero == (family == "zero")


def test_a_row_gives_the_same_bits_in_any_chunk(loud: str) -> None:
    form = draw(loud, (48, 12)).structured()
    x = torch.randn(512, 48, generator=torch.Generator().manual_seed(0))
    whole = form.product(x)
    assert torch.equal(whole[256:], form.product(x[256:]))
    assert torch.equal(whole, form.product(x))


@pytest.mark.parametrize("width", [64, 256])
def test_the_structured_form_reads_less_and_computes_less_than_the_dense_one(
    family: str, width: int
) -> None:
    for shape in [(width, 3 * width), (width, width), (4 * width, width)]:
        rng = np.random.default_rng(0)
        entry = FAMILIES.get(family).generate(rng, shape, gain=1.0, **TYPICAL[family])
        assert entry.work is not None
        assert entry.work.flops < Work.of_dense(shape).flops
        assert entry.structured().nbytes < 0.75 * 4 * shape[0] * shape[1]
        # y is written, and whatever is read of x
        assert entry.work.moved_bytes >= (4 * shape[1] if family != "zero" else 0)


@pytest.mark.parametrize("width", [24, 40, 128])
def test_structure_costs_less_than_a_dense_matrix(family: str, width: int) -> None:
    for shape in [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]:
        rng = np.random.default_rng(0)
        entry = FAMILIES.get(family).generate(rng, shape, gain=1.0, **TYPICAL[family])
        assert entry.stored_bytes < 4 * shape[0] * shape[1]
        assert entry.flops < 2 * shape[0] * shape[1]


def test_arrays_cannot_be_written_to(family: str) -> None:
    for array in draw(family).arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_missing_parameter_is_named(family: str) -> None:
    with pytest.raises(ConfigError, match=f"{family} got the parameters .*expected"):
        FAMILIES.get(family).generate(np.random.default_rng(0), (4, 4), gain=1.0, colour=3)


@pytest.mark.parametrize("damage", ["arrays", "no arrays", "data", "shape"])
def test_a_damaged_record_is_refused(loud: str, damage: str) -> None:
    family = loud
    record = draw(family).to_record()
    if damage == "arrays":
        record["arrays"][0]["name"] = "x"
    elif damage == "no arrays":
        record["arrays"] = []
    elif damage == "data":
        record["arrays"][0]["data"] = record["arrays"][0]["data"][:-1]
    else:
        record["rows"], record["columns"] = 99, 98
    with pytest.raises(ArtifactError, match=f"{family} matrix"):
        FAMILIES.entry_from_record(record)


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    record = {**draw("block_sparse").to_record(), "family": "penrose"}
    with pytest.raises(ArtifactError, match=r"'penrose'[\s\S]*block_sparse"):
        FAMILIES.entry_from_record(record)
    with pytest.raises(ConfigError, match=r"'penrose'[\s\S]*block_sparse"):
        family_settings("penrose")


def test_repr_tells_family_shape_and_parameters(family: str) -> None:
    text = repr(draw(family))
    assert "12 x 36" in text
    assert all(f"{name}=" in text for name in PARAMETERS[family])


# block-sparse


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 30),
    columns=st.integers(1, 30),
    block=st.integers(1, 35),
    density=st.floats(0.01, 1.0),
)
def test_block_sparse_is_zero_outside_its_blocks_for_any_shape(
    rows: int, columns: int, block: int, density: float
) -> None:
    rng = np.random.default_rng(1)
    entry = BlockSparse.generate(rng, (rows, columns), gain=1.0, block=block, density=density)
    across, down = -(-columns // block), -(-rows // block)
    kept = set(entry.arrays["blocks"].tolist())
    assert len(kept) == max(1, round(density * across * down))
    dense = entry.dense()
    for row in range(rows):
        for column in range(columns):
            inside = (row // block) * across + column // block in kept
            assert (dense[row, column] != 0) == inside
    assert entry.flops == 2 * np.count_nonzero(dense)


def test_full_density_keeps_every_block() -> None:
    entry = BlockSparse.generate(np.random.default_rng(0), (8, 8), gain=1.0, block=3, density=1.0)
    assert entry.density == 1.0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"block": 0, "density": 0.5}, r"block: .*greater than or equal to 1 \(given 0\)"),
        ({"block": 4, "density": 0.0}, r"density: .*greater than 0 \(given 0\.0\)"),
        ({"block": 4, "density": 1.5}, r"density: .*less than or equal to 1 \(given 1\.5\)"),
    ],
)
def test_block_sparse_refuses(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BlockSparse.generate(np.random.default_rng(0), (8, 8), gain=1.0, **parameters)


# quantized low rank


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    bits=st.integers(2, 8),
    data=st.data(),
)
def test_low_rank_has_few_levels_and_at_most_its_rank(
    rows: int, columns: int, bits: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(1, min(rows, columns)))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    entry = QuantizedLowRank.generate(rng, (rows, columns), gain=1.0, rank=rank, bits=bits)
    largest = 2 ** (bits - 1) - 1
    for name in ("left", "right"):
        assert np.abs(entry.arrays[name]).max() == largest
    assert 1 <= entry.rank <= rank
    assert np.square(entry.dense().astype(np.float64)).sum() == pytest.approx(columns, rel=1e-6)


def test_low_rank_dense_is_the_scaled_integer_product() -> None:
    entry = draw("quantized_low_rank")
    left, right = (entry.arrays[name].astype(np.int64) for name in ("left", "right"))
    expected = ((left @ right).astype(np.float64) * float(entry.arrays["scale"])).astype(np.float32)
    np.testing.assert_array_equal(entry.dense(), expected)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rank": 0, "bits": 4}, r"rank: .*greater than or equal to 1 \(given 0\)"),
        ({"rank": 7, "bits": 4}, r"rank is 7, but a 6 x 9 matrix has rank 6 at most"),
        ({"rank": 2, "bits": 1}, r"bits: .*greater than or equal to 2 \(given 1\)"),
        ({"rank": 2, "bits": 9}, r"bits: .*less than or equal to 8 \(given 9\)"),
    ],
)
def test_low_rank_refuses(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QuantizedLowRank.generate(np.random.default_rng(0), (6, 9), gain=1.0, **parameters)


# the division among families


def divided(size: int, shares: list[float]) -> list[int]:
    """The number of entries of each family in a library of these shares."""
    families = [name for name in FAMILIES.names() if name not in DIVIDING][: len(shares)]
    parameters: dict[str, dict[str, float]] = {"quantized_low_rank": {"rank": 1, "bits": 4}}
    specs = [
        family_settings(name, share, parameters.get(name))
        for name, share in zip(families, shares, strict=True)
    ]
    counts = Counter(
        entry.family for entry in BasisLibrary.generate(1, size, specs, 1.0, 0)["mlp_up"]
    )
    return [counts[name] for name in families]


@settings(max_examples=30, deadline=None)
@given(shares=st.lists(st.floats(0.01, 100.0), min_size=1, max_size=6), extra=st.integers(0, 100))
def test_division_gives_everything_away_and_something_to_everyone(
    shares: list[float], extra: int
) -> None:
    counts = divided(len(shares) + extra, shares)
    assert sum(counts) == len(shares) + extra
    assert min(counts) >= 1


@pytest.mark.parametrize(
    ("size", "shares", "counts"),
    [
        (64, [1, 1], [32, 32]),
        (5, [1, 1], [3, 2]),
        (8, [3, 1], [6, 2]),
        (3, [100, 1, 1], [1, 1, 1]),
    ],
)
def test_division_follows_the_shares(size: int, shares: list[float], counts: list[int]) -> None:
    assert divided(size, shares) == counts


def test_fewer_entries_than_families_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 entries cannot hold 2 families"):
        divided(1, [1.0, 1.0])


def test_a_share_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="share: input should be greater than 0"):
        family_settings("block_sparse", share=0.0)


def test_parameters_are_recorded_as_json(loud: str) -> None:
    recorded = json.loads(draw(loud, gain=2.0).to_record()["parameters"])
    assert recorded == {**PARAMETERS[loud], "gain": 2.0}

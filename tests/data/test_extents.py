import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.data.extents import Extents

SHARES = {"train": 0.8, "tune": 0.05, "validation": 0.05, "test": 0.1}


def extents(sizes: list[int], start: int = 0) -> Extents:
    n_bytes = np.array(sizes, np.int64)
    return Extents(np.arange(len(sizes)), start + np.cumsum(n_bytes) - n_bytes, n_bytes)


def to_even(position: int, end: int) -> int:
    return min(position + position % 2, end)


def cut(documents: Extents, seed: int = 0) -> dict[str, Extents]:
    return documents.divide(SHARES, np.random.default_rng(seed), to_even)


@given(sizes=st.lists(st.integers(1, 1000), min_size=4, max_size=60), seed=st.integers(0, 9))
def test_each_document_is_in_one_split_and_each_split_has_one(sizes: list[int], seed: int) -> None:
    parts = cut(extents(sizes), seed)
    assert sorted(np.concatenate([p.document for p in parts.values()])) == list(range(len(sizes)))
    assert all(len(part) for part in parts.values())


@given(seed=st.integers(0, 99))
def test_shares_are_of_bytes_and_missed_by_a_document_at_most(seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(1, 100, size=400).tolist()
    parts = cut(extents(sizes), seed)
    for name, share in SHARES.items():
        assert abs(parts[name].n_bytes.sum() - share * sum(sizes)) <= 100


def test_the_seed_decides() -> None:
    documents = extents([10] * 50)
    first, again, other = cut(documents, 1), cut(documents, 1), cut(documents, 2)
    assert first["test"].document.tolist() == again["test"].document.tolist()
    assert first["test"].document.tolist() != other["test"].document.tolist()


def test_the_front_of_a_split_is_a_random_sample() -> None:
    front = cut(extents([10] * 1000))["train"].document[:200]
    assert 300 < front.mean() < 700


def test_shares_are_relative_to_their_sum() -> None:
    parts = extents([1] * 100).divide(
        {"train": 0.6, "tune": 0.2}, np.random.default_rng(0), to_even
    )
    assert len(parts["train"]) == 75


@pytest.mark.parametrize("sizes", [[1000], [400, 600], [5, 990, 5]])
def test_few_documents_are_cut_contiguously(sizes: list[int]) -> None:
    documents = extents(sizes, start=100)
    parts = cut(documents)
    bounds = [100]
    for part in parts.values():
        for offset, n_bytes in zip(part.offset, part.n_bytes, strict=True):
            assert offset == bounds[-1]
            bounds.append(offset + n_bytes)
    assert bounds[-1] == 1100
    assert [int(part.n_bytes.sum()) for part in parts.values()] == [800, 50, 50, 100]
    assert parts["train"].document[0] == 0
    assert parts["test"].document[-1] == len(sizes) - 1

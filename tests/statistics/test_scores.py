import math
from collections.abc import Callable

import numpy as np
import pytest

from clso.artifacts import schema
from clso.errors import ClsoError
from clso.floors import Uniform, Unigram
from clso.statistics.scores import Totals, _ScoredSplit, score_split

LENGTHS = [5, 1, 30, 64]


@pytest.fixture
def split(tokens_of: Callable[..., _ScoredSplit]) -> _ScoredSplit:
    stream = np.random.default_rng(0).integers(0, 9, sum(LENGTHS)).astype(np.uint16)
    return tokens_of(stream, 8, LENGTHS)


@pytest.fixture
def token_bytes() -> np.ndarray:
    return np.array([0, 1, 2, 3, 4, 5, 6, 7, 8])


def test_pieces_are_documents_within_blocks_and_cover_every_target(
    split: _ScoredSplit, token_bytes: np.ndarray
) -> None:
    model = Unigram.of_counts(np.arange(1, 10))
    table = score_split(model, split, token_bytes, run_id="r", seed=1)
    assert table.schema.equals(schema("scores"))
    assert sum(table["n_tokens"].to_pylist()) == split.n_blocks * 8
    keys = list(zip(table["document"].to_pylist(), table["block"].to_pylist(), strict=True))
    assert len(set(keys)) == len(keys)
    everything = slice(0, split.n_blocks)
    inputs, targets = split.blocks(everything)
    documents = split.documents(everything)
    nll = model.token_nll(inputs, targets)
    for row in table.to_pylist():
        inside = documents[row["block"]] == row["document"]
        assert row["n_tokens"] == inside.sum()
        assert row["n_bytes"] == token_bytes[targets[row["block"]][inside]].sum()
        assert row["nll"] == pytest.approx(nll[row["block"]][inside].sum(), rel=1e-14)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_chunk_changes_no_bit(split: _ScoredSplit, token_bytes: np.ndarray, chunk: int) -> None:
    model = Unigram.of_counts(np.arange(1, 10))
    tables = [
        score_split(model, split, token_bytes, run_id="r", seed=1, chunk=size)
        for size in (chunk, 2)
    ]
    assert tables[0].equals(tables[1])


def test_bits_per_byte_count_bytes_and_not_end_tokens() -> None:
    found = Totals(n_tokens=10, n_bytes=30, nll=20.0)
    assert found.loss == 2.0
    assert found.perplexity == pytest.approx(math.exp(2.0))
    assert found.bits_per_byte == pytest.approx(20 / math.log(2) / 30)
    assert Totals(n_tokens=10, n_bytes=0, nll=20.0).bits_per_byte is None


def test_a_loss_beyond_floats_is_an_infinite_perplexity_not_a_crash() -> None:
    assert Totals(n_tokens=1, n_bytes=1, nll=1e4).perplexity == math.inf


def test_totals_are_of_one_model_and_split(split: _ScoredSplit, token_bytes: np.ndarray) -> None:
    table = score_split(Uniform(9), split, token_bytes, run_id="r", seed=1)
    found = Totals.of(table, "uniform")
    assert found is not None
    assert found.loss == pytest.approx(math.log(9))
    assert Totals.of(table, "uniform", "validation") is None
    assert Totals.of(table, "bigram") is None


def test_a_model_without_finite_loss_is_refused_by_name(
    split: _ScoredSplit, token_bytes: np.ndarray
) -> None:
    class Broken(Uniform):
        def token_nll(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
            return np.where(inputs == 3, np.nan, 1.0)

    with pytest.raises(ClsoError, match="model 'uniform' gives a loss that is not finite on test"):
        score_split(Broken(9), split, token_bytes, run_id="r", seed=1)


def test_an_empty_split_has_no_pieces(
    tokens_of: Callable[..., _ScoredSplit], token_bytes: np.ndarray
) -> None:
    empty = tokens_of(np.zeros(1, np.uint16), 8)
    assert score_split(Uniform(9), empty, token_bytes, run_id="r", seed=1).num_rows == 0

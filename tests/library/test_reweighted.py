"""Reweighted least squares on count tables: what it minimises, and the tables themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from streams import Stream, stepping_walk

from clso.counting import count_pairs
from clso.errors import DataError
from clso.floors import Bigram
from clso.library import ResidualLayout, reweighted
from clso.library.context_tables import _Pairs, reweighted_factors
from clso.library.cooccurrence import SpectralFactors
from clso.library.reweighted import ContextTable, EqualRows, fit_factors
from clso.library.settings import ReweightedSettings
from clso.library.spectral import ReweightedReadout

N, M = 30, 23
VOCAB_SIZE = 40
LAYOUT = ResidualLayout(24, 6, 5, 16)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return stepping_walk(VOCAB_SIZE)


@pytest.fixture
def table() -> ContextTable:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.3, 4.0, (N, M))).astype(np.float32)
    counts[:, 0] += 1
    mass = counts.sum(1)
    observed = np.maximum(counts - 0.5, 0.0) / mass[:, None]
    base = counts.sum(0) + 1
    return ContextTable(
        observed=sparse.csr_array(observed.astype(np.float32)),
        backoff=(1.0 - observed.sum(1)).astype(np.float32),
        base=EqualRows(torch.from_numpy((base / base.sum()).astype(np.float32))),
        mass=mass.astype(np.float64),
        outcome_mass=counts.sum(0).astype(np.float64),
    )


def start(rank: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(0.3 * rng.standard_normal((size, rank), dtype=np.float32) for size in (N, M))  # type: ignore[return-value]  # two of them


def cross_entropy(table: ContextTable, e: np.ndarray, u: np.ndarray) -> float:
    ((_, p, log_base),) = table.row_tiles()
    log_q = torch.log_softmax((log_base + torch.from_numpy(e @ u.T)).double(), 1)
    return float(-(torch.from_numpy(table.mass)[:, None] * p * log_q).sum() / table.mass.sum())


def entropy(table: ContextTable) -> float:
    ((_, p, _),) = table.row_tiles()
    p = p.double()
    return float(-(torch.from_numpy(table.mass)[:, None] * p * p.log()).sum() / table.mass.sum())


def test_no_step_raises_the_loss_and_the_last_one_is_that_of_the_factors(
    table: ContextTable,
) -> None:
    e, u, losses = fit_factors(table, *start(4), rounds=6)
    assert list(losses) == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(cross_entropy(table, *start(4)), rel=1e-5)
    assert losses[-1] == pytest.approx(cross_entropy(table, e, u), rel=1e-5)
    assert losses[-1] < losses[0] - 0.2


def test_full_rank_comes_to_the_counted_distributions(table: ContextTable) -> None:
    losses = fit_factors(table, *start(M), rounds=60)[2]
    assert losses[-1] - entropy(table) < 2e-3
    few = fit_factors(table, *start(2), rounds=60)[2][-1]
    assert few - entropy(table) > 0.05  # so rank 2 leaves something to be found


def test_tiles_change_nothing_but_rounding(
    table: ContextTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_factors(table, *start(4), rounds=3)
    monkeypatch.setattr(reweighted, "_TILE", 7 * M)
    parts = fit_factors(table, *start(4), rounds=3)
    np.testing.assert_allclose(whole[0] @ whole[1].T, parts[0] @ parts[1].T, atol=2e-3)
    np.testing.assert_allclose(whole[2], parts[2], rtol=1e-5)


def test_no_rounds_step_the_embedding_alone(table: ContextTable) -> None:
    e, u = start(4)
    stepped, same, losses = fit_factors(table, e, u, rounds=0)
    np.testing.assert_array_equal(same, u)
    assert losses[1] < losses[0]
    assert not np.array_equal(stepped, e)


def test_near_is_the_kneser_ney_bigram(stream: Stream) -> None:
    contexts, table = _Pairs([stream], VOCAB_SIZE).near()
    ((_, p, _),) = table.row_tiles()
    bigram = Bigram(*count_pairs([stream], VOCAB_SIZE), VOCAB_SIZE)
    expected = bigram.probabilities(contexts[None])[0]
    np.testing.assert_allclose(p[:, :-1], expected[:, :-1], atol=1e-6)  # token 39 never occurs
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-5)


def test_beyond_compares_with_what_the_bigram_says_in_the_same_places(stream: Stream) -> None:
    contexts, table, _ = _Pairs([stream], VOCAB_SIZE).beyond([stream], 3, 0.4, rare=1)
    ((_, p, log_base),) = table.row_tiles()
    tokens = stream.tokens(0, stream.n_tokens + 1).astype(np.int64)
    bigram = Bigram(*count_pairs([stream], VOCAB_SIZE), VOCAB_SIZE)
    after = bigram.probabilities(np.arange(VOCAB_SIZE)[None])[0]
    seen, base = np.zeros((2, VOCAB_SIZE, VOCAB_SIZE))
    for offset in (2, 3):
        weight = math.exp(-0.4 * (offset - 2))
        np.add.at(seen, (tokens[:-offset], tokens[offset:]), weight)
        np.add.at(base, tokens[:-offset], weight * after[tokens[offset - 1 : -1]])
    base /= np.maximum(base.sum(1, keepdims=True), 1e-9)
    np.testing.assert_allclose(log_base.exp()[:, :-1], base[contexts, :-1], atol=1e-5)
    mass = seen[contexts].sum(1)
    np.testing.assert_allclose(table.mass, mass, rtol=1e-5)
    shares = np.maximum(seen[contexts] - 0.6, 0.0) / mass[:, None]
    expected = shares + (1 - shares.sum(1, keepdims=True)) * base[contexts]
    np.testing.assert_allclose(p[:, :-1], expected[:, :-1], atol=1e-5)
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-5)


def test_beyond_puts_rare_outcomes_together_and_leaves_rare_contexts_out(stream: Stream) -> None:
    pairs = _Pairs([stream], VOCAB_SIZE)
    rare = float(np.quantile(pairs.mass[pairs.contexts], 0.3)) + 1
    whole_contexts, whole, _ = pairs.beyond([stream], 3, 0.4, rare=1)
    contexts, table, outcome_of = pairs.beyond([stream], 3, 0.4, rare=rare)
    frequent = pairs.mass[whole_contexts] >= rare
    assert 0 < frequent.sum() < len(frequent)
    np.testing.assert_array_equal(contexts, whole_contexts[frequent])
    counted = np.bincount(stream.tokens(1, stream.n_tokens + 1).astype(np.int64))
    together = np.append(counted[pairs.targets] < rare, True)  # the last: all that never occur
    assert len(set(outcome_of[together])) == 1
    assert len(set(outcome_of)) == 1 + np.count_nonzero(~together)
    ((_, p, log_base),) = table.row_tiles()
    ((_, _, whole_base),) = whole.row_tiles()
    expected = whole_base.exp()[frequent][:, together].sum(1)
    np.testing.assert_allclose(log_base.exp()[:, outcome_of[-1]], expected, atol=1e-5)
    np.testing.assert_allclose(p.sum(1), 1.0, atol=1e-5)


def factors_of(stream: Stream, rounds: int = 3, vocab_size: int = VOCAB_SIZE) -> SpectralFactors:
    settings = ReweightedSettings(rounds=rounds, recent_reach=3, topic_reach=5)
    return reweighted_factors(
        [stream], vocab_size, LAYOUT, settings, rates=(0.5, 0.1), seed=0, source="walk"
    )


def test_factors_follow_from_tokens_and_seed(stream: Stream) -> None:
    first, second = factors_of(stream), factors_of(stream)
    np.testing.assert_array_equal(first.embedding, second.embedding)
    np.testing.assert_array_equal(first.readout, second.readout)


def test_threads_change_nothing(stream: Stream) -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(factors_of(stream))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0].embedding, found[1].embedding)
    np.testing.assert_array_equal(found[0].readout, found[1].readout)


@pytest.mark.parametrize("part", [1, 2])
def test_recent_and_topic_say_more_than_the_bigram_says_there(stream: Stream, part: int) -> None:
    factors = factors_of(stream)
    reach, rate = ((3, 0.5), (5, 0.1))[part - 1]
    pairs = _Pairs([stream], VOCAB_SIZE)
    contexts, table, _ = pairs.beyond([stream], reach, rate, rare=1)
    start = sum(LAYOUT.widths[:part])
    columns = slice(start, start + LAYOUT.widths[part])
    outcomes = np.append(
        pairs.targets, pairs.unseen[:1] if len(pairs.unseen) else pairs.targets[:1]
    )
    e, u = factors.embedding[contexts, columns], factors.readout[outcomes, columns]
    zero = np.zeros_like(e)
    assert cross_entropy(table, e, u) < cross_entropy(table, zero, u) - 0.01


@pytest.mark.parametrize("rare", [1, 4, 1_000_000])
@pytest.mark.parametrize("tokens", [[1, 2], [1, 2, 3], list(range(20)), [1] * 50])
def test_short_and_poor_texts_have_factors_too(tokens: list[int], rare: int) -> None:
    settings = ReweightedSettings(rounds=2, rare=rare, recent_reach=3, topic_reach=5)
    factors = reweighted_factors(
        [Stream(np.array(tokens, dtype=np.uint16))],
        VOCAB_SIZE,
        LAYOUT,
        settings,
        rates=(0.5, 0.1),
        seed=0,
        source="short",
    )
    assert np.isfinite(factors.embedding).all()
    assert np.isfinite(factors.readout).all()


def test_low_rank_is_nearer_to_the_bigram_than_the_decomposition(stream: Stream) -> None:
    bigram = Bigram(*count_pairs([stream], VOCAB_SIZE), VOCAB_SIZE)
    tokens = stream.tokens(0, stream.n_tokens + 1).astype(np.int64)
    near = slice(0, LAYOUT.near)

    def excess(found: SpectralFactors) -> float:
        logits = found.embedding[:, near] @ found.readout[:, near].T + found.log_prior
        log_q = torch.log_softmax(torch.from_numpy(logits), 1).numpy()
        return float(-log_q[tokens[:-1], tokens[1:]].mean()) - exact

    exact = float(bigram.token_nll(tokens[:-1], tokens[1:]).mean())
    decomposed = SpectralFactors.fit(
        [stream], VOCAB_SIZE, LAYOUT, recent_reach=3, topic_reach=5, seed=0, source="walk"
    )
    assert excess(factors_of(stream, 4)) < excess(factors_of(stream, 1)) < excess(decomposed)
    assert excess(factors_of(stream, 4)) < excess(decomposed) / 4


def test_tokens_that_never_occur_share_a_row(stream: Stream) -> None:
    factors = factors_of(stream, vocab_size=VOCAB_SIZE + 3)
    assert factors.unseen == VOCAB_SIZE - 1
    rows = ReweightedReadout.of(factors, [1.0, -0.5, -0.1]).dense()[VOCAB_SIZE - 1 :]
    assert rows[0, : sum(LAYOUT.widths)].any()
    np.testing.assert_array_equal(rows, np.repeat(rows[:1], 4, axis=0))


def test_text_without_pairs_is_a_sentence() -> None:
    with pytest.raises(DataError, match="no two tokens in a row"):
        factors_of(Stream(np.array([3], dtype=np.uint16)))

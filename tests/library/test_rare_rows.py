"""Rare contexts and outcomes: what they share, and what they gain by steps of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from clso.library import rare_rows
from clso.library.rare_rows import CoarseTable, fit_frequent_and_rare
from clso.library.reweighted import ContextTable, DenseRows, EqualRows, fit_factors

N, M, RANK, RARE = 60, 50, 6, 25


@pytest.fixture(scope="module")
def table() -> ContextTable:
    """Counts with a structure of rank 3 and masses that fall as those of words do."""
    rng = np.random.default_rng(0)
    structure = rng.standard_normal((N, 3)) @ rng.standard_normal((3, M))
    p = np.exp(structure) / (1 + np.arange(M))
    mass = (600 / (1 + np.arange(N))).astype(int) + 2
    counts = np.stack([rng.multinomial(n, row / row.sum()) for n, row in zip(mass, p, strict=True)])
    observed = np.maximum(counts - 0.5, 0.0) / mass[:, None]
    base = counts.sum(0) + 0.5
    return ContextTable(
        observed=sparse.csr_array(observed.astype(np.float32)),
        backoff=(1.0 - observed.sum(1)).astype(np.float32),
        base=EqualRows(torch.from_numpy((base / base.sum()).astype(np.float32))),
        mass=mass.astype(np.float64),
        outcome_mass=counts.sum(0) + 1.0,
    )


def start(table: ContextTable) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    n, m = table.observed.shape
    e, u = (0.3 * rng.standard_normal((size, RANK), dtype=np.float32) for size in (n, m))
    return e, u


def cross_entropy(table: ContextTable, e: np.ndarray, u: np.ndarray) -> float:
    ((_, p, log_base),) = table.row_tiles()
    log_q = torch.log_softmax((log_base + torch.from_numpy(e @ u.T)).double(), 1)
    return float(-(torch.from_numpy(table.mass)[:, None] * p * log_q).sum() / table.mass.sum())


def probabilities(table: ContextTable) -> np.ndarray:
    ((_, p, _),) = table.row_tiles()
    return p.numpy()


def test_the_rare_ones_together_have_their_sums(table: ContextTable) -> None:
    coarse = CoarseTable.of(table, RARE)
    rare_x, rare_y = table.mass < RARE, table.outcome_mass < RARE
    assert 10 < rare_x.sum() < N - 10
    assert 5 < rare_y.sum() < M - 5
    counts = table.mass[:, None] * probabilities(table)
    frequent = counts[~rare_x]
    rows = np.concatenate([frequent, counts[rare_x].sum(0, keepdims=True)])
    expected = np.concatenate([rows[:, ~rare_y], rows[:, rare_y].sum(1, keepdims=True)], 1)
    mass = coarse.table.mass
    np.testing.assert_allclose(mass[:, None] * probabilities(coarse.table), expected, rtol=1e-4)
    assert mass.sum() == table.mass.sum()
    np.testing.assert_array_equal(coarse.rare_contexts, np.flatnonzero(rare_x))
    np.testing.assert_array_equal(coarse.rare_outcomes, np.flatnonzero(rare_y))


def test_without_rare_ones_it_is_the_usual_fit(table: ContextTable) -> None:
    whole = fit_factors(table, *start(table), rounds=2)
    same = fit_frequent_and_rare(table, start, rounds=2, rare=1)
    for expected, actual in zip(whole, same, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_steps_of_their_own_gain_most_of_what_the_whole_fit_gains(table: ContextTable) -> None:
    coarse = CoarseTable.of(table, RARE)
    e, u, _ = fit_factors(coarse.table, *start(coarse.table), rounds=8)
    shared = cross_entropy(table, e[coarse.context_of], u[coarse.outcome_of])
    own = cross_entropy(table, *fit_frequent_and_rare(table, start, rounds=8, rare=RARE)[:2])
    whole = cross_entropy(table, *fit_factors(table, *start(table), rounds=8)[:2])
    assert shared - whole > 0.05  # so there is something to gain
    assert shared - own > 0.6 * (shared - whole)


def test_frequent_contexts_keep_the_rows_of_the_coarse_fit(table: ContextTable) -> None:
    coarse = CoarseTable.of(table, RARE)
    small, _, expected = fit_factors(coarse.table, *start(coarse.table), rounds=3)
    embedding, _, losses = fit_frequent_and_rare(table, start, rounds=3, rare=RARE)
    frequent = np.setdiff1d(np.arange(N), coarse.rare_contexts)
    np.testing.assert_array_equal(embedding[frequent], small[:-1])
    assert losses == expected


def test_a_context_with_nothing_of_its_own_stays_near_the_shared_row(table: ContextTable) -> None:
    """It has no observed outcome, so only what backs off pulls at it: towards the base."""
    silent = N - 1
    observed = table.observed.tolil()
    observed[silent] = 0
    backoff = table.backoff.copy()
    backoff[silent] = 1.0
    changed = ContextTable(
        sparse.csr_array(observed), backoff, table.base, table.mass, table.outcome_mass
    )
    e, u, _ = fit_frequent_and_rare(changed, start, rounds=3, rare=RARE)
    ((_, _, log_base),) = changed.row_tiles()
    log_q = torch.log_softmax(log_base + torch.from_numpy(e @ u.T), 1)
    divergence = (log_base.exp() * (log_base - log_q)).sum(1)
    others = np.setdiff1d(np.flatnonzero(table.mass < RARE), [silent])
    assert divergence[silent] < divergence[others].mean() / 2


def observed_everywhere(table: ContextTable) -> ContextTable:
    """The same table with something observed of every pair: nothing is left to moments."""
    observed = 0.9 * table.observed.toarray() + 0.05 * table.base.p.numpy()
    backoff = (1.0 - observed.sum(1)).astype(np.float32)
    assert (backoff > 0.01).all()
    sparse_observed = sparse.csr_array(observed.astype(np.float32))
    return ContextTable(sparse_observed, backoff, table.base, table.mass, table.outcome_mass)


def test_what_a_rare_context_maximises_is_its_likelihood(table: ContextTable) -> None:
    whole = observed_everywhere(table)
    rng = np.random.default_rng(3)
    e, u = start(whole)
    rare, shared = np.array([40, 50]), e[0]
    d = 0.2 * rng.standard_normal((2, RANK)).astype(np.float32)
    members = rare_rows._rare_contexts(whole, rare, shared, u)
    gained = members._value(d) - members._value(np.zeros_like(d))
    log_q = [np.log(np.exp(u @ row) * whole.base.p.numpy()) for row in (shared, *(shared + d))]
    log_q = [row - np.log(np.exp(row).sum()) for row in log_q]
    p = probabilities(whole)[rare]
    c = u.T @ (u * (whole.outcome_mass / whole.outcome_mass.sum())[:, None])
    for i in range(2):
        expected = whole.mass[rare[i]] * (p[i] * (log_q[i + 1] - log_q[0])).sum()
        expected -= rare_rows._DAMPING / 2 * d[i] @ c @ d[i]
        assert gained[i] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_what_a_rare_outcome_maximises_is_the_likelihood_of_its_counts(table: ContextTable) -> None:
    whole = observed_everywhere(table)
    coarse = CoarseTable.of(whole, RARE)
    rng = np.random.default_rng(3)
    e, u = start(coarse.table)
    d = 0.2 * rng.standard_normal((len(coarse.rare_outcomes), RANK)).astype(np.float32)
    members = rare_rows._rare_outcomes(whole, coarse, e, u)
    gained = members._value(d) - members._value(np.zeros_like(d))
    small = coarse.table
    logits = e @ u.T + np.log(small.base.p.numpy())
    q = np.exp(logits - np.log(np.exp(logits).sum(1, keepdims=True)))[:, -1]
    base = whole.base.p.numpy()[coarse.rare_outcomes]
    counts = np.zeros((len(small.mass), M))
    np.add.at(counts, coarse.context_of, whole.mass[:, None] * probabilities(whole))
    c = e.T @ (e * (small.mass / small.mass.sum())[:, None])
    for i, y in enumerate(coarse.rare_outcomes):
        change = e @ d[i]
        mean = small.mass * q * base[i] / base.sum()
        expected = (counts[:, y] * change).sum() - (mean * np.expm1(change)).sum()
        expected -= rare_rows._DAMPING / 2 * d[i] @ c @ d[i]
        assert gained[i] == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("normalised", [False, True])
def test_steps_end_where_the_value_is_flat(table: ContextTable, normalised: bool) -> None:
    coarse = CoarseTable.of(table, RARE)
    e, u, _ = fit_factors(coarse.table, *start(coarse.table), rounds=2)
    if normalised:
        readout = u[coarse.outcome_of]
        members = rare_rows._rare_contexts(table, coarse.rare_contexts, e[-1], readout)
    else:
        members = rare_rows._rare_outcomes(table, coarse, e, u)
    d = members.steps()
    first = members._value(np.zeros_like(d))
    reached = members._value(d)
    assert (reached >= first).all()
    assert (reached - first).mean() > 0.1
    for axis in range(RANK):
        step = np.zeros(RANK, dtype=np.float32)
        step[axis] = 0.05
        better = np.maximum(members._value(d + step), members._value(d - step)) - reached
        assert np.median(better) < 0.05 * np.median(reached - first)


def test_a_base_of_each_context_is_refused(table: ContextTable) -> None:
    base = DenseRows(torch.full((N, M), 1 / M))
    other = ContextTable(table.observed, table.backoff, base, table.mass, table.outcome_mass)
    with pytest.raises(TypeError, match="one base"):
        CoarseTable.of(other, RARE)

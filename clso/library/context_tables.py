r"""The count tables behind reweighted factors: near, recent and topic.

Notation: c_k(x, y) is how often token y stands k places after x; h + gamma p_1 is the interpolated
Kneser-Ney bigram. Outcomes are the tokens that occur as targets, and one for all others together.

    near    P is the bigram, B its lower order p_1
    recent  N(z, y) = sum_k w_k c_k(z, y) for k = 2 .. R, w_k = exp(-rate (k - 2)), with a discount
            D = 0.6. B is what the bigram predicts in these places: its mean over the tokens that
            stood just before y, with the same weights
    topic   the same with another rate and a larger R

So recent and topic learn what an earlier token says beyond the current one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from clso.counting import TokenStream, count_pairs
from clso.floors import Bigram
from clso.library.cooccurrence import SpectralFactors, neighbours, truncated_svd
from clso.library.entry import FloatMatrix
from clso.library.rare_rows import fit_frequent_and_rare, merged, summing
from clso.library.residual_layout import ResidualLayout
from clso.library.reweighted import ContextTable, DenseRows, EqualRows, fit_factors
from clso.library.settings import ReweightedSettings
from clso.scoring import Int64Array
from clso.threads import one_thread

__all__ = ["reweighted_factors"]

_DISCOUNT = 0.6
# Contexts with less mass keep factors of 0, and the rarest ones where B would take more elements:
# what a rare token says of a later one is mostly noise.
_LEAST_MASS = 3.0
_MOST_ELEMENTS = 2**27
_STREAM = int.from_bytes(b"irls")


def reweighted_factors(
    splits: Sequence[TokenStream],
    vocab_size: int,
    layout: ResidualLayout,
    settings: ReweightedSettings,
    *,
    rates: tuple[float, float],
    seed: int,
    source: str,
) -> SpectralFactors:
    """Count near, recent and topic, and fit the factors of each, on one thread.

    No pair spans two splits.

    Args:
        rates: of recent and of topic.
        source: the name of the tokens that are counted.

    Raises:
        DataError: no pair occurs.
    """
    pairs = _Pairs(splits, vocab_size)
    places = ((settings.recent_reach, rates[0]), (settings.topic_reach, rates[1]))
    parts = []
    for part, rank in enumerate(layout.widths):
        rng = np.random.default_rng([seed, _STREAM])
        start = partial(_decomposed, rank=rank, rng=rng)
        if part == 0:
            contexts, table = pairs.near()
            embedding, readout, _ = fit_frequent_and_rare(
                table, start, rounds=settings.rounds, rare=settings.rare
            )
        else:
            with one_thread():
                contexts, table, outcome_of = pairs.beyond(
                    splits, *places[part - 1], rare=settings.rare
                )
                if len(contexts):  # a short text may have none that is frequent enough
                    embedding, small, _ = fit_factors(table, *start(table), rounds=settings.rounds)
                    readout = small[outcome_of]
                else:
                    embedding = np.zeros((0, rank), dtype=np.float32)
                    readout = np.zeros((len(outcome_of), rank), dtype=np.float32)
        left = np.zeros((vocab_size, rank), dtype=np.float32)
        right = np.zeros((vocab_size, rank), dtype=np.float32)
        left[contexts] = embedding
        right[pairs.contexts] = readout[-1]  # where they never are a target
        right[pairs.targets] = readout[:-1]
        right[pairs.unseen] = readout[-1]
        parts.append((left, right))
    return SpectralFactors.scaled(
        parts,
        layout,
        counts=pairs.mass,
        log_prior=np.log(pairs.bigram.lower),
        source=source,
        unseen=int(pairs.unseen[0]) if len(pairs.unseen) else None,
    )


class _Pairs:
    """The pairs of neighbours, and the numbers of contexts and outcomes."""

    def __init__(self, splits: Sequence[TokenStream], vocab_size: int) -> None:
        keys, counts = neighbours(splits, vocab_size)
        self.bigram = Bigram(keys, counts, vocab_size)
        contexts, targets = np.divmod(keys, vocab_size)
        self.mass = np.bincount(contexts, weights=counts, minlength=vocab_size).astype(np.int64)
        target_mass = np.bincount(targets, weights=counts, minlength=vocab_size)
        self.contexts = np.flatnonzero(self.mass)
        self.targets = np.flatnonzero(target_mass)
        self.unseen = np.setdiff1d(np.arange(vocab_size), [*self.contexts, *self.targets])[:1]
        self._vocab_size = vocab_size
        self._row = np.full(vocab_size, -1)
        self._row[self.contexts] = np.arange(len(self.contexts))
        self._column = np.full(vocab_size, len(self.targets))
        self._column[self.targets] = np.arange(len(self.targets))
        self._outcome_mass = np.append(target_mass[self.targets], 1.0)
        lower = self.bigram.lower
        unseen = lower.sum() - lower[self.targets].sum()
        self._lower = np.append(lower[self.targets], max(unseen, 0.0)).astype(np.float32)
        self._higher = self._sparse(keys, self.bigram.higher)
        self._gamma = self.bigram.gamma[self.contexts].astype(np.float32)

    def _sparse(self, keys: Int64Array, values: npt.NDArray[np.floating]) -> sparse.csr_array:
        contexts, targets = np.divmod(keys, self._vocab_size)
        shape = len(self.contexts), len(self._outcome_mass)
        places = self._row[contexts], self._column[targets]
        return sparse.csr_array((values.astype(np.float32), places), shape=shape)

    def near(self) -> tuple[Int64Array, ContextTable]:
        """Return the table near, and the token of each of its contexts."""
        base = EqualRows(torch.from_numpy(self._lower))
        mass = self.mass[self.contexts].astype(np.float64)
        return self.contexts, ContextTable(
            self._higher, self._gamma, base, mass, self._outcome_mass
        )

    def beyond(
        self,
        splits: Sequence[TokenStream],
        reach: int,
        rate: float,
        *,
        rare: float,
    ) -> tuple[Int64Array, ContextTable, Int64Array]:
        """Return the table of tokens at distances 2 to `reach`, and what its numbers stand for.

        Contexts that occur less often than `rare` are left out, and such outcomes are one. The
        first and the last value are the token of each context, and the outcome of each target.
        """
        shape = len(self.contexts), len(self._outcome_mass)
        seen = sparse.csr_array(shape, dtype=np.float32)
        before = sparse.csr_array((shape[0], shape[0]), dtype=np.float32)
        for offset in range(2, reach + 1):
            weight = math.exp(-rate * (offset - 2))
            keys, counts = count_pairs(splits, self._vocab_size, offsets=[offset])
            seen = seen + self._sparse(keys, counts * weight)
            keys, counts = self._followed(splits, offset - 1)
            first, second = np.divmod(keys, self._vocab_size)
            places = self._row[first], self._row[second]
            values = (counts * weight).astype(np.float32)
            before = before + sparse.csr_array((values, places), shape=before.shape)
        mass = np.asarray(seen.sum(1)).reshape(-1).astype(np.float64)
        outcome_of = merged(self._outcome_mass < rare)
        sums = summing(outcome_of).T.astype(np.float32)
        most = _MOST_ELEMENTS // sums.shape[1]
        kept = np.sort(np.argsort(-mass, kind="stable")[:most])
        kept = kept[(mass[kept] > _LEAST_MASS) & (self.mass[self.contexts[kept]] >= rare)]
        seen, before, mass = sparse.csr_array(seen[kept] @ sums), before[kept], mass[kept]
        observed = seen.copy()
        observed.data = np.maximum(observed.data - np.float32(_DISCOUNT), 0.0)
        observed.eliminate_zeros()
        observed = sparse.csr_array(sparse.diags_array(1 / mass) @ observed).astype(np.float32)
        backoff = (1.0 - np.asarray(observed.sum(1)).reshape(-1)).astype(np.float32)
        total = np.asarray(before.sum(1)).reshape(-1)
        weights = sparse.csr_array(sparse.diags_array(1 / total) @ before).astype(np.float32)
        lower = np.bincount(outcome_of, self._lower).astype(np.float32)
        higher = sparse.csr_array(self._higher @ sums)
        base = DenseRows.mean(weights, higher, self._gamma, lower)
        outcome_mass = np.asarray(seen.sum(0)).reshape(-1).astype(np.float64) + 1.0
        table = ContextTable(observed, backoff, base, mass, outcome_mass)
        return self.contexts[kept], table, outcome_of

    def _followed(
        self, splits: Sequence[TokenStream], offset: int
    ) -> tuple[Int64Array, Int64Array]:
        """Count the pairs at a distance whose second token has a successor in its split."""
        shorter = [_WithoutLast(split) for split in splits]
        return count_pairs(shorter, self._vocab_size, offsets=[offset])


class _WithoutLast:
    """A stream without its last token."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream

    @property
    def n_tokens(self) -> int:
        return self._stream.n_tokens - 1

    def tokens(self, start: int, stop: int) -> Int64Array:
        return np.asarray(self._stream.tokens(start, stop))


def _decomposed(
    table: ContextTable, rank: int, rng: np.random.Generator
) -> tuple[FloatMatrix, FloatMatrix]:
    """Return E and U of the truncated decomposition of log(P / (backoff B)), see `cooccurrence`."""
    observed = table.observed
    values = np.empty(len(observed.data), dtype=np.float32)
    for rows, p, log_base in table.row_tiles():
        part = slice(observed.indptr[rows.start], observed.indptr[rows.stop])
        row = np.repeat(np.arange(len(p)), np.diff(observed.indptr[rows.start : rows.stop + 1]))
        column = observed.indices[part]
        backoff = table.backoff[rows][row]
        ratio = p.numpy()[row, column] / np.maximum(
            backoff * np.exp(log_base.numpy()[row, column]), 1e-12
        )
        values[part] = np.log(np.maximum(ratio, 1.0))
    left, right = np.sqrt(table.mass), np.sqrt(table.outcome_mass)
    matrix = sparse.csr_array((values, observed.indices, observed.indptr), shape=observed.shape)
    weighted = sparse.diags_array(left) @ matrix @ sparse.diags_array(right)
    u, s, v = truncated_svd(sparse.csr_array(weighted.astype(np.float32)), rank, rng)
    root, n_values = np.sqrt(s), len(s)
    embedding = np.zeros((len(left), rank), dtype=np.float32)
    readout = np.zeros((len(right), rank), dtype=np.float32)
    embedding[:, :n_values] = u * root / left[:, None]
    readout[:, :n_values] = v * root / right[:, None]
    return embedding, readout

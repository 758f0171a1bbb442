r"""The choice of the candidates that are evaluated, and how good its predictions were.

Notation: n candidates, each with a normal prediction of its loss, of mean :math:`\mu` and spread
:math:`\sigma`; b the incumbent's loss, the lowest so far; :math:`z = (b - \mu)/\sigma`;
:math:`\varphi` and :math:`\Phi` the standard normal density and distribution.

Source: Jones, Schonlau and Welch 1998 (expected improvement); Cox and John 1992 (the bound).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from search.settings import Acquisition

__all__ = [
    "Screener",
    "Screening",
    "expected_improvement",
    "precedence",
    "rank_correlation",
    "topk_recall",
]

FloatArray = npt.NDArray[np.float64]
_MIN_PAIRS = 3


def expected_improvement(mean: FloatArray, std: FloatArray, incumbent: float) -> FloatArray:
    r"""Return the expected improvement of candidates on the incumbent's loss, `(n,)`, >= 0.

    .. math:: E[\max(b - y, 0)] = \sigma (z \Phi(z) + \varphi(z))

    Args:
        mean: predicted losses, `(n,)`.
        std: their spreads, `(n,)`; at 0, the improvement is that of the mean.
    """
    gap = incumbent - mean
    certain = std == 0
    with np.errstate(over="ignore"):  # an infinite z has the right limits
        z = gap / np.where(certain, 1.0, std)
        density = np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi)
    # rounding may make the difference of two equal terms negative
    gain = np.maximum(gap * ndtr(z) + std * density, 0.0)
    return np.where(certain, np.maximum(gap, 0.0), gain)


def precedence(
    acquisition: Acquisition,
    mean: FloatArray,
    std: FloatArray,
    *,
    incumbent: float,
    optimism: float,
) -> FloatArray:
    r"""Return a number per candidate, `(n,)`; candidates with lower numbers are evaluated earlier.

    For `mean` it is :math:`\mu`, for `lower_confidence_bound` :math:`\mu - k \sigma` with k the
    optimism, and for `expected_improvement` the place in the order of falling improvement, equal
    improvements in the order of rising mean.

    Args:
        mean: predicted losses, `(n,)`, finite.
        std: their spreads, `(n,)`, finite, >= 0.
    """
    match acquisition:
        case "mean":
            return mean
        case "lower_confidence_bound":
            return mean - optimism * std
        case "expected_improvement":
            # far above the incumbent all improvements are 0 in floating point
            order = np.lexsort((mean, -expected_improvement(mean, std, incumbent)))
            places = np.empty(len(mean))
            places[order] = np.arange(len(mean))
            return places
        case _:
            assert_never(acquisition)


@dataclass(frozen=True, slots=True)
class Screening:
    """Indices into the candidates, each list ascending; no index is in two lists.

    Attributes:
        best: evaluated because they come first in the order of the acquisition.
        random: evaluated as a control, drawn uniformly from the candidates that `best` left.
        predicted: kept with their prediction only.
    """

    best: tuple[int, ...]
    random: tuple[int, ...]
    predicted: tuple[int, ...]

    @property
    def evaluated(self) -> tuple[int, ...]:
        """All evaluated candidates, ascending."""
        return tuple(sorted(self.best + self.random))


@dataclass(frozen=True, slots=True, kw_only=True)
class Screener:
    r"""Chooses the candidates that are evaluated, stay predicted or are dropped.

    Of n candidates k = min(n, places) are kept, and max(1, [fraction k]) of these are evaluated.
    The random control holds over the whole search: of all evaluations that a surrogate could
    choose, `pending` ones included, at least `random_fraction` are drawn at random. So not every
    small generation needs a random evaluation.

    Attributes:
        places: individuals that the generation has room for.
        fraction: share of the kept candidates that are evaluated, rounded to the nearest number.
        random_fraction: share of the evaluations that are drawn at random.
        already: number of evaluations chosen so before, and how many of them at random.
        pending: maximum number of evaluations of a later choice in the same generation.
    """

    places: int
    fraction: float
    random_fraction: float
    already: tuple[int, int]
    pending: int = 0

    def n_wanted(self, n_candidates: int) -> int:
        """Return how many candidates are evaluated if the budget allows it."""
        kept = min(n_candidates, self.places)
        return max(1, math.floor(self.fraction * kept + 0.5)) if kept else 0

    def choose(
        self,
        order: FloatArray,
        rng: np.random.Generator,
        *,
        limit: int | None = None,
        alike: Sequence[Hashable] | None = None,
        n_drawn: int | None = None,
    ) -> Screening:
        """Choose among candidates.

        Args:
            order: a finite number per candidate, `(n,)`; the lowest come first.
            limit: evaluations that may still be spent; `None`: any number.
            alike: a value per candidate, `(n,)`; of candidates with the same value only the first
                can be among the best, so fewer may be evaluated. `None`: all differ.
            n_drawn: the control is drawn among the first so many candidates, of which there are
                enough; `None`: among all.
        """
        kept = min(len(order), self.places)
        if kept == 0:
            return Screening((), (), ())
        n_evaluated, pending = self.n_wanted(len(order)), self.pending
        if limit is not None:
            n_evaluated = min(n_evaluated, limit)
            pending = min(pending, limit - n_evaluated)
        evaluations, at_random = self.already
        # the small term keeps 0.14 * 50, a little above 7 in floating point, from becoming 8
        due = math.ceil(self.random_fraction * (evaluations + n_evaluated + pending) - 1e-9)
        n_random = min(n_evaluated, max(0, due - at_random))
        ranked = np.argsort(order, kind="stable")
        eligible = ranked if alike is None else _first_of_alike(ranked, alike)
        best = eligible[: n_evaluated - n_random]
        others = ranked[~np.isin(ranked, best)]
        uniform = others if n_drawn is None else others[others < n_drawn]
        drawn = rng.choice(uniform, size=n_random, replace=False)
        predicted = others[~np.isin(others, drawn)][: kept - len(best) - n_random]
        return Screening(_ascending(best), _ascending(drawn), _ascending(predicted))


def _first_of_alike(
    ranked: npt.NDArray[np.int64], alike: Sequence[Hashable]
) -> npt.NDArray[np.int64]:
    first: dict[Hashable, int] = {}
    for index in ranked.tolist():
        first.setdefault(alike[index], index)
    return np.fromiter(first.values(), dtype=np.int64)


def _ascending(indices: npt.NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(sorted(int(index) for index in indices))


def rank_correlation(predicted: Sequence[float], evaluated: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation of predictions with the evaluations that followed.

    `None` with fewer than 3 pairs, or if all predictions or all evaluations are equal.
    """
    if len(predicted) < _MIN_PAIRS or len(set(predicted)) == 1 or len(set(evaluated)) == 1:
        return None
    ranks = np.column_stack([_ranks(predicted), _ranks(evaluated)])
    return float(np.asarray(np.corrcoef(ranks, rowvar=False))[1, 0])


def _ranks(values: Sequence[float]) -> FloatArray:
    """Return ranks from 1, `(n,)`; equal values share their mean rank."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def topk_recall(predicted: Sequence[float], evaluated: Sequence[float]) -> float | None:
    """Return the share of the k lowest evaluations that were among the k lowest predictions.

    k is a quarter of the pairs, rounded up. Of equal losses the earlier counts as lower. `None`
    with fewer than 3 pairs.
    """
    count = len(predicted)
    if count < _MIN_PAIRS:
        return None
    k = math.ceil(count / 4)
    lowest_predicted = np.argsort(np.asarray(predicted), kind="stable")[:k]
    lowest_evaluated = np.argsort(np.asarray(evaluated), kind="stable")[:k]
    return len(set(lowest_predicted.tolist()) & set(lowest_evaluated.tolist())) / k

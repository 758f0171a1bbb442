"""Which candidates of a generation are evaluated, and how well their losses were predicted."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Screening", "n_wanted", "rank_correlation", "screen", "topk_recall"]

FloatArray = npt.NDArray[np.float64]
_MIN_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Screening:
    """Indices into the candidates, each list ascending; no index is in two lists.

    Attributes:
        best: evaluated because they come first in the order of the acquisition.
        random: evaluated as a control, drawn uniformly from those that `best` left.
        predicted: kept with their prediction only.
    """

    best: tuple[int, ...]
    random: tuple[int, ...]
    predicted: tuple[int, ...]

    @property
    def evaluated(self) -> tuple[int, ...]:
        """Both kinds of evaluated, ascending."""
        return tuple(sorted(self.best + self.random))


def n_wanted(n_candidates: int, places: int, fraction: float) -> int:
    """Return how many candidates are evaluated where the budget allows it; see `screen`."""
    kept = min(n_candidates, places)
    return max(1, math.floor(fraction * kept + 0.5)) if kept else 0


def screen(
    predicted: FloatArray,
    places: int,
    *,
    limit: int | None,
    follow: int = 0,
    fraction: float,
    random_fraction: float,
    already: tuple[int, int],
    alike: Sequence[Hashable] | None = None,
    rng: np.random.Generator,
) -> Screening:
    r"""Choose the candidates, of `(n,)`, that are evaluated, stay predicted or are dropped.

    With k = min(n, places) individuals kept, max(1, [fraction k]) are evaluated, fewer where too
    many are `alike`. The control is kept over the whole search: of all evaluations that a
    prediction could choose, these and the `follow` to come included, at least `random_fraction`
    were drawn at random, so small generations need not each spend one.

    Args:
        predicted: what orders the candidates, `(n,)`, finite; the lowest come first.
        places: individuals that the generation has room for.
        limit: evaluations that may still be spent; `None`: any number.
        follow: evaluations at most that another choice may add before the control must hold.
        fraction: share of the kept that are evaluated, rounded to the nearest whole number.
        random_fraction: share of the evaluations that are drawn at random.
        already: evaluations that were chosen so before, and how many of them at random.
        alike: of candidates with the same value, `(n,)`, only the first in the order is among the
            best, so fewer may be evaluated; `None`: all differ.
        rng: draws the control.
    """
    kept = min(len(predicted), places)
    if kept == 0:
        return Screening((), (), ())
    n_evaluated = n_wanted(len(predicted), places, fraction)
    if limit is not None:
        n_evaluated = min(n_evaluated, limit)
        follow = min(follow, limit - n_evaluated)
    evaluations, at_random = already
    # the small term keeps 0.14 * 50, a little above 7 in floating point, from becoming 8
    owed = math.ceil(random_fraction * (evaluations + n_evaluated + follow) - 1e-9) - at_random
    n_random = min(n_evaluated, max(0, owed))
    order = np.argsort(predicted, kind="stable")
    eligible = order if alike is None else _first_of_alike(order, alike)
    best = eligible[: n_evaluated - n_random]
    rest = order[~np.isin(order, best)]
    drawn = rng.choice(rest, size=n_random, replace=False)
    remaining = rest[~np.isin(rest, drawn)][: kept - len(best) - n_random]
    return Screening(_ascending(best), _ascending(drawn), _ascending(remaining))


def _first_of_alike(
    order: npt.NDArray[np.int64], alike: Sequence[Hashable]
) -> npt.NDArray[np.int64]:
    seen: dict[Hashable, int] = {}
    for index in order.tolist():
        seen.setdefault(alike[index], index)
    return np.fromiter(seen.values(), dtype=np.int64)


def _ascending(indices: npt.NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(sorted(int(index) for index in indices))


def rank_correlation(predicted: Sequence[float], evaluated: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation of predictions with the evaluations that followed.

    `None` when it says nothing: fewer than 3 pairs, or all of either side equal.
    """
    if len(predicted) < _MIN_PAIRS or len(set(predicted)) == 1 or len(set(evaluated)) == 1:
        return None
    from scipy.stats import spearmanr  # takes half a second, which importing a search need not

    return float(spearmanr(predicted, evaluated).statistic)


def topk_recall(predicted: Sequence[float], evaluated: Sequence[float]) -> float | None:
    """Return the share of the k lowest evaluated that were among the k lowest predicted.

    k is a quarter of the pairs, rounded up; of equals the earlier counts as lower; `None` with
    fewer than 3 pairs.
    """
    count = len(predicted)
    if count < _MIN_PAIRS:
        return None
    k = math.ceil(count / 4)
    guessed = np.argsort(np.asarray(predicted), kind="stable")[:k]
    actual = np.argsort(np.asarray(evaluated), kind="stable")[:k]
    return len(set(guessed.tolist()) & set(actual.tolist())) / k

"""The trials of a sweep: groups of trials, each chosen from the results of the groups before."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from clso.baseline.plan import Trial
from clso.baseline.settings import SweepSettings
from clso.baseline.train import TrialResult

__all__ = ["best_of", "trial_groups"]

# A round over all grids that gains less, in nats per token, is the last.
_SMALLEST_GAIN = 1e-3
# The order of a product: rates vary fastest.
_SLOWEST_FIRST = ("passes", "weight_decay", "schedule", "batch_size", "dropout", "lr")


def trial_groups(settings: SweepSettings, results: Sequence[TrialResult]) -> Iterator[list[Trial]]:
    """Yield groups of trials that do not depend on one another.

    Before the next group is asked for, `results` must have the results of all groups so far.
    """
    if settings.strategy == "one_at_a_time":
        yield from _one_at_a_time(settings, results)
        return
    grids = {name: values for name in _SLOWEST_FIRST if (values := settings.grids.get(name))}
    products = itertools.product(*grids.values())
    yield [Trial(**dict(zip(grids, values, strict=True))) for values in products]
    yield from _beyond(settings, results)


def best_of(results: Sequence[TrialResult]) -> TrialResult:
    """Return the result with the lowest loss, the first of equals."""
    return min(results, key=lambda result: result.score)


def _one_at_a_time(
    settings: SweepSettings, results: Sequence[TrialResult]
) -> Iterator[list[Trial]]:
    grids = settings.grids
    yield [Trial(**{name: values[0] for name, values in grids.items()})]
    before = math.inf
    while (best := best_of(results)).loss is not None and best.loss < before - _SMALLEST_GAIN:
        before = best.loss
        for name, values in grids.items():
            around = [replace(best_of(results).trial, **{name: value}) for value in values]
            done = {result.trial for result in results}
            if new := [trial for trial in around if trial not in done]:
                yield new
            if name == "lr":
                yield from _beyond(settings, results)


def _beyond(settings: SweepSettings, results: Sequence[TrialResult]) -> Iterator[list[Trial]]:
    """Yield trials with rates beyond the tried ones while the best rate lies at their edge."""
    for _ in range(settings.extend):
        best = best_of(results)
        if best.loss is None:
            return
        tried = [result.trial for result in results]
        rates = [trial.lr for trial in tried if replace(trial, lr=best.trial.lr) == best.trial]
        if best.trial.lr == max(rates):
            beyond = best.trial.lr * 2
        elif best.trial.lr == min(rates):
            beyond = best.trial.lr / 2
        else:
            return
        yield [replace(best.trial, lr=beyond)]

"""Two ways of doing the same thing, timed in turn so that a drifting machine hits both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Comparison", "in_turn"]


@dataclass(frozen=True)
class Comparison:
    """Timings of ours and of the plain way, pair by pair.

    Attributes:
        what: the work, as a short phrase.
        ours: what our side is.
        plain: what the other side is.
        ours_s: seconds per run, `(repeats,)`.
        plain_s: seconds per run, `(repeats,)`.
    """

    what: str
    ours: str
    plain: str
    ours_s: list[float]
    plain_s: list[float]

    @property
    def ratios(self) -> list[float]:
        """Plain time over our time, pair by pair: above 1, ours is faster."""
        return [plain / ours for plain, ours in zip(self.plain_s, self.ours_s, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)


def in_turn(
    what: str,
    ours: tuple[str, Callable[[], object]],
    plain: tuple[str, Callable[[], object]],
    *,
    repeats: int,
    warm_up: bool = True,
) -> Comparison:
    """Time two callables A B A B ..., after one run of each that does not count."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + warm_up):
        for side, (_, work) in zip(times, (ours, plain), strict=True):
            started = time.perf_counter()
            work()
            if repeat >= warm_up:
                side.append(time.perf_counter() - started)
    return Comparison(what, ours[0], plain[0], *times)

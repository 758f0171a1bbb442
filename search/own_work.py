"""What a search does besides its evaluations: it draws, fits and predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clso.energy import EnergyMonitor, Measurement

__all__ = ["OwnWork"]


class OwnWork:
    """The cost of one search's own work.

    Args:
        monitor: measures the work; `None`: durations only.

    Attributes:
        costs: of each piece of work, with the number of evaluations before it.
        n_predictions: number of predicted losses.
    """

    def __init__(self, monitor: EnergyMonitor | None = None) -> None:
        self._monitor = EnergyMonitor() if monitor is None else monitor
        self.costs: list[tuple[int, Measurement]] = []
        self.n_predictions = 0

    @contextmanager
    def after(self, evaluations: int) -> Iterator[None]:
        """Measure the block, which comes after this number of evaluations and makes none."""
        with self._monitor.window() as window:
            yield
        self.costs.append((evaluations, window.measurement))

    @property
    def cost(self) -> Measurement:
        """The sum of all costs."""
        return Measurement.total(cost for _, cost in self.costs)

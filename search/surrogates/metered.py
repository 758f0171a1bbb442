"""A surrogate whose joules are told as they are spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clso.energy import EnergyMonitor, Measurement
from clso.genome import Genome, GenomeSpace
from search.surrogates.interface import FloatArray, Surrogate, SurrogateFactory

__all__ = ["metered"]


def metered(
    factory: SurrogateFactory, monitor: EnergyMonitor, charge: Callable[[Measurement], None]
) -> SurrogateFactory:
    """Return a factory of the same surrogates; making, fits and predictions are charged.

    Args:
        factory: makes them.
        monitor: measures them.
        charge: told what each of these took, as soon as it is over.
    """

    def make(space: GenomeSpace, seed: int) -> Surrogate:
        with monitor.window() as window:
            surrogate = factory(space, seed)
        charge(window.measurement)
        return _Metered(surrogate, monitor, charge)

    return make


class _Metered:
    def __init__(
        self,
        surrogate: Surrogate,
        monitor: EnergyMonitor,
        charge: Callable[[Measurement], None],
    ) -> None:
        self._surrogate = surrogate
        self._monitor = monitor
        self._charge = charge

    @property
    def kind(self) -> str | None:
        return self._surrogate.kind

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        with self._monitor.window() as window:
            self._surrogate.fit(genomes, losses)
        self._charge(window.measurement)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        with self._monitor.window() as window:
            guesses = self._surrogate.predict(genomes)
        self._charge(window.measurement)
        return guesses

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from clso.energy import EnergyMonitor, Measurement
from clso.genome import Genome, GenomeSpace, Slot
from search.surrogates import metered
from search.surrogates.ridge import RidgeSurrogate

Sampler = Callable[..., tuple[list[Genome], list[float]]]


class Watched(EnergyMonitor):
    """Knows whether it measures."""

    def __init__(self) -> None:
        super().__init__()
        self.measuring = False

    @contextmanager
    def window(self) -> Iterator:  # type: ignore[type-arg, override]
        self.measuring = True
        with super().window() as window:
            yield window
        self.measuring = False


def test_a_metered_surrogate_guesses_the_same_and_all_of_it_is_charged(
    space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(40)
    charges: list[Measurement] = []
    mine = metered(RidgeSurrogate, Watched(), charges.append)(space, 0)
    plain = RidgeSurrogate(space, 0)
    assert mine.kind == plain.kind
    assert len(charges) == 1
    for surrogate in (mine, plain):
        surrogate.fit(genomes[:30], losses[:30])
    assert len(charges) == 2
    guesses = [surrogate.predict(genomes[30:]) for surrogate in (mine, plain)]
    assert np.array_equal(guesses[0], guesses[1])
    assert len(charges) == 3
    assert all(charge.duration_s > 0 for charge in charges)


def test_what_is_known_of_options_is_asked_while_it_is_measured() -> None:
    monitor = Watched()
    asked = []

    def describe() -> np.ndarray:
        asked.append(monitor.measuring)
        return np.zeros((4, 2))

    slots = tuple(Slot(f"pick{number}", 4) for number in range(2))
    space = GenomeSpace(slots, exchangeable=(0, 1), describe=describe)
    metered(RidgeSurrogate, monitor, lambda _: None)(space, 0)
    assert asked == [True]

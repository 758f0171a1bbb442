"""A surrogate that counts what it is asked, so that a prediction has a price."""

from __future__ import annotations

from collections.abc import Sequence

from clso.genome import Genome, GenomeSpace
from search.surrogate import FloatArray, Surrogate, SurrogateFactory

__all__ = ["CountedSurrogates"]


class CountedSurrogates:
    """Makes surrogates as another factory does; a `search.surrogate.SurrogateFactory`.

    Args:
        make: the other factory.

    Attributes:
        n_predictions: genomes whose loss any of them was asked for.
    """

    def __init__(self, make: SurrogateFactory) -> None:
        self._make = make
        self.n_predictions = 0

    def __call__(self, space: GenomeSpace, seed: int) -> Surrogate:
        """Return a new surrogate that counts."""
        return _Counted(self._make(space, seed), self)


class _Counted:
    def __init__(self, surrogate: Surrogate, owner: CountedSurrogates) -> None:
        self._surrogate = surrogate
        self._owner = owner

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        self._surrogate.fit(genomes, losses)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        self._owner.n_predictions += len(genomes)
        return self._surrogate.predict(genomes)

"""Models that predict a genome's loss from evaluated genomes, so that fewer are evaluated."""

from search.surrogates.factory import SURROGATES, metered, surrogate_factory
from search.surrogates.interface import FloatArray, Surrogate, SurrogateFactory

__all__ = [
    "SURROGATES",
    "FloatArray",
    "Surrogate",
    "SurrogateFactory",
    "metered",
    "surrogate_factory",
]

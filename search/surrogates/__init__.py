"""Models that guess a genome's loss from evaluated ones, so that fewer need evaluating."""

from search.surrogates.factory import SURROGATES, surrogate_factory
from search.surrogates.interface import FloatArray, Surrogate, SurrogateFactory
from search.surrogates.metered import metered

__all__ = [
    "SURROGATES",
    "FloatArray",
    "Surrogate",
    "SurrogateFactory",
    "metered",
    "surrogate_factory",
]

"""Functions of the block so far: pointers, attention without learned weights, and products."""

from clso.mixture.pointer.base import (
    BlockFunction,
    Pointer,
    flops_over_sources,
    target_probabilities,
)
from clso.mixture.pointer.cache import Cache, Gated
from clso.mixture.pointer.induction import Induction, match_length
from clso.mixture.pointer.names import CacheName, GatedName, InductionName, ProductName
from clso.mixture.pointer.product import Product

__all__ = [
    "BlockFunction",
    "Cache",
    "CacheName",
    "Gated",
    "GatedName",
    "Induction",
    "InductionName",
    "Pointer",
    "Product",
    "ProductName",
    "flops_over_sources",
    "match_length",
    "target_probabilities",
]

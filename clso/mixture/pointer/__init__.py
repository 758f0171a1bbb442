"""Functions of the block so far: pointers, attention without learned weights, and products."""

from clso.mixture.pointer.base import BlockFunction, Pointer
from clso.mixture.pointer.cache import Cache, Gated
from clso.mixture.pointer.fit import fit_pointers, load_pointer, pointer_probabilities
from clso.mixture.pointer.induction import Induction, match_length
from clso.mixture.pointer.names import (
    CacheName,
    GatedName,
    InductionName,
    PointerName,
    ProductName,
    parse,
)
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
    "PointerName",
    "Product",
    "ProductName",
    "fit_pointers",
    "load_pointer",
    "match_length",
    "parse",
    "pointer_probabilities",
]

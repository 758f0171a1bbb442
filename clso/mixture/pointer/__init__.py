"""Pointers: attention without learned weights over the tokens of the block so far."""

from clso.mixture.pointer.base import Pointer
from clso.mixture.pointer.cache import Cache, Gated
from clso.mixture.pointer.fit import fit_pointers, load_pointer, pointer_probabilities
from clso.mixture.pointer.induction import Induction, match_length
from clso.mixture.pointer.names import (
    CacheName,
    GatedName,
    InductionName,
    PointerName,
    parse,
)

__all__ = [
    "Cache",
    "CacheName",
    "Gated",
    "GatedName",
    "Induction",
    "InductionName",
    "Pointer",
    "PointerName",
    "fit_pointers",
    "load_pointer",
    "match_length",
    "parse",
    "pointer_probabilities",
]

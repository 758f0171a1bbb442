"""Basis functions of the current block: caches, induction, and a product over token classes.

A pointer predicts that the next token is one of the tokens in the block so far. It is attention
whose weights are computed from the tokens instead of learned.

    names.py      how pointers are written, such as `cache(32,idf=0.5)`
    pairs.py      pairs of positions with equal tokens, which all pointers look up
    base.py       what all functions of the block, and all pointers, have in common
    cache.py      recent tokens, plain or gated by class
    induction.py  the continuation of an earlier occurrence of the last tokens
    product.py    a product of experts over classes
"""

from clso.mixture.pointer.base import BlockFunction, Pointer, flops_over_sources
from clso.mixture.pointer.cache import Cache, Gated
from clso.mixture.pointer.induction import Induction
from clso.mixture.pointer.names import CacheName, GatedName, InductionName, ProductName
from clso.mixture.pointer.pairs import BlockView
from clso.mixture.pointer.product import Product

__all__ = [
    "BlockFunction",
    "BlockView",
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
]

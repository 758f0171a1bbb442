"""Libraries of structured matrices, one file per family."""

from clso.library.basis_library import SLOTS, BasisLibrary, slot_shape
from clso.library.block_sparse import BlockSparse
from clso.library.dense_cache import DenseCache
from clso.library.entry import LibraryEntry
from clso.library.quantized_low_rank import QuantizedLowRank
from clso.library.registry import FAMILIES, FamilySpec

__all__ = [
    "FAMILIES",
    "SLOTS",
    "BasisLibrary",
    "BlockSparse",
    "DenseCache",
    "FamilySpec",
    "LibraryEntry",
    "QuantizedLowRank",
    "slot_shape",
]

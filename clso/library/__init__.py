"""Libraries of structured matrices, one file per family."""

from clso.library.basis_library import SLOTS, TOKEN_SLOTS, BasisLibrary, slot_shape
from clso.library.block_sparse import BlockSparse
from clso.library.dense_cache import DenseCache
from clso.library.entry import LibraryEntry
from clso.library.quantized_low_rank import QuantizedLowRank
from clso.library.registry import DERIVED_FAMILIES, FAMILIES, FamilySpec
from clso.library.residual_layout import ResidualLayout

__all__ = [
    "DERIVED_FAMILIES",
    "FAMILIES",
    "SLOTS",
    "TOKEN_SLOTS",
    "BasisLibrary",
    "BlockSparse",
    "DenseCache",
    "FamilySpec",
    "LibraryEntry",
    "QuantizedLowRank",
    "ResidualLayout",
    "slot_shape",
]

"""Libraries of structured matrices, one file per family."""

from clso.library.basis_library import SLOTS, TOKEN_SLOTS, BasisLibrary
from clso.library.block_sparse import BlockSparse
from clso.library.circulant import Circulant
from clso.library.entry import FamilySettings, LibraryEntry, norm_scale, similarity
from clso.library.hadamard import Hadamard
from clso.library.kronecker import Kronecker
from clso.library.matrix_cache import MatrixCache
from clso.library.monarch import Monarch
from clso.library.permutation import Permutation
from clso.library.quantized_low_rank import QuantizedLowRank
from clso.library.registry import DERIVED_FAMILIES, FAMILIES
from clso.library.residual_layout import ResidualLayout
from clso.library.weight import Weight
from clso.library.zero import Zero

__all__ = [
    "DERIVED_FAMILIES",
    "FAMILIES",
    "SLOTS",
    "TOKEN_SLOTS",
    "BasisLibrary",
    "BlockSparse",
    "Circulant",
    "FamilySettings",
    "Hadamard",
    "Kronecker",
    "LibraryEntry",
    "MatrixCache",
    "Monarch",
    "Permutation",
    "QuantizedLowRank",
    "ResidualLayout",
    "Weight",
    "Zero",
    "norm_scale",
    "similarity",
]

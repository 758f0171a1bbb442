"""Libraries of structured matrices, one file per family.

The names below are imported when they are first used. `MatrixCache` and `Weight` load `torch`;
entries load it when they are applied to tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clso.lazy import lazy_names

if TYPE_CHECKING:
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

_MODULES = {
    "BasisLibrary": "clso.library.basis_library",
    "BlockSparse": "clso.library.block_sparse",
    "Circulant": "clso.library.circulant",
    "DERIVED_FAMILIES": "clso.library.registry",
    "FAMILIES": "clso.library.registry",
    "FamilySettings": "clso.library.entry",
    "Hadamard": "clso.library.hadamard",
    "Kronecker": "clso.library.kronecker",
    "LibraryEntry": "clso.library.entry",
    "MatrixCache": "clso.library.matrix_cache",
    "Monarch": "clso.library.monarch",
    "Permutation": "clso.library.permutation",
    "QuantizedLowRank": "clso.library.quantized_low_rank",
    "ResidualLayout": "clso.library.residual_layout",
    "SLOTS": "clso.library.basis_library",
    "TOKEN_SLOTS": "clso.library.basis_library",
    "Weight": "clso.library.weight",
    "Zero": "clso.library.zero",
    "norm_scale": "clso.library.entry",
    "similarity": "clso.library.entry",
}

if not TYPE_CHECKING:  # or a misspelt name would have a type
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)

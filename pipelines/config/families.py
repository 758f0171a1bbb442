"""The sections of `gpt.library.families`: one per family of structured matrices.

Each has a `share` of a slot's entries, relative to the other families' shares, and the parameters
that the family's matrices are drawn with; `clso/library/` says what they mean.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clso.section import Count, Positive, Section, Share

__all__ = [
    "BlockSparseConfig",
    "CirculantConfig",
    "FamilyConfig",
    "HadamardConfig",
    "KroneckerConfig",
    "MonarchConfig",
    "PermutationConfig",
    "QuantizedLowRankConfig",
    "ZeroConfig",
]

Divisor = Annotated[int, Field(ge=2, le=10**6)]


class _FamilySection(Section):
    share: Positive = 1.0

    def misfit(self, n_embd: int) -> str:
        """Say why there are no such matrices in a model of this width; empty if there are."""
        return ""


class BlockSparseConfig(_FamilySection):
    """Dense Gaussian blocks on a random subset of a block grid."""

    family: Literal["block_sparse"] = "block_sparse"
    block: Count = 16
    density: Share = 0.25


class QuantizedLowRankConfig(_FamilySection):
    """Product of two Gaussian factors, each quantized to `2**bits - 1` symmetric levels."""

    family: Literal["quantized_low_rank"] = "quantized_low_rank"
    rank: Count = 8
    bits: Annotated[int, Field(ge=2, le=8)] = 4

    def misfit(self, n_embd: int) -> str:
        """See the base class."""
        if self.rank <= n_embd:
            return ""
        return f"rank {self.rank} is more than model.n_embd {n_embd}, which bounds it"


class PermutationConfig(_FamilySection):
    """Signed permutations, tiled to the slot's shape."""

    family: Literal["permutation"] = "permutation"


class CirculantConfig(_FamilySection):
    """Shifts of one Gaussian row."""

    family: Literal["circulant"] = "circulant"


class HadamardConfig(_FamilySection):
    """Hadamard matrices with random signs and order."""

    family: Literal["hadamard"] = "hadamard"


class KroneckerConfig(_FamilySection):
    """Kronecker products A (x) B of Gaussian factors.

    Attributes:
        block: side of B; a divisor of `model.n_embd`.
    """

    family: Literal["kronecker"] = "kronecker"
    block: Divisor = 8

    def misfit(self, n_embd: int) -> str:
        """See the base class."""
        return _not_dividing("block", self.block, n_embd)


class MonarchConfig(_FamilySection):
    """Two block-diagonal Gaussian matrices with a permutation between them.

    Attributes:
        blocks: on each diagonal; a divisor of `model.n_embd`. Every output depends on every input
            up to its square root.
    """

    family: Literal["monarch"] = "monarch"
    blocks: Divisor = 8

    def misfit(self, n_embd: int) -> str:
        """See the base class."""
        return _not_dividing("blocks", self.blocks, n_embd)


class ZeroConfig(_FamilySection):
    """The zero matrix, which leaves its slot idle; more than one per slot are still one choice."""

    family: Literal["zero"] = "zero"


FamilyConfig = Annotated[
    BlockSparseConfig
    | QuantizedLowRankConfig
    | PermutationConfig
    | CirculantConfig
    | HadamardConfig
    | KroneckerConfig
    | MonarchConfig
    | ZeroConfig,
    Field(discriminator="family"),
]


def _not_dividing(name: str, value: int, n_embd: int) -> str:
    if n_embd % value == 0:
        return ""
    return f"{name} {value} does not divide model.n_embd {n_embd}; choose a divisor of it"

"""The matrix families by name, and how a library's entries are divided among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clso.errors import ArtifactError, ConfigError
from clso.library.block_sparse import BlockSparse
from clso.library.circulant import Circulant
from clso.library.derived import HeadMerge, RecencyAttention
from clso.library.entry import LibraryEntry
from clso.library.hadamard import Hadamard
from clso.library.kronecker import Kronecker
from clso.library.monarch import Monarch
from clso.library.permutation import Permutation
from clso.library.quantized_low_rank import QuantizedLowRank
from clso.library.spectral import SpectralEmbedding, SpectralReadout
from clso.library.zero import Zero

__all__ = ["DERIVED_FAMILIES", "FAMILIES", "FamilySpec", "divide", "entry_from_record"]

FAMILIES: dict[str, type[LibraryEntry]] = {
    family.family: family
    for family in (
        BlockSparse,
        QuantizedLowRank,
        Permutation,
        Circulant,
        Hadamard,
        Kronecker,
        Monarch,
        Zero,
    )
}
# These are not drawn: `clso.library.spectral_library` makes them.
DERIVED_FAMILIES: dict[str, type[LibraryEntry]] = {
    family.family: family
    for family in (RecencyAttention, HeadMerge, SpectralEmbedding, SpectralReadout)
}


@dataclass(frozen=True, slots=True)
class FamilySpec:
    """A family's part in a library.

    Args:
        family: a name in `FAMILIES`.
        share: its part relative to the other families' shares.
        parameters: what the family's `generate` takes besides shape and gain.

    Raises:
        ConfigError: no family of that name, or a share that is not positive.
    """

    family: str
    share: float = 1.0
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ConfigError(
                f"there is no library family {self.family!r}",
                remedy="families are: " + ", ".join(sorted(FAMILIES)),
            )
        if not self.share > 0.0:
            raise ConfigError(
                f"library family {self.family}: share is {self.share:g}, expected more than 0"
            )


def divide(size: int, shares: Sequence[float]) -> list[int]:
    """Return how many of `size` entries each family gets: its share, rounded, at least one.

    Largest remainders first, earlier families first where remainders tie.

    Raises:
        ConfigError: fewer entries than families.
    """
    if not shares or size < len(shares):
        raise ConfigError(
            f"a library of {size} entries cannot hold {len(shares)} families",
            remedy="give at least one family, and at least as many entries as families",
        )
    quotas = [size * share / sum(shares) for share in shares]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - quotas[i], i))
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    while 0 in counts:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts


def entry_from_record(record: Mapping[str, Any]) -> LibraryEntry:
    """Rebuild an entry of whatever family its record names.

    Raises:
        ArtifactError: a family that this version does not know, or a damaged record.
    """
    name = record.get("family")
    known = FAMILIES | DERIVED_FAMILIES
    if not isinstance(name, str) or name not in known:
        raise ArtifactError(
            f"a library entry is of the family {name!r}, which is not known here",
            remedy="known families: " + ", ".join(sorted(known)),
        )
    return known[name].from_record(record)

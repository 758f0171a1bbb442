"""The matrix families by name, and how a library's entries are divided among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from clso.plugins import Registry

__all__ = ["DERIVED_FAMILIES", "FAMILIES", "divide", "entry_from_record"]


def _check_family(name: str, family: object) -> None:
    del name
    if not (isinstance(family, type) and issubclass(family, LibraryEntry)):
        raise TypeError(f"{family!r} is not derived from LibraryEntry")


FAMILIES: Registry[type[LibraryEntry]] = Registry(
    "clso.matrix_families",
    {
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
    },
    check=_check_family,
)
# These are not drawn: `clso.library.spectral_library` makes them.
DERIVED_FAMILIES: dict[str, type[LibraryEntry]] = {
    family.family: family
    for family in (RecencyAttention, HeadMerge, SpectralEmbedding, SpectralReadout)
}


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
    name = str(record.get("family"))
    if name in DERIVED_FAMILIES:
        return DERIVED_FAMILIES[name].from_record(record)
    try:
        family = FAMILIES.get(name)
    except ConfigError as error:
        raise ArtifactError(
            f"a library entry is of the family {name!r}: {error.message}",
            remedy="install the package that made it, or delete the library and generate it again",
        ) from error
    return family.from_record(record)

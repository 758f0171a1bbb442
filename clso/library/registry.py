"""The matrix families by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clso.errors import ArtifactError, ConfigError
from clso.library.block_sparse import BlockSparse
from clso.library.circulant import Circulant
from clso.library.derived import ContextAttention, ContextMerge, HeadMerge, RecencyAttention
from clso.library.entry import LibraryEntry
from clso.library.hadamard import Hadamard
from clso.library.kronecker import Kronecker
from clso.library.monarch import Monarch
from clso.library.pair_memory import PairDetector, PairMemory
from clso.library.permutation import Permutation
from clso.library.quantized_low_rank import QuantizedLowRank
from clso.library.spectral import (
    ReweightedEmbedding,
    ReweightedReadout,
    SpectralEmbedding,
    SpectralReadout,
)
from clso.library.zero import Zero
from clso.plugins import Registry

__all__ = ["DERIVED_FAMILIES", "FAMILIES"]


# Entries of these families are not drawn; `clso.library.spectral_library` makes them.
DERIVED_FAMILIES: dict[str, type[LibraryEntry]] = {
    family.family: family
    for family in (
        RecencyAttention,
        HeadMerge,
        SpectralEmbedding,
        SpectralReadout,
        ReweightedEmbedding,
        ReweightedReadout,
        ContextAttention,
        ContextMerge,
        PairDetector,
        PairMemory,
    )
}


class _Families(Registry[type[LibraryEntry]]):
    """The families that entries are drawn from; it also reads the entries of all families."""

    def entry_from_record(self, record: Mapping[str, Any]) -> LibraryEntry:
        """Rebuild an entry of the family that its record names.

        Raises:
            ArtifactError: the family is not known here, or the record is damaged.
        """
        name = str(record.get("family"))
        if name in DERIVED_FAMILIES:
            return DERIVED_FAMILIES[name].from_record(record)
        try:
            family = self.get(name)
        except ConfigError as error:
            raise ArtifactError(
                f"a library entry is of the family {name!r}: {error.message}",
                remedy="install the package that made it, or delete the library and generate it "
                "again",
            ) from error
        return family.from_record(record)


def _check_family(name: str, family: object) -> None:
    del name
    if not (isinstance(family, type) and issubclass(family, LibraryEntry)):
        raise TypeError(f"{family!r} is not derived from LibraryEntry")


FAMILIES = _Families(
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

"""The libraries that a crystalline GPT picks its weights from.

Notation: d = `n_embd`; V tokens; N entries per body slot. Slots and their shapes `(in, out)`:
`attn_qkv` (d, 3d), `attn_out` (d, d), `mlp_up` (d, 4d), `mlp_down` (4d, d); a library that was
made with the data at hand may have two more, both `(V, d)`: `embedding` and `readout`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from clso.artifacts import read_table, table_from_rows, write_table
from clso.errors import ArtifactError, ConfigError
from clso.library.entry import FamilySettings, LibraryEntry, Shape
from clso.library.registry import FAMILIES, divide, entry_from_record

__all__ = ["SLOTS", "TOKEN_SLOTS", "BasisLibrary", "slot_shape"]

SLOTS = ("attn_qkv", "attn_out", "mlp_up", "mlp_down")
TOKEN_SLOTS = ("embedding", "readout")

# Sets these streams apart from every other use of the same seed.
_STREAM = int.from_bytes(b"libr")


def slot_shape(slot: str, n_embd: int) -> Shape:
    """Return `(in, out)` of a body slot's matrices."""
    return {
        "attn_qkv": (n_embd, 3 * n_embd),
        "attn_out": (n_embd, n_embd),
        "mlp_up": (n_embd, 4 * n_embd),
        "mlp_down": (4 * n_embd, n_embd),
    }[slot]


class BasisLibrary(Mapping[str, tuple[LibraryEntry, ...]]):
    """A read-only library: `library["attn_out"][7].dense()`.

    Args:
        n_embd: width d.
        entries: N entries for each of `SLOTS`; any number for both of `TOKEN_SLOTS`, or for
            neither.

    Attributes:
        size: N.
        vocab_size: V; `None` without token slots.

    Raises:
        ArtifactError: a slot is missing, has another number of entries, or an entry of another
            shape.
    """

    def __init__(self, n_embd: int, entries: Mapping[str, Sequence[LibraryEntry]]) -> None:
        self.n_embd = n_embd
        self._entries = {slot: tuple(entries.get(slot, ())) for slot in SLOTS}
        sizes = {slot: len(found) for slot, found in self._entries.items()}
        tokens = {slot: tuple(entries.get(slot, ())) for slot in TOKEN_SLOTS}
        others = set(entries) - {*SLOTS, *TOKEN_SLOTS}
        if others or len(set(sizes.values())) != 1 or 0 in sizes.values():
            raise ArtifactError(
                f"the library has entries per slot {sizes}, expected as many in each",
                remedy="delete the library and generate it again",
            )
        if any(tokens.values()) != all(tokens.values()):
            raise ArtifactError(
                f"the library has entries for one of {', '.join(TOKEN_SLOTS)} only",
                remedy="delete the library and generate it again",
            )
        self.size = sizes[SLOTS[0]]
        self.vocab_size: int | None = None
        if all(tokens.values()):
            self.vocab_size = tokens[TOKEN_SLOTS[0]][0].shape[0]
            self._entries |= tokens
        for slot, found in self._entries.items():
            expected = (
                (self.vocab_size, n_embd)
                if slot in TOKEN_SLOTS and self.vocab_size is not None
                else slot_shape(slot, n_embd)
            )
            for index, entry in enumerate(found):
                if entry.shape != expected:
                    raise ArtifactError(
                        f"entry {index} of {slot} has the shape {entry.shape}, expected {expected}",
                        remedy="delete the library and generate it again",
                    )

    @classmethod
    def generate(
        cls, n_embd: int, size: int, families: Sequence[FamilySettings], gain: float, seed: int
    ) -> Self:
        """Draw a library.

        Entry i of a slot depends on seed, slot, i and its family alone, so that libraries of
        different sizes share the entries that fall to the same family in both.

        Args:
            n_embd: width d.
            size: N, entries per slot.
            families: divide the entries of each slot in this order, by their shares.
            gain: standard deviation of a matrix's outputs for inputs of unit variance.
            seed: all randomness comes from here.

        Raises:
            ConfigError: fewer entries than families, or a parameter that does not fit the width.
        """
        if n_embd < 1 or not (0.0 < gain < float("inf")):
            raise ConfigError(
                f"n_embd is {n_embd} and gain {gain:g}, expected at least 1 and more than 0"
            )
        counts = divide(size, [settings.share for settings in families])
        drawn = [
            (FAMILIES.get(settings.family), settings.parameters)
            for settings, n in zip(families, counts, strict=True)
            for _ in range(n)
        ]
        entries = {
            slot: [
                family.generate(
                    np.random.default_rng([seed, _STREAM, number, index]),
                    slot_shape(slot, n_embd),
                    gain=gain,
                    **parameters,
                )
                for index, (family, parameters) in enumerate(drawn)
            ]
            for number, slot in enumerate(SLOTS)
        }
        return cls(n_embd, entries)

    def __getitem__(self, slot: str) -> tuple[LibraryEntry, ...]:
        return self._entries[slot]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"BasisLibrary(n_embd={self.n_embd}, size={self.size}, {self.fingerprint[:12]})"

    @property
    def stored_bytes(self) -> int:
        """Size of all entries in their compact form."""
        return sum(entry.stored_bytes for found in self.values() for entry in found)

    @cached_property
    def first_alike(self) -> Mapping[str, tuple[int, ...]]:
        """Per slot and entry, the first index of the slot that holds the same matrix."""
        return {slot: _first_alike(entries) for slot, entries in self._entries.items()}

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of everything that makes up the matrices."""
        digest = hashlib.sha256(f"library {self.n_embd} {self.size}".encode())
        for slot, found in self.items():
            for entry in found:
                digest.update(f"{slot} {entry.family} {sorted(entry.parameters.items())}".encode())
                for name, array in sorted(entry.arrays.items()):
                    digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
                    digest.update(array.tobytes())
        return digest.hexdigest()

    def to_table(self) -> pa.Table:
        """Return the table `library`, a row per entry."""
        rows = [
            {"slot": slot, "index": index, **entry.to_record()}
            for slot, found in self.items()
            for index, entry in enumerate(found)
        ]
        return table_from_rows(rows, "library")

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Rebuild a library from `to_table`, bit for bit.

        Raises:
            ArtifactError: rows are missing, doubled, damaged or of an unknown family.
        """
        rows: list[dict[str, Any]] = table.sort_by("index").to_pylist()
        entries: dict[str, list[LibraryEntry]] = {slot: [] for slot in (*SLOTS, *TOKEN_SLOTS)}
        for row in rows:
            if row["slot"] not in entries or row["index"] != len(entries[row["slot"]]):
                raise ArtifactError(
                    f"the library's entry {row['index']} of {row['slot']!r} does not belong there",
                    remedy="delete the library and generate it again",
                )
            entries[row["slot"]].append(entry_from_record(row))
        n_embd = entries["attn_out"][0].shape[0] if entries["attn_out"] else 0
        return cls(n_embd, entries)

    def save(self, path: Path) -> None:
        """Write the table as Parquet.

        Raises:
            ArtifactError: the file cannot be written.
        """
        write_table(path, self.to_table(), "library")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing, damaged or of another version.
        """
        return cls.from_table(read_table(path, "library"))


def _first_alike(entries: Sequence[LibraryEntry]) -> tuple[int, ...]:
    """Return, per entry, the first index that holds the same matrix."""
    seen: dict[str, int] = {}
    found = []
    for index, entry in enumerate(entries):
        digest = hashlib.sha256(f"{entry.family} {sorted(entry.parameters.items())}".encode())
        for name, array in sorted(entry.arrays.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        found.append(seen.setdefault(digest.hexdigest(), index))
    return tuple(found)

"""The libraries that a crystalline GPT picks its weights from.

Notation: d = `n_embd`; V tokens; N entries per body slot. Slots and their shapes `(in, out)`:
`attn_qkv` (d, 3d), `attn_out` (d, d), `mlp_up` (d, 4d), `mlp_down` (4d, d). A library
with spectral entries has two more, both `(V, d)`: `embedding` and `readout`.
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
from clso.engine import Engine, Shared
from clso.errors import ArtifactError, ConfigError
from clso.library.entry import FamilySettings, LibraryEntry
from clso.library.registry import FAMILIES

__all__ = ["SLOTS", "TOKEN_SLOTS", "BasisLibrary"]

# Rows and columns of the matrices of each body slot, in units of d.
_SIDES = {"attn_qkv": (1, 3), "attn_out": (1, 1), "mlp_up": (1, 4), "mlp_down": (4, 1)}
SLOTS = tuple(_SIDES)
TOKEN_SLOTS = ("embedding", "readout")

# Separates these random streams from all others of the same seed.
_STREAM = int.from_bytes(b"libr")

_TASKS_PER_WORKER = 8  # enough that workers end together


class BasisLibrary(Mapping[str, tuple[LibraryEntry, ...]]):
    """A read-only library: `library["attn_out"][7].dense()`.

    Args:
        n_embd: width d.
        entries: N entries for each of `SLOTS`; any number for both of `TOKEN_SLOTS`, or none.

    Attributes:
        size: N.
        vocab_size: V; `None` without token slots.

    Raises:
        ArtifactError: a slot is missing, slots differ in size, or an entry has another shape.
    """

    def __init__(self, n_embd: int, entries: Mapping[str, Sequence[LibraryEntry]]) -> None:
        self.n_embd = n_embd
        self._entries = {slot: tuple(entries.get(slot, ())) for slot in SLOTS}
        sizes = {slot: len(body) for slot, body in self._entries.items()}
        shapes = {
            slot: (n_embd * rows, n_embd * columns) for slot, (rows, columns) in _SIDES.items()
        }
        tokens = {slot: tuple(entries.get(slot, ())) for slot in TOKEN_SLOTS}
        unknown = set(entries) - {*SLOTS, *TOKEN_SLOTS}
        if unknown or len(set(sizes.values())) != 1 or 0 in sizes.values():
            raise _damaged(f"has entries per slot {sizes}, expected as many in each")
        if any(tokens.values()) != all(tokens.values()):
            raise _damaged(f"has entries for one of {', '.join(TOKEN_SLOTS)} only")
        self.size = sizes[SLOTS[0]]
        self.vocab_size: int | None = None
        if all(tokens.values()):
            self.vocab_size = tokens[TOKEN_SLOTS[0]][0].shape[0]
            self._entries |= tokens
            shapes |= dict.fromkeys(TOKEN_SLOTS, (self.vocab_size, n_embd))
        for slot, slot_entries in self._entries.items():
            for index, entry in enumerate(slot_entries):
                if entry.shape != shapes[slot]:
                    raise _damaged(
                        f"has an entry of another shape: entry {index} of {slot} has the shape "
                        f"{entry.shape}, expected {shapes[slot]}"
                    )

    @classmethod
    def generate(
        cls, n_embd: int, size: int, families: Sequence[FamilySettings], gain: float, seed: int
    ) -> Self:
        """Draw a library.

        Entry i of a slot depends only on seed, slot, i and family. So two libraries of different
        sizes share each entry whose family is the same in both.

        Args:
            families: the entries of each slot are divided among them in order, by shares.
            gain: standard deviation of a matrix's outputs for inputs of unit variance.

        Raises:
            ConfigError: there are fewer entries than families, or a parameter does not fit.
        """
        if n_embd < 1 or not (0.0 < gain < float("inf")):
            raise ConfigError(
                f"n_embd is {n_embd} and gain {gain:g}, expected at least 1 and more than 0"
            )
        counts = _divide(size, [settings.share for settings in families])
        drawn = [
            (FAMILIES.get(settings.family), settings.parameters)
            for settings, count in zip(families, counts, strict=True)
            for _ in range(count)
        ]
        entries = {
            slot: [
                family.generate(
                    np.random.default_rng([seed, _STREAM, slot_number, index]),
                    (n_embd * rows, n_embd * columns),
                    gain=gain,
                    **parameters,
                )
                for index, (family, parameters) in enumerate(drawn)
            ]
            for slot_number, (slot, (rows, columns)) in enumerate(_SIDES.items())
        }
        return cls(n_embd, entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.n_embd, self._entries)

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
        return sum(entry.stored_bytes for entries in self.values() for entry in entries)

    @cached_property
    def first_alike(self) -> Mapping[str, tuple[int, ...]]:
        """Per slot and entry, the first index of the slot that holds the same matrix."""
        first_alike: dict[str, tuple[int, ...]] = {}
        for slot, entries in self.items():
            first: dict[bytes, int] = {}
            contents = (b"".join(entry.content()) for entry in entries)
            first_alike[slot] = tuple(
                first.setdefault(hashlib.sha256(content).digest(), index)
                for index, content in enumerate(contents)
            )
        return first_alike

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of everything that decides the matrices."""
        digest = hashlib.sha256(f"library {self.n_embd} {self.size}".encode())
        for slot, entries in self.items():
            for entry in entries:
                digest.update(f"{slot} ".encode())
                for part in entry.content():
                    digest.update(part)
        return digest.hexdigest()

    def to_table(self, engine: Engine | None = None) -> pa.Table:
        """Return the table `library`, a row per entry; an engine may describe the matrices."""
        places = [(slot, index) for slot, entries in self.items() for index in range(len(entries))]
        described: dict[tuple[str, int], dict[str, float]] = {}
        if engine is not None:
            # neighbours are of one family and take equally long, so they go to different tasks
            n_tasks = min(len(places), _TASKS_PER_WORKER * engine.n_workers)
            tasks = [places[start::n_tasks] for start in range(n_tasks)]
            shared = Shared(f"library {self.fingerprint}", self)
            for index, descriptions in engine.map(_describe, shared, tasks):
                described |= dict(zip(tasks[index], descriptions, strict=True))
        rows = []
        for slot, index in places:
            record = self[slot][index].to_record(described.get((slot, index)))
            rows.append({"slot": slot, "index": index, **record})
        return table_from_rows(rows, "library")

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """Rebuild a library from `to_table`, bit for bit.

        Raises:
            ArtifactError: rows are missing, repeated, damaged or of an unknown family.
        """
        rows: list[dict[str, Any]] = table.sort_by("index").to_pylist()
        entries: dict[str, list[LibraryEntry]] = {slot: [] for slot in (*SLOTS, *TOKEN_SLOTS)}
        for row in rows:
            if row["slot"] not in entries or row["index"] != len(entries[row["slot"]]):
                raise _damaged(f"has a wrong or repeated entry {row['index']} of {row['slot']!r}")
            entries[row["slot"]].append(FAMILIES.entry_from_record(row))
        n_embd = entries["attn_out"][0].shape[0] if entries["attn_out"] else 0
        return cls(n_embd, entries)

    def save(self, path: Path, engine: Engine | None = None) -> None:
        """Write the table as Parquet; an engine may describe the matrices.

        Raises:
            ArtifactError: the file cannot be written.
        """
        write_table(path, self.to_table(engine), "library")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing, damaged or of another version.
        """
        return cls.from_table(read_table(path, "library"))


def _describe(library: BasisLibrary, places: Sequence[tuple[str, int]]) -> list[dict[str, float]]:
    """Describe some entries; a task for an engine."""
    return [library[slot][index].description for slot, index in places]


def _divide(size: int, shares: Sequence[float]) -> list[int]:
    """Return how many of `size` entries each family gets: its share, rounded, at least one.

    Largest remainders are rounded up first, earlier families first where remainders tie.

    Raises:
        ConfigError: there are fewer entries than families.
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


def _damaged(problem: str) -> ArtifactError:
    return ArtifactError(
        f"the library {problem}", remedy="delete the library and generate it again"
    )

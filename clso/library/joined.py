"""Several libraries of one shape as one library, in a number of bytes.

Entries of one kind hold the same arrays and differ in a few parameters. So bytes are those of
distinct arrays: one that several entries hold counts once.

A matrix that all libraries hold is kept. Of the others, entries are taken in turn, the last of each
slot and library first, since a library's better factors come after its plain ones. An entry whose
arrays do not fit into the bytes that are left is passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from clso.errors import ConfigError
from clso.library.basis_library import SLOTS, BasisLibrary
from clso.library.entry import LibraryEntry
from clso.library.zero import Zero

__all__ = ["distinct_bytes", "joined"]


def distinct_bytes(entries: Iterable[LibraryEntry]) -> int:
    """Return the size of all arrays of entries; one that several entries hold counts once."""
    return sum({digest: size for entry in entries for digest, size in _arrays(entry)}.values())


def joined(libraries: Sequence[BasisLibrary], most_bytes: int) -> BasisLibrary:
    """Return a library with entries of all, in at most `most_bytes` of distinct arrays.

    Entries of a slot have the order of the libraries. Slots of the body have equally many: zero
    matrices, which take no bytes, fill them up.

    Raises:
        ConfigError: the libraries differ in width, slots or vocabulary, or the bytes do not hold
            one entry of each slot and library.
    """
    first = libraries[0]
    shape = first.n_embd, set(first), first.vocab_size
    for other in libraries[1:]:
        if (other.n_embd, set(other), other.vocab_size) != shape:
            raise ConfigError(
                f"{other} and {first} differ in width, slots or vocabulary",
                remedy="join libraries of one shape and vocabulary",
            )
    matrices = [
        {slot: {b"".join(entry.content()): entry for entry in library[slot]} for slot in first}
        for library in libraries
    ]
    kept = {slot: set.intersection(*(set(own[slot]) for own in matrices)) for slot in first}
    held = dict(
        array
        for slot, contents in kept.items()
        for content in contents
        for array in _arrays(matrices[0][slot][content])
    )
    # per slot and library, what only some libraries hold, the last entry first
    queues = [
        (slot, own[slot], [content for content in reversed(own[slot]) if content not in kept[slot]])
        for slot in first
        for own in matrices
    ]
    for turn in zip_longest(*(contents for _, _, contents in queues)):
        for (slot, entries_of, _), content in zip(queues, turn, strict=True):
            if content is None:
                continue
            arrays = held | dict(_arrays(entries_of[content]))
            if sum(arrays.values()) <= most_bytes:
                held = arrays
                kept[slot].add(content)
    lacks = any(contents and not kept[slot] & {*contents} for slot, _, contents in queues)
    if lacks or sum(held.values()) > most_bytes:
        everything = (entry for own in matrices for slot in own.values() for entry in slot.values())
        raise ConfigError(
            f"{most_bytes:,} bytes do not hold one entry of each slot and library; all of them "
            f"take {distinct_bytes(everything):,}",
            remedy="raise the share of the bytes",
        )
    entries = {
        slot: list(
            {
                content: entry
                for own in matrices
                for content, entry in own[slot].items()
                if content in kept[slot]
            }.values()
        )
        for slot in first
    }
    size = max(len(entries[slot]) for slot in SLOTS)
    for slot in SLOTS:
        entries[slot] += [Zero.of(first[slot][0].shape)] * (size - len(entries[slot]))
    return BasisLibrary(first.n_embd, entries)


def _arrays(entry: LibraryEntry) -> Iterator[tuple[bytes, int]]:
    """Yield digest and size of each array of an entry."""
    for array in entry.arrays.values():
        yield hashlib.sha256(array.tobytes()).digest(), array.nbytes

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
        {slot: {b"".join(e.content()): e for e in library[slot]} for slot in first}
        for library in libraries
    ]
    common = {slot: set.intersection(*(set(own[slot]) for own in matrices)) for slot in first}
    kept = {slot: {content: None for content in common[slot]} for slot in first}
    held = {
        digest: size
        for slot in first
        for content in common[slot]
        for digest, size in _arrays(matrices[0][slot][content])
    }
    places = [
        (slot, own[slot], [content for content in reversed(own[slot]) if content not in kept[slot]])
        for slot in first
        for own in matrices
    ]
    lacking = {(slot, id(own)) for slot, own, contents in places if contents}
    for turn in zip_longest(*(contents for _, _, contents in places)):
        for (slot, own, _), content in zip(places, turn, strict=True):
            if content is None:
                continue
            arrays = held | dict(_arrays(own[content]))
            if sum(arrays.values()) <= most_bytes:
                held = arrays
                kept[slot][content] = None
                lacking.discard((slot, id(own)))
    if lacking or sum(held.values()) > most_bytes:
        total = distinct_bytes(_all_entries(libraries))
        raise ConfigError(
            f"{most_bytes:,} bytes do not hold one entry of each slot and library; all of them "
            f"take {total:,}",
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


def _all_entries(libraries: Iterable[BasisLibrary]) -> Iterator[LibraryEntry]:
    return (entry for library in libraries for entries in library.values() for entry in entries)


def _arrays(entry: LibraryEntry) -> Iterator[tuple[bytes, int]]:
    """Yield digest and size of each array of an entry."""
    for array in entry.arrays.values():
        yield hashlib.sha256(array.tobytes()).digest(), array.nbytes

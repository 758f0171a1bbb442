"""Several libraries of one shape as one library, with a share of the entries of each.

A matrix that all libraries hold is kept once. Of the others, each slot keeps a share of every
library's entries, spread evenly over their order, so that each kind of entry keeps its share. With
n libraries and a share of 1 / n, the whole takes about as many bytes as one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from clso.errors import ConfigError
from clso.library.basis_library import SLOTS, BasisLibrary
from clso.library.entry import LibraryEntry
from clso.library.zero import Zero

__all__ = ["joined"]


def joined(libraries: Sequence[BasisLibrary], share: float) -> BasisLibrary:
    """Return a library with entries of all, in the order of the libraries.

    Slots of the body have equally many entries: zero matrices, which take no bytes, fill them up.

    Args:
        share: of each library's own entries of a slot, above 0 and at most 1; at least one is kept.

    Raises:
        ConfigError: the libraries differ in width, slots or vocabulary, or the share is out of
            range.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"the share of entries is {share:g}, expected above 0 and at most 1")
    first = libraries[0]
    shape = first.n_embd, set(first), first.vocab_size
    for other in libraries[1:]:
        if (other.n_embd, set(other), other.vocab_size) != shape:
            raise ConfigError(
                f"{other} and {first} differ in width, slots or vocabulary",
                remedy="join libraries of one shape and vocabulary",
            )
    kept = {slot: _kept([library[slot] for library in libraries], share) for slot in first}
    size = max(len(kept[slot]) for slot in SLOTS)
    for slot in SLOTS:
        kept[slot] += [Zero.of(first[slot][0].shape)] * (size - len(kept[slot]))
    return BasisLibrary(first.n_embd, kept)


def _kept(slots: Sequence[Sequence[LibraryEntry]], share: float) -> list[LibraryEntry]:
    """Return the entries of one slot: those of all libraries, then a share of each one's own."""
    matrices = [{b"".join(entry.content()): entry for entry in entries} for entries in slots]
    common = [
        content for content in matrices[0] if all(content in other for other in matrices[1:])
    ]
    kept = {content: matrices[0][content] for content in common}
    for own in matrices:
        others = [content for content in own if content not in common]
        count = min(len(others), max(1, round(share * len(others))))
        for place in range(count):
            content = others[place * len(others) // count]
            kept.setdefault(content, own[content])
    return list(kept.values())

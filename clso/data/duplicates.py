r"""Documents that equal others or nearly do, within splits and across them.

Notation: the *plain text* of a document is its text with case folded and each run of white space as
one space. Two documents are *equal* if their plain texts are. A *gram* is 24 characters of plain
text in succession; two documents are *near* if at least half of the grams of one stand in the
other.

Grams are hashed to 64 bits, all of a block at once: with the codes c_j of its characters and an odd
number p, both modulo 2**64,

.. math:: h_i = p^{-i} \sum_{j=i}^{i+23} c_j p^j

is a difference of two cumulative sums. The smallest hashes are kept, so many that they fit into
memory, of every document alike: a sample of all grams that does not depend on the document.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clso.scoring import Int64Array

__all__ = ["GRAM", "Duplicates", "Hashes", "PlainTexts", "equal_together", "plain_key"]

GRAM: Final = 24
_NEAR_SHARE: Final = 0.5
_LEAST_SAMPLED: Final = 4  # grams; of fewer no share can be told
_BLOCK: Final = 1 << 16  # characters
_KEPT: Final = 1 << 19  # hashes
_NAMED: Final = 10
_ODD: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1

Hashes = npt.NDArray[np.uint64]


class PlainTexts:
    """Reads documents in pieces; keeps a number for each, equal for equal ones, and their grams."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._grams = _Grams()
        self._begin()

    def _begin(self) -> None:
        self._hash, self._gap, self._empty = hashlib.blake2b(digest_size=8), False, True

    def add(self, text: str) -> None:
        """Read the next piece of the document."""
        plain = " ".join(text.casefold().split())
        if plain:
            if not self._empty and (self._gap or text[0].isspace()):
                plain = f" {plain}"
            self._hash.update(plain.encode())
            self._grams.add(len(self._keys), plain)
            self._empty, self._gap = False, text[-1].isspace()
        else:
            self._gap = self._gap or bool(text)

    def end(self) -> None:
        """End the document; one of white space alone has no number and leaves no trace."""
        if not self._empty:
            self._keys.append(int.from_bytes(self._hash.digest(), "little"))
        self._begin()

    @property
    def keys(self) -> Hashes:
        """A number per document, `(n,)`, equal for equal documents."""
        return np.array(self._keys, np.uint64)

    def duplicates(self, documents: Mapping[str, Int64Array]) -> Duplicates:
        """Return what the splits, in order, repeat; a document that is cut may stand in several."""
        numbers = np.concatenate(list(documents.values()))
        found = Duplicates.of(self.keys[numbers], documents)
        if len(np.unique(numbers)) < len(numbers):
            return found
        split = np.full(len(self._keys), len(documents), np.int64)
        split[numbers] = _split_numbers(documents)
        near = self._grams.near(split)
        near[numbers[_first_of(self.keys[numbers], _split_numbers(documents))[1]]] = False
        counts = {name: int(near[members].sum()) for name, members in documents.items()}
        return replace(found, near=counts, sampled_share=self._grams.share)


def plain_key(text: str) -> int:
    """Return the number of a document, equal for equal documents."""
    texts = PlainTexts()
    texts.add(text)
    texts.end()
    return int(texts.keys[0]) if len(texts.keys) else 0


@dataclass(frozen=True)
class Duplicates:
    """What splits repeat.

    Attributes:
        documents: that equal another one before them.
        across: that equal one of a split before theirs, by the name of their split.
        named: some pairs of these, by split and number.
        near: documents of each split with at least half of their grams in splits before it, equal
            ones left out; `None`: not counted, because documents are cut.
        sampled_share: the share of all grams that this was found by.
    """

    documents: int
    across: dict[str, int]
    named: list[tuple[str, int, str, int]]
    near: dict[str, int] | None = None
    sampled_share: float | None = None

    @classmethod
    def of(cls, keys: Hashes, documents: Mapping[str, Int64Array]) -> Duplicates:
        """Find equal documents by their numbers `keys`, those of each split after one another."""
        numbers, split = np.concatenate(list(documents.values())), _split_numbers(documents)
        first, across = _first_of(keys, split)
        # a document that is cut stands in several splits, and duplicates itself in none
        repeated = numbers[first] != numbers
        across &= repeated
        names = list(documents)
        return cls(
            len(np.unique(numbers[repeated])),
            {name: int(across[split == place].sum()) for place, name in enumerate(names)},
            [
                (names[split[i]], int(numbers[i]), names[split[first[i]]], int(numbers[first[i]]))
                for i in np.flatnonzero(across)[:_NAMED].tolist()
            ],
        )

    @property
    def n_across(self) -> int:
        """The number of documents that equal one of another split."""
        return sum(self.across.values())

    def described(self) -> dict[str, Any]:
        """Return the entry of a manifest."""
        return {
            "documents": self.documents,
            "across_splits": self.across,
            "named": [list(pair) for pair in self.named],
            "near": self.near,
            "gram_characters": GRAM,
            "sampled_share": self.sampled_share,
        }

    @classmethod
    def described_by(cls, entry: Mapping[str, Any]) -> Duplicates:
        """Return what an entry of a manifest describes."""
        named = [(a, b, c, d) for a, b, c, d in entry["named"]]
        return cls(
            entry["documents"],
            entry["across_splits"],
            named,
            entry["near"],
            entry["sampled_share"],
        )


def _split_numbers(documents: Mapping[str, Int64Array]) -> Int64Array:
    return np.repeat(np.arange(len(documents)), [len(members) for members in documents.values()])


def _first_of(keys: Hashes, split: Int64Array) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Return the first place of each key, `(n,)`, and whether that is in another split."""
    _, places, group = np.unique(keys, return_index=True, return_inverse=True)
    first: Int64Array = places[group]
    return first, split[first] != split


class _Grams:
    """The smallest hashes of all grams, each with its document."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []
        self._n_waiting = 0
        self._hashes: list[Hashes] = []
        self._documents: list[npt.NDArray[np.int32]] = []
        self._n_kept = 0
        self._limit = _MASK

    @property
    def share(self) -> float:
        """The share of all grams that are kept."""
        return (self._limit + 1) / (_MASK + 1)

    def add(self, document: int, text: str) -> None:
        """Read the next characters of a document, the last one so far or a new one."""
        for start in range(0, len(text), _BLOCK):
            part = text[start : start + _BLOCK]
            self._waiting.append((document, part))
            self._n_waiting += len(part)
            if self._n_waiting >= _BLOCK:
                self._read()

    def _read(self) -> None:
        text = "".join(part for _, part in self._waiting)
        documents = np.repeat(
            np.array([document for document, _ in self._waiting], np.int32),
            [len(part) for _, part in self._waiting],
        )
        # the next block begins with the grams that this one breaks off
        tail = documents[-(GRAM - 1) :]
        begins = len(text) - int((tail == documents[-1]).sum())
        self._waiting = [(int(documents[-1]), text[begins:])]
        self._n_waiting = len(text) - begins
        if len(text) < GRAM:
            return
        hashes = _gram_hashes(np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64))
        kept = documents[: len(hashes)] == documents[GRAM - 1 :]
        kept &= hashes <= np.uint64(self._limit)
        self._hashes.append(hashes[kept])
        self._documents.append(documents[: len(hashes)][kept])
        self._n_kept += int(kept.sum())
        while self._n_kept > _KEPT:
            self._halve()

    def _halve(self) -> None:
        """Keep the smaller half of all hashes, those of grams yet to come included."""
        self._limit >>= 1
        small = [hashes <= np.uint64(self._limit) for hashes in self._hashes]
        hashes = np.concatenate([h[keep] for h, keep in zip(self._hashes, small, strict=True)])
        documents = np.concatenate(
            [d[keep] for d, keep in zip(self._documents, small, strict=True)]
        )
        self._hashes, self._documents, self._n_kept = [hashes], [documents], len(hashes)

    def _distinct(self) -> tuple[Hashes, npt.NDArray[np.int32]]:
        """Return each kept gram of a document once, in the order of the hashes."""
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        documents = np.concatenate([np.empty(0, np.int32), *self._documents])
        order = np.lexsort((documents, hashes))
        hashes, documents = hashes[order], documents[order]
        new = np.ones(len(hashes), bool)
        new[1:] = (hashes[1:] != hashes[:-1]) | (documents[1:] != documents[:-1])
        return hashes[new], documents[new]

    def near(self, split: Int64Array) -> npt.NDArray[np.bool_]:
        """Mark the documents, `(n,)`, that have half of their grams in splits before theirs."""
        if self._waiting:
            self._read()
        hashes, documents = self._distinct()
        if not len(hashes):
            return np.zeros(len(split), bool)
        own = split[documents]
        starts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1]))
        first = np.repeat(np.minimum.reduceat(own, starts), np.diff(starts, append=len(hashes)))
        total = np.bincount(documents, minlength=len(split))
        shared = np.bincount(documents, first < own, minlength=len(split))
        marks: npt.NDArray[np.bool_] = (total >= _LEAST_SAMPLED) & (shared >= _NEAR_SHARE * total)
        return marks


def _powers(base: int) -> Hashes:
    return np.multiply.accumulate(
        np.concatenate([np.ones(1, np.uint64), np.full(2 * _BLOCK, base, np.uint64)])
    )


_POWERS: Final = _powers(_ODD)
_INVERSE_POWERS: Final = _powers(pow(_ODD, -1, 1 << 64))


def _gram_hashes(codes: Hashes) -> Hashes:
    """Return the hash of every gram of characters, `(n - 23,)`, well mixed."""
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes * _POWERS[: len(codes)])])
    hashes = (sums[GRAM:] - sums[:-GRAM]) * _INVERSE_POWERS[: len(codes) - GRAM + 1]
    # the last bits of h depend on few of the characters' bits: splitmix64's finish
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    mixed: Hashes = hashes ^ (hashes >> np.uint64(31))
    return mixed


def equal_together(order: Int64Array, keys: Hashes) -> tuple[Int64Array, Int64Array]:
    """Let equal documents follow the first of them in an order.

    Return the new order, and after how many documents no equal ones are parted. Without equal
    documents the order stays.
    """
    _, group = np.unique(keys, return_inverse=True)
    first = np.full(len(order), len(order), np.int64)
    np.minimum.at(first, group[order], np.arange(len(order)))
    together = order[np.argsort(first[group[order]], kind="stable")]
    return together, np.append(np.flatnonzero(np.diff(group[together])) + 1, len(order))

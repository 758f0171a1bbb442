"""What functions have in common: tables by name, so that a shared one is made and kept once.

Notation: `contexts(1,2)` are the rows from contexts (1) to contexts (1,2); `counts(1,2)` are
occurrences after contexts (1,2), `counts(1|2)` continuation counts after (1) with 2 dropped,
`counts(1|2->k64)` the same for classes of the next token; `classes(k64)` is a class map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from clso.errors import ArtifactError
from clso.mixture.counts.count_table import CountTable
from clso.mixture.counts.pattern import Element, Pattern, arrow, label
from clso.mixture.counts.rows import Rows, UnsignedArray, stored_array

__all__ = ["TableNames", "Tables", "classes_name", "contexts_name", "counts_name", "load_tables"]

Elements = tuple[Element, ...]


def contexts_name(prefix: Elements) -> str:
    """Return the name of the rows that lead to the contexts of a prefix."""
    return f"contexts({label(prefix)})"


def counts_name(prefix: Elements, dropped: Element | None, target: str | None) -> str:
    """Return the name of the counts after a prefix: of occurrences, or of a dropped element."""
    return f"counts({label(prefix)}{'' if dropped is None else f'|{dropped}'}{arrow(target)})"


def classes_name(name: str) -> str:
    """Return the name of a class map among stored arrays."""
    return f"classes({name})"


@dataclass(frozen=True)
class TableNames:
    """Which tables a pattern of n elements has.

    Args:
        contexts: of levels 1 .. n.
        counts: of levels 0 .. n.
        unigram: of the tokens, needed beside a class target.
    """

    contexts: list[str]
    counts: list[str]
    unigram: str | None

    @classmethod
    def of(cls, pattern: Pattern) -> TableNames:
        """Return the names of a pattern's tables."""
        prefixes = [pattern.elements[:length] for length in range(len(pattern.elements) + 1)]
        counts = [
            counts_name(prefix, dropped, pattern.target)
            for prefix, dropped in zip(prefixes, [*pattern.elements, None], strict=True)
        ]
        unigram = None if pattern.target is None else counts_name((), None, None)
        return cls([contexts_name(prefix) for prefix in prefixes[1:]], counts, unigram)


@dataclass
class Tables:
    """Tables and class maps of several functions, by name.

    Args:
        contexts: rows from shorter to longer contexts (`contexts_name`).
        counts: counts after a prefix (`counts_name`).
        classes: the class of each token, `(V,)`, by the map's own name.
    """

    contexts: dict[str, Rows] = field(default_factory=dict)
    counts: dict[str, CountTable] = field(default_factory=dict)
    classes: dict[str, UnsignedArray] = field(default_factory=dict)


def load_tables(
    pattern: Pattern, vocab_size: int, arrays: Mapping[str, npt.NDArray[Any]], tables: Tables
) -> None:
    """Add a pattern's tables to `tables`, made from stored arrays unless they are there already.

    Raises:
        ArtifactError: an array is missing, or does not fit the others.
    """
    for name in sorted(pattern.class_names - tables.classes.keys()):
        classes = stored_array(arrays, classes_name(name))
        if len(classes) != vocab_size:
            raise _misfit(classes_name(name), f"{len(classes):,} tokens", vocab_size)
        tables.classes[name] = classes

    def alphabet(classes: str | None) -> int:
        return vocab_size if classes is None else int(tables.classes[classes].max()) + 1

    names = TableNames.of(pattern)
    n_contexts = 1
    for level, name in enumerate(names.counts):
        if level > 0:
            there, element = names.contexts[level - 1], pattern.elements[level - 1]
            if there not in tables.contexts:
                rows = Rows.from_arrays(arrays, there, alphabet(element.classes))
                tables.contexts[there] = rows
            rows = tables.contexts[there]
            if rows.n_rows != n_contexts:
                raise _misfit(there, f"{rows.n_rows:,} contexts", n_contexts)
            n_contexts = len(rows)
        if name not in tables.counts:
            tables.counts[name] = CountTable.from_arrays(arrays, name, alphabet(pattern.target))
        if tables.counts[name].rows.n_rows != n_contexts:
            raise _misfit(name, f"{tables.counts[name].rows.n_rows:,} contexts", n_contexts)
    if names.unigram is not None and names.unigram not in tables.counts:
        tables.counts[names.unigram] = CountTable.from_arrays(arrays, names.unigram, vocab_size)


def _misfit(name: str, found: str, expected: int) -> ArtifactError:
    return ArtifactError(
        f"{name} has {found}, expected {expected:,}",
        remedy="delete the stored functions and count again",
    )

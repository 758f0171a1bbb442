"""The counts of many patterns: what patterns have in common is counted and kept once.

Notation: the prefixes of all patterns form a tree. Contexts are numbered down this tree, one
element at a time (`clso.mixture.counts.counting`). The raw counts after a prefix serve the pattern
that ends there. The continuation counts made of them serve every pattern that goes on.

Tables have names, under which their arrays are stored:

    contexts(1,2)      the rows that lead from contexts (1) to contexts (1,2)
    counts(1,2)        how often each token follows contexts (1,2)
    counts(1|2)        continuation counts after contexts (1), from which element 2 was dropped
    counts(1|2->k64)   the same for the classes k64 of the next token
    classes(k64)       a class map
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from clso.errors import ArtifactError
from clso.mixture.arrays import UnsignedArray, stored_array
from clso.mixture.counts.corpus import Corpus
from clso.mixture.counts.count_table import CountTable
from clso.mixture.counts.counting import Context
from clso.mixture.counts.pattern import Element, Pattern
from clso.mixture.counts.rows import Rows
from clso.mixture.text import FittingText
from clso.progress import ProgressTask

__all__ = ["UNIGRAM", "Tables"]

UNIGRAM = Pattern().count_names[0]
"""The name of the token counts, which every pattern with a class target needs too."""


@dataclass
class Tables:
    """Tables and class maps of several patterns, by name.

    Args:
        contexts: the rows that lead from shorter to longer contexts (`Pattern.context_names`).
        counts: the counts after contexts (`Pattern.count_names`).
        classes: the class of each token, `(V,)`, by the name of the map.
    """

    contexts: dict[str, Rows] = field(default_factory=dict)
    counts: dict[str, CountTable] = field(default_factory=dict)
    classes: dict[str, UnsignedArray] = field(default_factory=dict)

    @classmethod
    def count(cls, text: FittingText, patterns: Sequence[Pattern]) -> Tables:
        """Count a text for all patterns.

        No n-gram spans two streams; inside a stream, n-grams do span blocks. The result does not
        depend on the workspace and the working memory of the text. The working memory is that of
        sorting: the counts themselves come on top, and the positions of one context are sorted at
        once, however many there are.

        Raises:
            ConfigError: a class map is wrong or missing.
            DataError: a token is outside the vocabulary, or there are 2**32 tokens or more.
            ArtifactError: the workspace cannot be written or is full.
        """
        corpus = Corpus(text, frozenset[str]().union(*(p.class_names for p in patterns)))
        tables = cls(classes=corpus.class_maps)
        distinct = set(patterns)
        if any(pattern.target is not None for pattern in patterns):
            distinct.add(Pattern())
        prefixes = {
            pattern.elements[:length]
            for pattern in distinct
            for length in range(len(pattern.elements) + 1)
        }
        with text.reporter.task("count", total=len(prefixes)) as task:
            _Counter(tables, task).count((), Context(corpus), sorted(distinct, key=str))
        return tables

    @classmethod
    def from_arrays(
        cls, pattern: Pattern, vocab_size: int, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Tables:
        """Return the tables of one pattern, from stored arrays.

        Raises:
            ArtifactError: an array is missing, or does not fit the others.
        """
        tables = cls()
        for name in sorted(pattern.class_names):
            tables.classes[name] = stored_array(arrays, f"classes({name})")
            _check_size(f"classes({name})", "tokens", len(tables.classes[name]), vocab_size)

        def alphabet(classes: str | None) -> int:
            return vocab_size if classes is None else int(tables.classes[classes].max()) + 1

        n_contexts = [1]
        for name, element in zip(pattern.context_names, pattern.elements, strict=True):
            rows = Rows.from_arrays(arrays, name, alphabet(element.classes))
            _check_size(name, "contexts", rows.n_rows, n_contexts[-1])
            tables.contexts[name] = rows
            n_contexts.append(len(rows))
        for name, expected in zip(pattern.count_names, n_contexts, strict=True):
            table = CountTable.from_arrays(arrays, name, alphabet(pattern.target))
            _check_size(name, "contexts", table.rows.n_rows, expected)
            tables.counts[name] = table
        if pattern.target is not None:
            tables.counts[UNIGRAM] = CountTable.from_arrays(arrays, UNIGRAM, vocab_size)
        return tables


class _Counter:
    """Walks down the tree of prefixes and adds what it counts to the tables."""

    def __init__(self, tables: Tables, task: ProgressTask) -> None:
        self._tables = tables
        self._task = task
        self._n_counted = 0

    def count(
        self, prefix: tuple[Element, ...], context: Context, patterns: Sequence[Pattern]
    ) -> None:
        """Count after a prefix, then after longer ones; `patterns` are all that begin with it."""
        tables, length = self._tables, len(prefix)
        for target in dict.fromkeys(pattern.target for pattern in patterns):
            pattern = Pattern(prefix, target)
            ends_here = pattern in patterns
            if not prefix and not ends_here:
                continue
            raw = context.raw_counts(target)
            if ends_here:
                tables.counts[pattern.count_names[-1]] = raw
            if prefix:
                rows = tables.contexts[pattern.context_names[-1]]
                tables.counts[pattern.count_names[-2]] = context.continuation_counts(raw, rows)
        self._n_counted += 1
        self._task.update(self._n_counted, f"({','.join(map(str, prefix))})")
        longer = [pattern for pattern in patterns if len(pattern.elements) > length]
        for element in dict.fromkeys(pattern.elements[length] for pattern in longer):
            extended, rows = context.extended(element)
            tables.contexts[Pattern((*prefix, element)).context_names[-1]] = rows
            same = [pattern for pattern in longer if pattern.elements[length] == element]
            self.count((*prefix, element), extended, same)
            del extended  # its numbers are freed before the next ones are made


def _check_size(name: str, of_what: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise ArtifactError(
            f"{name} has {actual:,} {of_what}, expected {expected:,}",
            remedy="delete the stored functions and count again",
        )

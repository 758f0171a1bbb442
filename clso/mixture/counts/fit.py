"""Counting for many patterns at once: what they have in common is counted once.

Notation: prefixes of patterns form a tree. Contexts are numbered down the tree, one element at a
time; raw counts after a prefix serve the pattern that ends there and, as continuation counts,
every pattern that goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from clso.counting import TokenStream
from clso.mixture.counts.corpus import Corpus, Workspace, checked_class_maps
from clso.mixture.counts.counting import (
    Context,
    continuation_counts,
    extended,
    raw_counts,
    root,
)
from clso.mixture.counts.pattern import Element, Pattern, label
from clso.mixture.counts.store import Tables, contexts_name, counts_name
from clso.progress import SILENT, ProgressTask, Reporter

__all__ = ["DEFAULT_MEMORY_BYTES", "count_tables"]

DEFAULT_MEMORY_BYTES: Final = 2 << 30

Elements = tuple[Element, ...]


def count_tables(
    streams: Sequence[TokenStream],
    vocab_size: int,
    patterns: Sequence[Pattern],
    class_maps: Mapping[str, npt.NDArray[Any]],
    *,
    workspace: Path | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    reporter: Reporter = SILENT,
) -> Tables:
    """Count a text for all patterns at once.

    No n-gram spans two streams; inside a stream they do span blocks. The result does not depend
    on `workspace` and `memory_bytes`.

    Args:
        streams: the texts.
        vocab_size: V.
        patterns: what will be predicted from the counts.
        class_maps: the class of each token, `(V,)` integers per name.
        workspace: a folder for temporary files when the text is large; `None`: all in memory.
        memory_bytes: working memory for sorting; the counts themselves come on top, and what
            follows one context is sorted at once, however often it occurs.
        reporter: hears how many of the prefixes are counted.

    Raises:
        ConfigError: a class map is wrong or missing.
        DataError: a token is outside the vocabulary, or there are 2**32 tokens or more.
        ArtifactError: the workspace cannot be written or is full.
    """
    names = frozenset[str]().union(*(pattern.class_names for pattern in patterns))
    maps = checked_class_maps(class_maps, names, vocab_size)
    space = Workspace(workspace, memory_bytes)
    corpus = Corpus(streams, vocab_size, maps, space)
    tree = _Tree(patterns)
    tables = Tables(classes=maps)
    with reporter.task("count", total=len(tree.targets)) as task:
        _Counter(tree, tables, space, task).visit((), root(corpus, memory_bytes))
    return tables


class _Tree:
    """The prefixes of patterns: what follows each, and what is predicted after it."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.children: dict[Elements, dict[Element, None]] = {(): {}}
        self.targets: dict[Elements, dict[str | None, None]] = {(): {}}
        self.ends = {(pattern.elements, pattern.target) for pattern in patterns}
        if any(pattern.target is not None for pattern in patterns):
            self.ends.add(((), None))  # the shares of tokens within their classes
        for elements, target in sorted(self.ends, key=str):
            for length in range(len(elements) + 1):
                prefix = elements[:length]
                self.children.setdefault(prefix, {})
                self.targets.setdefault(prefix, {})[target] = None
                if length < len(elements):
                    self.children[prefix][elements[length]] = None


class _Counter:
    """Walks the tree and files what it counts."""

    def __init__(
        self, tree: _Tree, tables: Tables, workspace: Workspace, task: ProgressTask
    ) -> None:
        self._tree = tree
        self._tables = tables
        self._workspace = workspace
        self._task = task
        self._done = 0

    def visit(self, prefix: Elements, context: Context) -> None:
        """Count after one prefix, then after all that go on from it."""
        for target in self._tree.targets[prefix]:
            ends = (prefix, target) in self._tree.ends
            if not prefix and not ends:
                continue
            raw = raw_counts(context, target)
            if ends:
                self._tables.counts[counts_name(prefix, None, target)] = raw
            if prefix:
                shorter, dropped = prefix[:-1], prefix[-1]
                self._tables.counts[counts_name(shorter, dropped, target)] = continuation_counts(
                    raw, self._tables.contexts[contexts_name(prefix)], context.limit
                )
        self._done += 1
        self._task.update(self._done, f"({label(prefix)})")
        for element in self._tree.children[prefix]:
            longer = (*prefix, element)
            there, rows = extended(context, element, self._workspace)
            self._tables.contexts[contexts_name(longer)] = rows
            self.visit(longer, there)
            del there

r"""The count-based basis function: interpolated modified Kneser-Ney over a pattern of places.

Notation: pattern e_1 .. e_n (see `pattern.py`), h_k = (e_1 .. e_k) its k-th context, y the
predicted symbol, A symbols (V tokens, or the classes of the target's map); B blocks, T positions.

.. math::
    p_k(y \mid h_k) = \frac{c_k(h_k, y) - D_k(c_k(h_k, y))}{c_k(h_k)}
        + \gamma_k(h_k) \, p_{k-1}(y \mid h_{k-1}), \qquad p_{-1} = 1 / A

c_n counts occurrences, c_k for k < n distinct values of e_{k+1} before (h_k, y). A context that
was not seen leaves all to the next shorter one, and so does one that is not there: the first
positions of a block have the longest prefix of the pattern that lies inside the block, with the
continuation counts of that prefix. `kn()` is a unigram of occurrences. Every symbol has some mass
at every context, and the masses sum to 1.

With a class target, p(y | h) = p_n(c(y) | h_n) p(y | c(y)); the second factor is c(y) discounted
within the class and interpolated with uniform over its members.

Source: Chen and Goodman 1999, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray, TokenStream
from clso.errors import DataError
from clso.mixture.counts.fit import DEFAULT_MEMORY_BYTES, count_tables
from clso.mixture.counts.pattern import Pattern
from clso.mixture.counts.rows import Rows
from clso.mixture.counts.store import TableNames, Tables, classes_name, load_tables
from clso.mixture.text import FittingText
from clso.progress import SILENT, Reporter
from clso.scoring import Int64Array

__all__ = ["KneserNey"]


class KneserNey:
    """A predictor of the next token from the counts of one pattern.

    Args:
        pattern: where it looks.
        vocab_size: V.
        tables: contexts, counts and class maps, among them the pattern's; shared, not copied.
    """

    def __init__(self, pattern: Pattern, vocab_size: int, tables: Tables) -> None:
        names = TableNames.of(pattern)
        self.pattern = pattern
        self.vocab_size = vocab_size
        self.contexts = [tables.contexts[name] for name in names.contexts]  # levels 1 .. n
        self.levels = [tables.counts[name] for name in names.counts]  # levels 0 .. n
        self.class_maps = {name: tables.classes[name] for name in sorted(pattern.class_names)}
        self._names = names
        self._unigram = None if names.unigram is None else tables.counts[names.unigram]

    def __repr__(self) -> str:
        return f"KneserNey({self.name!r}, {len(self.levels[-1].rows):,} n-grams)"

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern's name; see `Pattern.parse`."""
        return Pattern.parse(text)

    @classmethod
    def fit(
        cls,
        streams: Sequence[TokenStream],
        vocab_size: int,
        patterns: Sequence[Pattern | str],
        class_maps: Mapping[str, npt.NDArray[Any]],
        *,
        workspace: Path | None = None,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        reporter: Reporter = SILENT,
    ) -> list[KneserNey]:
        """Return one model per pattern, in their order; see `count_tables`.

        Raises:
            ConfigError: a pattern's name or class map is wrong or missing.
            DataError: a token is outside the vocabulary, or there are 2**32 tokens or more.
            ArtifactError: the workspace cannot be written or is full.
        """
        wanted = [
            Pattern.parse(pattern) if isinstance(pattern, str) else pattern for pattern in patterns
        ]
        tables = count_tables(
            streams,
            vocab_size,
            wanted,
            class_maps,
            workspace=workspace,
            memory_bytes=memory_bytes,
            reporter=reporter,
        )
        models = {pattern: KneserNey(pattern, vocab_size, tables) for pattern in set(wanted)}
        return [models[pattern] for pattern in wanted]

    @classmethod
    def from_text(cls, settings: Pattern, text: FittingText) -> KneserNey:
        """Return the model of a pattern; all patterns that the text is fitted for share a count."""

        def models() -> dict[str, KneserNey]:
            patterns = [wanted for wanted in text.wanted if isinstance(wanted, Pattern)]
            fitted = cls.fit(
                text.streams,
                text.vocab_size,
                patterns,
                text.class_maps,
                workspace=text.workspace,
                reporter=text.reporter,
            )
            return {model.name: model for model in fitted}

        return text.once("kn", models)[settings.name]

    @property
    def name(self) -> str:
        """The pattern's name."""
        return self.pattern.name

    @property
    def family(self) -> str:
        """`class` if a class map is involved, else `count`."""
        return "class" if self.class_maps else "count"

    @cached_property
    def stored_bytes(self) -> int:
        """Size of the arrays that `to_arrays` returns."""
        return sum(array.nbytes for array in self.to_arrays().values())

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target.

        Per level the context's key and the target's, and 4 for what is left of the count, the
        total, the back-off weight and their sum; 1 for a class of tokens.
        """
        keys = sum(
            _comparisons(contexts) + _comparisons(table.rows)
            for contexts, table in zip(self.contexts, self.levels[1:], strict=True)
        )
        return keys + 4 * len(self.contexts) + (self.pattern.target is not None)

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)` float64.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        inputs, targets = self._checked(inputs), self._checked(targets)
        probability = self.probabilities_at(inputs, np.arange(inputs.size), targets.reshape(-1))
        return probability.reshape(inputs.shape)

    def probabilities_at(
        self, inputs: Int64Array, positions: Int64Array, targets: Int64Array
    ) -> FloatArray:
        """Return the targets' probabilities at chosen places of `inputs.reshape(-1)`, `(n,)`."""
        symbols = self._symbols(self.pattern.target, targets)
        probability: FloatArray = self.base[symbols]
        for level, active, rows in self.walk(inputs, positions):
            table = self.levels[level]
            entries = table.rows.find(rows, symbols[active])
            mixed = table.backoff[rows] * probability[active]
            found = np.flatnonzero(entries >= 0)
            mixed[found] += table.shares(entries[found], table.totals[rows[found]])
            probability[active] = mixed
        if self._within is not None:
            probability *= self._within[targets]
        return probability

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)` float64, for the tokens of the block so far, `(t,)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        history = self._checked(history)
        probability = self.base.copy()
        row = 0
        for element, contexts, table in zip(
            self.pattern.elements, self.contexts, self.levels[1:], strict=True
        ):
            if element.offset > len(history):
                break
            symbol = self._symbols(element.classes, history[-element.offset])
            row = contexts.find_one(row, int(symbol))
            if row < 0 or not table.rows.occupied[row]:
                break
            entries = table.rows.bounds(row)
            probability *= table.backoff[row]
            probability[table.rows.symbols[entries]] += table.shares(entries, table.totals[row])
        if self._within is None or self.pattern.target is None:
            return probability
        return probability[self.class_maps[self.pattern.target]] * self._within

    def walk(
        self, inputs: Int64Array, positions: Int64Array
    ) -> Iterator[tuple[int, Int64Array, Int64Array]]:
        """Yield, for level k = 1, 2, ..., which positions' k-th context was seen, and its number.

        Args:
            inputs: blocks, `(B, T)`.
            positions: places of `inputs.reshape(-1)`, `(n,)`; those seen are told by their index.
        """
        tokens, column = inputs.reshape(-1), positions % max(inputs.shape[1], 1)
        active = np.arange(len(positions))
        rows = np.zeros(len(positions), dtype=np.int64)
        for level, (element, contexts, table) in enumerate(
            zip(self.pattern.elements, self.contexts, self.levels[1:], strict=True), start=1
        ):
            back = element.offset - 1
            there = column[active] >= back
            active, rows = active[there], rows[there]
            symbols = self._symbols(element.classes, tokens[positions[active] - back])
            rows = contexts.find(rows, symbols)
            seen = rows >= 0
            seen[seen] = table.rows.occupied[rows[seen]]
            active, rows = active[seen], rows[seen]
            if not len(active):
                return
            yield level, active, rows

    def spec(self) -> dict[str, Any]:
        """Return what `from_arrays` needs beside the arrays, as JSON values."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the counts in the smallest types.

        Of functions fitted together, arrays of one name are equal, so a store may keep all
        functions' arrays in one dictionary.
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, rows in zip(self._names.contexts, self.contexts, strict=True):
            arrays.update({f"{name}.{part}": array for part, array in rows.to_arrays().items()})
        tables = list(zip(self._names.counts, self.levels, strict=True))
        if self._names.unigram is not None and self._unigram is not None:
            tables.append((self._names.unigram, self._unigram))
        for name, table in tables:
            arrays.update({f"{name}.{part}": array for part, array in table.to_arrays().items()})
        arrays.update({classes_name(name): array for name, array in self.class_maps.items()})
        return arrays

    @classmethod
    def from_arrays(
        cls,
        spec: Mapping[str, Any],
        arrays: Mapping[str, npt.NDArray[Any]],
        shared: Tables | None = None,
    ) -> Self:
        """Make the function again, equal to the last bit.

        Args:
            spec: what `spec` returned.
            arrays: what `to_arrays` returned, of this function and perhaps of others.
            shared: tables already made from the same arrays; those of this function are added.

        Raises:
            ArtifactError: an array is missing, or does not fit the others.
            ConfigError: the name is no pattern.
        """
        pattern, vocab_size = Pattern.parse(str(spec["name"])), int(spec["vocab_size"])
        tables = Tables() if shared is None else shared
        load_tables(pattern, vocab_size, arrays, tables)
        return cls(pattern, vocab_size, tables)

    def _checked(self, tokens: Int64Array) -> Int64Array:
        tokens = np.asarray(tokens)
        if tokens.size and (int(tokens.min()) < 0 or int(tokens.max()) >= self.vocab_size):
            raise DataError(
                f"tokens {tokens.min()} to {tokens.max()} were given to {self.name}, expected 0 "
                f"to {self.vocab_size - 1}",
                remedy="score text with the vocabulary that the function was fitted with",
            )
        return tokens

    def _symbols(self, classes: str | None, tokens: Any) -> Any:  # noqa: ANN401 - array or scalar
        return tokens if classes is None else self.class_maps[classes][tokens]

    @cached_property
    def base(self) -> FloatArray:
        """p_0, `(A,)`."""
        table = self.levels[0]
        if self.pattern.target is None:
            uniform = np.full(self.vocab_size, 1.0 / self.vocab_size)
        else:
            members = np.bincount(self.class_maps[self.pattern.target])
            # a class that no token belongs to would take mass away from all tokens
            uniform = (members > 0) / np.count_nonzero(members)
        base = table.backoff[0] * uniform
        base[table.rows.symbols] += table.shares(slice(None), table.totals[0])
        return np.asarray(base)

    @cached_property
    def _within(self) -> FloatArray | None:
        """p(y | c(y)), `(V,)`; `None` without a class target."""
        if self.pattern.target is None or self._unigram is None:
            return None
        classes, table = self.class_maps[self.pattern.target], self._unigram
        tokens, counts = table.rows.symbols, table.counts
        freed_by = table.discounts[np.minimum(counts, 3)]
        members = np.bincount(classes)
        totals = np.bincount(classes[tokens], counts, minlength=len(members))
        freed = np.bincount(classes[tokens], freed_by, minlength=len(members))
        backoff = np.divide(freed, totals, out=np.ones(len(members)), where=totals > 0)
        within = (backoff / np.maximum(members, 1))[classes]
        within[tokens] += (counts - freed_by) / totals[classes[tokens]]
        return np.asarray(within)


def _comparisons(rows: Rows) -> int:
    """Return how many find a key; a table of one row is read at the symbol's place."""
    return 0 if rows.n_rows == 1 else len(rows).bit_length()

r"""The count-based basis function: interpolated modified Kneser-Ney over a pattern of elements.

Notation: pattern e_1 .. e_n (`clso.mixture.counts.pattern`), h_k = (e_1 .. e_k) its context of
length k, y the predicted symbol, A symbols (V tokens, or the classes of a class target); B blocks
of T positions. Level k is the table of counts c_k after contexts of length k.

.. math::
    p_k(y \mid h_k) = \frac{c_k(h_k, y) - D_k(c_k(h_k, y))}{c_k(h_k)}
        + \gamma_k(h_k) \, p_{k-1}(y \mid h_{k-1}), \qquad p_{-1} = 1 / A

The counts c_n are occurrences. For k < n, c_k(h_k, y) is a continuation count: the number of
distinct values of e_{k+1} that occur with h_k before y. The three discounts D_k of a level follow
from its counts of counts (`clso.counting.modified_discounts`), and gamma_k makes p_k sum to 1.

A context that does not occur in the text leaves the prediction to the next shorter context. At
the first positions of a block, elements reach back over the block's start; the prediction then is
that of the longest prefix of the pattern that lies inside the block, with the continuation counts
of that prefix. `kn()` is a unigram of occurrences. Every symbol has a probability above 0 in
every context, and the probabilities sum to 1.

With a class target m, p(y | h) = p_n(m(y) | h_n) p(y | m(y)). The second factor is the unigram
count of y, discounted within its class and interpolated with the uniform distribution over the
members of the class.

Source: Chen and Goodman 1999, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import UnsignedArray, check_tokens
from clso.mixture.counts.count_table import CountTable, interpolation_flops
from clso.mixture.counts.pattern import Counted, Pattern
from clso.mixture.counts.pricing import Pricing
from clso.mixture.counts.rows import Rows
from clso.mixture.counts.tables import UNIGRAM, Tables
from clso.mixture.counts.walk import ContextWalk
from clso.mixture.full import DistributionSum, Groups
from clso.mixture.interpolation import Base, Interpolation, Level
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["CountedTogether", "KneserNey"]


class KneserNey:
    """A model of the next token by the counts of one pattern.

    Args:
        tables: the pattern's contexts, counts and class maps, among others; kept, not copied.

    Attributes:
        contexts: the rows that lead to contexts of length 1 .. n.
        levels: the counts after contexts of length 0 .. n.
        class_maps: the class of each token, `(V,)`, by the name of the map.
    """

    parse = staticmethod(Pattern.parse)

    def __init__(self, pattern: Pattern, vocab_size: int, tables: Tables) -> None:
        self.pattern = pattern
        self.vocab_size = vocab_size
        self.contexts = [tables.contexts[name] for name in pattern.context_names]
        self.levels = [tables.counts[name] for name in pattern.count_names]
        self.class_maps = {name: tables.classes[name] for name in sorted(pattern.class_names)}
        self._unigram = None if pattern.target is None else tables.counts[UNIGRAM]

    def __getstate__(self) -> dict[str, Any]:
        # a copy in another process finds its arrays at other places
        return {name: value for name, value in self.__dict__.items() if name != "_alone"}

    def __repr__(self) -> str:
        return f"KneserNey({self.name!r}, {len(self.levels[-1].rows):,} n-grams)"

    @classmethod
    def fit(cls, text: FittingText, patterns: Sequence[Pattern | str]) -> list[KneserNey]:
        """Return one model per pattern, in their order; see `Tables.count`.

        Raises:
            ConfigError: the name or a class map of a pattern is wrong or missing.
            DataError: a token is outside the vocabulary, or there are 2**32 tokens or more.
            ArtifactError: the workspace cannot be written or is full.
        """
        parsed = [Pattern.parse(str(pattern)) for pattern in patterns]
        tables = Tables.count(text, parsed)
        models = {pattern: cls(pattern, text.vocab_size, tables) for pattern in set(parsed)}
        return [models[pattern] for pattern in parsed]

    @classmethod
    def from_text(cls, settings: Pattern, text: FittingText) -> KneserNey:
        """Return the model of a pattern; all wanted patterns of the text are counted together."""

        def models() -> dict[str, KneserNey]:
            patterns = dict.fromkeys(
                pattern
                for wanted in text.wanted
                if isinstance(wanted, Counted)
                for pattern in wanted.patterns
            )
            return {model.name: model for model in cls.fit(text, list(patterns))}

        return text.once("kn", models)[settings.name]

    @property
    def name(self) -> str:
        """The name of the pattern."""
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

        They are those of `interpolation_flops`; a class target takes one more product.
        """
        return interpolation_flops(self.contexts, self.levels) + (self.pattern.target is not None)

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)` float64.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        return np.asarray(self._alone.target_probabilities(inputs, targets)[0])

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)` float64, after the `(t,)` tokens of a block.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        history = check_tokens(history, self.vocab_size, self.name)
        probability = self.base.copy()
        for level, _, rows in self.walk(history[None], np.array([len(history) - 1])):
            self.levels[level].interpolate(int(rows[0]), probability)
        if self.within_class is None or self.pattern.target is None:
            return probability
        return probability[self.class_maps[self.pattern.target]] * self.within_class

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w(t) p(. | history up to t) at all positions of a sum; `weights` is `(n,)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        self._alone.add_distributions(weights[None], out)

    @cached_property
    def _alone(self) -> CountedTogether:
        return CountedTogether([self])

    def walk(
        self, inputs: Int64Array, positions: Int64Array
    ) -> Iterator[tuple[int, Int64Array, Int64Array]]:
        """Follow the contexts of positions from short to long, as far as they occur in the text.

        `positions` are indices into `inputs.reshape(-1)`, `(n,)`.

        Yields:
            A level k = 1, 2, ...; the indices into `positions` whose context of length k occurs;
            and the number of that context, which is its row in `levels[k]`.
        """
        tokens, column = inputs.reshape(-1), positions % max(inputs.shape[1], 1)
        active = np.arange(len(positions))
        rows = np.zeros(len(positions), dtype=np.int64)
        for level, (element, contexts, table) in enumerate(
            zip(self.pattern.elements, self.contexts, self.levels[1:], strict=True), start=1
        ):
            back = element.offset - 1
            in_block = column[active] >= back
            active, rows = active[in_block], rows[in_block]
            symbols = self._symbols(element.classes, tokens[positions[active] - back])
            rows = contexts.find(rows, symbols)
            occurs = table.has_counts(rows)
            active, rows = active[occurs], rows[occurs]
            if not len(active):
                return
            yield level, active, rows

    def spec(self) -> dict[str, Any]:
        """Return what `from_arrays` needs beside the arrays, as JSON values."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return counts and class maps in the smallest types.

        Functions that were fitted together have equal arrays under equal names, so one dictionary
        can keep the arrays of all of them.
        """
        tables: list[tuple[str, Rows | CountTable]] = [
            *zip(self.pattern.context_names, self.contexts, strict=True),
            *zip(self.pattern.count_names, self.levels, strict=True),
        ]
        if self._unigram is not None:
            tables.append((UNIGRAM, self._unigram))
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, table in tables:
            arrays |= {f"{name}.{part}": array for part, array in table.to_arrays().items()}
        return arrays | {f"classes({name})": array for name, array in self.class_maps.items()}

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild the stored function, equal to the last bit; `arrays` may hold more than its own.

        Raises:
            ArtifactError: an array is missing, or does not fit the others.
            ConfigError: the name is not that of a pattern.
        """
        pattern, vocab_size = Pattern.parse(str(spec["name"])), int(spec["vocab_size"])
        return cls(pattern, vocab_size, Tables.from_arrays(pattern, vocab_size, arrays))

    @property
    def target_classes(self) -> UnsignedArray | None:
        """The class of each token that is predicted, `(V,)`; `None`: tokens are."""
        return None if self.pattern.target is None else self.class_maps[self.pattern.target]

    def _symbols(self, classes: str | None, tokens: Any) -> Any:  # noqa: ANN401 - array or scalar
        return tokens if classes is None else self.class_maps[classes][tokens]

    @cached_property
    def base(self) -> FloatArray:
        """The prediction of the empty context, p_0, `(A,)`."""
        table = self.levels[0]
        if self.pattern.target is None:
            uniform = np.full(self.vocab_size, 1.0 / self.vocab_size)
        else:
            n_members = np.bincount(self.class_maps[self.pattern.target])
            # a class without members would take probability away from all tokens
            uniform = (n_members > 0) / np.count_nonzero(n_members)
        base = table.backoff[0] * uniform
        base[table.rows.symbols] += table.discounted(slice(None), table.totals[0])
        return np.asarray(base)

    @cached_property
    def within_class(self) -> FloatArray | None:
        """p(y | m(y)), `(V,)`; `None` without a class target."""
        if self.pattern.target is None or self._unigram is None:
            return None
        classes, table = self.class_maps[self.pattern.target], self._unigram
        tokens, counts = table.rows.symbols, table.counts
        discounts = table.discounts[np.minimum(counts, 3)]
        n_members = np.bincount(classes)
        totals = np.bincount(classes[tokens], counts, minlength=len(n_members))
        freed = np.bincount(classes[tokens], discounts, minlength=len(n_members))
        backoff = np.divide(freed, totals, out=np.ones(len(n_members)), where=totals > 0)
        within_class = (backoff / np.maximum(n_members, 1))[classes]
        within_class[tokens] += (counts - discounts) / totals[classes[tokens]]
        return np.asarray(within_class)

    @property
    def token_base(self) -> Base:
        """What the empty context predicts of every token, with a name of its own."""
        target = self.pattern.target
        if self.within_class is None or target is None:
            seen = self.levels[0].rows.symbols
            return Base(self.pattern.count_names[0], self.base, seen)
        p = self.base[self.class_maps[target]] * self.within_class
        assert self._unigram is not None
        return Base(self.pattern.count_names[0], p, self._unigram.rows.symbols)

    @property
    def groups(self) -> tuple[str, Groups] | None:
        """The classes that are predicted, and their name; `None`: tokens are."""
        target = self.pattern.target
        if self.within_class is None or target is None:
            return None
        groups = Groups(self.class_maps[target], self.within_class, len(self.base))
        return f"{UNIGRAM}->{target}", groups


class CountedTogether:
    """Models of one text, whose distributions are added together."""

    def __init__(self, models: Sequence[KneserNey]) -> None:
        self._models = models
        self._walk = ContextWalk(models)
        self._groups = dict(model.groups for model in models if model.groups is not None)
        levels = []
        for model in models:
            names, numbers = model.pattern.count_names[1:], self._walk.numbers(model)
            space = "" if model.groups is None else model.groups[0]
            tables = zip(names, model.levels[1:], numbers, strict=True)
            levels.append([Level(name, table, number, space) for name, table, number in tables])
        self._functions = Interpolation([model.token_base for model in models], levels)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._models,)

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position) of each model, `(K, B, T)` float64.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        first = self._models[0]
        x, y = (check_tokens(t, first.vocab_size, first.name) for t in (inputs, targets))
        return self._pricing.prices(x, y)

    @cached_property
    def _pricing(self) -> Pricing:
        return Pricing(self._models, self._walk)

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w_k(t) p_k(. | history up to t) at all positions of a sum; `weights` is `(K, n)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        first = self._models[0]
        history = check_tokens(out.history, first.vocab_size, first.name)
        for name, groups in self._groups.items():
            out.layout.add_groups(name, groups)
        out.add_counts(self._functions, self._walk.find(history[None], out.start), weights)

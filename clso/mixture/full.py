r"""Full distributions of a mixture at neighbouring positions of a block, for all tokens at once.

Notation: V tokens; n positions t of one block, from `start` to the end of `history`; f_k a basis
function and w_k(t) its weight. Summed is

.. math:: p(y \mid t) = \sum_k w_k(t) \, f_k(y \mid x_0 .. x_t)

Functions hand in what they are made of, and only the sum is spread over the tokens:

    vectors    the same in every context, such as the unigram, times a coefficient per position
    tables     the few tokens that followed a context; functions share tables, so each table's row
               is read once (`clso.mixture.interpolation`)
    values     of the classes of a map, or of other groups of tokens; each token takes those of its
               group, times its share within the group
    tokens     single ones, such as those of the block

Vectors and values are a product of two matrices. Tokens that do not occur in the text and have
equal rows there, because their groups and shares are equal, are one *slot*: they are equally
likely, unless the block has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array
from clso.mixture.buffers import buffer, buffer_float32
from clso.mixture.compiled import compiled
from clso.mixture.function import BasisFunction
from clso.mixture.interpolation import CountTables, Credits, Interpolation, add_entries
from clso.scoring import Int64Array

__all__ = ["DistributionSum", "Groups", "Layout", "Summed"]

_NONE = np.empty(0, dtype=np.int64)
_POSITIONS_AT_ONCE, _SLOTS_AT_ONCE = 32, 64
_MOST_SLOTS = 0.8  # of the tokens; with more, slots cost more than they save


class Groups(NamedTuple):
    """Groups of tokens that take their probability from the group's.

    Attributes:
        of_token: the group of each token, `(V,)`.
        within: a token's share of its group, `(V,)`; `None`: all tokens have what the group has.
        size: the number of groups.
    """

    of_token: npt.NDArray[Any]
    within: FloatArray | None
    size: int


class Layout:
    """What the sums of one mixture have in common; grows with what functions hand in.

    Names stand for what they name: equal names mean equal arrays.

    Attributes:
        tables: the counts that functions interpolate.
    """

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._vectors: dict[str, FloatArray] = {}
        self._groups: dict[str, Groups] = {}
        self._seen = np.zeros(vocab_size, dtype=np.bool_)
        self._spread: _Spread | None = None
        self.tables = CountTables()

    def add_vector(self, name: str, vector: FloatArray, seen: npt.NDArray[Any]) -> None:
        """Remember a vector, `(V,)`, and tokens that tables may have."""
        if name not in self._vectors:
            self._vectors[name] = vector
            self._seen[seen] = True
            self._spread = None

    def add_groups(self, name: str, groups: Groups) -> None:
        """Remember groups of tokens."""
        if name not in self._groups:
            self._groups[name] = groups
            self._spread = None

    @property
    def n_slots(self) -> int:
        """The number of slots, S; before the first sum, that of tokens."""
        return self.vocab_size if self._spread is None else len(self._spread.shared)

    @property
    def spread(self) -> _Spread:
        """From coefficients and values to slots, for all that is remembered."""
        if self._spread is None:
            self._spread = _Spread.of(self.vocab_size, self._vectors, self._groups, self._seen)
        return self._spread


@dataclass(frozen=True)
class _Spread:
    """From the coefficients of vectors and the values of groups to slots.

    Attributes:
        of_token: the slot of each token, `(V,)`; `None`: each token is a slot.
        shared: whether a slot stands for tokens that do not occur in the text, `(S,)`.
        names: of the vectors.
        vectors: `(n_vectors, S)`.
        n_groups: of all divisions of tokens into groups with shares.
        places: the group of each slot, numbered through all divisions, `(n_divisions, S)`.
        shares: of slots within these groups, `(n_divisions, S)`.
        first: the first group of each division, by its name.
        whole: the group of each slot, `(S,)`, by the name of groups without shares.
    """

    of_token: Int64Array | None
    shared: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    vectors: FloatArray
    n_groups: int
    places: Int64Array
    shares: FloatArray
    first: dict[str, int]
    whole: dict[str, Int64Array]

    @classmethod
    def of(
        cls,
        vocab_size: int,
        vectors: dict[str, FloatArray],
        groups: dict[str, Groups],
        seen: npt.NDArray[np.bool_],
    ) -> _Spread:
        of_token, tokens = _slots(vectors, groups, seen)
        divided = {name: group for name, group in groups.items() if group.within is not None}
        firsts = np.cumsum([0, *(group.size for group in divided.values())])
        places = np.zeros((len(divided), len(tokens)), dtype=np.int64)
        shares = np.zeros(places.shape)
        for index, group in enumerate(divided.values()):
            assert group.within is not None
            places[index] = firsts[index] + group.of_token[tokens].astype(np.int64)
            shares[index] = group.within[tokens]
        return cls(
            of_token,
            np.zeros(vocab_size, np.bool_) if of_token is None else ~seen[tokens],
            tuple(vectors),
            np.reshape([vector[tokens] for vector in vectors.values()], (-1, len(tokens))),
            int(firsts[-1]),
            places,
            shares,
            dict(zip(divided, firsts.tolist(), strict=False)),
            {
                name: group.of_token[tokens].astype(np.int64)
                for name, group in groups.items()
                if group.within is None
            },
        )

    def slots(self, tokens: npt.NDArray[Any]) -> Int64Array:
        """Return the slots of tokens."""
        return tokens.astype(np.int64) if self.of_token is None else self.of_token[tokens]

    def sums(self, values: FloatArray, coefficients: dict[str, FloatArray]) -> FloatArray:
        """Return what values of groups, `(n, n_groups)`, and vectors add up to, `(n, S)`."""
        none = np.zeros(len(values))
        rows = np.stack([none, *(coefficients.get(name, none) for name in self.names)])
        p = buffer("sums", len(values), len(self.shared))
        np.matmul(rows[1:].T, self.vectors, out=p)
        _add_divided(p, values, self.places, self.shares)
        return p


@compiled
def _add_divided(p: FloatArray, values: FloatArray, places: Int64Array, shares: FloatArray) -> None:
    """Add to each slot, for each division, its share of the value of its group."""
    n_positions, n_slots = p.shape
    if n_positions == 1:
        for division in range(len(places)):
            for slot in range(n_slots):
                value = values[0, np.uint64(places[division, slot])]
                p[0, slot] += shares[division, slot] * value
        return
    # some positions are computed together, and so few slots that their sums stay in a cache
    of_groups = np.empty((values.shape[1], _POSITIONS_AT_ONCE))
    sums = np.empty((_SLOTS_AT_ONCE, _POSITIONS_AT_ONCE))
    for begin in range(0, n_positions, _POSITIONS_AT_ONCE):
        n_together = np.uint64(min(_POSITIONS_AT_ONCE, n_positions - begin))
        for column in range(values.shape[1]):
            for number in range(n_together):
                of_groups[column, number] = values[np.uint64(begin) + number, column]
        for first in range(0, n_slots, _SLOTS_AT_ONCE):
            at, n_near = np.uint64(first), np.uint64(min(_SLOTS_AT_ONCE, n_slots - first))
            for slot in range(n_near):
                for number in range(n_together):
                    sums[slot, number] = 0.0
            for division in range(len(places)):
                for slot in range(n_near):
                    group, share = (
                        np.uint64(places[division, at + slot]),
                        shares[division, at + slot],
                    )
                    for number in range(n_together):
                        sums[slot, number] += share * of_groups[group, number]
            for number in range(n_together):
                for slot in range(n_near):
                    p[np.uint64(begin) + number, at + slot] += sums[slot, number]


@compiled
def _take(rows: npt.NDArray[Any], of_slots: npt.NDArray[Any], slots: Int64Array) -> None:
    """Write to each token the value of its slot."""
    for position in range(rows.shape[0]):
        for token in range(rows.shape[1]):
            rows[position, token] = of_slots[position, np.uint64(slots[token])]


@compiled
def _add_whole(p: FloatArray, values: FloatArray, group_of: Int64Array) -> None:
    """Add to each slot the value of its group."""
    for position in range(p.shape[0]):
        for slot in range(p.shape[1]):
            p[position, slot] += values[position, np.uint64(group_of[slot])]


def _slots(
    vectors: dict[str, FloatArray], groups: dict[str, Groups], seen: npt.NDArray[np.bool_]
) -> tuple[Int64Array | None, Int64Array]:
    """Return the slot of each token, `(V,)`, or `None` for itself, and a token of each slot."""
    unseen, n_seen = np.flatnonzero(~seen), int(seen.sum())
    if len(unseen):
        columns = [vector[unseen] for vector in vectors.values()]
        for group in groups.values():
            columns.append(group.of_token[unseen].astype(np.float64))
            columns.append(np.ones(1) if group.within is None else group.within[unseen])
        table = np.stack(np.broadcast_arrays(np.zeros(len(unseen)), *columns), axis=1)
        _, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
        if n_seen + len(first) <= _MOST_SLOTS * len(seen):
            of_token = np.empty(len(seen), dtype=np.int64)
            of_token[seen] = np.arange(n_seen)
            of_token[unseen] = n_seen + inverse.reshape(-1)
            return of_token, np.concatenate([np.flatnonzero(seen), unseen[first]])
    return None, np.arange(len(seen))


class _Entries(NamedTuple):
    """Single values: of token or group `symbols` at `positions`, `(m,)` each."""

    symbols: npt.NDArray[Any]
    positions: Int64Array
    values: FloatArray


@dataclass
class DistributionSum:
    """The sum of weighted distributions at the positions of `history` from `start`.

    Args:
        history: the tokens of a block up to the last position, `(t,)`.
        start: the first position.
    """

    layout: Layout
    history: Int64Array
    start: int
    _coefficients: dict[str, FloatArray] = field(default_factory=dict)
    _credits: Credits | None = None
    _values: dict[str, FloatArray] = field(default_factory=dict)
    _tokens: list[_Entries] = field(default_factory=list)
    _dense: FloatArray | None = None

    @property
    def n_positions(self) -> int:
        """The number of positions, n."""
        return len(self.history) - self.start

    def add(self, function: BasisFunction, weights: FloatArray) -> None:
        """Add w(t) f(. | history up to t) at all positions; `weights` is `(n,)`."""
        # what a protocol would check at run time takes longer than some functions
        add_distributions = getattr(function, "add_distributions", None)
        if add_distributions is not None:
            add_distributions(weights, self)
        elif function.family == "constant":
            p = function.distribution(self.history[:1])
            self.add_vector(function.name, p, _NONE, weights)
        else:
            for index, weight in enumerate(weights):
                p = function.distribution(self.history[: self.start + index + 1])
                self.dense[index] += weight * p

    @property
    def dense(self) -> FloatArray:
        """What has a value for every token, `(n, V)`; added to in place."""
        if self._dense is None:
            self._dense = np.zeros((self.n_positions, self.layout.vocab_size))
        return self._dense

    def add_vector(
        self, name: str, vector: FloatArray, seen: npt.NDArray[Any], coefficients: FloatArray
    ) -> None:
        """Add a vector, `(V,)`, with a coefficient per position, `(n,)`."""
        self.layout.add_vector(name, vector, seen)
        before = self._coefficients.get(name)
        self._coefficients[name] = coefficients if before is None else before + coefficients

    def add_values(self, name: str, groups: Groups, values: FloatArray) -> None:
        """Add the probability of groups, `(n, size)`, to that of their tokens."""
        self.layout.add_groups(name, groups)
        before = self._values.get(name)
        self._values[name] = values if before is None else before + values

    def add_tokens(self, tokens: Int64Array, positions: Int64Array, values: FloatArray) -> None:
        """Add values of single tokens at positions, counted from the first, `(m,)` each."""
        self._tokens.append(_Entries(tokens, positions, values))

    def add_counts(
        self, functions: Interpolation, contexts: Int64Array, weights: FloatArray
    ) -> None:
        """Add interpolated counts with weights `(K, n)`; see `Interpolation.credit`."""
        tables = self.layout.tables
        tables.numbers(functions)
        if self._credits is None or len(self._credits.rows) < len(tables):
            before, self._credits = self._credits, Credits.none(len(tables), self.n_positions)
            if before is not None:
                for known, all_tables in zip(before, self._credits, strict=True):
                    all_tables[: len(known)] = known
        left = functions.credit(tables, contexts, weights, self._credits)
        for base, credit in zip(functions.bases, left, strict=True):
            self.add_vector(base.name, base.p, base.seen, credit)

    def _add_entries(
        self, sums: FloatArray, columns: dict[str, int], of_symbol: Int64Array
    ) -> None:
        """Add the counts of tables to sums; `columns` has the first of each space."""
        tables = self.layout.tables
        if self._credits is None:
            return
        chosen = [i for i in range(len(self._credits.rows)) if tables.spaces[i] in columns]
        first = [columns[tables.spaces[i]] for i in chosen]
        add_entries(
            sums,
            np.array(chosen, dtype=np.int64),
            np.array(first, dtype=np.int64),
            of_symbol,
            tables.places,
            tables.discounts,
            *self._credits,
        )

    def total(self) -> Summed:
        """Return the sum."""
        spread = self.layout.spread
        values = np.zeros((self.n_positions, spread.n_groups))
        for name, first in spread.first.items():
            if name in self._values:
                of_groups = self._values[name]
                values[:, first : first + of_groups.shape[1]] += of_groups
        self._add_entries(values, spread.first, _NONE)
        p = spread.sums(values, self._coefficients)
        for name, group in spread.whole.items():
            if name in self._values:
                _add_whole(p, self._values[name], group)
        slots = _NONE if spread.of_token is None else spread.of_token
        self._add_entries(p, {"": 0}, slots)
        apart: list[_Entries] = []
        if self._tokens:
            tokens, positions, added = map(np.concatenate, zip(*self._tokens, strict=True))
            is_shared = np.zeros(len(tokens), dtype=np.bool_)
            _add_tokens(p, is_shared, slots, spread.shared, tokens, positions, added)
            if is_shared.any():
                apart.append(_Entries(tokens[is_shared], positions[is_shared], added[is_shared]))
        return Summed(p, spread.of_token, apart, self._dense)


@compiled
def _add_tokens(
    p: FloatArray,
    is_shared: npt.NDArray[np.bool_],
    slots: Int64Array,
    shared: npt.NDArray[np.bool_],
    tokens: Int64Array,
    positions: Int64Array,
    values: FloatArray,
) -> None:
    """Add values to the slots that stand for one token; mark the others."""
    for index in range(len(tokens)):
        slot = slots[tokens[index]] if len(slots) else tokens[index]
        if shared[slot]:
            is_shared[index] = True
        else:
            p[positions[index], slot] += values[index]


@dataclass(frozen=True)
class Summed:
    """Distributions at n positions.

    Attributes:
        of_slots: the probability of every slot, `(n, S)`; overwritten by the thread's next sum.
        slot: of each token, `(V,)`; `None`: each token is a slot.
        apart: what single tokens have beyond their slot.
        dense: what tokens have beyond their slot, `(n, V)`, or `None`.
    """

    of_slots: FloatArray
    slot: Int64Array | None
    apart: Sequence[_Entries]
    dense: FloatArray | None

    @property
    def n_positions(self) -> int:
        """The number of positions, n."""
        return len(self.of_slots)

    def write(self, rows: FloatArray) -> None:
        """Write p of every token to `(n, V)`."""
        self._spread(self.of_slots, rows)
        for tokens, positions, values in self.apart:
            np.add.at(rows.reshape(-1), positions * rows.shape[1] + tokens, values)
        if self.dense is not None:
            rows += self.dense

    def write_logs(self, rows: Float32Array) -> None:
        """Write log p of every token to `(n, V)` float32."""
        if self.dense is not None:
            exact = np.empty(rows.shape)
            self.write(exact)
            rows[:] = np.log(exact, out=exact)
            return
        logs = buffer_float32("logs", self.of_slots.size).reshape(self.of_slots.shape)
        logs[:] = self.of_slots
        if self.slot is None:
            np.log(logs, out=rows)
        else:
            self._spread(np.log(logs, out=logs), rows)
        if self.apart and self.slot is not None:
            tokens = np.concatenate([entries.symbols for entries in self.apart])
            positions = np.concatenate([np.asarray(entries.positions) for entries in self.apart])
            values = np.concatenate([entries.values for entries in self.apart])
            places, index = np.unique(positions * len(self.slot) + tokens, return_inverse=True)
            positions, tokens = np.divmod(places, len(self.slot))
            exact = self.of_slots[positions, self.slot[tokens]] + np.bincount(index, values)
            rows[positions, tokens] = np.log(exact)

    def _spread(self, of_slots: npt.NDArray[Any], rows: npt.NDArray[Any]) -> None:
        if self.slot is None:
            rows[:] = of_slots
            return
        _take(rows, of_slots, self.slot)

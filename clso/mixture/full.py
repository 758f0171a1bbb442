r"""Full distributions of a mixture at neighbouring positions of a block, for all tokens at once.

Notation: V tokens; n positions t of one block, from `start` to the end of `history`; f_k a basis
function and w_k(t) its weight. Summed is

.. math:: p(y \mid t) = \sum_k w_k(t) \, f_k(y \mid x_0 .. x_t)

Functions hand in what they are made of, and only the sum is spread over the tokens:

    vectors    the same in every context, such as the unigram, times a coefficient per position
    tables     the few tokens that followed a context; functions share tables, so each table's row
               is read once, with the sum of the coefficients
    values     of the classes of a map, or of other groups of tokens; each token takes those of its
               group, times its share within the group
    tokens     single ones, such as those of the block

Vectors and values are a product of two matrices. Tokens that do not occur in the text and have
equal rows there, because their groups and shares are equal, are one *slot*: they are equally
likely, unless the block has them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from clso.counting import FloatArray
from clso.mixture.arrays import Float32Array
from clso.mixture.buffers import buffer
from clso.mixture.function import BasisFunction
from clso.scoring import Int64Array

if TYPE_CHECKING:
    from clso.mixture.counts.count_table import CountTable

__all__ = ["Base", "DistributionSum", "Groups", "Layout", "Level", "Summed"]

_NONE = np.empty(0, dtype=np.int64)
_MOST_SLOTS = 0.8  # of the tokens; with more, slots cost more than they save

_Result = TypeVar("_Result")


class Level(NamedTuple):
    """The counts that a function interpolates, at all positions.

    Attributes:
        name: of the table; equal names mean equal tables.
        rows: the context of each position, `(n,)`; -1: it has no counts.
    """

    name: str
    table: CountTable
    rows: Int64Array


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


class Base(NamedTuple):
    """What an interpolation begins with: the prediction of the empty context.

    Attributes:
        name: equal names mean equal bases.
        p: of every symbol, `(A,)`.
        seen: the symbols that have counts.
        groups: the name and the groups that symbols are; `None`: they are tokens.
    """

    name: str
    p: FloatArray
    seen: npt.NDArray[Any]
    groups: tuple[str, Groups] | None = None

    @property
    def space(self) -> str:
        """The name of the groups; empty for tokens."""
        return "" if self.groups is None else self.groups[0]


class Layout:
    """What the sums of one mixture have in common; grows with what functions hand in.

    Names stand for what they name: equal names mean equal arrays.
    """

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._vectors: dict[str, FloatArray] = {}
        self._groups: dict[str, Groups] = {}
        self._seen = np.zeros(vocab_size, dtype=np.bool_)
        self._spread: _Spread | None = None

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
        shares: of slots within groups, sparse, `(S, n_groups)`.
        first: the first column of `shares` by the name of the groups.
        whole: the group of each slot, `(S,)`, by the name of groups without shares.
    """

    of_token: Int64Array | None
    shared: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    vectors: FloatArray
    shares: Any
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
        places = np.zeros((len(tokens), len(divided)), dtype=np.int64)
        shares = np.zeros(places.shape)
        for index, group in enumerate(divided.values()):
            assert group.within is not None
            places[:, index] = firsts[index] + group.of_token[tokens].astype(np.int64)
            shares[:, index] = group.within[tokens]
        starts = np.arange(len(tokens) + 1) * len(divided)
        return cls(
            of_token,
            np.zeros(vocab_size, np.bool_) if of_token is None else ~seen[tokens],
            tuple(vectors),
            np.reshape([vector[tokens] for vector in vectors.values()], (-1, len(tokens))),
            sparse.csr_matrix(
                (shares.reshape(-1), places.reshape(-1), starts),
                shape=(len(tokens), int(firsts[-1])),
            ),
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
        n = len(values)
        if n == 1:
            p = self.shares @ values[0]
            for name, (coefficient,) in coefficients.items():
                p += coefficient * self.vectors[self.names.index(name)]
            return np.asarray(p[None])
        none = np.zeros(n)
        rows = np.stack([none, *(coefficients.get(name, none) for name in self.names)])
        of_groups = _transposed(values, buffer("of groups", *values.T.shape))
        p = _transposed(self.shares @ of_groups, buffer("sums", n, self.shares.shape[0]))
        p += rows[1:].T @ self.vectors
        return p


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


def _transposed(matrix: FloatArray, out: FloatArray) -> FloatArray:
    """Copy the transposed matrix to `out`; several times faster than numpy does."""
    torch.from_numpy(out).copy_(torch.from_numpy(matrix).t())
    return out


class _Entries(NamedTuple):
    """Single values: of token or group `symbols` at `positions`, `(m,)` each."""

    symbols: npt.NDArray[Any]
    positions: Int64Array | int
    values: FloatArray


@dataclass
class _Counted:
    table: CountTable
    rows: Int64Array
    coefficients: FloatArray


@dataclass
class DistributionSum:
    """The sum of weighted distributions at the positions of `history` from `start`.

    Args:
        history: the tokens of a block up to the last position, `(t,)`.
        start: the first position.
        kept: what functions share; see `once`.
    """

    layout: Layout
    history: Int64Array
    start: int
    _coefficients: dict[str, FloatArray] = field(default_factory=dict)
    _tables: dict[tuple[str, str], _Counted] = field(default_factory=dict)
    _values: dict[str, FloatArray] = field(default_factory=dict)
    _tokens: list[_Entries] = field(default_factory=list)
    _dense: FloatArray | None = None
    _at_one: dict[tuple[str, str], tuple[CountTable, int, float]] = field(default_factory=dict)
    kept: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def n_positions(self) -> int:
        """The number of positions, n."""
        return len(self.history) - self.start

    def once(self, key: Hashable, make: Callable[[], _Result]) -> _Result:
        """Return what was made under a key before, or make it: functions share it."""
        if key not in self.kept:
            self.kept[key] = make()
        result: _Result = self.kept[key]
        return result

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

    def add_tokens(
        self, tokens: Int64Array, positions: Int64Array | int, values: FloatArray
    ) -> None:
        """Add values of single tokens at positions, counted from the first, `(m,)` each."""
        self._tokens.append(_Entries(tokens, positions, values))

    def add_levels(self, base: Base, levels: Sequence[Level], weights: FloatArray) -> None:
        """Add interpolated counts, from the empty context to longer ones; `weights` is `(n,)`."""
        for level in reversed(levels):
            has_counts = level.rows >= 0
            own = np.where(has_counts, weights, 0.0)
            known = self._tables.get((base.space, level.name))
            if known is None:
                self._tables[base.space, level.name] = _Counted(level.table, level.rows, own)
            else:
                known.rows = np.maximum(known.rows, level.rows)
                known.coefficients = known.coefficients + own
            weights = np.where(has_counts, weights * level.table.backoff[level.rows], weights)
        self._add_base(base, weights)

    def add_levels_at_one(
        self, base: Base, levels: Sequence[tuple[str, CountTable, int]], weights: FloatArray
    ) -> None:
        """Do the same where there is one position; a level is a name, a table and its row."""
        weight = float(weights[0])
        for name, table, row in reversed(levels):
            known = self._at_one.get((base.space, name))
            before = 0.0 if known is None else known[2]
            self._at_one[base.space, name] = table, row, before + weight
            weight *= float(table.backoff[row])
        self._add_base(base, np.array([weight]))

    def _add_base(self, base: Base, weights: FloatArray) -> None:
        if base.groups is None:
            self.add_vector(base.name, base.p, base.seen, weights)
        else:
            self.add_values(*base.groups, weights[:, None] * base.p)

    def _entries(self) -> Iterator[tuple[str, _Entries]]:
        """Yield the groups' name, or "" for tokens, and the counts of each table."""
        for (space, _), counted in self._tables.items():
            found = _entries(counted)
            if found is not None:
                yield space, found
        for (space, _), (table, row, coefficient) in self._at_one.items():
            entries = table.rows.entries_of(row)
            values = table.without_discount(entries) * (coefficient / float(table.totals[row]))
            yield space, _Entries(table.rows.symbols[entries], 0, values)

    def total(self) -> Summed:
        """Return the sum."""
        spread = self.layout.spread
        n_groups = spread.shares.shape[1]
        values = np.zeros((self.n_positions, n_groups))
        for name, first in spread.first.items():
            if name in self._values:
                of_groups = self._values[name]
                values[:, first : first + of_groups.shape[1]] += of_groups
        counts = list(self._entries())
        for space, entries in counts:
            if space:
                places = entries.symbols.astype(np.int64) + spread.first[space]
                places += entries.positions * n_groups
                np.add.at(values.reshape(-1), places, entries.values)
        p, n_slots = spread.sums(values, self._coefficients), len(spread.shared)
        for name, group in spread.whole.items():
            # row after row, because each fits a processor's cache
            for row, of_groups in zip(p, self._values.get(name, ()), strict=False):
                row += of_groups.take(group)
        flat = p.reshape(-1)
        for space, entries in counts:
            if not space:
                places = spread.slots(entries.symbols)
                np.add.at(flat, places + entries.positions * n_slots, entries.values)
        apart: list[_Entries] = []
        for entries in self._tokens:
            slots, positions, added = (
                spread.slots(entries.symbols),
                entries.positions,
                entries.values,
            )
            if spread.of_token is not None:
                is_shared = spread.shared[slots]
                if is_shared.any():
                    at = np.broadcast_to(positions, slots.shape)
                    apart.append(
                        _Entries(entries.symbols[is_shared], at[is_shared], added[is_shared])
                    )
                    own = ~is_shared
                    slots, positions, added = slots[own], at[own], added[own]
            np.add.at(flat, slots + positions * n_slots, added)
        return Summed(p, spread.of_token, apart, self._dense)


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
        logs = self.of_slots.astype(np.float32)
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
        for row, values in zip(rows, of_slots, strict=True):
            np.take(values, self.slot, out=row, mode="clip")


def _entries(counted: _Counted) -> _Entries | None:
    """Return the discounted counts of a table's rows, times the coefficients."""
    table, starts = counted.table, counted.table.rows.starts
    active = np.flatnonzero(counted.rows >= 0)
    if not len(active):
        return None
    rows = counted.rows[active]
    first = starts[rows].astype(np.int64)
    lengths = starts[rows + 1].astype(np.int64) - first
    ends = np.cumsum(lengths)
    entries = np.repeat(first - ends + lengths, lengths)
    entries += np.arange(ends[-1])
    values = table.without_discount(entries)
    values *= np.repeat(counted.coefficients[active] / table.totals[rows], lengths)
    return _Entries(table.rows.symbols[entries], np.repeat(active, lengths), values)

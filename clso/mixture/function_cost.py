r"""What a basis function costs: the arrays that it keeps, and the work of pricing one target.

Notation: T positions per block, position t = 0 .. T - 1 has t + 1 sources, (T + 1) / 2 on average.
Counted are arithmetic and comparisons per target, in the direct form of each definition; reading
an array at a known place is free, finding a key among n sorted ones takes as many comparisons as n
has binary digits. What functions might share while they are asked together is not taken off.

    unigram     0
    kn(...)     per level: the context's key and the target's, and 4 for what is left of the
                count, the total, the back-off weight and their sum; 1 for a class of tokens
    cache       3 per source (is it the target, its weight, the sum), 1 for the quotient
    gated       4 per source (the gate too), 1
    induction   n + 2 per source (n tokens compared, the weight, the sum), 1
    product     per class: 5 for p(c | x), 4 for the lifts, 2 for exponential and sum, 3 for the
                adaptation; the token's row is found by two keys, 2 for the quotient and p(y | c)

A level that was never seen, or a source outside the context, would cost less: these are the costs
of contexts where everything is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clso.artifacts import read_table, table_from_rows, write_table
from clso.mixture.constant import Unigram
from clso.mixture.counts import KneserNey
from clso.mixture.counts.rows import Rows
from clso.mixture.function import BasisFunction
from clso.mixture.history import HistoryCounts
from clso.mixture.pointer import Cache, Gated, Induction, Product
from clso.mixture.pointer.product import EXPONENTS

__all__ = [
    "FunctionCost",
    "function_cost",
    "history_flops",
    "load_function_costs",
    "save_function_costs",
]


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """One function's cost.

    Attributes:
        name: the function's.
        flops_per_token: see the module.
        arrays: bytes of each array by name; of functions fitted together, arrays of one name are
            one array.
    """

    name: str
    flops_per_token: int
    arrays: Mapping[str, int]


def function_cost(function: BasisFunction, block_size: int) -> FunctionCost:
    """Return what a count, pointer or constant function costs in blocks of T tokens.

    Raises:
        TypeError: a function of another kind, whose work nobody has written down.
    """
    arrays = {name: int(array.nbytes) for name, array in function.to_arrays().items()}
    return FunctionCost(function.name, _flops(function, block_size), arrays)


def history_flops(history: HistoryCounts, block_size: int) -> int:
    """Return the operations that find a context's bucket: a key per length, earlier matches."""
    keys = sum(len(key).bit_length() for key in history.keys)
    return keys + _over_sources(len(history.keys), block_size)


def _flops(function: BasisFunction, block_size: int) -> int:
    match function:
        case Unigram():
            return 0
        case KneserNey():
            keys = sum(
                _search(contexts) + _search(table.rows)
                for contexts, table in zip(function.contexts, function.levels[1:], strict=True)
            )
            return keys + 4 * len(function.contexts) + (function.pattern.target is not None)
        case Cache():
            return _over_sources(3, block_size) + 1
        case Gated():
            return _over_sources(4, block_size) + 1
        case Induction():
            return _over_sources(function.settings.length + 2, block_size) + 1
        case Product():
            per_class = 5 + len(EXPONENTS) + 2 + 3 * (function.settings.adapt > 0)
            n_classes = int(function.classes.max()) + 1
            return per_class * n_classes + 2 * len(function.successors[0]).bit_length() + 2
    raise TypeError(f"no cost is known of {function!r}")


def _search(rows: Rows) -> int:
    """Return the comparisons that find a key; a table of one row is read at the symbol's place."""
    return 0 if rows.n_rows == 1 else len(rows).bit_length()


def _over_sources(per_source: int, block_size: int) -> int:
    return -(-per_source * (block_size + 1) // 2)


def save_function_costs(path: Path, costs: Sequence[FunctionCost]) -> None:
    """Write the table `function_costs`, a row per function in the order of the columns.

    Raises:
        ArtifactError: the file cannot be written.
    """
    rows = [
        {
            "index": index,
            "name": cost.name,
            "flops_per_token": cost.flops_per_token,
            "array_names": list(cost.arrays),
            "array_bytes": list(cost.arrays.values()),
        }
        for index, cost in enumerate(costs, 1)
    ]
    write_table(path, table_from_rows(rows, "function_costs"), "function_costs")


def load_function_costs(path: Path) -> tuple[FunctionCost, ...]:
    """Read what `save_function_costs` wrote.

    Raises:
        ArtifactError: the file is missing, damaged or of another version.
    """
    return tuple(
        FunctionCost(
            row["name"],
            row["flops_per_token"],
            dict(zip(row["array_names"], row["array_bytes"], strict=True)),
        )
        for row in read_table(path, "function_costs").to_pylist()
    )

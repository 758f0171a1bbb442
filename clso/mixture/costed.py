r"""Mixtures whose costs are known while they are searched, when only their columns are at hand.

For a genome with picks S out of the library and B buckets, h the operations that find the bucket,

.. math::
    bytes = \sum_{a \in \bigcup_{k \in S} arrays_k} |a| + |history| + 8 B (|S| + 1), \qquad
    flops = h + \sum_{k \in S} flops_k + 2 (|S| + 1)

with every array counted once, whichever functions share it, as `CrystallineMixture.stored_bytes`
counts; the last terms are the weights and the weighted sum, the uniform function among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clso.artifacts import read_table, table_from_rows, write_table
from clso.genome import Genome, GenomeSpace
from clso.mixture.buckets import n_buckets
from clso.mixture.evaluator import MixtureProblem
from clso.mixture.function import CountedFunction
from clso.mixture.genome import picks
from clso.mixture.history import HistoryCounts
from clso.problem import Evaluation, GenomeCost

__all__ = ["CostedMixtures", "FunctionCost", "load_function_costs", "save_function_costs"]

_WEIGHT_BYTES = 8


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """One function's cost.

    Attributes:
        name: the function's.
        flops_per_token: see `clso.mixture.function.CountedFunction`.
        arrays: bytes of each array by name; of functions fitted together, arrays of one name are
            one array.
    """

    name: str
    flops_per_token: int
    arrays: Mapping[str, int]

    @classmethod
    def of(cls, function: CountedFunction, block_size: int) -> FunctionCost:
        """Return what a function costs in blocks of T tokens."""
        arrays = {name: int(array.nbytes) for name, array in function.to_arrays().items()}
        return cls(function.name, function.flops_per_token(block_size), arrays)


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


class CostedMixtures:
    """A mixture problem that knows its models' costs; a `clso.problem.CostedProblem`.

    Args:
        problem: scores genomes.
        costs: of its functions, in their order.
        history: what the buckets are made of, counted on the text of the functions.
        block_size: T, the tokens of a block.

    Attributes:
        mixtures: the problem.

    Raises:
        ValueError: costs of other functions.
    """

    def __init__(
        self,
        problem: MixtureProblem,
        costs: Sequence[FunctionCost],
        history: HistoryCounts,
        *,
        block_size: int,
    ) -> None:
        if tuple(cost.name for cost in costs) != problem.names:
            raise ValueError("the costs are of other functions than the problem's")
        self.mixtures = problem
        self._costs = tuple(costs)
        self._history_bytes = history.stored_bytes
        self._history_flops = history.flops_per_token(block_size)
        digest = hashlib.sha256(
            f"{problem.fingerprint} {self._history_bytes} {self._history_flops}".encode()
        )
        for cost in self._costs:
            digest.update(f"{cost.flops_per_token} {sorted(cost.arrays.items())}".encode())
        self._fingerprint = digest.hexdigest()

    @property
    def space(self) -> GenomeSpace:
        """See `MixtureProblem.space`."""
        return self.mixtures.space

    @property
    def fidelities(self) -> tuple[float, ...]:
        """See `MixtureProblem.fidelities`."""
        return self.mixtures.fidelities

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of the problem and the costs."""
        return self._fingerprint

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes; see `MixtureProblem.evaluate`."""
        return self.mixtures.evaluate(genomes, fidelity)

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        """Return what a genome's model costs, its functions as they were fitted for the search."""
        canonical = self.space.canonical(genome)
        picked = [self._costs[pick - 1] for pick in picks(canonical)]
        arrays: dict[str, int] = {}
        for cost in picked:
            arrays |= cost.arrays
        n_weights = n_buckets(self.mixtures.bucketing(canonical)) * (len(picked) + 1)
        work = sum(cost.flops_per_token for cost in picked)
        return GenomeCost(
            stored_bytes=sum(arrays.values()) + self._history_bytes + _WEIGHT_BYTES * n_weights,
            flops_per_token=work + self._history_flops + 2 * (len(picked) + 1),
        )

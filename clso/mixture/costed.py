r"""The costs of mixtures, computed from a genome alone, without its functions' arrays.

For a genome with picks S out of the library and B buckets, h the operations that find the bucket,

.. math::
    bytes = \sum_{a \in \bigcup_{k \in S} arrays_k} |a| + |history| + 8 B (|S| + 1), \qquad
    flops = h + \sum_{k \in S} flops_k + 2 (|S| + 1)

An array that several functions share is counted once, as in `CrystallineMixture.stored_bytes`. The
last terms are the weights and the weighted sum, which include the uniform function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from clso.artifacts import read_table, table_from_rows, write_table
from clso.genome import Genome, GenomeSpace
from clso.mixture.buckets import Bucketing
from clso.mixture.evaluator import MixtureProblem
from clso.mixture.function import CountedFunction
from clso.mixture.history import HistoryCounts
from clso.problem import Evaluation, GenomeCost

__all__ = ["CostedMixtures", "FunctionCost"]

_WEIGHT_BYTES = 8


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """The cost of one function.

    Attributes:
        flops_per_token: see `clso.mixture.function.CountedFunction`.
        arrays: bytes of each array by name; among functions that are fitted together, equal names
            mean one shared array.
    """

    name: str
    flops_per_token: int
    arrays: Mapping[str, int]

    @classmethod
    def of(cls, function: CountedFunction, block_size: int) -> Self:
        """Return the cost of a function in blocks of T tokens."""
        arrays = {name: int(array.nbytes) for name, array in function.to_arrays().items()}
        return cls(function.name, function.flops_per_token(block_size), arrays)

    @classmethod
    def save(cls, path: Path, costs: Sequence[Self]) -> None:
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

    @classmethod
    def load(cls, path: Path) -> tuple[Self, ...]:
        """Read the costs that `save` wrote, in their order.

        Raises:
            ArtifactError: the file is missing, damaged or of another version.
        """
        return tuple(
            cls(
                row["name"],
                row["flops_per_token"],
                dict(zip(row["array_names"], row["array_bytes"], strict=True)),
            )
            for row in read_table(path, "function_costs").to_pylist()
        )


class CostedMixtures:
    """A mixture problem with the costs of its models; a `CostedProblem`.

    Args:
        costs: of the problem's functions, in their order.
        history: counts that the buckets are computed from, made on the text of the functions.
        block_size: T, the tokens of a block.

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
        self.fidelities = problem.fidelities
        self._costs = tuple(costs)
        self._history_bytes = history.stored_bytes
        self._history_flops = history.flops_per_token(block_size)
        digest = hashlib.sha256(
            f"{problem.fingerprint} {self._history_bytes} {self._history_flops}".encode()
        )
        for cost in self._costs:
            digest.update(f"{cost.flops_per_token} {sorted(cost.arrays.items())}".encode())
        self.fingerprint = digest.hexdigest()

    @property
    def space(self) -> GenomeSpace:
        """The space of the mixtures."""
        return self.mixtures.space

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Score genomes; see `MixtureProblem.evaluate`."""
        return self.mixtures.evaluate(genomes, fidelity)

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        """Return the cost of a genome's model; its functions are those fitted for the search."""
        picked = [self._costs[pick - 1] for pick in self.mixtures.picks(genome)]
        arrays: dict[str, int] = {}
        for cost in picked:
            arrays |= cost.arrays
        n_weights = Bucketing(self.mixtures.bucketing(genome)).n_buckets * (len(picked) + 1)
        flops = sum(cost.flops_per_token for cost in picked)
        return GenomeCost(
            stored_bytes=sum(arrays.values()) + self._history_bytes + _WEIGHT_BYTES * n_weights,
            flops_per_token=flops + self._history_flops + 2 * (len(picked) + 1),
        )

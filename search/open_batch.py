"""The batch that a search waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from clso.errors import SearchError
from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation, Result
from search.ladder import Batch

__all__ = ["OpenBatch"]


class OpenBatch:
    """A batch whose results come in any order and in pieces."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._index = {genome: index for index, genome in enumerate(batch.genomes)}
        self._asked = set(map(id, batch.genomes))
        self._told: dict[Genome, Evaluation] = {}

    @property
    def fidelity(self) -> float:
        """Share of the problem's batches."""
        return self._batch.fidelity

    @property
    def index(self) -> Mapping[Genome, int]:
        """The index of each genome in the batch."""
        return self._index

    @property
    def remaining(self) -> Batch:
        """The genomes without a result."""
        batch = self._batch
        indices = [i for i, genome in enumerate(batch.genomes) if genome not in self._told]
        return Batch(
            tuple(batch.genomes[i] for i in indices),
            batch.fidelity,
            tuple(batch.begun[i] for i in indices) if batch.begun else (),
        )

    @property
    def evaluations(self) -> list[Evaluation]:
        """The results of all genomes, in the order of the batch."""
        return [self._told[genome] for genome in self._batch.genomes]

    def add(self, evaluations: Mapping[Genome, Evaluation]) -> None:
        """Add results of some genomes."""
        self._told |= evaluations

    def checked(
        self,
        genomes: Batch | Sequence[Sequence[int]],
        results: Sequence[Result] | Mapping[int, Result],
        space: GenomeSpace,
        is_known: Callable[[Genome], bool],
    ) -> dict[Genome, Evaluation]:
        """Return results as evaluations by canonical form; see `Search.tell`.

        `is_known` says whether a genome was asked for earlier.

        Raises:
            GenomeError: a genome outside the space.
            SearchError: the results do not fit the batch.
        """
        if isinstance(genomes, Batch) and genomes.fidelity != self.fidelity:
            raise SearchError(
                f"the batch is of fidelity {genomes.fidelity:g}, but the search asked for "
                f"{self.fidelity:g}: it was told already"
            )
        genomes = list(genomes)
        told: dict[Genome, Evaluation] = {}
        for index, result in _by_index(results, len(genomes)).items():
            genome = genomes[index]
            # a genome that is the very object that was asked for needs no check
            asked = id(genome) in self._asked
            canonical = tuple(genome) if asked else space.canonical(genome)
            if canonical in told or canonical in self._told:
                raise SearchError(f"genome {canonical} was told already")
            if canonical not in self._index:
                how = "told already" if is_known(canonical) else "never asked for"
                raise SearchError(
                    f"genome {canonical} was {how}",
                    remedy="ask returns the genomes to evaluate; start takes others to begin with",
                )
            told[canonical] = Evaluation.of(result, canonical)
        return told


def _by_index(
    results: Sequence[Result] | Mapping[int, Result], n_genomes: int
) -> Mapping[int, Result]:
    if isinstance(results, Mapping):
        for index in results:
            if not 0 <= index < n_genomes:
                raise SearchError(
                    f"there is a result for index {index}, expected 0 to {n_genomes - 1}"
                )
        return results
    if len(results) != n_genomes:
        raise SearchError(
            f"there are {len(results)} results, expected {n_genomes}, one for each genome",
            remedy="tell some genomes of a batch only as tell(genomes, results), or as "
            "tell(batch, {index: result})",
        )
    return dict(enumerate(results))

"""A plain function as a problem, and what a loss may be told as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real

from clso.errors import GenomeError, SearchError
from clso.genome import Genome, GenomeSpace, Slot
from clso.problem import Evaluation

__all__ = ["Function", "Result", "evaluation_of", "space_of"]

Result = Evaluation | float | None
"""What an evaluation is told as: a loss, or `None`, NaN or an infinity where it failed."""


class Function:
    """A function of a list of indices as a problem.

    Args:
        space: its genomes.
        fingerprint: see `Problem.fingerprint`.
        function: of a genome; `None`: the results are told.
    """

    fidelities = (1.0,)

    def __init__(
        self,
        space: GenomeSpace,
        fingerprint: str,
        function: Callable[[list[int]], Result] | None = None,
    ) -> None:
        self.space = space
        self.fingerprint = fingerprint
        self._function = function

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        """Call the function with each genome.

        Raises:
            SearchError: there is none, or it returned no number.
        """
        if self._function is None:
            raise SearchError(
                "the search was given a space, and nothing to evaluate genomes with",
                remedy="ask and tell, give a Problem, or call minimize with a function",
            )
        return [evaluation_of(self._function(list(genome)), genome) for genome in genomes]


def evaluation_of(result: Result, genome: Genome) -> Evaluation:
    """Return a result as an evaluation.

    Raises:
        SearchError: it is no number.
    """
    if isinstance(result, Evaluation):
        return result
    if result is None:
        return Evaluation(None, "failed")
    if not isinstance(result, Real) or isinstance(result, bool):
        raise SearchError(
            f"the result of genome {genome} is {result!r}, expected a number, None or an Evaluation"
        )
    loss = float(result)
    finite = abs(loss) < float("inf")
    return Evaluation(loss, "evaluated") if finite else Evaluation(None, "failed")


def space_of(space: Sequence[int] | GenomeSpace) -> GenomeSpace:
    """Return the space of genes that have so many options each, called `gene0`, `gene1`, ...

    Raises:
        GenomeError: a number of options that is no integer, or is below 1; or no genes.
    """
    if isinstance(space, GenomeSpace):
        return space
    slots = []
    for index, options in enumerate(space):
        if isinstance(options, bool) or not hasattr(options, "__index__"):
            raise GenomeError(
                f"gene {index} has {options!r} options, expected an integer of at least 1",
                remedy="give the number of options of each gene, such as [8] * 12",
            )
        slots.append(Slot(f"gene{index}", int(options.__index__())))
    return GenomeSpace(tuple(slots))

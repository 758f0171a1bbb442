"""A plain function as a problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clso.errors import SearchError
from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation, Result

__all__ = ["Function"]


class Function:
    """A function of a list of indices as a problem; without it, `Search.tell` has the results."""

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
            SearchError: there is no function, or it returned no number.
        """
        if self._function is None:
            raise SearchError(
                "the search was given a space, and nothing to evaluate genomes with",
                remedy="ask and tell, give a Problem, or call minimize with a function",
            )
        return [Evaluation.of(self._function(list(genome)), genome) for genome in genomes]

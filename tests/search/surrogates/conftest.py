import numpy as np
import pytest
from table_problem import TableProblem

from clso.genome import Genome, GenomeSpace, Slot

CARDINALITIES = (12, 3, 1, 8, 12)


@pytest.fixture
def space() -> GenomeSpace:
    return GenomeSpace(tuple(Slot(f"gene{i}", c) for i, c in enumerate(CARDINALITIES)))


class Sample:
    """Draws genomes of `space`, and their losses with a little noise."""

    def __init__(self) -> None:
        self.problem = TableProblem(CARDINALITIES, interaction=0.2, seed=5)

    def __call__(self, count: int, *, noise: float = 0.0) -> tuple[list[Genome], list[float]]:
        rng = np.random.default_rng(0)
        genomes = [tuple(int(rng.integers(c)) for c in CARDINALITIES) for _ in range(count)]
        return genomes, [self.problem.loss(genome) + noise * rng.normal() for genome in genomes]


@pytest.fixture
def sample() -> Sample:
    return Sample()

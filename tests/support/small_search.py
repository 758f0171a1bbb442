"""A small search of a table, with surrogates that are quick to fit."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from data_columns import data_columns
from table_problem import TableProblem

from clso.artifacts import table_from_rows
from clso.energy import DeviceEnergy, Measurement
from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation
from search.records import MemorySink
from search.result import SearchResult
from search.run import run_search
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings
from search.surrogates import FloatArray

CARDINALITIES = (12, 12, 12, 12)


COST = Measurement(0.1, (DeviceEnergy("cpu", 2.0, "rapl", estimated=False),))


SMALL = SearchSettings(
    population=12,
    generations=7,
    mutation_rate=0.15,
    surrogate=SurrogateSettings(kind="random_forest", start=2, full_eval_fraction=0.3),
    local_search=LocalSearchSettings(neighbours=2),
)


FULL = SMALL.replaced(surrogate=SurrogateSettings(kind="none"))


class Watched(TableProblem):
    """Counts evaluations; fails where told to; scores in shuffled chunks if asked."""

    def __init__(
        self,
        *,
        fails: Callable[[Genome], bool] = lambda _: False,
        chunks: int = 1,
        cardinalities: Sequence[int] = CARDINALITIES,
    ) -> None:
        super().__init__(cardinalities, interaction=0.4, seed=3)
        self.fails = fails
        self.chunks = chunks
        self.seen: Counter[Genome] = Counter()
        self.fidelity: set[float] = set()

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        self.fidelity.add(fidelity)
        results: dict[int, Evaluation] = {}
        for chunk in range(self.chunks):
            for index in reversed(range(chunk, len(genomes), self.chunks)):
                genome = genomes[index]
                self.seen[genome] += 1
                loss = math.nan if self.fails(genome) else self.loss(genome)
                results[index] = Evaluation(
                    loss, "failed" if self.fails(genome) else "evaluated", 640, COST
                )
        return [results[index] for index in range(len(genomes))]


class Additive:
    """Guesses the sum of each option's mean deviation: quick to fit, and right about as often."""

    kind: str | None = "additive"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self.effects = [np.zeros(cardinality) for cardinality in space.cardinalities]
        self.mean = 0.0

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        columns, observed = np.array(genomes).T, np.array(losses)
        self.mean = float(observed.mean())
        for effect, column in zip(self.effects, columns, strict=True):
            for option in np.unique(column):
                effect[option] = observed[column == option].mean() - self.mean

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        guesses = [
            self.mean + sum(effect[gene] for effect, gene in zip(self.effects, genome, strict=True))
            for genome in genomes
        ]
        return np.array(guesses, dtype=np.float64), np.full(len(guesses), 0.1)


class Liar:
    """Predicts what no genome can have."""

    kind: str | None = "liar"

    def __init__(self, space: GenomeSpace, seed: int, *, says: float = -1000.0) -> None:
        self.says = says

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        assert np.isfinite(losses).all()

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        return np.full(len(genomes), self.says), np.zeros(len(genomes))


def search(
    problem: Any,  # noqa: ANN401 - any stand-in of a Problem
    settings: SearchSettings = SMALL,
    *,
    sink: Any = None,  # noqa: ANN401 - any sink
    **options: Any,  # noqa: ANN401 - whatever run_search takes
) -> tuple[SearchResult, list[dict[str, Any]], list[dict[str, Any]]]:
    sink = sink or MemorySink()
    if settings.surrogate.kind != "none":
        options.setdefault("surrogate", Additive)  # `None`: the real one of that kind
    result = run_search(
        problem,
        settings,
        seed=options.pop("seed", 1),
        family="gpt",
        run_id="run",
        sink=sink,
        **options,
    )
    return result, sink.rows("evaluations"), sink.rows("generations")


def data_of(rows: list[dict[str, Any]], name: str) -> Any:  # noqa: ANN401 - pyarrow is untyped
    return data_columns(table_from_rows(rows, name))

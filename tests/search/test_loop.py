"""Ask and tell: in any order and pieces, killed, resumed and extended, it is one search."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from data_columns import data_columns
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from table_problem import TableProblem

from clso.errors import ArtifactError, ConfigError, GenomeError, SearchError
from clso.genome import Genome, GenomeSpace
from clso.problem import Evaluation
from search import Batch, Search, SearchResult, SearchSettings, minimize
from search.settings import (
    AdaptivePopulationSettings,
    FidelitySettings,
    LocalSearchSettings,
    SurrogateSettings,
)
from search.surrogates.interface import FloatArray

N_BATCHES = 8
MEASURED = {"duration_s", "energy_j", "mean_power_w", "energy_source", "estimated"}
PLAIN = SearchSettings(
    population=8,
    generations=200,
    max_evaluations=60,
    mutation_rate=0.2,
    surrogate=SurrogateSettings(kind="none"),
    local_search=LocalSearchSettings(neighbours=3),
)
SCREENED = PLAIN.replaced(
    surrogate=SurrogateSettings(kind="ridge", start=1, full_eval_fraction=0.4)
)
KINDS = {
    "plain": PLAIN,
    "without_local_search": PLAIN.replaced(local_search=LocalSearchSettings(enabled=False)),
    "surrogate": SCREENED,
    "pool": SCREENED.replaced(surrogate=SCREENED.surrogate.replaced(pool_factor=3.0)),
    "halving": PLAIN.replaced(fidelity=FidelitySettings(kind="successive_halving", eta=2.0)),
    "racing": SCREENED.replaced(fidelity=FidelitySettings(kind="racing", alpha=0.3)),
    "adaptive": SCREENED.replaced(
        fidelity=FidelitySettings(kind="racing", alpha=0.3),
        adaptive_population=AdaptivePopulationSettings(enabled=True, min=4, max=14, patience=1),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _unsynced() -> Iterator[None]:
    """Leave it to the system when files reach the disk, which only a power cut would show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


class Means:
    """Guesses the mean loss of each option of the first gene; quick to fit."""

    kind: str | None = "means"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self.means = np.zeros(space.cardinalities[0])

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        first, observed = np.array(genomes)[:, 0], np.array(losses)
        self.means[:] = observed.mean()
        for option in np.unique(first):
            self.means[option] = observed[first == option].mean()

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        return self.means[[genome[0] for genome in genomes]], np.full(len(genomes), 0.1)


class Parts(TableProblem):
    """A table's losses on shares of batches, each with noise of its own; some genomes fail."""

    fidelities = (0.25, 0.5, 1.0)

    def __init__(self) -> None:
        super().__init__((7, 7, 7), interaction=0.4, seed=3)
        self.asked: list[tuple[Genome, float]] = []

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        return [self.scored(genome, fidelity) for genome in genomes]

    def scored(self, genome: Genome, fidelity: float) -> Evaluation:
        self.asked.append((genome, fidelity))
        noise = np.random.default_rng(genome).normal(size=N_BATCHES)
        nats = (self.loss(genome) + noise - noise.mean())[: round(fidelity * N_BATCHES)]
        if genome[0] == 2:
            return Evaluation(math.nan, "failed", len(nats))
        parts = None if fidelity == 1.0 else tuple(nats.tolist())
        loss = math.fsum(nats.tolist()) / len(nats)
        return Evaluation(loss, "evaluated", len(nats), batch_nats=parts)

    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        assert all(evaluation.batch_nats for evaluation in begun)
        return self.evaluate(genomes, fidelity)


def data_of(result: SearchResult) -> list[Any]:
    """Return everything but what a clock or a meter read."""
    tables = [data_columns(table) for table in (result.evaluations, result.generations)]
    facts = replace(result, surrogate_cost=None, table=None)
    return [facts] + [
        table.drop_columns([name for name in table.column_names if name in MEASURED])
        for table in tables
    ]


def made(settings: SearchSettings, folder: Path | None = None) -> Search:
    surrogate = None if settings.surrogate.kind == "none" else Means
    return Search(Parts(), settings, seed=4, folder=folder, surrogate=surrogate)


UNBROKEN: dict[tuple[str, int], list[Any]] = {}


def unbroken(kind: str, evaluations: int) -> list[Any]:
    key = kind, evaluations
    if key not in UNBROKEN:
        settings = KINDS[kind].replaced(max_evaluations=evaluations)
        UNBROKEN[key] = data_of(made(settings).run())
    return UNBROKEN[key]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in ("plain", "surrogate") else pytest.mark.slow)
        for kind in KINDS
    ],
)
@given(data=st.data())
@hypothesis_settings(max_examples=5, deadline=None)
def test_killed_told_in_pieces_and_extended_it_is_one_search(
    kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    budgets = [*sorted(data.draw(st.lists(st.integers(4, 59), max_size=2, unique=True))), 60]
    folder = tmp_path_factory.mktemp("search")
    settings = KINDS[kind].replaced(max_evaluations=budgets[0])
    problem, n_told = Parts(), 0
    search = made(settings, folder)
    for number, budget in enumerate(budgets):
        if number:
            search.extend(evaluations=budget)
        while batch := search.ask():
            order = data.draw(st.permutations(range(len(batch))))
            told = order[: data.draw(st.integers(1, len(batch)))]
            part = replace(batch, begun=batch.begun)
            results = dict(zip(range(len(part)), part.evaluated_by(problem), strict=True))
            search.tell(batch, {index: results[index] for index in told})
            n_told += len(told)
            if data.draw(st.integers(0, 5)) == 0:
                search = made(settings, folder)  # killed
    assert data_of(search.result) == unbroken(kind, 60)
    # what was told is never asked for again
    lines = (folder / "state.journal").read_text().splitlines()
    assert sum('["told"' in line for line in lines) == n_told
    again = made(settings, folder)
    assert not again.ask()
    assert data_of(again.result) == unbroken(kind, 60)


@pytest.mark.parametrize("kind", KINDS)
@given(first=st.integers(4, 59), step=st.integers(1, 20))
@hypothesis_settings(max_examples=5, deadline=None)
def test_extended_in_memory_it_is_one_search(kind: str, first: int, step: int) -> None:
    search = made(KINDS[kind].replaced(max_evaluations=first))
    search.run()
    for budget in (*range(first + step, 60, step), 60):
        search.extend(evaluations=budget)
        if budget % 2:
            search.ask()  # extended in mid-generation
            continue
        search.run()
    assert data_of(search.run()) == unbroken(kind, 60)


@pytest.mark.parametrize("kind", ["plain", "racing", "adaptive"])
def test_more_generations_go_on_from_fewer(kind: str) -> None:
    settings = KINDS[kind].replaced(max_evaluations=None, generations=9)
    whole = made(settings).run()
    search = made(settings.replaced(generations=3))
    assert search.run().stop_reason == "generations"
    search.extend(generations=9)
    assert data_of(search.run()) == data_of(whole)
    # evaluations bound what had no bound before
    search.extend(evaluations=150)
    other = made(settings.replaced(generations=150, max_evaluations=150)).run()
    assert data_of(search.run()) == data_of(other)


@pytest.mark.parametrize("kind", ["plain", "racing"])
def test_the_same_call_with_a_larger_budget_extends_a_search(kind: str, tmp_path: Path) -> None:
    def run(evaluations: int) -> SearchResult:
        return minimize(
            Parts(), evaluations=evaluations, settings=KINDS[kind], seed=4, folder=tmp_path
        )

    first = run(20)
    assert first.stop_reason in ("max_evaluations", "generations")
    extended = run(60)
    whole = minimize(Parts(), evaluations=60, settings=KINDS[kind], seed=4)
    assert data_of(extended) == data_of(whole)
    for budget in (20, 60):
        assert run(budget) == extended
    with pytest.raises(SearchError, match="evaluations is 30, expected at least 60"):
        run(30)
    with pytest.raises(ArtifactError, match="max_evaluations was 20, is None"):
        minimize(
            Parts(),
            settings=KINDS[kind].replaced(generations=99, max_evaluations=None),
            seed=4,
            folder=tmp_path,
        )


def test_a_smaller_budget_is_refused() -> None:
    search = made(PLAIN)
    search.run()
    with pytest.raises(SearchError, match="evaluations is 59, expected at least 60"):
        search.extend(evaluations=59)
    with pytest.raises(SearchError, match="generations is 3, expected at least 200"):
        search.extend(generations=3)
    unlimited = made(PLAIN.replaced(max_evaluations=None, generations=4))
    unlimited.run()
    with pytest.raises(SearchError, match=r"evaluations is 5, expected at least \d\d"):
        unlimited.extend(evaluations=5)


def test_asking_twice_returns_what_is_still_open() -> None:
    search = made(PLAIN)
    batch = search.ask()
    assert search.ask() == batch
    search.tell([batch.genomes[3]], [1.0])
    rest = search.ask()
    assert rest.genomes == batch.genomes[:3] + batch.genomes[4:]
    search.tell(rest, [2.0] * len(rest))
    following = search.ask()
    assert following
    assert not set(following.genomes) & set(batch.genomes)


@pytest.mark.parametrize(
    ("genomes", "results", "message"),
    [
        ([(0, 0, 9)], [1.0], "gene 'gene2' is 9"),
        ([(6, 6, 6)], [1.0], "never asked for"),
        (None, [1.0], "there are 1 results, expected 8"),
        (None, {8: 1.0}, "result for index 8, expected 0 to 7"),
        (None, {0: "low"}, "is 'low', expected a number"),
        (None, {0: True}, "is True, expected a number"),
    ],
)
def test_what_cannot_be_told_is_refused_and_nothing_kept(
    genomes: Any,  # noqa: ANN401 - good or bad
    results: Any,  # noqa: ANN401
    message: str,
) -> None:
    search = made(PLAIN)
    batch = search.ask()
    with pytest.raises((SearchError, GenomeError), match=message):
        search.tell(batch if genomes is None else genomes, results)
    assert search.ask() == batch


def test_telling_twice_is_refused() -> None:
    search = made(KINDS["halving"])
    batch = search.ask()
    search.tell(batch, {0: 1.0})
    with pytest.raises(SearchError, match="was told already"):
        search.tell(batch, {0: 1.0})
    with pytest.raises(SearchError, match="was told already"):
        search.tell([batch.genomes[1]] * 2, [1.0, 1.0])
    rest = search.ask()
    search.tell(rest, rest.evaluated_by(Parts()))
    with pytest.raises(SearchError, match="was told already"):
        search.tell(batch, [1.0] * len(batch))


def test_failures_are_told_as_such_and_the_search_goes_on() -> None:
    search = made(PLAIN)
    failures = [None, math.nan, math.inf, -math.inf, Evaluation(None, "failed")]
    told = 0
    while batch := search.ask():
        results = [
            failures[(told + i) % 5] if i % 2 else float(sum(genome))
            for i, genome in enumerate(batch)
        ]
        told += len(batch)
        search.tell(batch, results)
    result = search.result
    rows = result.evaluations.to_pylist()
    assert result.counts.n_failed == sum(row["status"] == "failed" for row in rows) > 0
    assert result.counts.n_failed + result.counts.n_evaluated == told == 60
    assert all(row["duration_s"] is None for row in rows)
    assert math.isfinite(result.loss)


def test_a_search_starts_from_known_genomes() -> None:
    start = [[6, 6, 6], [1, 2, 3], (6, 6, 6)]
    search = Search([7, 7, 7], PLAIN, start=start)
    batch = search.ask()
    assert batch.genomes[:2] == ((6, 6, 6), (1, 2, 3))
    assert len(batch) == len(set(batch.genomes)) == 8
    search.tell(batch, [0.0] + [1.0] * 7)
    rows = minimize(
        lambda genome: sum(genome), [7] * 3, settings=PLAIN, start=start
    ).evaluations.to_pylist()
    assert [row["genome"] for row in rows[:2]] == start[:2]
    assert {row["origin"] for row in rows[:8]} == {"init"}
    with pytest.raises(GenomeError, match="gene 'gene1' is 7"):
        Search([7, 7, 7], PLAIN, start=[(0, 7, 0)])
    with pytest.raises(ConfigError, match="9 start genomes, expected at most the population, 8"):
        Search([7] * 3, PLAIN, start=[(i % 7, i // 7, 0) for i in range(9)])


def test_callbacks_see_every_generation_and_may_interrupt(tmp_path: Path) -> None:
    seen: list[Mapping[str, Any]] = []

    def watch(row: Mapping[str, Any], incumbent: Any) -> bool:  # noqa: ANN401 - a finalist
        seen.append(row)
        assert incumbent.loss == row["best_loss"]
        return len(seen) == 2

    first = minimize(Parts(), settings=PLAIN, seed=4, folder=tmp_path, callbacks=[watch])
    assert (first.stop_reason, first.n_generations) == ("interrupted", 2)
    whole = minimize(Parts(), settings=PLAIN, seed=4, folder=tmp_path, callbacks=[watch])
    assert data_of(whole) == unbroken("plain", 60)
    assert [row["generation"] for row in seen] == list(range(whole.n_generations))
    search = Search(Parts(), PLAIN, seed=4, callbacks=[lambda row, _: row["generation"] == 1])
    assert search.run().stop_reason == "interrupted"
    assert not search.ask()
    search.extend()
    assert data_of(search.run()) == unbroken("plain", 60)


def test_a_function_of_a_list_is_minimized(tmp_path: Path) -> None:
    def loss(genome: list[int]) -> float | None:
        assert isinstance(genome, list)
        return None if genome[0] == 3 else float(sum((gene - 2) ** 2 for gene in genome))

    settings = SearchSettings(surrogate=SurrogateSettings(kind="none"))
    best = minimize(loss, [8] * 5, evaluations=300, settings=settings, folder=tmp_path)
    assert (best.genome, best.loss) == ([2] * 5, 0.0)
    assert best.counts.n_evaluated + best.counts.n_failed == 300
    assert best.generations.num_rows == best.n_generations
    assert best.evaluations.to_pandas()["evaluated_loss"].min() == 0.0
    again = minimize(
        lambda _: pytest.fail("it is known"),
        [8] * 5,
        evaluations=300,
        settings=settings,
        folder=tmp_path,
    )
    assert data_of(again) == data_of(best)


def test_a_function_that_raises_costs_no_evaluation_that_it_returned(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def breaks(genome: list[int]) -> float:
        asked.append(genome)
        if len(asked) == 20:
            raise OSError("gone")
        return float(sum(genome))

    with pytest.raises(OSError, match="gone"):
        minimize(breaks, [7] * 3, settings=PLAIN, folder=tmp_path)
    minimize(breaks, [7] * 3, settings=PLAIN, folder=tmp_path)
    assert len(asked) == 61
    assert asked[19] == asked[20]
    assert len({tuple(genome) for genome in asked}) == 60


def test_a_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    minimize(sum, [7] * 3, settings=PLAIN, folder=tmp_path, fingerprint="first")
    for change, message in (
        ({"seed": 1}, "seed was 0, is 1"),
        ({"fingerprint": "second"}, "problem was 'first', is 'second'"),
        ({"settings": PLAIN.replaced(elites=1)}, r"settings\.elites was 2, is 1"),
        ({"start": [(0, 0, 0)]}, "start was None"),
    ):
        options = {"settings": PLAIN, "fingerprint": "first"} | change
        with pytest.raises(ArtifactError, match=message):
            minimize(sum, [7] * 3, folder=tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="evaluations is 50, expected at least 60"):
        minimize(sum, [7] * 3, evaluations=50, settings=PLAIN, folder=tmp_path, fingerprint="first")
    (tmp_path / "state.json").unlink()
    with pytest.raises(
        ArtifactError, match=r"state\.journal exists, but the state file beside it is missing"
    ):
        minimize(sum, [7] * 3, settings=PLAIN, folder=tmp_path, fingerprint="first")


@pytest.mark.parametrize("options", ["abc", [3, 2.5], [True, 2]])
def test_a_number_of_options_is_an_integer(options: object) -> None:
    with pytest.raises(GenomeError, match=r"gene \d has .* options, expected an integer"):
        minimize(lambda genome: 0.0, options)  # type: ignore[arg-type]  # what is tested


def test_mistakes_in_a_call_are_named() -> None:
    with pytest.raises(ConfigError, match="a function needs a space"):
        minimize(sum, evaluations=10)
    with pytest.raises(ConfigError, match="has a space of its own"):
        minimize(Parts(), [7] * 3, evaluations=10)
    with pytest.raises(SearchError, match="nothing to evaluate genomes with"):
        Search([7] * 3).run()


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None, True])
def test_a_seed_is_an_integer_from_0(tmp_path: Path, seed: Any) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match=f"seed is {seed!r}, expected an integer from 0"):
        minimize(lambda genome: float(sum(genome)), [3] * 4, seed=seed, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_space_that_is_no_sequence_is_refused() -> None:
    with pytest.raises(GenomeError, match="the space is 8, expected the number of options"):
        minimize(lambda genome: float(sum(genome)), cast(Any, 8))


def test_a_lost_part_of_a_table_is_named(tmp_path: Path) -> None:
    result = minimize(lambda g: float(sum(g)), [5] * 6, evaluations=90, folder=tmp_path)
    part = tmp_path / "evaluations" / "part-00000.parquet"
    part.unlink()
    with pytest.raises(ArtifactError, match=r"part-00000\.parquet is missing"):
        _ = result.evaluations


def test_the_state_is_of_constant_size(tmp_path: Path) -> None:
    sizes = []

    def look(row: Mapping[str, Any], _: object) -> None:
        if row["generation"] > 3:
            sizes.append((tmp_path / "state.json").stat().st_size)

    settings = PLAIN.replaced(population=20, max_evaluations=None, generations=60)
    minimize(sum, [50] * 8, settings=settings, folder=tmp_path, callbacks=[look])
    assert max(sizes) < 1.1 * min(sizes)


def test_a_batch_is_false_when_it_is_empty() -> None:
    assert not Batch()
    assert list(Batch(((1, 2),))) == [(1, 2)]


def test_importing_the_search_loads_no_heavy_library() -> None:
    script = (
        "import sys, search; from search import Search, minimize, SearchSettings; "
        "heavy = {'torch', 'transformers', 'prefect', 'optuna', 'sklearn', 'datasets'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import search

    assert sorted(search.__all__) == search.__all__
    for name in search.__all__:
        assert getattr(search, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = search.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("folder", ["", "  "])
def test_a_folder_without_a_name_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match=f"folder is {folder!r}, expected the path of a folder"):
        minimize(sum, [7] * 3, settings=PLAIN, folder=folder)
    with pytest.raises(ConfigError, match="write folder="):
        Search([7] * 3, PLAIN, folder=folder)

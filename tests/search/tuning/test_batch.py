"""Trials in batches: the same study on any engine."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from table_problem import TableProblem

from clso.engine import Engine, Shared, open_engine
from clso.errors import WorkError
from search.settings import Budget, SearchSettings, SurrogateSettings
from search.tuning import Choices, Params, Range, SearchSpace, TuningSettings, open_tuning
from search.validated import Halves

SPACE = SearchSpace(
    {
        "population": Range(4, 8),
        "mutation_rate": Range(0.02, 0.5, log=True),
        "table.seed": Choices((1, 2)),
    },
    SearchSettings(population=6, elites=1, surrogate=SurrogateSettings(kind="none")),
)


def settings(**values: Any) -> TuningSettings:  # noqa: ANN401 - any setting
    return TuningSettings(family="table", seeds=(0, 1), budget=Budget(evaluations=16), **values)


def of_library(library: Params) -> Halves:
    first = int(library.get("table.seed", 1))
    return Halves(*(TableProblem([5] * 6, interaction=0.5, seed=first + step) for step in range(2)))


class BackwardEngine:
    """Does the last task first, each with copies of all that it needs."""

    def map(
        self,
        task: Callable[[Any, Any], Any],
        shared: Shared[Any],
        arguments: Sequence[Any],
        *,
        expected_s: float = 0.0,
    ) -> Iterator[tuple[int, Any]]:
        for index in reversed(range(len(arguments))):
            parts = pickle.loads(pickle.dumps((task, shared.value, arguments[index])))
            yield index, pickle.loads(pickle.dumps(parts[0](*parts[1:])))


class LostEngine(BackwardEngine):
    """Loses its workers after the first batch."""

    batches = 0

    def map(self, *arguments: Any, **named: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
        self.batches += 1
        if self.batches == 2:
            raise WorkError("the scheduler is gone")
        return super().map(*arguments, **named)


def rows(
    folder: Path,
    engine: Engine | BackwardEngine | None = None,
    **told: Any,  # noqa: ANN401 - any setting
) -> list[dict[str, Any]]:
    url = f"journal:{folder}/{len(list(folder.iterdir()))}"
    with open_tuning(url, "mine", SPACE, settings(**told), of_library, engine=engine) as tuning:
        tuning.run()
        return [
            {name: value for name, value in row.items() if name not in _MEASURED}
            for row in tuning.trial_rows()
        ]


# too little work for a meter is not measured, so its source is missing now and then
_MEASURED = ("duration_s", "energy_j", "energy_source", "estimated")
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "pruner", ["hyperband", pytest.param("median", marks=SLOW), pytest.param("none", marks=SLOW)]
)
def test_a_batch_gives_the_same_study_in_any_order_of_its_trials(
    tmp_path: Path, pruner: str
) -> None:
    told = {"trials": 11, "parallel": 3, "pruner": pruner}
    here = rows(tmp_path, **told)
    assert [row["number"] for row in here] == list(range(11))
    assert rows(tmp_path, BackwardEngine(), **told) == here
    assert any(row["state"] == "pruned" for row in here) == (pruner != "none")


@pytest.mark.slow
def test_batches_of_another_size_give_another_study(tmp_path: Path) -> None:
    told = {"trials": 11, "pruner": "hyperband"}
    assert rows(tmp_path, **told, parallel=3) != rows(tmp_path, **told, parallel=4)


@pytest.mark.slow
def test_a_batch_of_one_is_the_study_without_batches(tmp_path: Path) -> None:
    told = {"trials": 9, "pruner": "hyperband"}
    assert rows(tmp_path, BackwardEngine(), **told) == rows(tmp_path, **told)


def test_trials_of_lost_workers_are_repeated_by_the_next_process(tmp_path: Path) -> None:
    told = settings(trials=7, parallel=3)
    url = f"journal:{tmp_path}/study"
    with (
        pytest.raises(WorkError, match="the scheduler is gone"),
        open_tuning(url, "mine", SPACE, told, of_library, engine=LostEngine()) as tuning,
    ):
        tuning.run()
    with open_tuning(url, "mine", SPACE, told, of_library) as tuning:
        tuning.run()
        found = tuning.trial_rows()
    assert [row["state"] for row in found].count("complete") == 7
    whole = rows(tmp_path, trials=7, parallel=3)
    done = [row["params"] for row in found if row["state"] == "complete"]
    assert done == [row["params"] for row in whole]


def test_a_failed_trial_of_a_batch_is_tried_again(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/study"
    told = settings(trials=4, parallel=2, retries=1)
    with open_tuning(url, "mine", SPACE, told, _broken, engine=BackwardEngine()) as tuning:
        tuning.run()
        found = tuning.trial_rows()
    assert {row["error"] for row in found if row["state"] == "fail"} == {"OSError: no disk"}
    assert sum(row["state"] == "complete" for row in found) >= 1


class _Broken(TableProblem):
    def evaluate(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - as the class has them
        raise OSError("no disk")


def _broken(library: Params) -> Halves:
    if library.get("table.seed") == 2:
        return Halves(*(_Broken([5] * 6, interaction=0.5, seed=seed) for seed in (1, 2)))
    return of_library(library)


@pytest.mark.slow
def test_processes_of_this_machine_give_the_same_study(tmp_path: Path) -> None:
    told = {"trials": 5, "parallel": 2, "pruner": "hyperband"}
    here = rows(tmp_path, **told)
    with open_engine("local", workers=2) as engine:
        assert rows(tmp_path, _Expecting(engine), **told) == here


class _Expecting(BackwardEngine):
    """The local engine, told that trials are worth the start of processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def map(self, *arguments: Any, **_: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
        return self._engine.map(*arguments, expected_s=60.0)

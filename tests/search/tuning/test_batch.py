"""Trials in batches: the same study on any engine."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from table_problem import TableProblem

from clso.engine import Engine, FatalTaskError, Shared, open_engine
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


class StandInEngine:
    """Does tasks here, with copies of what they need, as the workers of an engine have them.

    Args:
        backward: the last task of a batch first.
        ends_in: the batch that is interrupted in its second task.

    Attributes:
        n_ended: of each trial that was judged, how many trials it could be compared with.
    """

    def __init__(self, *, backward: bool = False, ends_in: int | None = None) -> None:
        self._backward, self._ends_in = backward, ends_in
        self._n_batches = 0
        self.n_ended: list[int] = []

    def map(
        self,
        task: Callable[[Any, Any], Any],
        shared: Shared[Any],
        arguments: Sequence[Any],
        *,
        expected_s: float = 0.0,
    ) -> Iterator[tuple[int, Any]]:
        self._n_batches += 1
        order = list(enumerate(arguments))
        for index, argument in reversed(order) if self._backward else order:
            self._begin(index, argument)
            own, value, told = pickle.loads(pickle.dumps((task, shared.value, argument)))
            yield index, pickle.loads(pickle.dumps(own(value, told)))

    def _begin(self, index: int, argument: Any) -> None:  # noqa: ANN401 - of any task
        if index == 1 and self._n_batches == self._ends_in:
            raise KeyboardInterrupt
        if argument.outcome is None:
            self.n_ended.append(len(argument.ended))


class FatalEngine(StandInEngine):
    """Has workers that large populations end."""

    def _begin(self, index: int, argument: Any) -> None:  # noqa: ANN401 - of any task
        if argument.params["population"] > 6:
            error = FatalTaskError("a task ended its process 4 times")
            error.index = index
            raise error


def rows(
    folder: Path,
    engine: Engine | StandInEngine | None = None,
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
    assert rows(tmp_path, StandInEngine(backward=True), **told) == here
    assert any(row["state"] == "pruned" for row in here) == (pruner != "none")


@pytest.mark.slow
def test_batches_of_another_size_give_another_study(tmp_path: Path) -> None:
    told = {"trials": 11, "pruner": "hyperband"}
    assert rows(tmp_path, **told, parallel=3) != rows(tmp_path, **told, parallel=4)


@pytest.mark.slow
def test_a_batch_of_one_is_the_study_without_batches(tmp_path: Path) -> None:
    told = {"trials": 9, "pruner": "hyperband"}
    assert rows(tmp_path, StandInEngine(backward=True), **told) == rows(tmp_path, **told)


def outcomes(url: str, engine: StandInEngine) -> list[tuple[Any, ...]]:
    """Return what trials of a study have come to that draws by TPE from trial 12 on."""
    told = TuningSettings(
        family="table", seeds=(0,), budget=Budget(evaluations=10), trials=14, parallel=3
    )
    with open_tuning(url, "mine", SPACE, told, of_library, engine=engine) as tuning:
        tuning.run()
        return [
            (row["params"], row["loss"]) for row in tuning.trial_rows() if row["state"] != "fail"
        ]


@pytest.mark.parametrize("backward", [False, True])
def test_a_study_that_is_interrupted_in_a_batch_goes_on_as_if_it_had_not_been(
    tmp_path: Path, backward: bool
) -> None:
    whole = StandInEngine()
    expected = outcomes(f"journal:{tmp_path}/whole", whole)
    assert whole.n_ended == [0] * 3 + [3] * 3 + [6] * 3 + [9] * 3 + [12] * 2
    url = f"journal:{tmp_path}/broken"
    broken, rest = StandInEngine(backward=backward, ends_in=4), StandInEngine()
    with pytest.raises(KeyboardInterrupt):
        outcomes(url, broken)
    assert outcomes(url, rest) == expected
    # the trial of the broken batch that had come back is not judged again
    assert broken.n_ended + rest.n_ended == whole.n_ended


def test_a_trial_that_ends_its_workers_fails_and_the_others_go_on(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/study"
    told = settings(trials=6, parallel=2, retries=1)
    with open_tuning(url, "mine", SPACE, told, of_library, engine=FatalEngine()) as tuning:
        tuning.run()
        found = tuning.trial_rows()
    fatal = [row for row in found if row["params"]["population"] > 6]
    assert fatal
    assert {row["state"] for row in fatal} == {"fail"}
    of_its_own = [row for row in fatal if row["error"] is not None]
    assert {row["error"] for row in of_its_own} == {"WorkError: a task ended its process 4 times"}
    assert len(of_its_own) == 2 * len({row["params"]["mutation_rate"] for row in fatal})
    complete = {row["params"]["mutation_rate"] for row in found if row["state"] == "complete"}
    assert len(complete) + len(of_its_own) // 2 == 6


def test_a_failed_trial_of_a_batch_is_tried_again(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/study"
    told = settings(trials=4, parallel=2, retries=1)
    with open_tuning(
        url, "mine", SPACE, told, _broken, engine=StandInEngine(backward=True)
    ) as tuning:
        tuning.run()
        found = tuning.trial_rows()
    failed = [row for row in found if row["state"] == "fail"]
    assert {row["error"] for row in failed} == {"OSError: no disk"}
    first = [row["number"] for row in failed if row["retry_of"] is None]
    assert first
    assert [row["retry_of"] for row in failed if row["retry_of"] is not None] == first
    assert sum(row["state"] == "complete" for row in found) == 4 - len(first)


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


class _Expecting(StandInEngine):
    """The local engine, told that trials are worth the start of processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def map(self, *arguments: Any, **_: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
        return self._engine.map(*arguments, expected_s=60.0)

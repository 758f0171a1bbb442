import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import create_trial
from table_problem import TableProblem

from clso.energy import DeviceEnergy, Measurement
from clso.errors import ArtifactError, ConfigError, WorkError
from clso.genome import Genome
from clso.problem import Evaluation
from search.settings import Budget, SearchSettings
from search.tuning import (
    Choices,
    Params,
    Range,
    SearchSpace,
    Tuning,
    TuningSettings,
    open_tuning,
)
from search.tuning.results import SingleObjective
from search.tuning.storage import StudyStorage
from search.validated import Halves

SPACE = SearchSpace(
    {
        "population": Range(4, 8),
        "mutation_rate": Range(0.02, 0.5, log=True),
        "surrogate.kind": Choices(("ridge", "none")),
        "surrogate.start": Range(1, 2),
    },
    SearchSettings(population=6, elites=1),
)


def halves(_: Params | None = None) -> Halves:
    tables = (TableProblem([5] * 6, interaction=0.5, seed=seed) for seed in (1, 2))
    return Halves(*tables)


def settings(**values: Any) -> TuningSettings:  # noqa: ANN401 - any setting
    defaults = {"family": "table", "trials": 4, "seeds": (0, 1), "budget": Budget(evaluations=16)}
    return TuningSettings(**(defaults | values))


@contextlib.contextmanager
def opened(
    folder: Path,
    told: TuningSettings | None = None,
    space: SearchSpace = SPACE,
    problems: Callable[[Params], Halves] = halves,
    **options: Any,  # noqa: ANN401 - as open_tuning has them
) -> Iterator[Tuning]:
    url = f"sqlite:///{folder / 'study.db'}"
    with open_tuning(url, "mine", space, told or settings(), problems, **options) as tuning:
        yield tuning


def ran(folder: Path, told: TuningSettings | None = None) -> list[dict[str, Any]]:
    with opened(folder, told) as tuning:
        tuning.run()
        return without_clock(tuning.trial_rows())


def without_clock(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key != "duration_s"} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    ran(folder)
    return folder


def test_a_study_repeats_begins_with_the_runs_own_search_and_ends_at_its_trials(
    tmp_path: Path, finished: Path
) -> None:
    rows = ran(tmp_path)
    assert len(rows) == 4
    assert rows == ran(finished)  # which finds all done
    assert rows[0]["params"]["population"] == 6
    assert rows[0]["params"]["mutation_rate"] == 0.08
    for row in rows:
        assert row["loss"] == pytest.approx(sum(row["seed_losses"]) / 2)
        assert row["evaluations"] == 2 * 16
    assert [row["is_best"] for row in rows].count(True) == 1


def test_more_trials_may_be_asked_for_later(tmp_path: Path, finished: Path) -> None:
    assert ran(tmp_path, settings(trials=2)) == ran(tmp_path, settings(trials=1))
    assert ran(tmp_path) == ran(finished)


def test_an_interrupted_study_goes_on_as_if_it_had_not_been(tmp_path: Path, finished: Path) -> None:
    calls = count()

    def interrupted(library: Params) -> Halves:
        if next(calls) == 3:  # the first asks for the study's own
            raise KeyboardInterrupt
        return halves(library)

    with pytest.raises(KeyboardInterrupt), opened(tmp_path, problems=interrupted) as tuning:
        tuning.run()
    rows = ran(tmp_path)
    assert [row["state"] for row in rows] == ["complete"] * 2 + ["fail"] + ["complete"] * 2
    assert rows[3]["retry_of"] == 2
    done = [row for row in rows if row["state"] == "complete"]
    assert [row["params"] for row in done] == [row["params"] for row in ran(finished)]
    assert [row["loss"] for row in done] == [row["loss"] for row in ran(finished)]
    assert all(row["error"] is None for row in done)


def test_a_failed_trial_is_tried_again_so_often_and_then_another_takes_its_turn(
    tmp_path: Path,
) -> None:
    calls = count()

    def broken(library: Params) -> Halves:
        if next(calls) in (2, 3):
            raise OSError("the disk is full")
        return halves(library)

    with opened(tmp_path, settings(trials=3, retries=1), problems=broken) as tuning:
        tuning.run()
        rows = tuning.trial_rows()
    assert [row["state"] for row in rows] == ["complete", "fail", "fail", "complete"]
    assert rows[1]["params"] == rows[2]["params"] != rows[3]["params"]
    assert rows[2]["error"] == "OSError: the disk is full"
    assert rows[2]["retry_of"] == 1


class Hopeless(TableProblem):
    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        return [Evaluation(None, "failed") for _ in genomes]


def test_a_study_of_failures_ends_and_says_why(tmp_path: Path) -> None:
    def hopeless(_: Params) -> Halves:
        return Halves(*(Hopeless([5] * 4, interaction=0.0, seed=seed) for seed in (1, 2)))

    told = settings(trials=2, retries=0)
    with (
        opened(tmp_path, told, problems=hopeless) as tuning,
        pytest.raises(WorkError, match="no genome of seed 0 has a finite loss"),
    ):
        tuning.run()


@pytest.mark.slow
def test_a_killed_process_leaves_a_trial_that_the_next_one_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = dedent(
        f"""
        import os, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
        from test_study import Path, halves, opened
        calls = iter(range(9))
        def killed(library):
            if next(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return halves(library)
        with opened(Path({str(tmp_path)!r}), problems=killed, heartbeat_s=1) as tuning:
            tuning.run()
        """
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    monkeypatch.setattr(StudyStorage, "grace", 2)
    with opened(tmp_path, heartbeat_s=1) as tuning:
        assert [one.state.name for one in tuning.study.trials] == ["COMPLETE", "RUNNING"]
        tuning.run()
        rows = tuning.trial_rows()
    repeated = [row for row in rows if row["retry_of"] == 1]
    assert [row["state"] for row in rows if row["number"] == 1] == ["fail"]
    assert [row["params"] for row in repeated] == [rows[1]["params"]]
    assert sum(row["state"] == "complete" for row in rows) == 4


@pytest.mark.parametrize(
    ("told", "space", "difference"),
    [
        (settings(seeds=(0, 1, 2)), SPACE, "seeds"),
        (settings(budget=Budget(evaluations=17)), SPACE, "budget"),
        (settings(sampler="random"), SPACE, "sampler"),
        (settings(), SearchSpace({"population": Range(4, 9)}, SPACE.base), "dimensions"),
        (settings(), SearchSpace(SPACE.dimensions, SearchSettings(elites=1)), "base"),
    ],
)
def test_a_study_of_the_same_name_that_asks_for_something_else_is_refused(
    finished: Path, told: TuningSettings, space: SearchSpace, difference: str
) -> None:
    match = f"another study called 'mine': it differs in {difference}"
    with pytest.raises(ArtifactError, match=match), opened(finished, told, space):
        pass


def test_fresh_replaces_a_study(tmp_path: Path) -> None:
    ran(tmp_path, settings(trials=1))
    with opened(tmp_path, settings(seeds=(5,), trials=1), fresh=True) as tuning:
        assert [one.state.name for one in tuning.study.trials] == ["WAITING"]


def test_a_budget_below_one_population_is_refused(tmp_path: Path) -> None:
    told = settings(budget=Budget(evaluations=7))
    with pytest.raises(ConfigError, match="a population of 8"), opened(tmp_path, told):
        pass


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objectives": ("loss", "energy_j"), "pruner": "hyperband"}, "prunes nothing"),
        ({"objectives": ("energy_j",)}, "give loss"),
        ({"seeds": ()}, "tries nothing"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pruner", "seeds", "trials"),
    [
        ("hyperband", 2, 9),
        pytest.param("wilcoxon", 5, 9, marks=pytest.mark.slow),
        pytest.param("median", 2, 9, marks=pytest.mark.slow),
    ],
)
def test_pruned_trials_spend_less_and_are_not_the_best(
    tmp_path: Path, pruner: str, seeds: int, trials: int
) -> None:
    told = settings(pruner=pruner, seeds=tuple(range(seeds)), trials=trials)
    with opened(tmp_path, told) as tuning:
        tuning.run()
        rows = tuning.trial_rows()
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned
    assert len(rows) == trials
    assert all(row["evaluations"] <= seeds * 16 and row["loss"] is None for row in pruned)
    assert any(row["evaluations"] < seeds * 16 for row in pruned)
    assert not any(row["is_best"] for row in pruned)


class Joules:
    """A meter that reads more whenever it is asked."""

    device, source, estimated = "cpu", "counter", True

    def __init__(self) -> None:
        self.readings = count()

    def read_j(self) -> float:
        return float(next(self.readings))


class Costly(TableProblem):
    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        spent = Measurement(0.1, (DeviceEnergy("cpu", 0.1, "counter", estimated=True),))
        return [Evaluation(self.loss(one), "evaluated", 1, spent) for one in genomes]


def test_two_objectives_give_a_pareto_set(tmp_path: Path) -> None:
    from clso.energy import EnergyMonitor

    def costly(_: Params) -> Halves:
        return Halves(*(Costly([5] * 6, interaction=0.5, seed=seed) for seed in (1, 2)))

    told = settings(objectives=("loss", "energy_j"), trials=6)
    monitor = EnergyMonitor([Joules()])
    with opened(tmp_path, told, problems=costly, monitor=monitor) as tuning:
        tuning.run()
        rows, importances = tuning.trial_rows(), tuning.importance_rows()
        names = ["mutation_rate", "population", "surrogate.kind"]
        figures = tuning.figures(names, names)
        best = tuning.best.number
    front = [row for row in rows if row["is_best"]]
    for one in front:
        beaten = [
            row for row in rows if row["loss"] < one["loss"] and row["energy_j"] < one["energy_j"]
        ]
        assert not beaten
    assert best == min(front, key=lambda row: row["loss"])["number"]
    assert {row["objective"] for row in importances} == {"loss", "energy_j"}
    assert {"pareto", "importances", "importances-energy_j", "slice"} <= set(figures)


def test_importances_of_trials_that_tie_say_nothing() -> None:
    study = optuna.create_study()
    for number in range(10):
        distribution = {"x": FloatDistribution(0.0, 1.0)}
        value = 1.0 if number else 0.0
        study.add_trial(
            create_trial(params={"x": number / 10}, distributions=distribution, value=value)
        )
    (tied,) = SingleObjective.each(study, ["loss"])
    assert tied.importances(tied.ped_anova) == {}
    assert tied.importances(FanovaImportanceEvaluator(seed=0)) == {"x": 1.0}


def test_importances_sum_to_one_and_figures_draw(finished: Path) -> None:
    with opened(finished) as tuning:
        importances = tuning.importance_rows()
        names = [row["parameter"] for row in importances if row["evaluator"] == "ped_anova"]
        figures = tuning.figures(names, names[:1])
        assert "importances" not in tuning.figures(names, [])
    for evaluator in ("ped_anova", "fanova"):
        shares = [row["importance"] for row in importances if row["evaluator"] == evaluator]
        assert sum(shares) == pytest.approx(1.0)
    assert {"history", "importances", "slice", "parallel", "rank"} == set(figures)

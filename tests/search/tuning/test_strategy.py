"""Samplers and pruners: what a study draws, and when it ends a trial."""

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from clso.errors import ConfigError
from search.settings import Budget, SearchSettings
from search.tuning import Choices, Range, SearchSpace, TuningSettings
from search.tuning.storage import quiet_optuna, retry
from search.tuning.strategy import pruner

SPACE = SearchSpace(
    {
        "population": Range(4, 40),
        "mutation_rate": Range(0.02, 0.5, log=True),
        "surrogate.kind": Choices(("ridge", "none")),
        "surrogate.start": Range(1, 6),
        "crossover": Choices(("uniform", "two_point")),
    },
    SearchSettings(population=6, elites=1),
)


def settings(**values: Any) -> TuningSettings:  # noqa: ANN401 - any setting
    defaults = {"family": "table", "trials": 4, "seeds": (0,), "budget": Budget(evaluations=40)}
    return TuningSettings(**(defaults | values))


def loss(params: Mapping[str, Any]) -> float:
    kind = 1.0 if params["surrogate.kind"] == "none" else params["surrogate.start"] / 9
    return abs(params["population"] - 12) / 9 + params["mutation_rate"] + kind


def drawn(name: str, trials: int, *, failing: int | None = None) -> list[tuple[Any, ...]]:
    """Return the values that a study draws, in order; a failed trial is repeated at once."""
    told = settings(sampler=name)
    study = optuna.create_study(study_name="mine")
    values = []
    while len(values) < trials:
        study.sampler = told.new_sampler(SPACE, len(values))
        trial = study.ask()
        params = SPACE.suggest(trial)
        if trial.number == failing:
            retry(study, study.trials[-1], 2)
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, loss(params))
        values.append(tuple(params.items()))
    return values


SLOW_GP = pytest.param("gp", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["tpe", SLOW_GP, "cmaes", "nsgaii", "random"])
def test_a_study_with_a_failed_trial_draws_what_an_unbroken_one_draws(name: str) -> None:
    unbroken = drawn(name, 13)
    assert len(set(unbroken)) > 10
    assert drawn(name, 13, failing=6) == unbroken


def test_cmaes_learns_where_some_trials_lack_a_dimension() -> None:
    late = [dict(params)["population"] for params in drawn("cmaes", 40)[25:]]
    assert sum(abs(population - 12) < 8 for population in late) > 10


def test_the_dimensions_that_every_trial_has() -> None:
    assert SPACE.unconditional == set(SPACE.dimensions) - {"surrogate.start"}
    always = {**SPACE.dimensions, "surrogate.kind": Choices(("ridge", "mlp"))}
    assert SearchSpace(always, SPACE.base).unconditional == set(always)
    fixed = {**SPACE.dimensions, "surrogate.kind": Choices(("none",))}
    assert "surrogate.start" not in SearchSpace(fixed, SPACE.base).unconditional


@pytest.mark.parametrize("name", ["tpe", SLOW_GP, "nsgaii", "random"])
def test_two_objectives_are_drawn(name: str) -> None:
    told = settings(sampler=name, objectives=("loss", "energy_j"))
    study = optuna.create_study(directions=["minimize"] * 2)
    for number in range(12):
        study.sampler = told.new_sampler(SPACE, number)
        trial = study.ask()
        params = SPACE.suggest(trial)
        study.tell(trial, [loss(params), params["population"]])
    assert len(study.best_trials) > 1


def test_two_objectives_are_too_many_for_cmaes() -> None:
    with pytest.raises(ConfigError, match="cmaes, which has one objective"):
        settings(sampler="cmaes", objectives=("loss", "energy_j"))


def test_cmaes_without_a_range_is_refused() -> None:
    space = SearchSpace({"crossover": Choices(("uniform", "two_point"))}, SPACE.base)
    with pytest.raises(ConfigError, match="draws numbers from ranges"):
        settings(sampler="cmaes").check_space(space)
    settings().check_space(space)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": 0}, "a study of 0 trials"),
        ({"trials": -3}, "a study of -3 trials"),
        ({"retries": -1}, "retries are -1"),
        ({"pruner": "hyperband", "pruner_patience": -1}, "pruner_patience is -1"),
        ({"pruner": "wilcoxon", "pruner_patience": 2}, "does not look at a trial between"),
    ],
)
def test_numbers_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**values)


def ended_at(name: str, patience: int, curve: list[float]) -> int | None:
    """Return the step at which a trial with this curve ends, after many better trials."""
    with quiet_optuna():
        study = optuna.create_study(
            study_name="mine", pruner=pruner(name, first=1, whole=9, patience=patience)
        )
    for _ in range(12):
        better = study.ask()
        for step in range(1, 10):
            better.report(0.1, step)
            better.should_prune()
        study.tell(better, 0.1)
    trial = study.ask()
    for step, value in enumerate(curve, 1):
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


@pytest.mark.parametrize("name", ["hyperband", "median"])
def test_a_patient_pruner_lets_a_trial_go_on_while_it_improves(name: str) -> None:
    falling = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    level = [9.0] * 9
    ends = ended_at(name, 0, falling)
    assert ends is not None
    assert ended_at(name, 1, falling) is None
    stopped = ended_at(name, 1, level)
    assert stopped is not None
    assert stopped > ends


def test_patience_hides_no_rung_from_other_trials() -> None:
    with quiet_optuna():
        study = optuna.create_study(
            study_name="mine", pruner=pruner("hyperband", first=1, whole=9, patience=3)
        )
    trial = study.ask()
    for step in range(1, 10):
        trial.report(1.0 / step, step)
        assert not trial.should_prune()
    assert any(name.startswith("completed_rung") for name in study.trials[0].system_attrs)

import optuna
import pytest

from clso.errors import ConfigError
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings
from search.tuning.space import Choices, Range, SearchSpace

BASE = SearchSettings(population=10, surrogate=SurrogateSettings(kind="ridge"))
SPACE = SearchSpace(
    {
        "population": Range(8, 16, log=True),
        "mutation_rate": Range(0.01, 0.5, log=True),
        "crossover": Choices(("uniform",)),
        "surrogate.kind": Choices(("ridge", "none")),
        "surrogate.start": Range(1, 4),
        "local_search.enabled": Choices((True, False)),
        "local_search.every": Range(2, 2),
        "mixture.slots": Range(2, 5),
    },
    BASE,
)


def suggested(**fixed: object) -> dict[str, object]:
    return dict(SPACE.suggest(optuna.trial.FixedTrial(fixed)))


def test_a_trial_has_what_matters_and_no_more() -> None:
    with_all = {
        "population": 8,
        "mutation_rate": 0.1,
        "surrogate.kind": "ridge",
        "surrogate.start": 3,
        "local_search.enabled": True,
        "mixture.slots": 4,
    }
    assert suggested(**with_all) == with_all | {"crossover": "uniform", "local_search.every": 2}
    without = {**with_all, "surrogate.kind": "none", "local_search.enabled": False}
    assert set(suggested(**without)) == set(without) - {"surrogate.start"} | {"crossover"}


def test_the_condition_holds_of_the_runs_own_search_where_it_is_not_tuned() -> None:
    off = SearchSettings(
        surrogate=SurrogateSettings(kind="none"), local_search=LocalSearchSettings(enabled=False)
    )
    only = {"surrogate.start": Range(1, 4), "local_search.every": Range(1, 4)}
    study = optuna.trial.FixedTrial({name: 2 for name in only})
    assert SearchSpace(only, off).suggest(study) == {}
    assert SearchSpace(only, BASE).suggest(study) == {name: 2 for name in only}


def test_fixed_values_are_not_told_to_optuna_and_come_back() -> None:
    study = optuna.create_study()
    trial = study.ask()
    params = SPACE.suggest(trial)
    assert not {"crossover", "local_search.every"} & set(trial.params)
    assert SPACE.completed(trial.params) == params
    assert SPACE.completed({}) == {"crossover": "uniform", "local_search.every": 2}


def test_settings_are_the_runs_own_with_the_trials_values() -> None:
    settings = SPACE.settings({"population": 12, "surrogate.start": 2, "mixture.slots": 3})
    assert (settings.population, settings.surrogate.start) == (12, 2)
    assert settings.surrogate.kind == "ridge"
    assert SPACE.library({"population": 12, "mixture.slots": 3}) == {"mixture.slots": 3}


def test_a_study_begins_with_the_runs_own_values_where_it_has_them() -> None:
    own = SPACE.own_values({"mixture.slots": 9})
    assert own == {
        "population": 10,
        "mutation_rate": 0.08,
        "surrogate.kind": "ridge",
        "local_search.enabled": True,
    }  # surrogate.start 5 and 9 slots lie outside


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({"popullation": Range(8, 9)}, "no hyperparameter 'popullation'"),
        (
            {"population": Range(4, 9), "elites": Range(0, 4)},
            "elites may be 4 where population may be 4, expected at most 3",
        ),
        (
            {"population": Choices((4, 9)), "tournament_size": Choices((2, 5))},
            "tournament_size may be 5 where population may be 4",
        ),
    ],
)
def test_what_no_search_can_have_is_refused(
    dimensions: dict[str, Range | Choices], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSpace(dimensions, BASE)


@pytest.mark.parametrize(
    "make", [lambda: Range(3, 2), lambda: Range(0, 2, True), lambda: Choices(())]
)
def test_an_empty_dimension_is_refused(make) -> None:  # noqa: ANN001
    with pytest.raises(ConfigError):
        make()


def test_a_trial_has_the_same_settings_while_it_runs_and_after_it_ended() -> None:
    study = optuna.create_study()
    made = []

    def objective(trial: optuna.Trial) -> float:
        made.append(SPACE.settings_of(trial))
        return float(trial.number)

    study.optimize(objective, n_trials=5)
    assert [SPACE.settings_of(trial) for trial in study.trials] == made
    assert {settings.crossover for settings in made} == {"uniform"}

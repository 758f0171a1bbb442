from pathlib import Path

import pytest

from clso.errors import ConfigError
from pipelines.config import RunConfig, load_config
from pipelines.config.tune import TuneSettings, TuneSpace
from search.surrogates import SURROGATES


def load(tmp_path: Path, tune: str) -> TuneSettings:
    path = tmp_path / "mine.yaml"
    path.write_text(f"tune: {tune}\n")
    loaded = load_config(path).tune
    assert loaded is not None
    return loaded


def test_what_is_tuned_names_no_other_run() -> None:
    plain = RunConfig(name="run")
    assert plain.tune is None
    for tune in (TuneSettings(), TuneSettings(trials=7, seeds=9)):
        assert RunConfig(name="run", tune=tune).digest() == plain.digest()


def test_the_default_space_is_one_that_would_be_accepted_as_it_is() -> None:
    default = TuneSpace()
    again = TuneSpace.model_validate(default.model_dump())
    # == alone would not tell 8 from 8.0, and Optuna does
    assert repr(again) == repr(default)


def test_surrogates_are_all_that_the_search_has() -> None:
    dimension = TuneSpace().surrogate.kind
    assert dimension is not None
    assert dimension.choices == (*SURROGATES.names(), "none")


def test_a_dimension_is_a_range_a_list_a_value_or_left_out(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        "{space: {population: {low: 4, high: 9.0}, crossover: [uniform], mutation_rate: 1e-3, "
        "elites: null, local_search: {enabled: true, every: [1, 3]}}}",
    ).space
    assert space.population is not None
    assert (repr(space.population.low), repr(space.population.high)) == ("4", "9")
    for dimension, values in (
        (space.crossover, ("uniform",)),
        (space.mutation_rate, (0.001,)),
        (space.local_search.enabled, (True,)),
        (space.local_search.every, (1, 3)),
    ):
        assert dimension is not None
        assert dimension.choices == values
    assert space.elites is None


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ("{space: {popullation: 8}}", "tune.space.popullation: unknown key; did you mean"),
        ("{space: {population: {low: 9, high: 8}}}", "the range from 9 to 8 is empty"),
        ("{space: {population: {low: 9}}}", "a range needs both low and high"),
        ("{space: {population: {low: 1, high: 8}}}", "1: input should be greater than"),
        ("{space: {population: [8, 8.5]}}", "8.5: input should be a valid integer"),
        ("{space: {population: true}}", "true is not a value of it"),
        ("{space: {population: []}}", "at least 1 item"),
        ("{space: {elites: {low: 0, high: 3, log: true}}}", "begins above 0"),
        ("{space: {crossover: {low: 0, high: 3}}}", "it is no number"),
        ("{space: {crossover: {choices: [uniform], low: 0}}}", "a list of values has no low"),
        ("{space: {surrogate: {kind: oracle}}}", "tune.space.surrogate.kind: 'oracle'"),
        ("{space: {mutation_rate: {low: 0.1, high: 1.5}}}", "1.5: input should be less than"),
        ("{space: {slots: {low: 0, high: 8}}}", "tune.space.slots: 0: input should be greater"),
        ("{space: {shares: {block_sparse: 0}}}", "tune.space.shares: 0"),
        ("{space: {groups: [caches]}}", "tune.space.groups.0"),
        ("{budget: {}}", "tune.budget: give either evaluations or energy_j"),
        ("{budget: {evaluations: 9, energy_j: 2}}", "give either evaluations or energy_j"),
        ("{objectives: [energy_j]}", "objectives must have loss in them"),
        ("{objectives: [loss, energy_j], pruner: hyperband}", "several objectives prunes nothing"),
        ("{pruner: wilcoxon, seeds: 4}", "seeds must be at least 5"),
        ("{sampler: anneal}", "tune.sampler"),
        ("{sampler: cmaes, objectives: [loss, energy_j]}", "cmaes, which has one objective"),
        ("{pruner_patience: -1}", "tune.pruner_patience"),
        ("{pruner: none, pruner_patience: 2}", "pruner is none; leave pruner_patience out"),
        ("{check_seeds: 1}", "tune.check_seeds"),
    ],
)
def test_a_mistake_is_named_where_it_is(tmp_path: Path, tune: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, tune)
    assert message in str(caught.value)

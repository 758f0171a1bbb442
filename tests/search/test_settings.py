from typing import Any

import pytest

from clso.config.schema import SearchConfig
from clso.errors import ConfigError
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings


def test_settings_are_the_configuration_field_by_field() -> None:
    dumped = SearchConfig().model_dump()
    assert SearchSettings.from_mapping(dumped) == SearchSettings()
    assert SearchSettings().to_mapping() == dumped


def test_nested_values_survive_the_round_trip() -> None:
    config = SearchConfig.model_validate(
        {"population": 16, "surrogate": {"start": 2}, "local_search": {"enabled": False}}
    )
    settings = SearchSettings.from_mapping(config.model_dump())
    assert settings.surrogate.start == 2
    assert not settings.local_search.enabled
    assert SearchSettings.from_mapping(settings.to_mapping()) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"population": 1}, "population is 1, expected at least 2"),
        ({"generations": 0}, "generations is 0"),
        ({"population": 4, "elites": 4, "tournament_size": 2}, "elites is 4, expected 0 to 3"),
        ({"population": 4, "tournament_size": 5}, "tournament_size is 5, expected at most"),
        ({"mutation_rate": 1.5}, "mutation_rate is 1.5, expected 0 to 1"),
        ({"crossover": "three_point"}, "crossover is 'three_point'"),
        ({"patience": 0}, "patience is 0"),
        ({"max_evaluations": 0}, "max_evaluations is 0"),
        ({"min_delta": -1.0}, "min_delta is -1.0"),
        ({"surrogate": {"kind": "oracle"}}, "surrogate.kind is 'oracle'"),
        ({"surrogate": {"start": 0}}, "surrogate.start is 0"),
        ({"surrogate": {"full_eval_fraction": 0.0}}, "full_eval_fraction is 0.0"),
        ({"surrogate": {"random_fraction": 0.05}}, "random_fraction is 0.05"),
        ({"surrogate": {"pool_factor": 0.5}}, "pool_factor is 0.5"),
        ({"surrogate": {"optimism": -0.5}}, "optimism is -0.5"),
        ({"surrogate": {"min_correlation": 1.5}}, "min_correlation is 1.5, expected 0 to 1"),
        (
            {"surrogate": {"acquisition": "luck"}},
            "surrogate.acquisition is 'luck', expected one of mean, lower_confidence_bound",
        ),
        ({"local_search": {"every": 0}}, "local_search.every is 0"),
        ({"local_search": {"neighbours": 0}}, "local_search.neighbours is 0"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSettings.from_mapping(values)


def test_local_search_comes_after_every_so_many_generations() -> None:
    every_third = LocalSearchSettings(every=3)
    assert [g for g in range(9) if every_third.due(g)] == [2, 5, 8]
    assert not LocalSearchSettings(enabled=False).due(0)


def test_defaults_are_the_write_ups() -> None:
    assert SurrogateSettings().start == 5
    assert SurrogateSettings().full_eval_fraction == 0.2
    assert SurrogateSettings().optimism == 0.0
    assert SurrogateSettings().acquisition == "lower_confidence_bound"

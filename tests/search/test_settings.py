from typing import Any

import numpy as np
import pytest

from clso.errors import ConfigError
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"population": 1}, r"population: .*equal to 2 \(given 1\)"),
        ({"generations": 0}, r"generations: .*equal to 1 \(given 0\)"),
        ({"population": 4, "elites": 4, "tournament_size": 2}, "elites 4 must be fewer than"),
        ({"population": 4, "tournament_size": 5}, "tournament_size 5 exceeds population 4"),
        ({"mutation_rate": 1.5}, r"mutation_rate: .*less than or equal to 1 \(given 1.5\)"),
        ({"crossover": "three_point"}, "crossover: .*'uniform' or 'two_point'.*'three_point'"),
        ({"patience": 0}, r"patience: .*\(given 0\)"),
        ({"max_evaluations": 0}, r"max_evaluations: .*\(given 0\)"),
        ({"min_delta": -1.0}, r"min_delta: .*equal to 0 \(given -1.0\)"),
        (
            {"surrogate": {"kind": "oracle"}},
            r"surrogate.kind: .*, ridge.* or none.*\(given 'oracle'\)",
        ),
        ({"surrogate": {"start": 0}}, r"surrogate.start: .*\(given 0\)"),
        ({"surrogate": {"full_eval_fraction": 0.0}}, r"full_eval_fraction: .*than 0 \(given 0.0"),
        ({"surrogate": {"random_fraction": 0.05}}, r"random_fraction: .* to 0.1 \(given 0.05"),
        ({"surrogate": {"pool_factor": 0.5}}, r"pool_factor: .*\(given 0.5\)"),
        ({"surrogate": {"optimism": -0.5}}, r"optimism: .*\(given -0.5\)"),
        ({"surrogate": {"min_correlation": 1.5}}, r"min_correlation: .* to 1 \(given 1.5\)"),
        ({"surrogate": {"acquisition": "luck"}}, r"acquisition: .*'mean'.*\(given 'luck'\)"),
        ({"local_search": {"every": 0}}, r"local_search.every: .*\(given 0\)"),
        ({"local_search": {"neighbours": 0}}, r"local_search.neighbours: .*\(given 0\)"),
        ({"popullation": 8}, "popullation: unknown key; did you mean 'population'"),
        ({"population": True}, "population is true, expected another value"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSettings(**values)
    with pytest.raises(ConfigError, match=message):
        SearchSettings().replaced(**values)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"SearchSettings: population: .*; elites: .*"):
        SearchSettings(population=1, elites=-1)
    with pytest.raises(ConfigError, match=r"SurrogateSettings: start: "):
        SurrogateSettings(start=0)


def test_numbers_of_numpy_are_taken_as_they_are() -> None:
    settings = SearchSettings(mutation_rate=np.float64(0.25))
    assert settings == SearchSettings(mutation_rate=0.25)


def test_settings_are_plain_values_and_back() -> None:
    settings = SearchSettings(population=16, surrogate=SurrogateSettings(kind="auto"))
    assert SearchSettings(**settings.model_dump(mode="json")) == settings
    assert settings.replaced() == settings
    assert settings.lasting(7).max_evaluations == 7


def test_local_search_comes_after_every_so_many_generations() -> None:
    every_third = LocalSearchSettings(every=3)
    assert [g for g in range(9) if every_third.due(g)] == [2, 5, 8]
    assert not LocalSearchSettings(enabled=False).due(0)


def test_defaults_are_the_write_ups() -> None:
    assert SurrogateSettings().start == 5
    assert SurrogateSettings().full_eval_fraction == 0.2
    assert SurrogateSettings().optimism == 0.0
    assert SurrogateSettings().acquisition == "lower_confidence_bound"

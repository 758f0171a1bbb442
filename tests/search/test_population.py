from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_problem import TableProblem

from clso.errors import ConfigError
from search.records import MemorySink
from search.run import run_search
from search.settings import (
    AdaptivePopulationSettings,
    LocalSearchSettings,
    SearchSettings,
    SurrogateSettings,
)

RULE = AdaptivePopulationSettings(enabled=True, min=4, max=20, shrink=0.5, grow=1.5, patience=2)
SMALL = SearchSettings(
    population=12,
    generations=25,
    mutation_rate=0.15,
    surrogate=SurrogateSettings(kind="none"),
    adaptive_population=RULE,
)


def search(asked: SearchSettings, **options: Path) -> tuple[list[dict[str, Any]], ...]:
    sink = MemorySink()
    problem = TableProblem((9,) * 4, interaction=0.4, seed=3)
    run_search(problem, asked, seed=2, family="gpt", run_id="run", sink=sink, **options)
    return sink.rows("evaluations"), sink.rows("generations")


@given(
    low=st.integers(2, 30),
    wide=st.integers(0, 60),
    start=st.floats(0, 1),
    shrink=st.floats(0.05, 1.0),
    grow=st.floats(1.0, 4.0),
    patience=st.integers(1, 5),
    improved=st.lists(st.booleans(), max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_the_population_stays_within_its_bounds(
    low: int,
    wide: int,
    start: float,
    shrink: float,
    grow: float,
    patience: int,
    improved: list[bool],
) -> None:
    rule = AdaptivePopulationSettings(
        enabled=True, min=low, max=low + wide, shrink=shrink, grow=grow, patience=patience
    )
    population, stale = low + int(start * wide), 0
    for generation, better in enumerate(improved, 1):
        stale = 0 if better else stale + 1
        after = rule.next_population(population, generation=generation, stale=stale)
        assert low <= after <= low + wide
        if better:
            assert after <= population
        elif stale % patience:
            assert after == population
        else:
            assert after >= population
        population = after


def test_factors_are_applied_as_written() -> None:
    ten = RULE.replaced(max=100, grow=1.1)
    assert ten.next_population(10, generation=4, stale=2) == 11
    assert ten.replaced(shrink=0.7).next_population(10, generation=4, stale=0) == 7
    assert ten.next_population(10, generation=0, stale=0) == 10
    assert AdaptivePopulationSettings().next_population(10, generation=3, stale=0) == 10


def test_generations_have_the_places_that_their_rows_say() -> None:
    rows, generations = search(SMALL.replaced(local_search=LocalSearchSettings(enabled=False)))
    held = Counter(row["generation"] for row in rows)
    sizes = [row["population"] for row in generations]
    assert sizes == [held[row["generation"]] for row in generations]
    assert sizes[:2] == [12, 12]
    assert min(sizes) >= 4
    assert max(sizes) <= 20
    assert len(set(sizes)) > 3


def test_progress_shrinks_it_and_stagnation_lets_it_grow() -> None:
    _, generations = search(SMALL)
    shrunk = grown = 0
    for (before, row), after in zip(pairwise(generations), generations[2:], strict=False):
        improved = row["best_loss"] < before["best_loss"]
        shrunk += after["population"] < row["population"]
        grown += after["population"] > row["population"]
        assert not (improved and after["population"] > row["population"])
        assert improved or after["population"] >= row["population"]
    assert shrunk
    assert grown


def test_without_it_every_generation_has_the_population_asked_for() -> None:
    plain = SMALL.replaced(adaptive_population=AdaptivePopulationSettings())
    assert {row["population"] for row in search(plain)[1]} == {12}


def test_the_places_of_the_next_generation_are_in_the_state(tmp_path: Path) -> None:
    state_path = tmp_path / "state.json"
    search(SMALL.replaced(generations=9), state_path=state_path)
    saved = json.loads(state_path.read_text())["population"]
    assert saved == search(SMALL.replaced(generations=10))[1][-1]["population"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"adaptive_population": {"min": 1}},
            r"min: .* equal to 2 \(given 1\)",
        ),
        (
            {"adaptive_population": {"min": 9, "max": 8}},
            r"adaptive_population: max 8 is below min 9",
        ),
        (
            {"adaptive_population": {"shrink": 0.0}},
            r"shrink: .* than 0 \(given 0.0\)",
        ),
        (
            {"adaptive_population": {"grow": 0.5}},
            r"grow: .* equal to 1 \(given 0.5\)",
        ),
        (
            {"adaptive_population": {"patience": 0}},
            r"patience: .* equal to 1 \(given 0\)",
        ),
        (
            {"adaptive_population": {"enabled": True}, "population": 65},
            r"population 65 must be within .*min 8 and max 64",
        ),
        (
            {"adaptive_population": {"enabled": True}, "elites": 8},
            r"min 8 must exceed elites 8",
        ),
        ({"fidelity": {"kind": "oracle"}}, r"kind: .*'racing' \(given 'oracle'\)"),
        ({"fidelity": {"eta": 1.0}}, r"eta: .* greater than 1 \(given 1.0\)"),
        ({"fidelity": {"alpha": 0.5}}, r"alpha: .* less than 0.5 \(given 0.5\)"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSettings(**values)

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_search import SMALL, Watched, data_of, search

from clso.errors import ArtifactError
from clso.genome import Genome
from search.records import MemorySink


class Killed(Exception):
    """Stands for the end of the process."""


class Fragile(MemorySink):
    """Dies while it writes one table of one generation, before or after the write."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at: tuple[str, int, bool] | None = None

    def append(self, table: str, part: int, rows: Iterable[Mapping[str, Any]]) -> None:
        after = self.dies_at == (table, part, True)
        if self.dies_at == (table, part, False):
            raise Killed
        super().append(table, part, rows)
        if after:
            raise Killed


@pytest.mark.parametrize("kind", ["random_forest", "mlp"])
def test_a_search_killed_in_every_generation_equals_an_unbroken_one(
    kind: Any,  # noqa: ANN401 - a literal
    tmp_path: Path,
) -> None:
    settings = SMALL.replaced(
        generations=5, surrogate=SMALL.surrogate.replaced(kind=kind, pool_factor=1.5)
    )
    fails: Callable[[Genome], bool] = lambda genome: genome[1] == 2  # noqa: E731
    whole, rows, generations = search(Watched(fails=fails), settings, surrogate=None)
    sink, state_path = Fragile(), tmp_path / "state.json"
    for part in range(5):
        for table in ("evaluations", "generations"):
            for after in (False, True):
                sink.dies_at = (table, part, after)
                with pytest.raises(Killed):
                    search(
                        Watched(fails=fails),
                        settings,
                        sink=sink,
                        state_path=state_path,
                        surrogate=None,
                    )
        sink.dies_at = ("evaluations", part + 1, False)
        if part < 4:
            with pytest.raises(Killed):
                search(
                    Watched(fails=fails), settings, sink=sink, state_path=state_path, surrogate=None
                )
    sink.dies_at = None
    resumed, resumed_rows, resumed_generations = search(
        Watched(fails=fails), settings, sink=sink, state_path=state_path, surrogate=None
    )
    assert data_of(resumed_rows, "evaluations").equals(data_of(rows, "evaluations"))
    assert data_of(resumed_generations, "generations").equals(data_of(generations, "generations"))
    assert replace(resumed, surrogate_cost=None) == replace(whole, surrogate_cost=None)


def test_a_finished_search_is_read_back_without_evaluating(tmp_path: Path) -> None:
    state_path = tmp_path / "state.json"
    first, _, _ = search(Watched(), state_path=state_path)
    problem = Watched()
    again, rows, _ = search(problem, state_path=state_path)
    assert again == first
    assert not problem.seen
    assert not rows


def test_should_stop_ends_between_generations_and_the_search_goes_on_later(tmp_path: Path) -> None:
    whole, rows, _ = search(Watched())
    sink, state_path = MemorySink(), tmp_path / "state.json"
    answers = iter([False, False, True])
    stopped, _, _ = search(
        Watched(), sink=sink, state_path=state_path, should_stop=lambda: next(answers)
    )
    assert (stopped.stop_reason, stopped.n_generations) == ("interrupted", 2)
    resumed, resumed_rows, _ = search(Watched(), sink=sink, state_path=state_path)
    assert resumed_rows == rows
    assert replace(resumed, surrogate_cost=None) == replace(whole, surrogate_cost=None)


def test_the_state_of_another_search_is_refused_with_what_differs(tmp_path: Path) -> None:
    state_path = tmp_path / "state.json"
    search(Watched(), state_path=state_path)
    with pytest.raises(ArtifactError, match=r"settings\.surrogate\.start was 2, is 3"):
        search(
            Watched(),
            SMALL.replaced(surrogate=SMALL.surrogate.replaced(start=3)),
            state_path=state_path,
        )
    with pytest.raises(ArtifactError, match="seed was 1, is 5"):
        search(Watched(), state_path=state_path, seed=5)
    other = Watched()
    other.fingerprint = "another"
    with pytest.raises(ArtifactError, match=r"problem was 'table.*', is 'another'"):
        search(other, state_path=state_path)


def test_the_state_of_a_search_by_other_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_path = tmp_path / "state.json"
    search(Watched(), state_path=state_path)
    monkeypatch.setattr("search.loop.SEARCH_VERSION", 99)
    with pytest.raises(ArtifactError, match=r"version was \d+, is 99"):
        search(Watched(), state_path=state_path)


def test_what_auto_picks_stands_in_the_records_and_survives_a_resumed_run(tmp_path: Path) -> None:
    settings = SMALL.replaced(surrogate=SMALL.surrogate.replaced(kind="auto"), generations=5)
    _, rows, generations = search(Watched(), settings, surrogate=None)
    assert any(row["surrogate"] for row in generations)
    sink, state_path = MemorySink(), tmp_path / "state.json"
    for stop in (3, 5):
        search(
            Watched(),
            settings,
            surrogate=None,
            sink=sink,
            state_path=state_path,
            should_stop=lambda stop=stop: len(sink.rows("generations")) >= stop,  # type: ignore[misc]
        )
    assert sink.rows("evaluations") == rows
    assert [row["surrogate"] for row in sink.rows("generations")] == [
        row["surrogate"] for row in generations
    ]

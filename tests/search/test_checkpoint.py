import json
from pathlib import Path

import pytest

from clso.energy import DeviceEnergy, Measurement
from clso.errors import ArtifactError
from search.archive import Archive, Scored, Screened
from search.checkpoint import Guess, SearchState, load_state, save_state
from search.ladder import Rung
from search.records import SearchCounts
from search.toolbox import Parent

IDENTITY = {"problem": "p", "seed": 1, "settings": {"population": 4, "surrogate": {"start": 5}}}


def a_state() -> SearchState:
    archive = Archive()
    archive.add(Scored((2, 1), (1, 2), 0.1 + 0.2))
    archive.add(Scored((0, 0), (0, 0), None))
    archive.screen_out(Screened((1, 1), 0.25, 1 / 7))
    archive.incumbent_rungs = (Rung(0.25, 0.1 + 0.2, (0.1, 1 / 3)), Rung(0.5, 0.3, None))
    return SearchState(
        random_state=[3, [1, 2, 3], None],
        population=6,
        spent=4.25,
        generations=4,
        parents=[Parent((2, 1), 0.1 + 0.2), Parent((0, 0), 1.7976931348623157e308)],
        archive=archive,
        reference_loss=1 / 3,
        stale=2,
        counts=SearchCounts(1, 2, 3, 4, 5, 6),
        screened=(9, 1),
        surrogate_start=3,
        surrogate_cost=Measurement(1.5, (DeviceEnergy("cpu", 3.0, "rapl", False),)),
        n_predictions=123,
        lowest_guess=Guess((1, 2), 3, -0.7),
        stop_reason="patience",
    )


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    state = a_state()
    save_state(path, state, IDENTITY)
    loaded = load_state(path, IDENTITY)
    assert loaded is not None
    assert list(loaded.archive) == list(state.archive)
    assert loaded.archive.in_order == state.archive.in_order
    assert Screened((1, 1), 0.25, 1 / 7) in loaded.archive.in_order
    assert loaded.archive.incumbent_rungs == state.archive.incumbent_rungs
    loaded.archive = state.archive
    assert loaded == state


def test_a_first_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_state(path, SearchState(random_state=[], population=4), IDENTITY)
    loaded = load_state(path, IDENTITY)
    assert loaded is not None
    assert loaded.generations == 0
    assert loaded.lowest_guess is None


def test_a_missing_state_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.json", IDENTITY) is None


def test_everything_that_differs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_state(path, a_state(), IDENTITY)
    other = {"problem": "q", "seed": 1, "settings": {"population": 4, "surrogate": {"start": 6}}}
    with pytest.raises(
        ArtifactError, match=r"problem was 'p', is 'q'; settings\.surrogate\.start was"
    ):
        load_state(path, other)


@pytest.mark.parametrize("keep", [0, 1, 40, 200])
def test_a_torn_state_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state.json"
    save_state(path, a_state(), IDENTITY)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"state\.json"):
        load_state(path, IDENTITY)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"identity": None},
        {"archive": 7},
        {"archive": [[[1], [1], 0.5], [[1], [1], 0.5]]},
        {"counts": {"n_sung": 1}},
        {"parents": None},
        {"screened": []},
        {"incumbent_rungs": [{"fidelity": 0.25}]},
    ],
)
def test_a_state_that_makes_no_sense_is_refused_by_name(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "state.json"
    save_state(path, a_state(), IDENTITY)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=r"state\.json"):
        load_state(path, IDENTITY)


def test_a_state_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        save_state(tmp_path / "file" / "state.json", a_state(), IDENTITY)

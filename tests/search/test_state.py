import json
from pathlib import Path

import pytest

from clso.energy import DeviceEnergy, Measurement
from clso.errors import ArtifactError
from search.generation import SearchCounts
from search.ladder import Rung
from search.state import LowestPrediction, SearchState
from search.state_file import StateFile
from search.toolbox import Parent

IDENTITY = {"problem": "p", "seed": 1, "settings": {"population": 4, "surrogate": {"start": 5}}}


def a_state() -> SearchState:
    return SearchState(
        random_state=[3, [1, 2, 3], None],
        population=6,
        spent=4.25,
        generations=4,
        parents=[Parent((2, 1), 0.1 + 0.2), Parent((0, 0), 1.7976931348623157e308)],
        n_known=3,
        incumbent_rungs=(Rung(0.25, 0.1 + 0.2, (0.1, 1 / 3)), Rung(0.5, 0.3, None)),
        reference_loss=1 / 3,
        stale=2,
        counts=SearchCounts(1, 2, 3, 4, 5, 6),
        screened=(9, 1),
        surrogate_start=3,
        surrogate_cost=Measurement(1.5, (DeviceEnergy("cpu", 3.0, "rapl", False),)),
        n_predictions=123,
        lowest_guess=LowestPrediction((1, 2), 3, -0.7),
        least_limit=9.5,
        limited=SearchState(random_state=[3, [7], None], population=4),
        stop_reason="patience",
    )


def save(path: Path, state: SearchState) -> None:
    StateFile(path, IDENTITY).write(state.to_json())


def load(path: Path, identity: dict[str, object] | None = None) -> SearchState | None:
    file = StateFile(path, IDENTITY if identity is None else identity)
    return file.read(SearchState.from_json)


@pytest.mark.parametrize("state", [a_state(), SearchState(random_state=[], population=4)])
def test_a_state_comes_back_bit_for_bit(tmp_path: Path, state: SearchState) -> None:
    path = tmp_path / "deep" / "state.json"
    save(path, state)
    assert load(path) == state


def test_a_missing_value_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    values = a_state().to_json()
    del values["stale"]
    StateFile(path, IDENTITY).write(values)
    with pytest.raises(ArtifactError, match=r"state\.json is damaged: ValueError no stale"):
        load(path)


def test_a_missing_state_is_none(tmp_path: Path) -> None:
    assert load(tmp_path / "state.json") is None


def test_everything_that_differs_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save(path, a_state())
    other = {"problem": "q", "seed": 1, "settings": {"population": 4, "surrogate": {"start": 6}}}
    with pytest.raises(
        ArtifactError, match=r"problem was 'p', is 'q'; settings\.surrogate\.start was"
    ):
        load(path, other)


@pytest.mark.parametrize("keep", [0, 1, 40, 200])
def test_a_torn_state_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state.json"
    save(path, a_state())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"state\.json"):
        load(path)


def test_a_flipped_byte_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save(path, a_state())
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=r"state\.json"):
            load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"identity": None},
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
    StateFile(path, IDENTITY).write(a_state().to_json() | change)
    with pytest.raises(ArtifactError, match=r"state\.json"):
        load(path)


def test_a_state_of_an_older_version_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"version": 3, "identity": IDENTITY, "archive": []}))
    with pytest.raises(ArtifactError, match=r"state of version 3, expected 5\n.*anew with --fresh"):
        load(path)


def test_a_state_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        save(tmp_path / "file" / "state.json", a_state())

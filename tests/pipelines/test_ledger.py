import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from clso.artifacts import write_sealed
from clso.energy import EnergyMonitor
from clso.errors import DamageError
from pipelines import ledger as ledger_module
from pipelines.ledger import StageLedger, StageOutcome, StageRecord


class Ticking:
    """A meter that gains one joule at every reading."""

    device, source, estimated = "cpu", "replay", True

    def __init__(self) -> None:
        self.joules = 0.0

    def read_j(self) -> float:
        self.joules += 1.0
        return self.joules


@pytest.fixture
def monitor() -> EnergyMonitor:
    return EnergyMonitor([Ticking()])


def make(tmp_path: Path, needs: Mapping[str, str] | None = None) -> StageLedger:
    return StageLedger(
        "search",
        root=tmp_path,
        begun=tmp_path / "begun.json",
        needs=needs or {},
        belongs_to="this run",
    )


def work(tmp_path: Path, account: StageLedger, monitor: EnergyMonitor) -> StageRecord:
    with account.attempt(monitor) as attempts:
        (tmp_path / "data").touch()
    outcome = StageOutcome((tmp_path / "data",), {"best": 3}, key="k")
    account.finish(outcome, attempts, owner="me", versions={"clso": "0"})
    record = account.finished()
    assert record is not None
    return record


def joules(record: StageRecord) -> float:
    assert record.measurement.energy_j is not None
    return record.measurement.energy_j


def test_a_stage_that_ends_well_is_finished_and_says_what_it_was(
    tmp_path: Path, monitor: EnergyMonitor
) -> None:
    assert make(tmp_path).finished() is None
    record = work(tmp_path, make(tmp_path), monitor)
    assert (record.owner, record.key, record.attempts) == ("me", "k", 1)
    assert record.notes == {"best": 3}
    assert joules(record) > 0
    assert not (tmp_path / "begun.json").exists()


def test_a_failed_attempt_leaves_the_stage_unfinished_and_its_joules_counted(
    tmp_path: Path, monitor: EnergyMonitor
) -> None:
    account = make(tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), account.attempt(monitor):
            raise KeyboardInterrupt
        assert account.finished() is None
        assert account.resumable()
    record = work(tmp_path, account, monitor)
    assert record.attempts == 3
    assert joules(record) >= 3.0


def test_a_killed_attempt_is_counted_up_to_its_last_beat(
    tmp_path: Path, monitor: EnergyMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_BEAT_EVERY_S", 0.01)
    killed = make(tmp_path).attempt(monitor)
    killed.__enter__()
    deadline = time.monotonic() + 10
    while not json.loads((tmp_path / "begun.json").read_text())["attempts"]:
        assert time.monotonic() < deadline, "no beat was written"
        time.sleep(0.01)
    saved = (tmp_path / "begun.json").read_bytes()
    killed.__exit__(RuntimeError, RuntimeError("ends the sampler"), None)
    # what the killed process left behind
    (tmp_path / "begun.json").write_bytes(saved)
    record = work(tmp_path, make(tmp_path), monitor)
    assert record.attempts == 2
    assert len(json.loads(saved)["attempts"]) == 1
    assert joules(record) > json.loads(saved)["attempts"][0]["devices"][0]["energy_j"]


def test_an_attempt_that_is_killed_at_once_still_counts_as_one(
    tmp_path: Path, monitor: EnergyMonitor
) -> None:
    begun = {"needs": {}, "attempts": [], "started": 1}
    write_sealed(tmp_path / "begun.json", begun, belongs_to="this run")
    record = work(tmp_path, make(tmp_path), monitor)
    assert record.attempts == 2
    assert joules(record) > 0


def test_a_stage_is_not_reused_on_other_foundations_nor_is_its_attempt_resumed(
    tmp_path: Path, monitor: EnergyMonitor
) -> None:
    work(tmp_path, make(tmp_path, {"prepare": "a"}), monitor)
    assert make(tmp_path, {"prepare": "a"}).finished() is not None
    assert make(tmp_path, {"prepare": "b"}).finished() is None
    with pytest.raises(KeyboardInterrupt), make(tmp_path, {"prepare": "b"}).attempt(monitor):
        raise KeyboardInterrupt
    assert make(tmp_path, {"prepare": "b"}).resumable()
    assert not make(tmp_path, {"prepare": "c"}).resumable()


def test_a_stage_whose_output_is_gone_is_not_finished(
    tmp_path: Path, monitor: EnergyMonitor
) -> None:
    work(tmp_path, make(tmp_path), monitor)
    (tmp_path / "data").unlink()
    assert make(tmp_path).finished() is None


def test_a_changed_output_is_refused_by_name(tmp_path: Path, monitor: EnergyMonitor) -> None:
    work(tmp_path, make(tmp_path), monitor)
    (tmp_path / "data").write_text("another")
    with pytest.raises(DamageError, match=r"data is damaged or another one's.* search") as caught:
        make(tmp_path).finished()
    assert caught.value.remedy == "delete it; the stage is done again"


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"needs": {}, "outputs": []}'])
def test_a_damaged_marker_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "search.done.json").write_text(content)
    with pytest.raises(DamageError, match=r"search\.done\.json (is damaged|has no seal)"):
        make(tmp_path).finished()


def test_a_marker_without_entries_is_refused_by_name(tmp_path: Path) -> None:
    marker = tmp_path / "stages" / "search.done.json"
    write_sealed(marker, {"needs": {}, "outputs": {}}, belongs_to="this run")
    with pytest.raises(DamageError, match=r"search\.done\.json is damaged: KeyError"):
        make(tmp_path).finished()


def test_files_of_another_run_are_refused_by_name(tmp_path: Path) -> None:
    begun = {"needs": {}, "attempts": [], "started": 1}
    write_sealed(tmp_path / "begun.json", begun, belongs_to="that run")
    with pytest.raises(DamageError, match=r"begun\.json .*belongs to that run, expected this run"):
        make(tmp_path).resumable()
    write_sealed(tmp_path / "stages" / "search.done.json", {}, belongs_to="that run")
    with pytest.raises(DamageError, match=r"search\.done\.json .*belongs to that run"):
        make(tmp_path).finished()


def test_a_damaged_account_of_attempts_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "begun.json").write_text("[]")
    with pytest.raises(DamageError, match=r"begun\.json has no seal"):
        make(tmp_path).resumable()

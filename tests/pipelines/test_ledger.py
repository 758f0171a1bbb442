from pathlib import Path

import pytest

from clso.artifacts import mark_done
from clso.energy import EnergyMonitor
from clso.errors import ArtifactError
from clso.progress import SILENT
from pipelines import ledger as ledger_module
from pipelines.ledger import StageLedger


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


def make(tmp_path: Path, run_id: str = "run-1") -> StageLedger:
    return StageLedger(
        "search", folder=tmp_path / "stages", costs=tmp_path / "costs.json", run_id=run_id
    )


def test_a_stage_that_ends_well_is_finished_and_says_whose_joules_it_took(
    tmp_path: Path, monitor: EnergyMonitor
) -> None:
    account = make(tmp_path)
    assert account.finished() is None
    with account.attempt(monitor, SILENT):
        pass
    record = make(tmp_path, "run-2").finished()
    assert record is not None
    assert record.made_by == "run-1"
    assert record.attempts == 1
    assert record.measurement is not None
    assert record.measurement.energy_j == 1.0


def test_a_failed_attempt_leaves_the_stage_unfinished_and_its_joules_counted(
    tmp_path: Path, monitor: EnergyMonitor
) -> None:
    account = make(tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), account.attempt(monitor, SILENT):
            raise KeyboardInterrupt
        assert account.finished() is None
    with account.attempt(monitor, SILENT):
        pass
    record = account.finished()
    assert record is not None
    assert record.attempts == 3
    assert record.measurement is not None
    assert record.measurement.energy_j is not None
    assert record.measurement.energy_j >= 3.0
    assert not (tmp_path / "costs.json").exists()


def test_a_killed_attempt_is_counted_up_to_its_last_sign_of_progress(
    tmp_path: Path, monitor: EnergyMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_BEAT_EVERY_S", 0.0)
    killed = make(tmp_path).attempt(monitor, SILENT)
    reporter = killed.__enter__()
    with reporter.task("work", total=2) as task:
        task.update(1)
    assert (tmp_path / "costs.json").exists()
    # What follows is another process: the first never reached its end.
    account = make(tmp_path)
    with account.attempt(monitor, SILENT):
        pass
    record = account.finished()
    assert record is not None
    assert record.attempts == 2
    assert record.measurement is not None
    assert record.measurement.energy_j is not None
    assert record.measurement.energy_j > 1.0
    killed.__exit__(RuntimeError, RuntimeError("killed"), None)


def test_a_folder_without_a_record_of_its_cost_is_finished_and_not_measured(tmp_path: Path) -> None:
    mark_done(tmp_path / "stages", "search", {})
    record = make(tmp_path).finished()
    assert record is not None
    assert record.measurement is None


def test_a_damaged_marker_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "search.done.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"search\.done\.json is damaged"):
        make(tmp_path).finished()

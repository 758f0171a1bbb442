"""What every engine promises."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
from tasks import (
    Counted,
    after,
    burn,
    failing,
    fatal,
    fatal_once,
    locked,
    noted,
    notes,
    process,
    rest,
    scaled,
)

from clso.energy import EnergyMonitor
from clso.engine import Engine, FatalTaskError, Shared
from clso.errors import DataError, EngineError, WorkError

NOTHING = Shared("nothing", None)


def test_results_come_with_their_index_and_equal_the_task_itself(engine: Engine) -> None:
    value = np.linspace(0.1, 7.7, 100_001, dtype=np.float32)
    found = list(engine.map(scaled, Shared("line", value), range(7)))
    assert sorted(index for index, _ in found) == list(range(7))
    assert all(result == scaled(value, index) for index, result in found)


def test_results_come_in_the_order_of_completion(processes: Engine, tmp_path: Path) -> None:
    assert processes.n_workers == 2
    waits, goes = (
        (str(tmp_path / "awaited"), str(tmp_path / "first")),
        ("", str(tmp_path / "second")),
    )
    finished = processes.map(after, NOTHING, [waits, goes])
    assert next(finished) == (1, None)
    (tmp_path / "awaited").touch()
    assert list(finished) == [(0, None)]


def test_nothing_to_do_gives_nothing(engine: Engine) -> None:
    assert list(engine.map(scaled, NOTHING, [])) == []


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("clso", DataError, "the text is empty\n  give more text"),
        ("zero", ZeroDivisionError, "no quotient"),
        ("awkward", WorkError, "Awkward: this and that"),
    ],
)
def test_the_error_of_a_task_keeps_class_and_message(
    engine: Engine, kind: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as raised:
        list(engine.map(failing, NOTHING, [kind]))
    assert str(raised.value) == text
    assert "in failing" in str(raised.value.__cause__)


def test_a_shared_value_reaches_each_worker_once(engine: Engine, tmp_path: Path) -> None:
    value = Shared(f"counted {tmp_path}", Counted(tmp_path / "log"))
    workers = {pid for _ in range(3) for _, pid in engine.map(process, value, range(8))}
    built = notes(tmp_path / "log")
    assert sorted(built) == sorted(map(str, workers))


def test_what_cannot_be_pickled_is_a_sentence(engine: Engine) -> None:
    value = Shared("lock", Lock())
    if engine.is_local:  # this process needs no pickle
        assert list(engine.map(process, value, [0])) == [(0, os.getpid())]
    with pytest.raises(EngineError, match="cannot be sent to a worker"):
        list(Engine.map(engine, process, value, [0]))


def test_a_result_that_cannot_be_pickled_is_a_sentence(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"result of a task cannot be sent back: TypeError"):
        list(Engine.map(engine, locked, NOTHING, [0]))
    if engine.is_local:  # this process needs no pickle
        assert len(list(engine.map(locked, NOTHING, [0, 0]))) == 2


def test_a_worker_with_other_code_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**engine._header["code"], "sources": "other", "torch": "1.0"}
    monkeypatch.setitem(engine._header, "code", other)
    with pytest.raises(EngineError, match=r"other code than this command: torch .*sources"):
        list(Engine.map(engine, process, NOTHING, [0]))


def test_a_closed_iterator_takes_back_what_was_handed_out(
    processes: Engine, tmp_path: Path
) -> None:
    log = Shared(f"log {tmp_path}", tmp_path / "log")
    results = processes.map(noted, log, range(40))
    next(results)
    results.close()
    assert sorted(dict(processes.map(rest, NOTHING, [0.0] * 4))) == [0, 1, 2, 3]
    assert len(notes(tmp_path / "log")) < 20


def test_a_killed_worker_costs_its_task_only(processes: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    results = dict(processes.map(fatal_once, Shared(f"log {tmp_path}", log), range(6)))
    assert results == {index: index for index in range(6)}
    begun = Counter(notes(log))
    assert set(begun) == set("012345")
    # a result that only the dead worker had is lost with it
    others = 0 if processes.is_local else 2
    assert begun["2"] >= 2
    assert begun.total() <= 7 + others


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_a_sentence(processes: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(WorkError, match=r"ended its|lost the data") as caught:
        list(processes.map(fatal, Shared(f"log {tmp_path}", log), [0]))
    if isinstance(caught.value, FatalTaskError):
        assert caught.value.index == 0
    else:
        assert processes.name == "dask"
    # once, and three times again; Dask counts anew when all workers have died with the value
    assert 4 <= len(notes(log)) <= (16 if processes.name == "dask" else 4)


def test_joules_of_workers_count_once_in_the_windows_that_are_open(
    processes: Engine, monitor: EnergyMonitor
) -> None:
    list(processes.map(rest, NOTHING, [0.0] * 4))  # their start is paid
    with monitor.window() as outer:
        with monitor.window() as idle:
            pass
        with monitor.window() as busy:
            spent_s = sum(seconds for _, seconds in processes.map(burn, NOTHING, [0.3, 0.3]))
    joules = {device.device: device for device in busy.measurement.devices}
    assert "workers" not in {device.device for device in idle.measurement.devices}
    assert joules["workers"].source == "cpu_model"
    expected_j = 10.0 * spent_s
    assert joules["workers"].energy_j is not None
    assert expected_j <= joules["workers"].energy_j < 1.5 * expected_j
    outer_j = {device.device: device.energy_j for device in outer.measurement.devices}
    assert outer_j["workers"] == joules["workers"].energy_j

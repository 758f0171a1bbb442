"""The CPU model of a machine: fitted to readings, and to loads beside a stand-in for RAPL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from clso.energy import CpuModelMeter, EnergySettings, RaplMeter
from clso.energy.calibration import CpuFit, Reading, busy_cores, loads
from clso.energy.cpu_model import cpu_seconds
from clso.errors import MeterError
from pipelines import calibrate
from pipelines.cli import app

IDLE_W, CORE_W = 21.0, 8.0


class StandInRapl:
    """A zone whose counter moves as a machine's with a linear power would."""

    def __init__(self, root: Path) -> None:
        zone = root / "intel-rapl:0"
        zone.mkdir()
        (zone / "name").write_text("package-0\n")
        (zone / "max_energy_range_uj").write_text("262143328850\n")
        self._counter = zone / "energy_uj"
        self._joules = 0.0
        self._at_s = time.perf_counter()
        self.busy_cores = 0
        self._lock = threading.Lock()
        self.move()

    def move(self) -> None:
        with self._lock:
            now_s = time.perf_counter()
            self._joules += (IDLE_W + CORE_W * self.busy_cores) * (now_s - self._at_s)
            self._at_s = now_s
            new = self._counter.with_name("new")
            new.write_text(f"{round(self._joules * 1e6)}\n")
            new.replace(self._counter)


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInRapl]:
    stand_in, ended = StandInRapl(tmp_path), threading.Event()

    def tick() -> None:
        while not ended.wait(0.002):
            stand_in.move()

    def announce(cores: int) -> None:
        stand_in.busy_cores = cores

    monkeypatch.setattr(RaplMeter, "available", partial(RaplMeter.available, tmp_path))
    monkeypatch.setattr(calibrate, "_announce", announce)
    monkeypatch.setattr(calibrate, "_loads", lambda: [0, 1])
    thread = threading.Thread(target=tick)
    thread.start()
    yield stand_in
    ended.set()
    thread.join()


def test_the_model_is_found_where_a_counter_follows_it(rapl: StandInRapl) -> None:
    del rapl
    done = CliRunner().invoke(app, ["energy", "calibrate", "--seconds", "1"])
    assert done.exit_code == 0, done.output
    section = yaml.safe_load(done.output[done.output.index("energy:\n") :])["energy"]
    settings = EnergySettings(**section)
    assert settings.meter == "cpu_model"
    assert settings.idle_power_w == pytest.approx(IDLE_W, rel=0.1)
    assert settings.cpu_power_w == pytest.approx(CORE_W, rel=0.3)


def test_typed_readings_give_the_model_with_its_residuals() -> None:
    command = ["energy", "calibrate", "--reading", "idle=20", "--reading", "1=31", "--reading"]
    done = CliRunner().invoke(app, [*command, "2=40"])
    assert done.exit_code == 0, done.output
    told = done.output.replace("\u00a0", " ").replace("\u2212", "-")
    for expected in ("cpu_power_w: 10\n", "idle_power_w: 20.33\n", "-0.33 W", "+0.67 W"):
        assert expected in told


def test_readings_of_a_line_give_the_line() -> None:
    readings = [Reading(cores, IDLE_W + cores * CORE_W) for cores in (0, 1, 4, 4)]
    fit = CpuFit.of(readings)
    assert (fit.idle_power_w, fit.core_power_w) == pytest.approx((IDLE_W, CORE_W))
    assert [fit.residual_w(reading) for reading in readings] == pytest.approx([0.0] * 4)


def test_an_idle_machine_never_gives_power_back() -> None:
    fit = CpuFit.of([Reading(1, 5.0), Reading(2, 12.0)])
    assert fit.idle_power_w == 0
    assert fit.core_power_w == pytest.approx(29 / 5)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["idle"], "is no number of busy cores with its watts"),
        (["two=3"], "is no number of busy cores with its watts"),
        (["-1=3"], "out of range"),
        (["1=nan"], "out of range"),
        (["1=0"], "out of range"),
        (["1=20", "1=21"], "of one load"),
        (["idle=30", "1=20"], "does not rise"),
    ],
)
def test_readings_that_give_no_model_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(MeterError, match=message):
        CpuFit.of([Reading.parsed(text) for text in texts])


def test_without_counter_readings_and_terminal_a_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(RaplMeter, "available", partial(RaplMeter.available, tmp_path))
    done = CliRunner().invoke(app, ["energy", "calibrate"])
    assert "no terminal to ask at" in str(done.exception)
    done = CliRunner().invoke(app, ["energy", "calibrate", "--load", "1", "--reading", "1=2"])
    assert "--load makes a load" in str(done.exception)
    done = CliRunner().invoke(app, ["energy", "calibrate", "--load", "9999"])
    assert "cannot be kept busy" in str(done.exception)


def test_a_person_is_asked_while_each_load_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(text: str, type: type) -> float:
        asked.append(text)
        return 20.0 + 9.0 * len(asked)

    monkeypatch.setattr(calibrate, "_loads", lambda: [0, 0, 1])
    monkeypatch.setattr(calibrate.typer, "prompt", prompt)
    readings = calibrate._asked(0.0)
    assert [reading.busy_cores for reading in readings] == [0, 0, 1]
    assert [reading.power_w for reading in readings] == [29.0, 38.0, 47.0]
    assert "with 1 busy core" in asked[-1]


def test_a_busy_core_is_busy_and_ends_with_its_block() -> None:
    before_s = cpu_seconds()
    with busy_cores(1):
        time.sleep(0.2)
    assert cpu_seconds() > before_s  # a child's seconds count once it has ended


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4, 6]), (8, [0, 1, 2, 4, 8])]
)
def test_loads_double_up_to_all_cores(cores: int, expected: list[int]) -> None:
    assert loads(cores) == expected


def test_the_idle_power_counts_while_time_passes() -> None:
    meter = CpuModelMeter(1.0, 1e6)
    before_j = meter.read_j()
    time.sleep(0.01)
    assert meter.read_j() - before_j >= 1e6 * 0.01
    with pytest.raises(MeterError, match="idle power"):
        CpuModelMeter(1.0, -1.0)

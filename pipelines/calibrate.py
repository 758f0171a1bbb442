"""The CPU model of this machine, from its own counters or from a wall meter that a person reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import typer

from clso.cores import available_cores
from clso.energy import RaplMeter
from clso.energy.calibration import CpuFit, Reading, busy_cores, loads, measured
from clso.errors import ConfigError, MeterError
from clso.report.formats import counted
from clso.report.table import Column, Table
from clso.report.terminal import TerminalTable
from pipelines.console import console, error_console

__all__ = ["calibrate", "make_load"]


def calibrate(typed: Sequence[str], duration_s: float) -> None:
    """Fit the CPU model and print it as the section `energy` of a configuration.

    Args:
        typed: readings of a wall meter, such as `idle=21.5` and `2=38`. Without any, RAPL is read
            if it can be, and else the person at the terminal is asked.
        duration_s: of each load that is made.

    Raises:
        MeterError: a reading is wrong, or the readings give no model.
        ConfigError: there are no readings, no RAPL and no terminal.
    """
    if typed:
        readings, source = [Reading.parsed(text) for text in typed], "typed readings"
    elif (meters := _rapl()) is not None:
        with ExitStack() as opened:
            for meter in meters:
                opened.callback(meter.close)
            readings = measured(meters, _loads(), duration_s, _announce)
        source = "rapl, " + " + ".join(meter.device for meter in meters)
    elif sys.stdin.isatty():
        readings, source = _asked(duration_s), "readings of a wall meter"
    else:
        raise ConfigError(
            "there is no RAPL counter that can be read, and no terminal to ask at",
            remedy="read a wall meter while `clso energy calibrate --load K` keeps K cores busy, "
            "then give --reading idle=W --reading K=W",
        )
    _show(CpuFit.of(readings), source)


def make_load(cores: int, duration_s: float) -> None:
    """Keep cores busy for a while, for a wall meter to be read.

    Raises:
        MeterError: the load cannot be made.
        ConfigError: this process may use fewer cores.
    """
    available = available_cores()
    if cores > available:
        raise ConfigError(
            f"{counted(cores, 'core')} cannot be kept busy: this process may use {available}",
            remedy="give fewer",
        )
    _announce(cores)
    with busy_cores(cores):
        time.sleep(duration_s)


def _rapl() -> Sequence[RaplMeter] | None:
    try:
        return RaplMeter.available()
    except MeterError as error:
        error_console.print(f"no RAPL: {error.message}", style="dim", soft_wrap=True)
        return None


def _asked(duration_s: float) -> list[Reading]:
    """Make loads, and ask for the wall meter's watts while each of them runs."""
    readings = []
    for cores in _loads():
        _announce(cores)
        with busy_cores(cores):
            time.sleep(duration_s)
            question = f"the meter shows, in watts, with {_load_name(cores)}"
            watts = typer.prompt(question, type=float)
            readings.append(Reading.parsed(f"{cores}={watts}"))
    return readings


def _loads() -> list[int]:
    return loads(available_cores())


def _load_name(cores: int) -> str:
    return counted(cores, "busy core") if cores else "no busy core"


def _announce(cores: int) -> None:
    error_console.print(f"{_load_name(cores)} ...")


def _show(fit: CpuFit, source: str) -> None:
    table = Table(
        "Power of this machine",
        ["load", "measured", "model", Column("residual")],
        [f"From {source}; least squares."],
    )
    for reading in fit.readings:
        residual = fit.residual_w(reading)
        table.add(
            _load_name(reading.busy_cores),
            f"{reading.power_w:.2f}\u00a0W",
            f"{reading.power_w - residual:.2f}\u00a0W",
            f"{residual:+.2f}\u00a0W".replace("-", "\u2212"),
        )
    console.print(TerminalTable(table))
    if source.startswith("rapl"):
        console.print("RAPL counts processor and memory, not the rest of the machine.")
    console.print("The section of a configuration that has this model:\n")
    console.print(fit.yaml(), highlight=False, end="")

"""A full disk, too little memory, a clock that goes back: a sentence, and no harm.

`CLSO_LIMITS=50` tries so many moments of each command, and `CLSO_LIMITS_SEED=1` others.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fault_process import Ended, Faults, attempt
from tiny_run import COMMANDS, difference, tables, write_config

from clso.artifacts import load_run

pytestmark = pytest.mark.slow

Record = Callable[[str, object], None]
_TRIED = {"run": 4, "tune": 2, "savings": 2, "report": 3}
# of programs in other languages, which end the process themselves: tokenizers, OpenBLAS, the C
# library, and the loader of threads; they leave files as a kill does
_ENDED_BY_LIBRARIES = (
    "memory allocation of ",
    "OpenBLAS error: Memory allocation",
    "OpenBLAS blas_thread_init",
    "Fatal glibc error: ",
    "libgomp: ",
    "terminate called after throwing an instance of 'std::bad_alloc'",
)


def _tried(command: str) -> int:
    return int(os.environ.get("CLSO_LIMITS") or _TRIED[command])


def _rng(kind: str) -> random.Random:
    return random.Random(f"{kind} {os.environ.get('CLSO_LIMITS_SEED', '0')}")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("config") / "tiny.yaml")


def _line(command: str, config: Path, out: Path) -> list[str]:
    if command == "report":
        return ["report", "latest", "--out", str(out)]
    return [command, str(config), "--no-prefect", "--out", str(out), *COMMANDS[command]]


def _is_told(ended: Ended) -> bool:
    return (
        ended.status == 1
        and ended.error.startswith("error: ")
        and "Traceback" not in ended.error
        and not ended.left
    )


def _unbroken(command: str, config: Path, folder: Path) -> Ended:
    if command == "report":
        assert attempt(_line("run", config, folder), folder / "log").status == 0
    ended = attempt(_line(command, config, folder), folder / "log")
    assert ended.status == 0, ended.error
    return ended


@pytest.mark.parametrize("command", _TRIED)
def test_a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_space(
    command: str, config: Path, tmp_path: Path, record_property: Record
) -> None:
    whole = tmp_path / "whole"
    unbroken, rng, wrong = _unbroken(command, config, whole), _rng(f"disk {command}"), []
    expected = tables(whole)
    for trial in range(_tried(command)):
        out = tmp_path / "out"
        if command == "report":
            shutil.copytree(whole, out)
        if trial % 2:
            faults = Faults(file_bytes=int(10 ** rng.uniform(3, 5.5)))
        else:
            faults = Faults(full_at_change=rng.randint(1, unbroken.changes))
        ended = attempt(_line(command, config, out), tmp_path / "log", faults)
        # where the last of the changes writes nothing, there is nothing to tell
        if ended.status != 0 and not (_is_told(ended) and "cannot be written" in ended.error):
            wrong.append(f"{faults}: status {ended.status}: {ended.error[-2000:]}")
        ended = attempt(_line(command, config, out), tmp_path / "log")
        differs = ended.error if ended.status else difference(tables(out), expected)
        if differs:
            wrong.append(f"{faults}: afterwards {differs}")
        shutil.rmtree(out)
    record_property("faults", f"full disk, {command}: {_tried(command)} tried, {len(wrong)} wrong")
    assert not wrong


def test_too_little_memory_is_told_or_enough(
    config: Path, tmp_path: Path, record_property: Record
) -> None:
    # without the check before the work
    unchecked = write_config(tmp_path / "tiny.yaml", runtime={"memory_gb": 1000})
    _unbroken("run", unchecked, tmp_path / "whole")
    expected, rng, wrong = tables(tmp_path / "whole"), _rng("memory"), []
    told = worked = ended_by_libraries = 0
    for _ in range(_tried("run")):
        out = tmp_path / "out"
        faults = Faults(memory_bytes=int(rng.uniform(2e7, 1.1e9)))
        ended = attempt(_line("run", unchecked, out), tmp_path / "log", faults)
        if ended.status == 0:
            worked += 1
        elif _is_told(ended) and "memory" in ended.error:
            told += 1
        elif "Traceback" not in ended.error and (
            ended.status < 0 or ended.error.startswith(_ENDED_BY_LIBRARIES)
        ):  # a signal, of their abort or of a null pointer
            ended_by_libraries += 1
        else:
            wrong.append(f"{faults}: status {ended.status}: {ended.error[-2000:]}")
        ended = attempt(_line("run", unchecked, out), tmp_path / "log")
        # libraries of linear algebra compute with less room in another order
        differs = ended.error if ended.status else difference(tables(out), expected, rounding=1e-6)
        if differs:
            wrong.append(f"{faults}: afterwards {differs}")
        shutil.rmtree(out, ignore_errors=True)
    record_property(
        "faults",
        f"memory, run: {_tried('run')} tried, {worked} worked, {told} told, {ended_by_libraries} "
        f"ended by a library, {len(wrong)} wrong",
    )
    assert not wrong


def _least(table: pa.Table) -> list[tuple[str, float]]:
    """Return the columns of times, joules and watts that are below 0 anywhere."""
    found = []
    for name in table.column_names:
        if name.endswith(("_s", "_j", "_w")) or "_j_per_" in name:
            least = pc.min(table[name]).as_py()
            if least is not None and least < 0:
                found.append((name, least))
    return found


@pytest.mark.parametrize("command", ["run", "tune"])
def test_a_clock_that_goes_back_changes_no_data_and_makes_no_time_negative(
    command: str, config: Path, tmp_path: Path
) -> None:
    _unbroken(command, config, tmp_path / "whole")
    out, log = tmp_path / "out", tmp_path / "log"
    for reading in (5, 40):
        ended = attempt(_line(command, config, out), log, Faults(clock_back=reading))
        assert ended.status == 0, ended.error
        assert not ended.error
        assert not difference(tables(out), tables(tmp_path / "whole"))
        for folder in (*out.glob("runs/*/"), *out.glob("studies/*/")):
            run = load_run(folder)
            for path in folder.glob("*.parquet"):
                assert not _least(run.table(path.stem)), path.stem
            others: Sequence[list[str]] = (["show", str(folder)], ["report", str(folder)])
            if command == "run":
                others = [*others, ["ls"], ["watch", str(folder)]]
            for other in others:
                looked = attempt([*other, "--out", str(out)], log, Faults(clock_back=1))
                assert looked.status == 0, looked.error
        shutil.rmtree(out)

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clso import control_groups
from clso.cores import available_cores

ROOT = Path(__file__).parents[1]


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of control groups for a process that may run on 16 cores."""
    monkeypatch.setattr(control_groups, "_PROCESS_GROUPS", tmp_path / "self")
    monkeypatch.setattr(control_groups, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    (tmp_path / "groups").mkdir()
    return tmp_path / "groups"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 16),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("10000 100000\n", 1),
        ("9900000 100000\n", 16),
        ("", 16),
        ("nonsense", 16),
        ("100000 0", 16),
        ("100000 100000 1", 16),
    ],
)
def test_the_quota_of_a_container_counts(groups: Path, text: str, expected: int) -> None:
    write(groups.parent / "self", "0::/\n")
    write(groups / "cpu.max", text)
    assert available_cores() == expected


@pytest.mark.parametrize("place", ["cpu.max", "job/cpu.max", "job/step/cpu.max"])
def test_so_does_that_of_a_group_around_it(groups: Path, place: str) -> None:
    write(groups.parent / "self", "0::/job/step\n")
    write(groups / place, "300000 100000")
    assert available_cores() == 3


def test_the_smallest_of_several_quotas_counts(groups: Path) -> None:
    write(groups.parent / "self", "0::/job/step\n")
    write(groups / "job/cpu.max", "300000 100000")
    write(groups / "job/step/cpu.max", "700000 100000")
    assert available_cores() == 3


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize("folder", ["", "job"])
@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("400000", 4)])
def test_so_do_quotas_of_version_1(
    groups: Path, controllers: str, folder: str, quota: str, expected: int
) -> None:
    write(groups.parent / "self", f"5:memory:/other\n4:{controllers}:/job\n1:name=systemd:/\n")
    write(groups / controllers / folder / "cpu.cfs_quota_us", quota)
    write(groups / controllers / folder / "cpu.cfs_period_us", "100000")
    assert available_cores() == expected


@pytest.mark.parametrize("text", ["", "\n", "0::", "garbage", "1:cpu", None])
def test_without_groups_affinity_alone_counts(groups: Path, text: str | None) -> None:
    if text is not None:
        write(groups.parent / "self", text)
    assert available_cores() == 16


def test_without_affinity_the_machine_counts(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    for count, expected in ((5, 5), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert available_cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_process_that_is_bound_to_one_core_counts_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from clso.cores import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_nothing_else_counts_cores() -> None:
    """Each place that asks the machine would start more than it may."""
    asking = re.compile(r"\b((process_)?cpu_count|sched_getaffinity)\b")
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("clso", "search", "pipelines", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if asking.search(path.read_text())
    }
    assert found == {"clso/cores.py"}

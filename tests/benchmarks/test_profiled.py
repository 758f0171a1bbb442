"""What the profile of a stage says of functions and of waiting."""

import cProfile
import time
from pathlib import Path

import pytest

from benchmarks.profiled import own_times, profiled


def spin(steps: int) -> int:
    return sum(step * step for step in range(steps))


def work(calls: int) -> None:
    for _ in range(calls):
        spin(20_000)


def test_functions_are_ranked_by_their_own_time_and_waits_are_told_apart() -> None:
    profile = cProfile.Profile()
    profile.runcall(work, 7)
    own, waiting = own_times(profile, top=3)
    assert waiting == 0
    assert {"builtins.sum", "genexpr"} <= {f.function.split(".<")[-1].strip("<>") for f in own}
    assert [function.share for function in own] == sorted(
        (function.share for function in own), reverse=True
    )
    assert next(function.calls for function in own if function.function.endswith("spin")) == 7

    profile = cProfile.Profile()
    profile.runcall(time.sleep, 0.05)
    _, waiting = own_times(profile, top=3)
    assert waiting > 0.5


@pytest.mark.slow
def test_every_stage_of_a_run_has_a_profile(tmp_path: Path) -> None:
    found = profiled("smoke", {"families": ["mixture"]}, top=2, keep=tmp_path)
    assert found[0].name == "prepare"
    assert {path.stem for path in tmp_path.glob("*.prof")} == {stage.name for stage in found}
    assert all(len(stage.own) == 2 and stage.cpu_s > 0 for stage in found)

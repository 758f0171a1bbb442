"""Processes that work on one study: in SQLite, in PostgreSQL and in a journal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
import tuning_process
from optuna.trial import FrozenTrial, TrialState
from postgres import postgres_server

from search.tuning.place import open_storage

pytestmark = pytest.mark.slow

SUPPORT = Path(tuning_process.__file__)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        if url is None:
            pytest.skip("there is no PostgreSQL here: no program `postgres`")
        yield url


@pytest.fixture(params=["sqlite", "journal", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres"))
    return (
        f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"journal:{tmp_path}/j"
    )


def run_together(url: str, trials: int, killed_in: Sequence[int | None]) -> list[tuple[int, str]]:
    """Let processes begin together, and return the exit code and the output of each.

    While one that is to be killed lives, the others stay in their first trial: a storage need not
    be fair, and might leave it too few of its own.
    """
    path = os.pathsep.join([str(SUPPORT.parent), *sys.path])
    processes = [
        subprocess.Popen(
            [sys.executable, str(SUPPORT), url, str(trials), *([] if n is None else [str(n)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for n in killed_in
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        doomed = [one for one, n in zip(processes, killed_in, strict=True) if n is not None]
        others = [one for one in processes if one not in doomed]
        for process in processes:
            tell(process, "hold" if doomed and process in others else "")
        for process in doomed:
            process.wait(timeout=600)
        for process in others if doomed else ():
            tell(process, "")
        outputs = [process.communicate(timeout=600)[0] for process in processes]
        return [(one.returncode, out) for one, out in zip(processes, outputs, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def stored(url: str) -> list[FrozenTrial]:
    with open_storage(url, retries=0) as storage:
        return optuna.load_study(study_name=tuning_process.NAME, storage=storage.backend).trials


def forget(url: str) -> None:
    with open_storage(url, retries=0) as storage:
        for name in optuna.get_all_study_names(storage.backend):
            optuna.delete_study(study_name=name, storage=storage.backend)


def test_processes_that_begin_a_study_together_share_it(url: str) -> None:
    done = run_together(url, 9, [None] * 3)
    assert [code for code, _ in done] == [0, 0, 0], done
    trials = stored(url)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 9
    assert sum(int(out) for _, out in done) == 9
    # the run's own values are tried once
    own = [trial for trial in trials if "fixed_params" in trial.system_attrs]
    assert [trial.number for trial in own] == [0]
    forget(url)


def check_killed(url: str, n_trials: int) -> None:
    """Kill one of four processes in its third trial, and account for every trial."""
    done = run_together(url, n_trials, [None, None, None, 3])
    assert [code for code, _ in done] == [0, 0, 0, -signal.SIGKILL], done
    trials = stored(url)
    assert [trial.number for trial in trials] == list(range(n_trials + 1))
    states = [trial.state for trial in trials]
    assert states.count(TrialState.COMPLETE) == n_trials
    (killed,) = (trial for trial in trials if trial.state == TrialState.FAIL)
    (again,) = (trial for trial in trials if "failed_trial" in trial.system_attrs)
    assert again.system_attrs["failed_trial"] == killed.number
    assert again.params == killed.params
    assert again.state == TrialState.COMPLETE
    # the killed one had ended two
    assert sum(int(out) for code, out in done if code == 0) + 2 == n_trials
    forget(url)


def test_of_200_trials_none_is_lost_or_doubled_though_a_process_is_killed(postgres: str) -> None:
    check_killed(postgres, 200)


def test_a_journal_repeats_the_trial_of_a_killed_process(tmp_path: Path) -> None:
    check_killed(f"journal:{tmp_path}/study.journal", 24)

"""A real server that ends, cancels or holds back a run: what becomes of the work."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import pipelines

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

# The machine may be busy with other tests.
_PATIENCE_S = 200.0
LONG = ("--set", "search.generations=5000", "--set", "search.patience=5000")


def environment(home: Path, **more: str) -> Mapping[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    return {**ours, **quiet, "PREFECT_HOME": str(home), **more}


class Server:
    """A Prefect server, as a command embeds one."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.embedded_server"],
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}/api"
        self.api = httpx.Client(base_url=self.url, timeout=60.0)

    def post(self, path: str, json: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Return the answer; while its database is locked, the server asks to be asked again."""
        deadline = time.monotonic() + _PATIENCE_S
        while (answer := self.api.post(path, json=json)).status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def close(self) -> None:
        self.api.close()
        self.process.kill()
        self.process.communicate()

    def run(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.post("/flow_runs/filter", {})
        return max(found, key=lambda run: run["created"], default={})

    def searching(self) -> bool:
        tasks = self.post("/task_runs/filter", {})
        return any(
            task["name"] == "search" and task["flow_run_id"] == self.run()["id"] for task in tasks
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "home")
    try:
        yield server
    finally:
        server.close()


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture
def search(server: Server, tmp_path: Path, smoke_yaml: str) -> Iterator[Callable[..., Any]]:
    started = []
    out = str(tmp_path / "out")
    command = [sys.executable, "-m", "pipelines", "search", smoke_yaml, "--out", out]

    def start(*sets: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, *sets],
            env=environment(server.home, PREFECT_API_URL=server.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_the_work_is_done_when_the_server_ends_in_mid_run(
    server: Server, search: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = search("--set", "search.generations=60", "--set", "search.patience=60")
    until(server.searching, process)
    server.process.kill()
    _, error = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, error
    assert "warning:" in error
    assert "Traceback" not in error
    (manifest,) = (tmp_path / "out" / "runs").glob("*/stages/search*.done.json")
    assert manifest.exists()


def test_a_run_that_is_cancelled_in_prefect_ends_and_says_so(
    server: Server, search: Callable[..., subprocess.Popen[str]]
) -> None:
    process = search(*LONG)
    until(server.searching, process)
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    server.post(f"/flow_runs/{server.run()['id']}/set_state", cancelling)
    _, error = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 130, error
    assert "cancelled in Prefect; the same command continues" in error
    assert server.run()["state_name"] == "Cancelled"


def test_a_run_waits_for_a_slot_of_its_tag_and_gives_it_back(
    server: Server, search: Callable[..., subprocess.Popen[str]]
) -> None:
    limit = {"name": "tag:config=smoke", "limit": 1, "active": True}
    taken = {"names": ["tag:config=smoke"], "slots": 1, "mode": "concurrency"}
    server.post("/v2/concurrency_limits/", limit)
    server.post("/v2/concurrency_limits/increment", taken)
    process = search()
    assert process.stderr is not None
    assert "prepare waits for a free slot of tag:config=smoke" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert server.run()["state_name"] == "Interrupted"
    server.post("/v2/concurrency_limits/decrement", taken)
    process = search()
    _, error = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, error
    assert "waits" not in error
    found = server.api.get("/v2/concurrency_limits/tag:config=smoke").json()
    assert found["active_slots"] == 0


TAGGED = """
import sys
from pathlib import Path
from pipelines.prefect_env import prepare_environment
prepare_environment(Path(sys.argv[2]))
from prefect import tags
from pipelines.flows import FLOWS
with tags("mine"):
    FLOWS["prepare"](sys.argv[1], out=sys.argv[2])
"""


def test_a_flow_with_a_limited_tag_does_not_wait_for_itself(
    server: Server, tmp_path: Path, smoke_yaml: str
) -> None:
    limit = {"name": "tag:mine", "limit": 1, "active": True}
    server.post("/v2/concurrency_limits/", limit)
    subprocess.run(
        [sys.executable, "-c", TAGGED, smoke_yaml, str(tmp_path / "out")],
        env=environment(server.home, PREFECT_API_URL=server.url),
        timeout=2 * _PATIENCE_S,
        check=True,
    )
    assert server.api.get("/v2/concurrency_limits/tag:mine").json()["active_slots"] == 0


def test_a_folder_of_the_packages_name_does_not_hide_it_from_its_server(
    tmp_path: Path, smoke_yaml: str
) -> None:
    other = tmp_path / "here" / "pipelines"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    root = str(Path(pipelines.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pipelines", "prepare", smoke_yaml],
        cwd=other.parent,
        env=environment(tmp_path / "home", PYTHONPATH=root),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=True,
    )
    assert "warning" not in done.stderr


def test_an_unreachable_server_is_told_in_a_sentence(tmp_path: Path, smoke_yaml: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "run", smoke_yaml, "--out", str(tmp_path / "out")],
        env=environment(tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be reached" in done.stderr
    assert "--no-prefect" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "out" / "runs").exists()

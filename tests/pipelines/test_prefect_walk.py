"""Every command of docs/prefect.md runs as it is printed, one after the other, on a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "prefect.md").read_text()
PRINTED_PORT = "4200"
_READY = {  # what a command that stays says when it can be used
    "prefect server": "Check out the dashboard",  # and then it must answer
    "clso serve": "being served",
    "prefect worker": "started!",
}
_PATIENCE_S = 900.0


class Walk:
    """A person who follows the page: a shell, and terminals of their own for what stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        names = ("HOME", "PREFECT_HOME", "TMPDIR")
        homes = {name: folder / name.lower() for name in names}
        for home in homes.values():
            home.mkdir()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        self._environment = {
            **inherited,
            **{name: str(home) for name, home in homes.items()},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",  # the other core has another test
        }
        self._exports: list[str] = []
        self._terminals: list[subprocess.Popen[bytes]] = []
        (folder / "prefect.yaml").symlink_to(ROOT / "prefect.yaml")

    def follow(self) -> None:
        """Run all blocks of the page in their order."""
        blocks = re.findall(r"```(sh terminal|sh|python)\n(.*?)```", PAGE, flags=re.DOTALL)
        assert {kind for kind, _ in blocks} == {"sh terminal", "sh", "python"}
        for kind, text in blocks:
            block = text.replace(PRINTED_PORT, self.port)
            if kind == "sh":
                self._shell(block)
            elif kind == "python":
                (self.folder / "snippet.py").write_text(block)
                self._shell(f"{sys.executable} snippet.py")
            else:
                self._terminal(block)

    def ask(self, path: str, **wanted: Any) -> Any:  # noqa: ANN401 - JSON
        """Return what the server has of a kind of thing."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}/filter",
            json.dumps(wanted).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def end(self) -> None:
        """End what stays, the last one first."""
        for terminal in reversed(self._terminals):
            for sign, wait_s in ((signal.SIGINT, 30), (signal.SIGKILL, 30)):
                try:
                    os.killpg(terminal.pid, sign)
                    terminal.wait(wait_s)
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue

    def _shell(self, block: str) -> None:
        log = self.folder / "shell.log"
        shell = self._start(block, log)
        try:
            status = shell.wait(_PATIENCE_S)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
        assert status == 0, f"{block}\n{log.read_text()}"
        self._exports += re.findall(r"^export .*$", block, flags=re.MULTILINE)

    def _terminal(self, block: str) -> None:
        log = self.folder / f"terminal-{len(self._terminals)}.log"
        terminal = self._start(f"exec {block}", log)
        self._terminals.append(terminal)
        (sign,) = (text for command, text in _READY.items() if block.startswith(command))
        wait_until(lambda: sign in log.read_text() or terminal.poll() is not None)
        wait_until(lambda: self._answers() or terminal.poll() is not None)
        assert terminal.poll() is None, log.read_text()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=60):
                return True
        except OSError:
            return False

    def _start(self, block: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(
                ["bash", "-ec", "\n".join([*self._exports, block])],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not done():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    walk = Walk(tmp_path)
    try:
        walk.follow()
        yield walk
    finally:
        walk.end()


def test_the_page_leads_from_nothing_to_a_nightly_study(walk: Walk) -> None:
    # one test, because a walk takes minutes and each test process would do its own
    all_runs_are_finished_and_have_the_names_of_their_folders(walk)
    a_run_has_a_log_its_results_and_the_report_with_figures(walk)
    the_study_comes_every_night(walk)
    every_flow_can_be_started_from_a_form_that_says_what_it_takes(walk)


def all_runs_are_finished_and_have_the_names_of_their_folders(walk: Walk) -> None:
    def started() -> list[dict[str, Any]]:
        wanted = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
        return cast("list[dict[str, Any]]", walk.ask("flow_runs", flow_runs=wanted))

    # the command that watches a run may end before the server has stored its last state
    wait_until(lambda: all(run["state_name"] not in {"Pending", "Running"} for run in started()))
    runs = started()
    out = walk.folder / "home" / "clso"
    folders = {path.name for path in (out / "runs").iterdir()}
    study = json.loads((out / "studies" / "smoke" / "manifest.json").read_text())["run_id"]
    assert [run["state_name"] for run in runs] == ["Completed"] * 5
    assert {run["name"] for run in runs} == {*folders, study}
    for run in runs:
        assert {"config=smoke", "family=gpt"} <= {*run["tags"]}
        assert ("clso" in run["tags"]) == (run["deployment_id"] is not None)


def a_run_has_a_log_its_results_and_the_report_with_figures(walk: Walk) -> None:
    (first,) = walk.ask("flow_runs", flow_runs={"deployment_id": {"is_null_": True}})
    logs = walk.ask("logs", logs={"flow_run_id": {"any_": [first["id"]]}}, limit=200)
    lines = " ".join(line["message"] for line in logs)
    for said in ("stage prepare: begun", "stage analyze: done", "crystalline GPT: test loss"):
        assert said in lines
    found = walk.ask("artifacts", flow_runs={"id": {"any_": [first["id"]]}})
    artifacts = {artifact["key"]: artifact for artifact in found}
    assert len(artifacts) == len(found)
    assert all(key.startswith(f"{first['name']}-") for key in artifacts)
    # the crystalline GPT, AdamW's, and four floors
    assert len(json.loads(artifacts[f"{first['name']}-results"]["data"])) == 6
    report = artifacts[f"{first['name']}-report"]["data"]
    assert "## Results" in report
    assert "data:image/svg+xml;base64," in report
    assert first["parameters"]["config"]["name"] == "smoke"


def the_study_comes_every_night(walk: Walk) -> None:
    nightly = walk.ask("deployments", deployments={"name": {"any_": ["nightly"]}})[0]
    assert nightly["entrypoint"] == "pipelines.flows.tune"
    (schedule,) = nightly["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    wait_until(
        lambda: walk.ask(
            "flow_runs",
            flow_runs={
                "deployment_id": {"any_": [nightly["id"]]},
                "state": {"type": {"any_": ["SCHEDULED"]}},
            },
        )
    )


def every_flow_can_be_started_from_a_form_that_says_what_it_takes(walk: Walk) -> None:
    found = walk.ask("deployments", limit=50)
    names = {"run", "prepare", "library", "search", "baseline", "analyze"}
    names |= {"rivals", "tune", "ablate", "savings", "pareto"}
    names |= {"transfer", "multitask", "continual"}
    for name in ("served", "pool"):
        entrypoints = {one["entrypoint"] for one in found if one["name"] == name}
        assert entrypoints == {f"pipelines.flows.{command}" for command in names}
    for one in found:
        schema = one["parameter_openapi_schema"]
        assert one["enforce_parameter_schema"]
        assert schema["required"] == ["config"]
        for parameter in schema["properties"].values():
            assert parameter["description"]
            assert "type" in parameter or "anyOf" in parameter

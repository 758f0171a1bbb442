"""The flows themselves; what the stages do is tested without Prefect."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import pipelines
from clso.artifacts import Run
from clso.errors import ConfigError, DownloadError
from clso.progress import SILENT
from pipelines.config import load_config, read_config
from pipelines.flow_command import FLOW_NAMES
from pipelines.prefect_env import prepare_environment
from pipelines.stages import through

pytestmark = [
    pytest.mark.slow,
    # Prefect's server and client leave sockets and loops to the interpreter's end.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    prepare_environment(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="module")
def server(settings: None) -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        yield


def artifacts_on_the_server() -> dict[str, str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json={}).json()
    return {artifact["key"]: artifact["type"] for artifact in found}


def test_a_run_leaves_progress_results_and_a_link_to_its_report(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke_yaml: str
) -> None:
    from pipelines import prefect_pages
    from pipelines.flows import FLOWS

    monkeypatch.setattr(prefect_pages, "_BAR_AFTER_S", 0.0)
    config = load_config(smoke_yaml, ["baseline.eval_points=1"])
    run = FLOWS["run"](config, out=tmp_path)
    stages = {name: stage["status"] for name, stage in run.manifest["stages"].items()}
    assert stages == dict.fromkeys((stage.name for stage in through("run", config)), "done")
    shown = artifacts_on_the_server()
    assert shown[f"{run.run_id}-search-gpt"] == "progress"
    assert shown[f"{run.run_id}-results"] == "table"
    assert shown[f"{run.run_id}-report"] == "markdown"


def test_a_broken_download_is_tried_again_and_a_mistake_is_not(
    server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke_yaml: str
) -> None:
    from clso.energy import Measurement
    from pipelines import flows
    from pipelines.context import RunContext
    from pipelines.ledger import StageRecord
    from pipelines.stage import Stage

    monkeypatch.setattr(flows, "_RETRY_DELAY_S", 0)
    tries: list[str] = []

    def broken(stage: Stage, run: RunContext) -> None:
        tries.append(stage.name)
        run.records[stage.name] = StageRecord("", (), "", Measurement(0.0), 1, {})
        if stage.name == failing == "prepare":
            raise DownloadError("the connection broke")
        if stage.name == failing:
            raise ConfigError("no")

    failing = "prepare"
    monkeypatch.setattr(Stage, "run", broken)
    config = load_config(smoke_yaml)
    with pytest.raises(DownloadError, match="the connection broke"):
        flows.FLOWS["prepare"](config, out=tmp_path)
    assert tries == ["prepare"] * 3
    tries.clear()
    failing = "library"
    with pytest.raises(ConfigError, match="no"):
        flows.FLOWS["library"](config, out=tmp_path)
    assert tries == ["prepare", "library"]


def defaults(function: Any) -> dict[str, Any]:  # noqa: ANN401 - a flow or a function
    parameters = inspect.signature(function).parameters.values()
    return {
        one.name: list(one.default) if isinstance(one.default, tuple) else one.default
        for one in parameters
        if one.name != "reporter"
    }


@pytest.mark.parametrize("name", FLOW_NAMES)
def test_a_flow_takes_what_its_function_takes_and_describes_it(settings: None, name: str) -> None:
    from prefect.utilities.callables import parameter_schema

    from pipelines import flows

    flow = flows.FLOWS[name]
    assert getattr(flows, name) is flow
    assert defaults(flow.fn) == defaults(getattr(pipelines, name))
    schema = parameter_schema(flow.fn).model_dump()
    kinds = [option["type"] for option in schema["properties"]["config"]["anyOf"]]
    assert kinds == ["string", "object"]
    assert all(parameter["description"] for parameter in schema["properties"].values())


@pytest.mark.parametrize("name", ["ablate", "tune", "quick"])
def test_a_configuration_is_stored_as_json_and_is_still_the_same(settings: None, name: str) -> None:
    from pipelines.flows import FLOWS

    config, flow = load_config(name), FLOWS["run"]
    given = flow.validate_parameters({"config": config, "overrides": {"seed": 1}, "out": Path("a")})
    stored = json.loads(json.dumps(flow.serialize_parameters(given)))
    assert read_config(stored["config"]) == config
    assert (stored["overrides"], stored["out"]) == ({"seed": 1}, "a")
    # a path without a folder stays a path: the text alone would name a shipped configuration
    assert flow.validate_parameters({"config": Path(name)})["config"] == str(Path.cwd() / name)


def test_a_relative_folder_is_refused_where_a_worker_starts_the_run(
    settings: None, monkeypatch: pytest.MonkeyPatch, smoke_yaml: str
) -> None:
    from pipelines import flows

    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "one")
    with pytest.raises(ConfigError, match="a relative folder, and a worker's own folder is temp"):
        flows.FLOWS["run"].fn(smoke_yaml, out="artifacts")


def test_a_flows_function_works_without_a_flow_run(
    settings: None, smoke: Run, out: Path, smoke_yaml: str
) -> None:
    from pipelines.flows import FLOWS
    from pipelines.prefect_pages import RunPage

    assert FLOWS["prepare"].fn(smoke_yaml, out=out).run_id == smoke.run_id
    with RunPage(smoke.run_id, SILENT).study("ablate"):
        pass


def test_a_password_in_the_configuration_does_not_leave_the_machine(settings: None) -> None:
    from pipelines.flows import FLOWS

    address = "postgresql://me:secret@host/db"
    config, flow = load_config("smoke", [f"tune.storage={address}"]), FLOWS["tune"]
    assert "secret" not in json.dumps(flow.serialize_parameters({"config": config}))
    assert flow.validate_parameters({"config": config})["config"].tune.storage == address


def test_only_the_run_that_a_worker_started_is_left_to_it(
    settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.schemas.objects import FlowRun

    from pipelines.flow_link import _is_supervised

    run = FlowRun(flow_id=uuid4())
    assert not _is_supervised(run)
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(uuid4()))
    assert not _is_supervised(run)
    assert _is_supervised(FlowRun(flow_id=uuid4(), parent_task_run_id=uuid4()))
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", str(run.id))
    assert _is_supervised(run)


STUDY_OPTIONS: dict[str, dict[str, Any]] = {
    "ablate": {"families": ["gpt"], "seeds": 3, "evaluations": 8},
    "savings": {"families": ["gpt"], "seeds": 3, "evaluations": 8},
    "rivals": {"family": "gpt", "seeds": 3, "evaluations": [8, 9]},
    "pareto": {"family": "gpt", "objectives": ["loss"], "population": 4, "generations": 2},
    "transfer": {"family": "gpt", "sources": ["a"], "targets": ["b"], "seeds": 2},
    "multitask": {"family": "gpt", "texts": ["a", "b"], "share": 0.5, "seeds": 2},
    "continual": {"family": "gpt", "texts": ["a", "b"], "seeds": 2},
    "tune": {"trials": 2, "storage": "sqlite://", "fresh": True},
}


@pytest.mark.parametrize("name", STUDY_OPTIONS)
def test_a_studys_flow_is_a_task_that_gets_its_options(
    server: None, smoke: Run, monkeypatch: pytest.MonkeyPatch, name: str, smoke_yaml: str
) -> None:
    from pipelines.flows import FLOWS
    from pipelines.prefect_pages import RunPage

    got: list[Any] = []

    def study(config: object, **options: object) -> Run:
        got.append({key: value for key, value in options.items() if key in STUDY_OPTIONS[name]})
        return smoke

    def publish(page: RunPage, study: str, run: Run) -> None:
        got.append((page.run_id, study))

    monkeypatch.setattr(pipelines, name, study, raising=False)
    monkeypatch.setattr(RunPage, "publish_study", publish)
    run = FLOWS[name](smoke_yaml, **STUDY_OPTIONS[name])
    assert run is smoke
    assert got == [STUDY_OPTIONS[name], (smoke.run_id, name)]

"""The flows themselves; what the stages do is tested without Prefect."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clso.errors import ConfigError, DownloadError
from pipelines.config import load_config
from pipelines.prefect_env import prepare_environment
from pipelines.stages import through

pytestmark = [
    pytest.mark.slow,
    # Prefect's server and client leave sockets and loops to the interpreter's end.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    prepare_environment(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
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
    from pipelines import flows
    from pipelines.stage import Stage

    monkeypatch.setattr(flows, "_RETRY_DELAY_S", 0)
    tries: list[str] = []

    def broken(stage: Stage, run: object) -> None:
        tries.append(stage.name)
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

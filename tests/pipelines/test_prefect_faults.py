"""Faults of Prefect: each ends in a sentence with the remedy, or the work goes on without."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clso.errors import WorkError
from pipelines import prefect_server
from pipelines.orchestration import _NeverBegan, _outcome
from pipelines.prefect_env import PrefectError, prepare_environment, read_settings
from pipelines.prefect_server import EmbeddedServer, check_server

# Prefect's client leaves sockets to the interpreter's end.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a test sets, and begin without settings of Prefect."""
    for name in [*os.environ]:
        if name.startswith("PREFECT_") or name.lower() == "no_proxy":
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())


@contextmanager
def answering(status: int, body: str, delay_s: float = 0.0) -> Iterator[str]:
    """A server on the loopback that always answers the same; yields the URL of its API."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ended.wait(delay_s)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            ended.set()
            server.shutdown()
            thread.join()


class TestSettings:
    def test_an_unknown_profile_is_told_with_those_that_there_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        profiles = tmp_path / "profiles.toml"
        profiles.write_text('[profiles.home]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n')
        monkeypatch.setenv("PREFECT_PROFILES_PATH", str(profiles))
        monkeypatch.setenv("PREFECT_PROFILE", "elsewhere")
        with pytest.raises(PrefectError, match=r"'elsewhere'.*it has home\n.*--no-prefect"):
            prepare_environment(tmp_path)
        monkeypatch.setenv("PREFECT_PROFILE", "home")
        prepare_environment(tmp_path)

    def test_broken_profiles_are_told_by_their_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "profiles.toml").write_text('active = "x')
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
        with pytest.raises(PrefectError, match=r"profiles.toml are no valid TOML"):
            prepare_environment(tmp_path)

    def test_the_profiles_of_the_users_home_hold(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        prepare_environment(tmp_path / "out")
        assert os.environ["PREFECT_PROFILES_PATH"] == str(tmp_path / ".prefect/profiles.toml")
        assert os.environ["PREFECT_HOME"] == str(tmp_path / "out/.prefect")

    @pytest.mark.parametrize("given", ["", "example.org", "localhost,127.0.0.1", "*"])
    def test_a_proxy_does_not_get_the_calls_to_this_machine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
    ) -> None:
        from urllib.request import proxy_bypass_environment

        monkeypatch.setenv("NO_PROXY", given)
        prepare_environment(tmp_path)
        assert proxy_bypass_environment("127.0.0.1:8000")
        assert proxy_bypass_environment("localhost")
        assert bool(proxy_bypass_environment("example.org")) == (given in ("example.org", "*"))

    def test_a_setting_that_prefect_refuses_is_told_by_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "many")
        prepare_environment(tmp_path)
        import pydantic
        from prefect.settings import Settings

        with pytest.raises(pydantic.ValidationError) as refused:
            Settings()
        monkeypatch.setattr("prefect.settings.get_current_settings", raising(refused.value))
        with pytest.raises(PrefectError, match=r"client.max_retries: .*integer.*not 'many'"):
            read_settings()


def raising(error: BaseException) -> Any:  # noqa: ANN401 - stands for any function
    def function(*_: object, **__: object) -> None:
        raise error

    return function


class TestAServerOfTheUsers:
    @pytest.fixture(autouse=True)
    def settings(self, own_environment: None, tmp_path: Path) -> None:
        prepare_environment(tmp_path)
        read_settings()

    @pytest.mark.parametrize(
        ("status", "body", "told"),
        [
            (200, '"2.20.18"', r"runs Prefect 2.20.18, this command Prefect 3.*must agree"),
            (200, "<html>a router</html>", "is no Prefect server"),
            (200, '{"version": 3}', "is no Prefect server"),
            (404, "", "answers with status 404"),
            (500, "", "answers with status 500"),
            (401, "", "refuses the credentials"),
        ],
    )
    def test_what_does_not_fit_is_told(self, status: int, body: str, told: str) -> None:
        with (
            answering(status, body) as url,
            pytest.raises(PrefectError, match=rf"{url} {told}[^\n]*\n.*unset PREFECT_API_URL"),
        ):
            check_server(url)

    def test_one_that_hangs_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prefect_server, "_PROBE_TIMEOUT_S", 0.2)
        with (
            answering(200, '"3.8.8"', delay_s=60.0) as url,
            pytest.raises(PrefectError, match="does not answer within"),
        ):
            check_server(url)

    def test_one_that_is_not_there_is_told_without_its_password(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(PrefectError, match=r"cannot be reached.*\n.*start it") as told:
            check_server(f"http://someone:secret@127.0.0.1:{port}/api")
        assert "secret" not in str(told.value)
        for wrong in ("localhost:4200", "ftp://127.0.0.1/api"):
            with pytest.raises(PrefectError, match="has no such address"):
                check_server(wrong)

    def test_an_older_one_is_used_with_a_warning(self, capsys: pytest.CaptureFixture[str]) -> None:
        with answering(200, '"3.0.1"') as url:
            check_server(url)
        assert "is older (3.0.1)" in capsys.readouterr().err


class TestWhateverBecomesOfTheFlow:
    """The work's own end counts: its result, its error or its interruption."""

    @pytest.fixture(autouse=True)
    def settings(self, own_environment: None, tmp_path: Path) -> None:
        prepare_environment(tmp_path)
        read_settings()

    @staticmethod
    def flow(lost: BaseException, **became: Any) -> Any:  # noqa: ANN401 - stands for a flow
        def call() -> None:
            from pipelines.flow_link import recording

            record = recording.get()
            assert record is not None
            for name, value in became.items():
                setattr(record, name, value)
            raise lost

        return call

    def test_a_result_is_kept_when_the_server_cannot_be_told(self) -> None:
        from prefect.exceptions import Abort

        for lost in (RuntimeError("Failed to reach API"), Abort("the server is away")):
            assert _outcome(self.flow(lost, begun=True, result=["a run"])) == "a run"

    def test_an_error_of_the_work_comes_before_one_of_the_server(self) -> None:
        error = WorkError("diverged")
        with pytest.raises(WorkError, match="diverged"):
            _outcome(self.flow(RuntimeError("Failed to reach API"), begun=True, error=error))

    def test_an_interruption_stays_one(self) -> None:
        by = "cancelled in Prefect"
        with pytest.raises(KeyboardInterrupt, match=by):
            _outcome(self.flow(RuntimeError("Failed"), begun=True, interrupted=by))

    def test_a_flow_that_never_began_is_known(self) -> None:
        with pytest.raises(_NeverBegan, match="Failed to reach API"):
            _outcome(self.flow(RuntimeError("Failed to reach API\nmore")))

    def test_a_run_that_prefect_ends_does_not_go_on_without(self) -> None:
        from prefect.exceptions import Abort

        with pytest.raises(WorkError, match="ended the run before it began: in a terminal state"):
            _outcome(self.flow(Abort("in a terminal state")))


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ephemeral = SimpleNamespace(startup_timeout_seconds=1)
    settings = SimpleNamespace(
        home=tmp_path / "file" / "home", server=SimpleNamespace(ephemeral=ephemeral)
    )
    with pytest.raises(WorkError, match=r"Prefect's home .* cannot be written: Not a directory"):
        EmbeddedServer(cast(Any, settings)).start()

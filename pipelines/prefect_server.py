"""The Prefect server of a command: the user's, which must answer, or an embedded one.

An embedded server is a process of its own (`pipelines.embedded_server`). It lives as long as the
command, writes what it has to say into `server.log` in Prefect's home, and gets no Ctrl-C of the
terminal, so that the end of an interrupted run can still be told to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout
from rich.text import Text

from clso.addresses import without_password
from clso.errors import WorkError
from pipelines.console import error_console
from pipelines.prefect_env import PrefectError, read_settings

if TYPE_CHECKING:
    from prefect.settings import Settings

__all__ = ["EmbeddedServer", "Server", "check_server", "prefect_server", "warn"]

Server = Literal["user", "embedded", "none"]
"""Whose server the flows report to."""

_PROGRAM = Path(__file__).with_name("embedded_server.py")
_PROBE_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 10.0


def warn(text: str) -> None:
    """Tell a user what is amiss, where the work goes on."""
    error_console.print(Text.assemble(("warning:", "yellow"), f" {text}"), soft_wrap=True)


@contextmanager
def prefect_server() -> Iterator[Server]:
    """Provide Prefect's server, the user's if there is one; where none starts, warn.

    Call `prepare_environment` before.

    Raises:
        PrefectError: the user's settings name a server that does not answer or does not fit.
    """
    settings = read_settings()
    url = settings.api.url
    if url:
        check_server(url)
        yield "user"
        return
    if not settings.server.ephemeral.enabled:
        raise PrefectError(
            "Prefect has no server: PREFECT_API_URL is not set, and the embedded one is off by "
            "PREFECT_SERVER_EPHEMERAL_ENABLED",
            remedy="set one of the two",
        )
    server = EmbeddedServer(settings)
    try:
        server.start()
    except WorkError as error:
        warn(f"{error}; the work goes on without Prefect")
        yield "none"
        return
    try:
        with server.in_use():
            yield "embedded"
    finally:
        server.stop()


def check_server(url: str) -> None:
    """Ask a server for its version.

    Raises:
        PrefectError: it does not answer, is no Prefect server or of another major version.
    """
    import httpx
    from packaging.version import InvalidVersion, Version
    from prefect import __version__
    from prefect.client.base import ServerType
    from prefect.client.orchestration import get_client
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_CLIENT_MAX_RETRIES,
        temporary_settings,
    )

    try:
        with (
            temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": _PROBE_TIMEOUT_S}) as client,
        ):
            if client.server_type == ServerType.CLOUD:  # always of a version that fits
                client.hello()
                return
            server, ours = Version(client.api_version()), Version(__version__)
    except httpx.TimeoutException:
        reason = f"does not answer within {_PROBE_TIMEOUT_S:.0f} s"
        raise _unusable(url, reason, "see whether it is well") from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            reason, remedy = f"refuses the credentials (status {status})", _CREDENTIALS
        else:
            reason, remedy = f"answers with status {status}", _ADDRESS
        raise _unusable(url, reason, remedy) from None
    except (InvalidVersion, TypeError, ValueError):
        raise _unusable(url, "is no Prefect server", _ADDRESS) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise _unusable(url, "has no such address", _ADDRESS) from None
    except (httpx.HTTPError, OSError, ImportError) as error:
        raise _unusable(url, f"cannot be reached: {error}", "start it") from None
    if server.major != ours.major:
        reason = f"runs Prefect {server}, this command Prefect {ours}; the first numbers must agree"
        raise _unusable(url, reason, "install the server's version here or this one there")
    if server < ours:
        warn(
            f"the Prefect server at {without_password(url)} is older ({server}) than Prefect here "
            f"({ours}), and may not understand all that it is told"
        )


_ADDRESS = "set PREFECT_API_URL to one such as http://127.0.0.1:4200/api"
_CREDENTIALS = "set PREFECT_API_AUTH_STRING or PREFECT_API_KEY"


def _unusable(url: str, reason: str, remedy: str) -> PrefectError:
    return PrefectError(
        f"the Prefect server at {without_password(url)} {reason}",
        remedy=f"{remedy}, unset PREFECT_API_URL",
    )


class EmbeddedServer:
    """A Prefect server of one command, with its database in Prefect's home."""

    def __init__(self, settings: Settings) -> None:
        self.log = Path(settings.home) / "server.log"
        self._timeout_s = settings.server.ephemeral.startup_timeout_seconds
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            WorkError: it ends, does not answer in time, or cannot write.
        """
        try:
            self.url = f"http://127.0.0.1:{self._open()}/api"
        except OSError as error:
            raise WorkError(
                f"Prefect's home {self.log.parent} cannot be written: {error.strerror or error}"
            ) from error
        except BaseException:
            self.stop()
            raise

    def _open(self) -> str:
        """Start the process, and return its port."""
        lock = FileLock(self.log.with_name("server.lock"))
        # Of commands that start together, one makes the database.
        with suppress(Timeout):
            lock.acquire(timeout=self._timeout_s)
        try:
            with self.log.open("w", encoding="utf-8") as log:
                self._process = subprocess.Popen(  # noqa: S603 - a part of this package
                    # not by the module's name, which a folder here may have too
                    [sys.executable, "-P", str(_PROGRAM)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
            port = _first_line(self._process, self._timeout_s)
        finally:
            lock.release()
        if port is None:
            raise WorkError(
                "Prefect's embedded server did not answer within "
                f"{self._timeout_s} s (PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS)"
            )
        if not port:
            raise WorkError(f"Prefect's embedded server did not start, see {self.log}")
        return port

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the flows of this process report to it."""
        from prefect.context import refresh_global_settings_context

        # By the environment, because Prefect's threads and other processes see nothing else.
        os.environ["PREFECT_API_URL"] = self.url
        refresh_global_settings_context()
        try:
            yield
        finally:
            _send_what_waits()
            del os.environ["PREFECT_API_URL"]
            refresh_global_settings_context()

    def stop(self) -> None:
        """End it, in order if it can."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str | None:
    """Return the first line that a process prints, empty if it ends; `None`: not in time."""
    stream = process.stdout
    assert stream is not None
    lines: SimpleQueue[str] = SimpleQueue()
    Thread(target=lambda: lines.put(stream.readline().strip()), daemon=True).start()
    try:
        return lines.get(timeout=timeout_s)
    except Empty:
        return None


def _send_what_waits() -> None:
    """Send the events that Prefect still holds back, before their server ends."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        with suppress(Exception):
            worker.drain_all(timeout=_STOP_TIMEOUT_S)

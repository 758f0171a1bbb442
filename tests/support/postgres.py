"""A PostgreSQL server of a test's own, on a free port of the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["postgres_server"]

_USER = "nobody"  # the server refuses to run as root


def _binaries() -> Path | None:
    """Return the folder of the server's programs; Debian keeps them out of PATH."""
    postgres = shutil.which("postgres")
    if postgres is None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        postgres = str(found[-1]) if found else None
    return None if postgres is None else Path(postgres).resolve().parent


@contextmanager
def postgres_server() -> Iterator[str | None]:
    """Start a server with an empty database, and yield its URL; `None`: there is no PostgreSQL."""
    binaries = _binaries()
    if binaries is None:
        yield None
        return
    # pytest's folders are closed to the other user
    folder = Path(tempfile.mkdtemp(prefix="clso-postgres-"))
    other = {"user": _USER, "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    if other:
        shutil.chown(folder, _USER, "nogroup")
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run(
            [str(binaries / command[0]), *command[1:]],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **other,
        )

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        run("initdb", "-D", str(data), "-U", "clso", "-A", "trust", "--no-sync")
        # durability is not tested, and costs most of the time
        settings = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
        log = str(folder / "log")
        run("pg_ctl", "start", "-D", str(data), "-l", log, "-w", "-t", "120", "-o", settings)
        try:
            yield f"postgresql://clso@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-D", str(data), "-m", "immediate", "-w")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

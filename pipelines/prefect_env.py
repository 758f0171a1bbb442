"""Prefect's settings for a quiet, offline run; must be applied before `import prefect`.

Prefect reads its settings once, at import, from the environment. The user's own settings stay:
with `PREFECT_API_URL` the flows report to that server instead of an embedded one.
"""

from __future__ import annotations

import os
from pathlib import Path

from clso.errors import ArtifactError

__all__ = ["prepare_environment"]


def prepare_environment(out: Path) -> None:
    """Put Prefect's home below the output folder and switch its network calls off.

    Raises:
        ArtifactError: the output folder cannot be written.
    """
    home = (out / ".prefect").resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"the output folder {out} cannot be written: {error.strerror or error}",
            remedy="choose another with --out, or free space there",
        ) from error
    defaults = {
        "PREFECT_HOME": str(home),
        # Prefect prints a traceback for every failed task; the command line tells users instead.
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        # The embedded server migrates its database on first use: slow on a busy two-core machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)

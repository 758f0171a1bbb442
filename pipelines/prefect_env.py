"""Prefect's settings: quiet and offline by default, the user's own where there are some.

Prefect reads its settings once, at import, from the environment and from the user's profiles. So
`prepare_environment` comes before the first import of Prefect, and `read_settings` is that import.
"""

from __future__ import annotations

import io
import os
import re
import tomllib
import warnings
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clso.errors import ClsoError

if TYPE_CHECKING:
    from prefect.settings import Settings

__all__ = ["PrefectError", "prepare_environment", "read_settings"]

# The profiles that Prefect has without a file.
_BUILT_IN_PROFILES = frozenset({"ephemeral", "local", "test", "cloud"})
_LOOPBACK = ("127.0.0.1", "localhost")


class PrefectError(ClsoError):
    """Settings of Prefect that cannot be used, or a Prefect server that cannot be reached."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=f"{remedy}, or do without: --no-prefect")


def prepare_environment(out: Path) -> None:
    """Put Prefect's home below the output folder and switch its network calls off.

    The user's own settings stay, also the profiles in `~/.prefect`: where they name a server, the
    flows report to that one instead of an embedded one.

    Raises:
        ArtifactError: the output folder cannot be written.
        PrefectError: `PREFECT_PROFILE` names a profile that does not exist, or the profiles cannot
            be read.
    """
    home = (out / ".prefect").resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from clso.artifacts import write_error  # tables are not needed otherwise

        raise write_error(out, error) from error
    profiles = _profiles_path(home)
    _check_profile(profiles)
    defaults = {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(profiles),
        # Prefect prints a traceback for every failed task; the command line tells users instead.
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        # The embedded server migrates its database on first use: slow on a busy two-core machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # A server that restarts is waited for some 15 s; one that is gone stops nobody for long.
        "PREFECT_CLIENT_MAX_RETRIES": "3",
        "PREFECT_API_REQUEST_TIMEOUT": "15",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    _keep_loopback_off_proxies()


def read_settings() -> Settings:
    """Import Prefect and return its settings.

    Raises:
        PrefectError: a setting has a value that Prefect refuses.
    """
    # What Prefect prints about a setting on the way to its exception, the error below says.
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import prefect.main  # noqa: F401 - the import that reads all settings
            from prefect.settings import get_current_settings

            return get_current_settings()
        except ImportError:
            raise
        except Exception as error:
            raise PrefectError(
                f"Prefect refuses its settings: {_mistake(error)}",
                remedy="correct the variable PREFECT_..., Prefect's profile or prefect.toml",
            ) from error


def _profiles_path(home: Path) -> Path:
    """Return the file of the user's profiles, which need not exist; `home` is Prefect's here."""
    if "PREFECT_PROFILES_PATH" in os.environ:
        return Path(os.environ["PREFECT_PROFILES_PATH"]).expanduser()
    if "PREFECT_HOME" in os.environ:
        return Path(os.environ["PREFECT_HOME"]).expanduser() / "profiles.toml"
    try:
        path = Path("~/.prefect/profiles.toml").expanduser()
        path.exists()  # refused in a home of somebody else
    except RuntimeError:  # a user without a home, as in containers; Prefect cannot be imported then
        os.environ["HOME"] = str(home)
    except OSError:
        pass
    else:
        return path
    return home / "profiles.toml"


def _check_profile(path: Path) -> None:
    try:
        contents: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        contents = {}
    except OSError as error:
        raise PrefectError(
            f"Prefect's profiles in {path} cannot be read: {error.strerror or error}",
            remedy="make the file readable, or name another in PREFECT_PROFILES_PATH",
        ) from error
    except ValueError as error:
        raise PrefectError(
            f"Prefect's profiles in {path} are no valid TOML: {error}",
            remedy="correct or delete the file, or name another in PREFECT_PROFILES_PATH",
        ) from error
    wanted = os.environ.get("PREFECT_PROFILE")
    names = {*contents.get("profiles", {})}
    if wanted and wanted not in names | _BUILT_IN_PROFILES:
        known = f"it has {', '.join(sorted(names))}" if names else "it has none"
        raise PrefectError(
            f"PREFECT_PROFILE names the profile {wanted!r}, which {path} does not have; {known}",
            remedy="unset PREFECT_PROFILE, or name another (`prefect profile ls`)",
        )


def _keep_loopback_off_proxies() -> None:
    """Exempt this machine's own addresses: an embedded server is not behind the user's proxy."""
    names = ("no_proxy", "NO_PROXY")  # the first that is set holds
    given = next((os.environ[name] for name in names if os.environ.get(name)), "")
    exempt = [part.strip() for part in given.split(",") if part.strip()]
    if "*" not in exempt:
        exempt += [address for address in _LOOPBACK if address not in exempt]
    os.environ.update(dict.fromkeys(names, ",".join(exempt)))


def _mistake(error: Exception) -> str:
    """Return the mistakes of a validation, or the first line of another error."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error).partition("\n")[0] or type(error).__name__
    # such as `logging.level`, which Prefect's documentation lists with its variable
    words = re.findall("[A-Z][a-z0-9]+", error.title.removesuffix("Settings"))
    return "; ".join(
        f"{'.'.join([*words, *map(str, mistake['loc'])]).lower()}: {mistake['msg']}, "
        f"not {mistake['input']!r}"
        for mistake in error.errors()
        if mistake["type"] != "default_factory_not_called"
    )

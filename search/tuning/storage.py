"""Where a study is kept: any database that SQLAlchemy opens, an SQLite file by default.

A running trial writes a heartbeat to the database. The trial of a killed process writes none; the
next process that works on the study marks the trial as failed and queues its values again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from clso.errors import ArtifactError

__all__ = ["HEARTBEAT_S", "hidden_url", "open_storage", "quiet_optuna", "retry"]

HEARTBEAT_S = 10
# a live process that waits for disk or processor may miss some heartbeats
_GRACE = 6
_SQLITE_WAIT_S = 60


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence what Optuna warns of and this package accepts.

    The pinned version has the parts that are called experimental. PED-ANOVA warns about
    conditions that held in few trials; the tables give the number of trials.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        yield


def retry(retries: int | None) -> RetryHeartbeatStaleTrialCallback:
    """Return a callback that queues a failed trial's values again; `None`: without limit."""
    with quiet_optuna():
        return RetryHeartbeatStaleTrialCallback(max_retry=retries)


def hidden_url(url: str) -> str:
    """Return a storage's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


@contextmanager
def open_storage(url: str, *, retries: int, heartbeat_s: int = HEARTBEAT_S) -> Iterator[RDBStorage]:
    """Open the storage of a study, create its tables if they are missing, close it at the end.

    Args:
        url: as SQLAlchemy has it: `sqlite:///path`, `postgresql://user@host/name`.
        retries: of a trial whose process died.
        heartbeat_s: between two heartbeats.

    Raises:
        ArtifactError: the URL is invalid, its driver is missing, or it cannot be opened.
    """
    # the reporter tells the progress instead
    optuna.logging.disable_default_handler()
    logging.getLogger("optuna").addHandler(logging.NullHandler())
    shown = repr(url)
    try:
        shown = hidden_url(url)
        sqlite = make_url(url).get_backend_name() == "sqlite"
        options: dict[str, Any] = {"connect_args": {"timeout": _SQLITE_WAIT_S}} if sqlite else {}
        with quiet_optuna():
            storage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat_s,
                grace_period=_GRACE * heartbeat_s,
                heartbeat_stale_trial_callback=retry(retries),
            )
    except ImportError as error:
        raise ArtifactError(
            f"the storage {shown} needs a driver that is not installed",
            remedy="install the database's driver, such as psycopg2-binary for PostgreSQL",
        ) from error
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ValueError) as error:
        # the first line; the others repeat the statement and link to a page
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"the storage {shown} cannot be opened: {reason}",
            remedy="give --storage a URL such as sqlite:///study.db or postgresql://host/name",
        ) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()

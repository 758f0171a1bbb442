"""Where a study is kept: any database that SQLAlchemy opens, an SQLite file by default.

A trial under way gives a sign of life every so often. One whose process was killed gives none; the
next process that works on the study marks it as failed and puts its values into the queue again.
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

__all__ = ["HEARTBEAT_S", "experimental", "hidden_url", "open_storage", "retry"]

HEARTBEAT_S = 10
# A process that is alive but waits for disk or processor may miss some of its signs.
_GRACE = 6
_SQLITE_WAIT_S = 60

_MISSING_DRIVER = "install the database's driver, such as psycopg2-binary for PostgreSQL"


@contextmanager
def experimental() -> Iterator[None]:
    """Use parts of Optuna that it calls experimental; the pinned version has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def retry(retries: int | None) -> RetryHeartbeatStaleTrialCallback:
    """Return what puts a failed trial's values into the queue again, at most so often."""
    with experimental():
        return RetryHeartbeatStaleTrialCallback(max_retry=retries)


def hidden_url(url: str) -> str:
    """Return a storage's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


@contextmanager
def open_storage(url: str, *, retries: int, heartbeat_s: int = HEARTBEAT_S) -> Iterator[RDBStorage]:
    """Open a study's storage, making its tables if need be, and close it in the end.

    Args:
        url: as SQLAlchemy has it: `sqlite:///path`, `postgresql://user@host/name`.
        retries: of a trial whose process died.
        heartbeat_s: between two signs of life.

    Raises:
        ArtifactError: it is no such URL, its driver is missing, or it cannot be opened.
    """
    # told through our own console instead
    optuna.logging.disable_default_handler()
    logging.getLogger("optuna").addHandler(logging.NullHandler())
    try:
        sqlite = make_url(url).get_backend_name() == "sqlite"
        options: dict[str, Any] = {"connect_args": {"timeout": _SQLITE_WAIT_S}} if sqlite else {}
        with experimental():
            storage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat_s,
                grace_period=_GRACE * heartbeat_s,
                heartbeat_stale_trial_callback=retry(retries),
            )
    except ImportError as error:
        raise ArtifactError(
            f"the storage {hidden_url(url)} needs a driver that is not installed",
            remedy=_MISSING_DRIVER,
        ) from error
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ValueError) as error:
        # the first line; the others repeat the statement and link to a page
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"the storage {_shown(url)} cannot be opened: {reason}",
            remedy="give --storage a URL such as sqlite:///study.db or postgresql://host/name",
        ) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _shown(url: str) -> str:
    try:
        return hidden_url(url)
    except SQLAlchemyError:
        return repr(url)

"""A study in a database: any that SQLAlchemy opens, such as an SQLite file or PostgreSQL.

Optuna makes its tables without a lock. Here processes take turns: by a file beside an SQLite
database, by an advisory lock in PostgreSQL. Other databases have no turns; there the tables must
be made, and the study begun, by one process before others join.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from clso.addresses import lacks_password, without_password
from clso.errors import ArtifactError, first_line
from search.tuning.storage import FAULTS, StudyStorage, quiet_optuna

__all__ = ["DatabaseStorage", "open_database", "sqlite_url"]

_SQLITE_WAIT_S = 60
_SQLITE_HEADER = 100  # bytes
_SQLITE_MAGIC = b"SQLite format 3\0"
# the key of the advisory lock: "clso" in bytes
_LOCK_KEY = int.from_bytes(b"clso", "big")
# a trial of this study that runs, and of which nobody has written a heartbeat
_NO_HEARTBEAT = """
SELECT trials.trial_id FROM trials
LEFT JOIN trial_heartbeats ON trial_heartbeats.trial_id = trials.trial_id
WHERE trials.study_id = :study AND trials.state = 'RUNNING' AND trial_heartbeats.trial_id IS NULL
"""
_REMEDY = (
    "give --storage a URL such as sqlite:///study.db or postgresql://user@host/name, "
    "or journal:PATH"
)


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file, whatever characters are in its path."""
    if set(str(path)) & set("?{}"):  # the beginning of a query, and what Optuna fills in
        return f"sqlite:///file:{quote(str(path))}?uri=true"
    return f"sqlite:///{path}"


@contextmanager
def open_database(url: str, *, retries: int, heartbeat_s: int) -> Iterator[DatabaseStorage]:
    """Open a database, make Optuna's tables if they are missing, and close it at the end.

    Raises:
        ArtifactError: the URL is invalid, its driver or password is missing, or it cannot be
            opened.
    """
    if lacks_password(url):
        raise ArtifactError(
            f"the storage is {url}: its password is never stored",
            remedy="give the whole URL with --storage, or leave the password to PGPASSWORD or "
            "~/.pgpass",
        )
    shown = _shown(url)
    try:
        database = DatabaseStorage(make_url(url), retries=retries, heartbeat_s=heartbeat_s)
    except ImportError as error:
        extra = "pip install 'clso[postgres]'" if url.startswith("postgresql") else "install it"
        raise ArtifactError(
            f"the storage {shown} needs a driver that is not installed: {error.__cause__ or error}",
            remedy=extra,
        ) from error
    # LookupError: Optuna fills in braces
    except (*FAULTS, RuntimeError, ValueError, LookupError) as error:
        # the first line; the others repeat the statement and link to a page
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"the storage {shown} cannot be opened: {reason}", remedy=_REMEDY
        ) from error
    try:
        yield database
    finally:
        database.close()


class DatabaseStorage(StudyStorage):
    """A database, open."""

    def __init__(self, address: URL, *, retries: int, heartbeat_s: int) -> None:
        self.shown = _shown(address)
        self.heartbeat_s, self.retries = heartbeat_s, retries
        kind = address.get_backend_name()
        options: dict[str, Any] = (
            {"connect_args": {"timeout": _SQLITE_WAIT_S}}
            if kind == "sqlite"
            else {"pool_pre_ping": True}  # connections outlive a restart of the server
        )
        file = _sqlite_file(address)
        self._lock = None if file is None else FileLock(f"{file}.lock")
        url = _with_driver(address).render_as_string(hide_password=False)
        # connections of its own, because a turn spans several transactions of the storage
        self._turns = sqlalchemy.create_engine(url, **options) if kind == "postgresql" else None
        with self.turn(), quiet_optuna():
            if file is not None and file.exists():
                _check_whole(file)
            self.backend: RDBStorage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat_s,
                grace_period=self.grace * heartbeat_s,
            )

    def close(self) -> None:
        """Close all connections."""
        self.backend.remove_session()
        self.backend.engine.dispose()
        if self._turns is not None:
            self._turns.dispose()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the file lock of SQLite, or PostgreSQL's advisory lock of a transaction."""
        if self._lock is not None:
            try:
                self._lock.acquire()
            except OSError as error:
                raise StorageInternalError(str(error)) from error
            try:
                yield
            finally:
                self._lock.release()
        elif self._turns is not None:
            with self._turns.begin() as connection:
                lock = sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)")
                connection.execute(lock, {"key": _LOCK_KEY})
                yield
        else:
            yield

    def beat(self, trial: Trial) -> None:
        """Write the heartbeat that Optuna has for databases."""
        self.backend.record_heartbeat(trial._trial_id)

    def dead(self, study: optuna.Study) -> list[FrozenTrial]:
        """Return what Optuna finds, and trials whose process died before its first heartbeat."""
        with self.backend.engine.connect() as connection:
            found = connection.execute(
                sqlalchemy.text(_NO_HEARTBEAT), {"study": study._study_id}
            ).scalars()
            silent = list(found)
        for trial_id in silent:
            # from now on it is missed like that of any other
            self.backend.record_heartbeat(trial_id)
        stale = self.backend._get_stale_trial_ids(study._study_id)
        return [self.backend.get_trial(trial_id) for trial_id in stale]


def _check_whole(file: Path) -> None:
    """Refuse an SQLite file that is cut or damaged.

    Raises:
        ValueError: with the first damage.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        header = opened.read(_SQLITE_HEADER)
    page = int.from_bytes(header[16:18], "big")  # as the format has it; 1 stands for 65,536
    is_one = size > 0 and _SQLITE_MAGIC.startswith(header[:16])
    if is_one and (size < _SQLITE_HEADER or (page > 1 and size % page)):
        raise ValueError("it is no whole SQLite database: its end is cut off")
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as connection:
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError:  # locked by another process, which has opened it
            return
        except sqlite3.DatabaseError as error:
            raise ValueError(f"it is no whole SQLite database: {error}") from error
    if found != "ok":
        raise ValueError(f"it is no whole SQLite database: {first_line(ValueError(found))}")


def _shown(url: str | URL) -> str:
    """Return a URL without its password, also one that SQLAlchemy cannot read."""
    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        shown = repr(re.sub(r":(/*).*@", r":\1***@", str(url), flags=re.DOTALL))
    return without_password(shown)


def _with_driver(address: URL) -> URL:
    """Name the driver that the extra `postgres` installs; SQLAlchemy 2.1 looks for another one."""
    if address.drivername == "postgresql" and find_spec("psycopg2") is not None:
        return address.set(drivername="postgresql+psycopg2")
    return address


def _sqlite_file(address: URL) -> Path | None:
    """Return the file of an SQLite database; `None`: in memory, or another database.

    Raises:
        ValueError: its folder does not exist.
    """
    name = address.database
    if address.get_backend_name() != "sqlite" or not name or name == ":memory:":
        return None
    is_uri = name.startswith("file:")
    file = Path(unquote(name.removeprefix("file:").partition("?")[0]) if is_uri else name)
    if not file.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {file.absolute().parent}")
    return file

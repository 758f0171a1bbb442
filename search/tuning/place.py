"""From the address of a storage to the storage."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import optuna

from search.tuning.database import open_database
from search.tuning.journal import SCHEME, open_journal
from search.tuning.storage import HEARTBEAT_S, StudyStorage

__all__ = ["open_storage"]


@contextmanager
def open_storage(
    url: str, *, retries: int, heartbeat_s: int = HEARTBEAT_S
) -> Iterator[StudyStorage]:
    """Open the storage of studies, begin it if it is new, and close it at the end.

    Args:
        url: as SQLAlchemy has it, `sqlite:///path` or `postgresql://user@host/name`; or
            `journal:PATH`, a file in a folder that hosts share.
        retries: of a trial whose process died.
        heartbeat_s: between two heartbeats.

    Raises:
        ArtifactError: the address is invalid, its driver is missing, or it cannot be opened.
    """
    # the reporter tells the progress instead
    optuna.logging.disable_default_handler()
    logging.getLogger("optuna").addHandler(logging.NullHandler())
    if url.startswith(SCHEME):
        yield open_journal(url, retries=retries, heartbeat_s=heartbeat_s)
        return
    with open_database(url, retries=retries, heartbeat_s=heartbeat_s) as database:
        yield database

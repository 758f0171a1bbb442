"""Streams a dataset of the Hugging Face hub, or of the cache of earlier downloads.

One connection first tests whether the hub answers, because the client takes most of a minute to
give up. `datasets` is imported late, because it is slow and only this module needs it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import model_validator

from clso.data.files import Row
from clso.data.text import Piece, articles
from clso.errors import DataError, DownloadError
from clso.section import Count, Section

__all__ = ["HubCorpus", "hub_is_reachable"]

_PROBE_TIMEOUT_S = 5.0
_OFFLINE_NAMES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_TRUE = {"1", "ON", "YES", "TRUE"}
_OFFLINE_REMEDY = (
    "without the network, use text that is installed (--set data.source=package) or your own "
    "files (--set data.source=files --set data.files.train=PATH)"
)


def hub_is_reachable(timeout_s: float = _PROBE_TIMEOUT_S) -> bool:
    """Return whether the hub (or the proxy in front of it) accepts a connection in time.

    `HF_ENDPOINT` names another hub; `HF_HUB_OFFLINE` and `HF_DATASETS_OFFLINE` forbid connections.
    """
    if any(os.environ.get(name, "").upper() in _TRUE for name in _OFFLINE_NAMES):
        return False
    url = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    proxy = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
    if proxy:
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    answered = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection(address, timeout_s):
            answered.set()

    # in a thread, because the lookup of a host name has no timeout
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answered.is_set()


class HubCorpus:
    """A dataset of the Hugging Face hub; lines of a WikiText are joined to articles.

    `HF_DATASETS_CACHE` and `HF_HOME` take precedence over `cache_dir`, the client's folder.

    Args:
        check: what to correct if the hub refuses.
        offline: what to do without the network.
    """

    class Settings(Section):
        """A dataset, which is streamed.

        Attributes:
            name: `owner/dataset`.
            config: the dataset's configuration; `None`: its only one.
            revision: branch, tag or commit.
            text_field: the column that holds text.
            max_bytes: end each split with the document that reaches this size; `None`: never.
        """

        name: str = "Salesforce/wikitext"
        config: str | None = "wikitext-103-raw-v1"
        revision: str = "main"
        train_split: str = "train"
        validation_split: str | None = "validation"
        test_split: str | None = "test"
        text_field: str = "text"
        max_bytes: Count | None = None

        @model_validator(mode="after")
        def _both_or_neither(self) -> Self:
            if (self.validation_split is None) != (self.test_split is None):
                raise ValueError("give both validation_split and test_split, or neither")
            return self

    def __init__(
        self,
        settings: Settings,
        cache_dir: Path,
        *,
        check: str = "check data.hub (name, config, revision, splits) and try again",
        offline: str = _OFFLINE_REMEDY,
    ) -> None:
        self._remedies = {"check": check, "offline": offline}
        name, config = settings.name, settings.config
        self.name = name if config is None else f"{name} ({config})"
        self._settings = settings
        self._cache_dir = cache_dir
        self._split_names = {"train": settings.train_split}
        if settings.validation_split is not None and settings.test_split is not None:
            self._split_names["validation"] = settings.validation_split
            self._split_names["test"] = settings.test_split
        self.splits = tuple(self._split_names)

    def identity(self) -> dict[str, Any]:
        """Return the settings; the text itself cannot be known without the network."""
        return {
            "kind": "hub",
            "dataset": self._settings.name,
            "config": self._settings.config,
            "revision": self._settings.revision,
            "splits": self._split_names,
            "text_field": self._settings.text_field,
            "max_bytes": self._settings.max_bytes,
        }

    def read(self, split: str) -> Iterator[Piece]:
        """Stream a split's documents.

        Raises:
            DataError: neither hub nor cache has the dataset, or it has no such split or column.
            DownloadError: the connection broke after the first rows.
        """
        field = self._settings.text_field
        texts = (row.text(field) for row in self.rows(split))
        if "wikitext" in self._settings.name.lower():
            # blank lines are empty rows; other rows include their line end
            pieces = articles(text if text.endswith("\n") else f"{text}\n" for text in texts)
        else:
            pieces = (Piece(text, True) for text in texts)
        return _limited(pieces, self._settings.max_bytes)

    @cached_property
    def _reachable(self) -> bool:
        return hub_is_reachable()

    def rows(self, split: str) -> Iterator[Row]:
        """Stream a split's rows with all their fields.

        Raises:
            DataError, DownloadError: as for `read`.
        """
        n_rows = 0
        reachable = self._reachable
        with _client(offline=not reachable):
            try:
                for values in self._open(split, reachable):
                    yield Row(values, f"{self.name}, row {n_rows + 1}")
                    n_rows += 1
            # the client's errors have no common base: httpx, fsspec, its own ValueErrors
            except Exception as error:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                if not reachable:
                    raise DataError(
                        f"the hub cannot be reached and {self.name} is not in the cache",
                        remedy=self._remedies["offline"],
                    ) from error
                kind = DownloadError if n_rows else DataError
                raise kind(
                    f"{self.name}, split {self._split_names[split]!r}: the hub failed after "
                    f"{n_rows} rows: {reason}",
                    remedy="; ".join(self._remedies.values()),
                ) from error

    def _open(self, split: str, reachable: bool) -> Iterable[dict[str, Any]]:
        import datasets

        load = partial(
            datasets.load_dataset,
            self._settings.name,
            self._settings.config,
            split=self._split_names[split],
            revision=self._settings.revision,
            streaming=True,
        )
        user_has_cache = any(name in os.environ for name in ("HF_DATASETS_CACHE", "HF_HOME"))
        cache_dir = None if user_has_cache else str(self._cache_dir)
        try:
            rows: Iterable[dict[str, Any]] = load(cache_dir=cache_dir)
        except Exception:
            if reachable or user_has_cache:
                raise
            # the client's default folder may hold downloads of other programs
            rows = load(cache_dir=None)
        return rows


@contextlib.contextmanager
def _client(*, offline: bool) -> Iterator[None]:
    """Silence the hub's client; offline, keep it from trying for a minute."""
    import datasets
    import huggingface_hub.constants

    datasets.disable_progress_bars()
    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity_error()
    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    if offline:
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before
        datasets.logging.set_verbosity(level)


def _limited(pieces: Iterator[Piece], max_bytes: int | None) -> Iterator[Piece]:
    n_bytes = 0
    for piece in pieces:
        yield piece
        n_bytes += len(piece.text.encode(errors="replace"))
        if piece.ends_document and max_bytes is not None and n_bytes >= max_bytes:
            return

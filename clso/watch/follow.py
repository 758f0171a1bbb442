"""A run that is followed while it works."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from clso.watch.reader import RunReader
from clso.watch.tracker import Tracker

__all__ = ["following", "forward"]

_EVERY_S = 3.0
_END_S = 60.0

_logger = logging.getLogger(__name__)


def forward(reader: RunReader, *trackers: Tracker) -> None:
    """Pass on what was written since the last call."""
    points = list(reader.points())
    for tracker in trackers:
        for point in points:
            tracker.log_points(point)
        tracker.flush()


@contextmanager
def following(path: Path, trackers: Sequence[Tracker]) -> Iterator[None]:
    """Pass on what a run writes while the block works, and its files at the end.

    A tracker that fails does not disturb the run; it is told in the log, and gets nothing more.

    Args:
        path: the run's folder.
        trackers: closed at the end.
    """
    if not trackers:
        yield
        return
    followers = [_Follower(path, tracker) for tracker in trackers]
    failed = True
    try:
        for follower in followers:
            follower.start()
        yield
        failed = False
    finally:
        for follower in followers:
            follower.end(failed=failed)


class _Follower:
    """Reads a run for one tracker, in a thread of its own."""

    def __init__(self, path: Path, tracker: Tracker) -> None:
        self._reader, self._tracker = RunReader(path), tracker
        self._ended, self._failed = Event(), False
        # a daemon, so that a store that no longer answers does not keep the command from ending
        self._thread = Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self, *, failed: bool) -> None:
        self._failed = failed
        self._ended.set()
        self._thread.join(_END_S)

    def _forward(self, begun: bool) -> bool:
        """Pass on what is new; the configuration first, as soon as the run has one."""
        if not begun and (settings := self._reader.settings):
            self._tracker.log_settings(settings)
            begun = True
        forward(self._reader, self._tracker)
        return begun

    def _follow(self) -> None:
        try:
            begun = False
            while not self._ended.wait(_EVERY_S):
                begun = self._forward(begun)
            self._forward(begun)
            for path in self._reader.files():
                self._tracker.log_file(path)
            self._tracker.close(failed=self._failed)
        except Exception as error:
            _logger.warning("%s gets no more curves: %s", type(self._tracker).__name__, error)

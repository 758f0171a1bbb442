"""What fuzz tests share: how many examples they draw, and what a loader may do with one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

from clso.errors import ClsoError

__all__ = ["EXAMPLES", "fuzzed", "settles"]

EXAMPLES = int(os.environ.get("CLSO_FUZZ", "50"))
"""Drawn examples of each test; `CLSO_FUZZ=1000` draws more, and `CLSO_FUZZ_ANEW=1` others."""

fuzzed: Callable[[Any], Any] = settings(
    max_examples=EXAMPLES,
    derandomize="CLSO_FUZZ_ANEW" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def settles(load: Callable[[], object]) -> None:
    """Call a loader that may return, or refuse with a message; any other error escapes."""
    try:
        load()
    except ClsoError as error:
        message = error.message
    else:
        return
    assert message.strip()

"""The number of threads of arithmetic, on which the last bits of a sum depend."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import scipy.linalg  # noqa: F401 - its BLAS must be loaded before the controller looks for it
from threadpoolctl import ThreadpoolController

from clso.cores import available_cores

__all__ = ["one_thread", "thread_count", "torch_threads"]


def thread_count() -> int:
    """Return the threads that arithmetic has: torch's, or those that torch would have."""
    if torch := _torch():
        return int(torch.get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(
        available_cores(), int(wanted) if wanted.isdecimal() and int(wanted) else sys.maxsize
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and BLAS compute on the calling thread alone; restore their threads afterwards.

    The last bits of a sum depend on how it is split among threads.
    """
    torch = _torch()
    before = torch.get_num_threads() if torch else None
    try:
        if torch:
            torch.set_num_threads(1)
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch compute on a number of threads; restore the number before."""
    import torch  # takes seconds

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _torch() -> Any:  # noqa: ANN401 - a module
    """Return torch if it is loaded: it takes seconds to import, and has no threads before."""
    torch = sys.modules.get("torch")
    # another thread may be importing it
    return (
        torch if hasattr(torch, "get_num_threads") and hasattr(torch, "set_num_threads") else None
    )


@cache
def _controller() -> ThreadpoolController:
    # searching the process's libraries takes longer than a small matrix product
    return ThreadpoolController()

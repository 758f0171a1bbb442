"""The number of threads of arithmetic, on which the last bits of a sum depend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401 - its BLAS must be loaded before the controller looks for it
from threadpoolctl import ThreadpoolController

__all__ = ["one_thread", "thread_count", "torch_threads"]


def thread_count() -> int:
    """Return the threads that arithmetic has: torch's; those of BLAS while torch is not loaded."""
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    return max((library["num_threads"] for library in _controller().info()), default=1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and BLAS compute on the calling thread alone; restore their threads afterwards.

    The last bits of a sum depend on how it is split among threads.
    """
    torch = sys.modules.get("torch")  # takes seconds to import, and has no threads before
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


@cache
def _controller() -> ThreadpoolController:
    # searching the process's libraries takes longer than a small matrix product
    return ThreadpoolController()

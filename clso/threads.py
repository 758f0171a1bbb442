"""One thread for arithmetic that must give the same bits on any number of cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401 - its BLAS must be loaded before the controller looks for it
import torch
from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch and BLAS compute on the calling thread alone, then as before.

    Sums that are split among threads differ in their last bits from machine to machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _loaded().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@cache
def _loaded() -> ThreadpoolController:
    # looking through the process's libraries takes longer than many a product
    return ThreadpoolController()

"""Digests: of JSON values, which name configurations, parts of studies and data sets; of files."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["digest_of", "sha256_of"]


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the sha256 of a JSON value in one canonical spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return 64 hexadecimal digits of a file's bytes; an unchanged file is read only once.

    Raises:
        OSError: the file cannot be read.
    """
    stat = path.stat()
    times = stat.st_mtime_ns, stat.st_ctime_ns
    return _sha256(path.resolve(), stat.st_ino, stat.st_size, times)


@lru_cache(maxsize=65536)
def _sha256(path: Path, inode: int, size_bytes: int, times_ns: tuple[int, int]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

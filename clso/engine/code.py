"""The code of a process: what must be equal on driver and workers for results to be equal."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = ["code_of_process", "differences"]

_PACKAGES = ("clso", "search", "pipelines")
_LIBRARIES = ("numpy", "torch")


@cache
def code_of_process() -> dict[str, str]:
    """Return the versions of Python, libraries and CLSO, and a digest of CLSO's sources."""
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {name: metadata.version(name) for name in ("clso", *_LIBRARIES)}
    return {"python": python, **versions, "sources": _digest()[:12]}


def differences(driver: dict[str, str], worker: dict[str, str]) -> str:
    """Return what a worker has and the driver has not; empty if their code is equal."""
    return ", ".join(
        f"{'sources of clso' if name == 'sources' else name} {worker.get(name)} "
        f"(expected {expected})"
        for name, expected in driver.items()
        if worker.get(name) != expected
    )


def _digest() -> str:
    digest = hashlib.sha256()
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()

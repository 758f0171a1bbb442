r"""A text of ten million tokens: the definitions of a dictionary of English, as jsonl.

    apt-get download dict-gcide
    dpkg-deb -x dict-gcide_*.deb gcide
    python -m benchmarks.dictionary gcide/usr/share/dictd/gcide.dict.dz --to gcide.jsonl

The Collaborative International Dictionary of English has 40 MB of text in 126,301 entries, whose
heads stand at the beginning of a line. A hundred entries become a document.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.making_text import make_text

_ENTRIES = 100


def documents(text: str) -> Iterator[str]:
    """Yield the text of a hundred entries after another."""
    entries = re.split(r"\n\n(?=\S)", text)
    for start in range(0, len(entries), _ENTRIES):
        yield "\n\n".join(entries[start : start + _ENTRIES]).rstrip("\n") + "\n"


def _make(source: Path, to: Path) -> None:
    with gzip.open(source) as file:
        text = file.read().decode(errors="replace")  # some characters are of another encoding
    with to.open("w", encoding="utf-8") as out:
        for document in documents(text):
            out.write(json.dumps({"text": document}) + "\n")


if __name__ == "__main__":
    source = "gcide.dict.dz of the package"
    make_text("benchmarks.dictionary", __doc__, source, "gcide.jsonl", _make)

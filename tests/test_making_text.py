"""The scripts that make a text from a package."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import dictionary, shakespeare


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_a_dictionary_becomes_documents_of_a_hundred_entries(tmp_path: Path) -> None:
    entries = [f"word{number} n. a thing\n\n  more of it" for number in range(250)]
    source, to = tmp_path / "d.dz", tmp_path / "d.jsonl"
    source.write_bytes(gzip.compress("\n\n".join(entries).encode()))
    assert run("dictionary", source, "--to", to).returncode == 0
    texts = [json.loads(line)["text"] for line in to.read_text().splitlines()]
    assert [text.count("a thing") for text in texts] == [100, 100, 50]
    assert texts == list(dictionary.documents("\n\n".join(entries)))


def test_a_play_is_divided_where_others_divide_it_and_nothing_is_lost() -> None:
    text = "".join(f"Speaker {number}:\nsome words\n\n" for number in range(100))
    parts = shakespeare.divided(text)
    assert "".join(parts.values()) == text
    assert len(parts["test"]) == len(text) - int(0.9 * len(text))
    assert parts["train"].endswith("\n\n")


@pytest.mark.parametrize("module", ["dictionary", "shakespeare"])
@pytest.mark.parametrize("damage", ["none", "other", "truncated", "folder"])
def test_what_gives_no_text_is_told_in_a_sentence(module: str, damage: str, tmp_path: Path) -> None:
    source, to = tmp_path / "source", tmp_path / "to"
    if damage == "other":
        source.write_text("something else")
    elif damage != "none":
        whole = gzip.compress(bytes(range(256)) * 100)
        source.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else whole)
    if damage == "folder":
        to = to / "missing" / "text" if module == "dictionary" else source
    done = run(module, source, "--to", to)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {source} gives no text: ")
    assert "Traceback" not in done.stderr

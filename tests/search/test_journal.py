from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clso.energy import DeviceEnergy, Measurement
from clso.errors import ArtifactError
from clso.problem import Evaluation
from search.archive import Scored
from search.journal import Journal, JournalEntry

COST = Measurement(0.5, (DeviceEnergy("cpu", 2.0, "rapl", estimated=False),))
PART = Evaluation(1 / 3, "evaluated", 2, COST, (0.1, 1 / 7))
ENTRIES = [
    JournalEntry(0, 0, 0, (1, 2), (2, 1), 1.0, Evaluation(0.1 + 0.2, "evaluated", 7, COST)),
    JournalEntry(0, 0, 1, (0, 0), (0, 0), 1.0, Evaluation(None, "failed")),
    JournalEntry(1, 0, 0, (3, 3), (3, 3), 0.25, PART),
]


def written(path: Path) -> Journal:
    journal = Journal(path, "mine")
    for entry in ENTRIES:
        journal.write([entry])
    return journal


def test_evaluations_come_back_bit_for_bit_and_in_the_order_they_were_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep" / "journal"
    journal = Journal(path, "mine")
    journal.write(reversed(ENTRIES))
    again = Journal(path, "mine")
    again.check(journal.mark)
    for entry in ENTRIES:
        assert again.known(entry.canonical, entry.fidelity) == entry.evaluation
    assert again.archive(2).in_order == (
        Scored((2, 1), (1, 2), 0.1 + 0.2),
        Scored((0, 0), (0, 0), None),
        Scored((3, 3), (3, 3), 1 / 3, fidelity=0.25),
    )
    assert again.archive(1).n_known == 2


def test_a_line_that_was_not_finished_is_left_out_and_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        journal = Journal(path, "mine")
        assert journal.known((1, 2), 1.0) is not None
        assert journal.known((3, 3), 0.25) is None
        journal.write(ENTRIES[2:])
        assert path.read_bytes() == whole


def test_a_flipped_byte_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=r"journal is (damaged in line \d|no journal)"):
            Journal(path, "mine")


@given(drop=st.integers(0, 3), repeat=st.booleans())
@hypothesis_settings(max_examples=8, deadline=None)
def test_lines_that_are_missing_or_repeated_are_found(
    tmp_path_factory: pytest.TempPathFactory, drop: int, repeat: bool
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    mark = written(path).mark
    lines = path.read_bytes().splitlines(keepends=True)
    lines[drop : drop + 1] = lines[drop : drop + 1] * 2 if repeat else []
    path.write_bytes(b"".join(lines))
    with pytest.raises(ArtifactError, match="journal"):
        Journal(path, "mine").check(mark)


def test_the_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    with pytest.raises(ArtifactError, match="journal of another search"):
        Journal(path, "yours")


def test_what_was_taken_off_its_place_stays_known_and_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = written(path)
    journal.rewind(0)
    size = path.stat().st_size
    journal.write([replace(ENTRIES[1], index=0)])
    assert path.stat().st_size - size < 80
    for one in (journal, Journal(path, "mine")):
        assert one.rewinds == 1
        assert one.archive(9).in_order == (Scored((0, 0), (0, 0), None),)
        assert one.known((1, 2), 1.0) == ENTRIES[0].evaluation


def test_a_journal_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        Journal(tmp_path / "file" / "journal", "mine").write(ENTRIES)

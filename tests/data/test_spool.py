from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.data import Tokenizer
from clso.data.extents import Extents
from clso.data.spool import Spool
from clso.data.text import Piece
from clso.errors import DataError
from clso.progress import SILENT


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as spool:
        yield spool


def append(spool: Spool, *texts: str) -> Extents:
    with SILENT.task("") as progress:
        return spool.append([Piece(text, True) for text in texts], "corpus", progress)


def test_documents_come_back_in_any_order(spool: Spool) -> None:
    extents = append(spool, "eins", "zwei ß", "drei")
    assert extents.n_bytes.tolist() == [4, 7, 4]
    order = np.array([2, 0, 1])
    runs = list(spool.read(extents.take(order), 100))
    assert [run.text.decode() for run in runs] == ["drei", "eins", "zwei ß"]
    assert all(run.ends_extent for run in runs)


def test_pieces_of_a_document_are_joined(spool: Spool) -> None:
    with SILENT.task("") as progress:
        pieces = [Piece("a ", False), Piece("b", False), Piece("", True), Piece("c", True)]
        extents = spool.append(pieces, "corpus", progress)
    assert extents.n_bytes.tolist() == [3, 1]


def test_blank_documents_are_left_out_without_a_trace(tmp_path: Path) -> None:
    with Spool(tmp_path / "a") as with_blanks, Spool(tmp_path / "b") as without:
        extents = append(with_blanks, " \n", "text", "", "\t", "more")
        assert append(without, "text", "more").n_bytes.tolist() == extents.n_bytes.tolist()
        assert with_blanks.text_sha256 == without.text_sha256
        assert (with_blanks.n_skipped, without.n_skipped) == (3, 0)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"textmore"


def test_numbers_and_places_go_on_from_split_to_split(spool: Spool) -> None:
    append(spool, "train")
    later = append(spool, "test")
    assert (later.document.tolist(), later.offset.tolist()) == ([1], [5])


@pytest.mark.parametrize(
    ("texts", "message"), [((), "corpus is empty"), ((" ", "\n"), "corpus holds only whitespace")]
)
def test_no_text_is_refused(spool: Spool, texts: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        append(spool, *texts)


def test_a_lone_surrogate_is_refused(spool: Spool) -> None:
    with pytest.raises(DataError, match=r"document 1 holds the lone surrogate '\\ud800'"):
        append(spool, "fine", "half \ud800")


WORDS = st.lists(st.sampled_from(["word", " two", ",", "\n\n ", " 12", "''s", "'s"]), min_size=1)


@settings(deadline=None)
@given(words=WORDS, run_bytes=st.integers(64, 90))
def test_runs_tokenize_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, gpt2: Tokenizer, words: list[str], run_bytes: int
) -> None:
    text = " and ".join(words * 10)
    with Spool(tmp_path_factory.mktemp("spool") / "spool") as spool:
        runs = list(spool.read(append(spool, text), run_bytes))
    assert max(len(run.text) for run in runs) <= run_bytes
    assert [run.ends_extent for run in runs] == [False] * (len(runs) - 1) + [True]
    assert list(chain(*(gpt2.encode(run.text.decode()) for run in runs))) == gpt2.encode(text)


def test_a_text_without_any_boundary_is_cut_between_characters(spool: Spool) -> None:
    text = "ß" * 50
    runs = list(spool.read(append(spool, text), 9))
    assert "".join(run.text.decode() for run in runs) == text
    assert {len(run.text) for run in runs} <= {8, 4}


def test_snapping_moves_to_the_end_of_a_word(spool: Spool) -> None:
    extents = append(spool, "some words, here", "next")
    end = int(extents.n_bytes[0])
    assert [spool.snap(position, end) for position in (0, 4, 5, 12)] == [4, 11, 11, 16]


def test_snapping_without_words_moves_between_characters(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clso.data.spool._SNAP_WINDOW", 4)
    append(spool, "ßßßßß")
    assert [spool.snap(position, 10) for position in (2, 3)] == [2, 4]

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.data import Tokenizer
from clso.data.text import Piece, articles, boundary_mask, is_heading, last_cut


def documents(pieces: Iterable[Piece]) -> list[str]:
    found: list[str] = []
    current = ""
    for piece in pieces:
        current += piece.text
        if piece.ends_document:
            found.append(current)
            current = ""
    assert current == ""
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (" = Robert Boulter = \n", True),
        (" = Robert Boulter = \r\n", True),
        (" = 1 + 1 = 2 ( song ) = \n", True),
        (" = = Career = = \n", False),
        (" = = = 2000 = = = \n", False),
        ("= Title =\n", False),
        (" a = b = \n", False),
        (" \n", False),
    ],
)
def test_only_level_one_headings_are_headings(line: str, expected: bool) -> None:
    assert is_heading(line) is expected


def test_an_article_runs_from_heading_to_heading() -> None:
    first = [
        " \n",
        " = A = \n",
        " \n",
        " Text . \n",
        " = = Part = = \n",
        " \n",
        " More . \n",
        " \n",
    ]
    second = [" = B = \n", " \n", " Other . \n"]
    assert documents(articles(first + second)) == ["".join(first), "".join(second)]


def test_a_formula_within_a_paragraph_starts_no_article() -> None:
    lines = [" = A = \n", " \n", " so that \n", " = 1 / s and k = \n", " holds . \n"]
    assert len(documents(articles(lines))) == 1


def test_lines_without_heading_are_one_document() -> None:
    assert documents(articles(["a\n", "b"])) == ["a\nb"]


def test_nothing_is_lost_between_articles() -> None:
    lines = ["\n", " = A = \n", "\n", "x\n", "\n", " = B = \n", "\n"]
    pieces = list(articles(lines))
    assert "".join(piece.text for piece in pieces) == "".join(lines)
    assert pieces[-1] == Piece("", True)


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.text(alphabet=" \n\t'sdtrevlmZ.,1é\u00a0\u3000\x1c中\u0301_", max_size=8),
        st.sampled_from(["don't", " I'll", "''s", "\n\n  x", "<|endoftext|>", "\u00a0\u00a0x"]),
    ),
    max_size=8,
).map("".join)


@settings(deadline=None)
@given(text=TEXTS)
def test_a_text_tokenizes_as_its_runs_between_boundaries(gpt2: Tokenizer, text: str) -> None:
    data = text.encode(errors="replace")
    cuts = [0, *np.flatnonzero(boundary_mask(np.frombuffer(data, np.uint8))).tolist(), len(data)]
    runs = [data[low:high].decode() for low, high in itertools.pairwise(cuts)]
    assert gpt2.encode(data.decode()) == list(itertools.chain(*map(gpt2.encode, runs)))


def test_there_is_a_boundary_around_every_plain_word() -> None:
    mask = boundary_mask(np.frombuffer(b"one two, three\n4th", np.uint8))
    assert np.flatnonzero(mask).tolist() == [3, 7, 8, 14, 16]


@given(text=st.text(min_size=10), limit=st.integers(4, 9))
def test_a_cut_is_between_characters_and_within_the_limit(text: str, limit: int) -> None:
    data = text.encode(errors="replace")
    cut = last_cut(data, limit)
    assert 1 <= cut <= limit
    assert data[:cut].decode() + data[cut:].decode() == data.decode()

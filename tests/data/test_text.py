import itertools
import unicodedata
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.data import Tokenizer
from clso.data.text import (
    LONGEST_WORD,
    Piece,
    _Kinds,
    articles,
    boundary_mask,
    first_cut,
    is_heading,
    last_cut,
    short_words,
)


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
        st.text(alphabet="كِتاب домйクラ漢字हिन्दी。،٣४\u200d\u0085 '\n", max_size=8),
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


def test_kinds_are_those_of_the_tokenizer(gpt2: Tokenizer) -> None:
    found = _Kinds()
    found.find(np.arange(0x110000, dtype=np.uint32))
    kinds = found.after
    split = gpt2.backend.pre_tokenizer.pre_tokenize_str
    for kind in (1, 2, 3, 4):
        members = "".join(map(chr, np.flatnonzero(kinds == kind).tolist()))
        assert len(split(members)) == 1, kind
        assert len(members) > 10


def test_kinds_are_found_for_what_is_asked_in_any_order() -> None:
    every, some = _Kinds(), _Kinds()
    every.find(np.arange(0x110000, dtype=np.uint32))
    for character in "é中' \u2003😀é":
        code = ord(character)
        some.find(np.array([code], np.uint32))
        assert some.after[code] == every.after[code] != 0
        assert some.before[code] == every.before[code]
    assert not some.before[[ord("'"), 0x20, 0x2003]].any()


SENTENCES = {
    "arabic": "كتاب بيت شمس قمر ماء نار طريق مدينة، ",
    "russian": "дом река поле город небо вода дорога лес. ",
    "greek": "σπίτι ποτάμι ουρανός νερό· ",
    "hebrew": "בית ספר שמש ירח מים אש דרך עיר ",
    "hindi": "घर नदी खेत शहर आकाश पानी सड़क जंगल। ",
    "korean": "집 강 들판 도시 하늘 물 길 숲 ",
    "amharic": "ቤት፡ወንዝ፡ሜዳ፡ከተማ፡ሰማይ። ",
    "chinese": "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。",  # noqa: RUF001 - its own marks
    "japanese": "吾輩は猫である。名前はまだ無い。",
    "thai": "บ้านแม่น้ำทุ่งนาเมืองท้องฟ้าน้ำถนนป่า",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👍🏽",
    "base64": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo",
    "french": "l’été à l’île où naît la forêt\u00a0; ",  # noqa: RUF001 - its own marks
}


@pytest.mark.parametrize("script", SENTENCES)
@pytest.mark.parametrize("repeats", [40, 4000])
def test_text_of_every_script_is_divided_near_where_it_should_be(script: str, repeats: int) -> None:
    data = (SENTENCES[script] * repeats).encode()
    for position in range(len(data) // 10, len(data) - LONGEST_WORD, len(data) // 7):
        text = data[position : position + (1 << 16)]
        before = data[max(0, position - LONGEST_WORD) : position]
        ends = position + len(text) == len(data)
        cut = position + first_cut(text, before=before, ends_document=ends)
        left, right = data[:cut].decode(), data[cut:].decode()
        assert cut - position <= 120, script
        category = unicodedata.category(right[0])
        assert category[0] != "M"
        assert "\u200d" not in (left[-1], right[0])
        words = SENTENCES[script].split()
        if len(words) > 1 or script in ("chinese", "japanese", "amharic"):
            assert right[0].isspace() or unicodedata.category(left[-1]) == "Po"


def test_the_last_word_of_a_document_stays_whole() -> None:
    assert first_cut(b"here", before=b"some words, ", ends_document=True) == 4
    assert first_cut("здесь".encode(), before="слова ".encode(), ends_document=True) == 10
    assert first_cut("здесь".encode(), before="слова".encode(), ends_document=True) == 0


@pytest.mark.parametrize("script", SENTENCES)
def test_words_are_bounded_and_only_long_ones_are_cut(gpt2: Tokenizer, script: str) -> None:
    text = SENTENCES[script] * 100
    pieces = [piece.decode() for piece in short_words(text.encode())]
    assert "".join(pieces) == text
    runs = gpt2.backend.pre_tokenizer.pre_tokenize_str
    assert max(len(run) for piece in pieces for run, _ in runs(piece)) <= LONGEST_WORD + 3
    spaced = "".join(f"{SENTENCES[script][:20]} " for _ in range(100)).encode()
    assert short_words(spaced) == [spaced]


def test_there_is_a_boundary_around_every_plain_word() -> None:
    mask = boundary_mask(np.frombuffer(b"one two, three\n4th", np.uint8))
    assert np.flatnonzero(mask).tolist() == [3, 7, 8, 14, 16]


@given(text=TEXTS, limit=st.integers(4, 30), more=st.integers(0, 3))
def test_a_cut_in_any_script_is_whole_characters_and_a_boundary_if_there_is_one(
    gpt2: Tokenizer, text: str, limit: int, more: int
) -> None:
    data = (text + "дом река" * 5).encode(errors="replace")
    cut = last_cut(data[: limit + 1 + more], limit)
    assert 1 <= cut <= limit
    left, right = data[:cut].decode(), data[cut:].decode()
    if boundary_mask(np.frombuffer(data, np.uint8))[1 : limit - 4].any():
        assert gpt2.encode(left) + gpt2.encode(right) == gpt2.encode(left + right)


@given(text=st.text(min_size=10), limit=st.integers(4, 9))
def test_a_cut_is_between_characters_and_within_the_limit(text: str, limit: int) -> None:
    data = text.encode(errors="replace")
    cut = last_cut(data, limit)
    assert 1 <= cut <= limit
    assert data[:cut].decode() + data[cut:].decode() == data.decode()

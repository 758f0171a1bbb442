import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.data import duplicates as module
from clso.data.duplicates import GRAM, Duplicates, PlainTexts, equal_together, plain_key

TEXT = st.text(alphabet="aB \n\tßé中", max_size=12)


def read(texts: list[str]) -> PlainTexts:
    found = PlainTexts()
    for text in texts:
        found.add(text)
        found.end()
    return found


@given(text=TEXT, cuts=st.lists(st.integers(0, 12), max_size=4))
def test_the_key_does_not_depend_on_how_a_document_comes_in_pieces(
    text: str, cuts: list[int]
) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = PlainTexts()
    for low, high in itertools.pairwise(bounds):
        pieces.add(text[low:high])
    pieces.end()
    assert pieces.keys.tolist() == read([text]).keys.tolist()


@given(one=TEXT, other=TEXT)
def test_keys_are_equal_exactly_where_plain_texts_are(one: str, other: str) -> None:
    plain = [" ".join(text.casefold().split()) for text in (one, other)]
    assert (plain_key(one) == plain_key(other)) == (plain[0] == plain[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A text.", "a  TEXT.\n"),
        ("two\r\nlines", "two lines"),
        ("\u00a0STRASSE", "straße"),
        ("tab\tand\u3000wide", " Tab and wide "),
        ("ДОМ", "дом"),
    ],
)
def test_case_and_white_space_make_no_other_document(one: str, other: str) -> None:
    assert plain_key(one) == plain_key(other)


@given(
    groups=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    order=st.randoms(use_true_random=False),
)
def test_equal_documents_stay_together_and_others_keep_their_order(
    groups: list[int], order: random.Random
) -> None:
    shuffled = list(range(len(groups)))
    order.shuffle(shuffled)
    together, places = equal_together(np.array(shuffled), np.array(groups, np.uint64))
    assert sorted(together.tolist()) == list(range(len(groups)))
    runs = np.split(np.array(groups)[together], places[:-1])
    assert [len(set(run.tolist())) for run in runs] == [1] * len(set(groups))
    firsts = list(dict.fromkeys(groups[number] for number in shuffled))
    assert [int(run[0]) for run in runs] == firsts


def test_without_equal_documents_the_order_stays() -> None:
    order = np.random.default_rng(0).permutation(50)
    together, places = equal_together(order, np.arange(50, dtype=np.uint64))
    assert together.tolist() == order.tolist()
    assert places.tolist() == list(range(1, 51))


def test_duplicates_are_counted_within_and_across_splits() -> None:
    keys = np.array([1, 2, 1, 3, 2, 9, 1], np.uint64)
    splits = {"train": np.arange(3), "validation": np.array([3, 4]), "test": np.array([5, 6])}
    found = Duplicates.of(keys, splits)
    assert found.documents == 3
    assert found.across == {"train": 0, "validation": 1, "test": 1}
    assert found.named == [("validation", 4, "train", 1), ("test", 6, "train", 0)]
    assert Duplicates.described_by(found.described()) == found


def test_a_document_that_is_cut_does_not_repeat_itself() -> None:
    texts = read(["one long text that is cut somewhere in the middle"])
    splits = {name: np.array([0]) for name in ("train", "tune", "test")}
    found = texts.duplicates(splits)
    assert (found.documents, found.n_across, found.near) == (0, 0, None)


def shared_grams(one: str, others: list[str]) -> float:
    def grams(text: str) -> set[str]:
        plain = " ".join(text.casefold().split())
        return {plain[i : i + GRAM] for i in range(len(plain) - GRAM + 1)}

    own = grams(one)
    return len(own & set().union(*map(grams, others))) / max(len(own), 1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), block=st.sampled_from([64, 1 << 16]))
def test_near_documents_are_those_that_share_half_of_their_grams(seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    pool = ["".join(rng.choice(list("abcdeД中 "), 120)) for _ in range(6)]
    texts = []
    for number in range(20):
        chosen = [pool[i] for i in rng.integers(0, len(pool), 3)]
        cuts = rng.integers(0, 120, 3)
        texts.append(f"{number} " + "".join(t[:c] for t, c in zip(chosen, cuts, strict=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found = read(texts).duplicates({"train": np.arange(12), "test": np.arange(12, 20)})
    shares = [shared_grams(text, texts[:12]) for text in texts[12:]]
    long = [len(" ".join(text.split())) >= GRAM + 3 for text in texts[12:]]
    expected = sum(share >= 0.5 and ok for share, ok in zip(shares, long, strict=True))
    assert found.near is not None
    assert abs(found.near["test"] - expected) <= 1  # repeated grams in short texts
    assert found.sampled_share == 1


def test_equal_documents_are_not_counted_as_near_too(make_text: Callable[[int, int], str]) -> None:
    text = make_text(100, 0)
    found = read([text, text.upper(), text + " more"]).duplicates(
        {"train": np.arange(1), "test": np.arange(1, 3)}
    )
    assert (found.n_across, found.near) == (1, {"train": 0, "test": 1})


def test_a_sample_of_the_grams_finds_near_documents_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch, make_text: Callable[[int, int], str]
) -> None:
    monkeypatch.setattr(module, "_KEPT", 2000)
    texts = [make_text(200, seed) for seed in range(40)]
    learned = [*texts, *(text[:700] + make_text(20, 99) for text in texts[:5])]
    found = read(learned).duplicates({"train": np.arange(40), "test": np.arange(40, 45)})
    assert found.near == {"train": 0, "test": 5}
    assert found.sampled_share is not None
    assert 0 < found.sampled_share < 0.5


def test_nothing_is_near_in_texts_that_are_shorter_than_a_gram() -> None:
    found = read(["a", "b", "c"]).duplicates({"train": np.arange(2), "test": np.array([2])})
    assert found.near == {"train": 0, "test": 0}

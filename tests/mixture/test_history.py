import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ConfigError
from clso.mixture.history import HistoryCounts

TEXT = [0, 1, 2, 0, 1, 2, 0, 1, 3]


@pytest.fixture
def counts(text_stream: type) -> HistoryCounts:
    return HistoryCounts.fit([text_stream(TEXT), text_stream([0, 1, 3])], 5)


def test_contexts_are_counted_once_per_token_that_followed(counts: HistoryCounts) -> None:
    one, two, three = counts.of(np.array([[0, 1, 2, 4]])).seen
    assert one.tolist() == [[4, 4, 2, 0]]
    assert two.tolist() == [[0, 4, 2, 0]]
    assert three.tolist() == [[0, 0, 2, 0]]


def test_nothing_before_the_block_is_seen(counts: HistoryCounts) -> None:
    first = counts.of(np.array([[2, 0]]))
    assert first.seen[1][0, 0] == first.seen[2][0, 1] == 0
    assert first.position.tolist() == [[0, 1]]


def test_matches_grow_with_the_repeated_phrase(counts: HistoryCounts) -> None:
    assert counts.of(np.array([[4, 1, 2, 1, 2, 3, 1, 2, 3, 3]])).match.tolist() == [
        [0, 0, 0, 1, 2, 0, 1, 2, 3, 1]
    ]


@settings(max_examples=50, deadline=None)
@given(
    blocks=st.lists(st.lists(st.integers(0, 4), min_size=9, max_size=9), min_size=1, max_size=3),
    start=st.integers(0, 8),
    longest=st.sampled_from([1, 3, 7]),
)
def test_features_are_what_their_definition_says(
    text_stream: type, blocks: list[list[int]], start: int, longest: int
) -> None:
    history = HistoryCounts.fit([text_stream(TEXT)], 5, longest).of(np.array(blocks), start)
    contexts = [tuple(TEXT[i - n : i]) for n in range(1, 8) for i in range(n, len(TEXT))]
    for row, block in enumerate(blocks):
        for place in range(start, 9):
            past = block[: place + 1]
            repeats = [0]
            for n in range(1, longest + 1):
                last = tuple(past[-n:])
                count = contexts.count(last) if n <= len(past) else 0
                assert history.seen[n - 1][row, place - start] == count
                if any(past[end - n : end] == past[-n:] for end in range(n, len(past))):
                    repeats.append(n)
            assert history.match[row, place - start] == max(repeats)


def test_reloaded_counts_are_equal(counts: HistoryCounts) -> None:
    reloaded = HistoryCounts.from_arrays(5, counts.to_arrays())
    blocks = np.random.default_rng(0).integers(0, 5, (4, 7))
    for expected, actual in zip(counts.of(blocks).seen, reloaded.of(blocks).seen, strict=True):
        assert np.array_equal(expected, actual)
    assert reloaded.stored_bytes == counts.stored_bytes > 0


def test_deeper_counts_are_reloaded(text_stream: type) -> None:
    counts = HistoryCounts.fit([text_stream(TEXT)], 5, 7)
    reloaded = HistoryCounts.from_arrays(5, counts.to_arrays()).of(np.array([TEXT]))
    assert len(reloaded.seen) == 7
    assert reloaded.seen[6][0, 6] == 1
    assert (reloaded.seen[6][0, :6] == 0).all()


def test_no_text_at_all_leaves_every_context_unseen(text_stream: type) -> None:
    history = HistoryCounts.fit([text_stream([1])], 5).of(np.array([[0, 1]]))
    assert all((seen == 0).all() for seen in history.seen)


def test_a_vocabulary_too_large_to_number_triples_is_refused(text_stream: type) -> None:
    with pytest.raises(ConfigError, match="too large to count contexts"):
        HistoryCounts.fit([text_stream([0, 1])], 3_000_000)
    with pytest.raises(ConfigError, match="at most 512 tokens"):
        HistoryCounts.fit([text_stream([0, 1])], 513, 7)

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.errors import ArtifactError, ConfigError, DataError
from clso.mixture.counts import KneserNey
from clso.mixture.text import FittingText

# large enough that keys are sorted, not counted in cells
Walked = Callable[[KneserNey, np.ndarray], tuple[np.ndarray, np.ndarray]]
VOCAB = 70_000
MAPS = {"k": np.arange(VOCAB) % 40, "many": np.arange(VOCAB) // 2}
PATTERNS = ["kn()", "kn(1,2,3)", "kn(1,3)", "kn(2)", "kn(1,2:many)", "kn(1:many,2->k)"]


def arrays(functions: list[KneserNey]) -> dict[str, np.ndarray]:
    return {name: array for function in functions for name, array in function.to_arrays().items()}


def assert_equal(functions: list[KneserNey], others: list[KneserNey]) -> None:
    expected, actual = arrays(functions), arrays(others)
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        assert array.dtype == actual[name].dtype
        assert np.array_equal(array, actual[name]), name


class Stream32:
    def __init__(self, tokens: np.ndarray) -> None:
        self._tokens = tokens.astype(np.uint32)
        self.n_tokens = len(tokens) - 1

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self._tokens[start:stop]


@pytest.fixture(scope="module")
def streams(markov: Callable[..., np.ndarray]) -> list[Stream32]:
    text = markov(300, 2500) * 233
    return [Stream32(text[:1800]), Stream32(text[1800:1802]), Stream32(text[1802:])]


@pytest.fixture(scope="module")
def functions(streams: list[Stream32]) -> list[KneserNey]:
    return KneserNey.fit(FittingText(streams, VOCAB, MAPS), PATTERNS)


@pytest.mark.parametrize("memory_bytes", [2_500, 40_000])
@pytest.mark.parametrize("on_disk", [False, True])
def test_the_counts_do_not_depend_on_the_memory(
    memory_bytes: int,
    on_disk: bool,
    functions: list[KneserNey],
    streams: list[Stream32],
    tmp_path: Path,
) -> None:
    workspace = tmp_path / "new" / "folder" if on_disk else None
    with_little_memory = KneserNey.fit(
        FittingText(streams, VOCAB, MAPS, workspace=workspace, memory_bytes=memory_bytes), PATTERNS
    )
    assert_equal(functions, with_little_memory)
    assert not on_disk or list((tmp_path / "new" / "folder").iterdir()) == []


def test_the_counts_do_not_depend_on_the_chunks(
    functions: list[KneserNey], streams: list[Stream32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clso.mixture.counts.corpus.CHUNK", 97)
    assert_equal(
        functions, KneserNey.fit(FittingText(streams, VOCAB, MAPS, memory_bytes=9_000), PATTERNS)
    )


def test_the_counts_do_not_depend_on_the_other_patterns(
    functions: list[KneserNey], streams: list[Stream32]
) -> None:
    alone = [KneserNey.fit(FittingText(streams, VOCAB, MAPS), [name])[0] for name in PATTERNS]
    assert_equal(functions, alone)
    backwards = KneserNey.fit(FittingText(streams, VOCAB, MAPS), PATTERNS[::-1])
    assert [function.name for function in backwards] == PATTERNS[::-1]
    assert_equal(functions, backwards)


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(0, 80),
    vocab_size=st.integers(1, 4),
    limit=st.integers(1, 3000),
    seed=st.integers(0, 99),
)
def test_sorted_and_dense_counting_agree(
    length: int, vocab_size: int, limit: int, seed: int
) -> None:
    text = np.random.default_rng(seed).integers(0, vocab_size, length + 1)
    maps = {"k": np.arange(vocab_size) // 2}
    patterns = ["kn(1,2,3)", "kn(1,3)", "kn(1:k,2->k)"]
    dense = KneserNey.fit(FittingText([Stream32(text)], vocab_size, maps), patterns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clso.mixture.counts.counting._MOST_CELLS", 0)
        ordered = KneserNey.fit(
            FittingText([Stream32(text)], vocab_size, maps, memory_bytes=limit), patterns
        )
    assert_equal(dense, ordered)


def test_the_sorted_counts_are_the_definitions(
    functions: list[KneserNey], streams: list[Stream32], reference: type, walked: Walked
) -> None:
    texts = [stream.tokens(0, stream.n_tokens + 1).tolist() for stream in streams]
    rng = np.random.default_rng(0)
    seen = sorted(set(texts[0]))
    inputs = np.stack([texts[0][i : i + 4] for i in rng.integers(0, 1700, 40)])
    targets = np.array(rng.choice(seen, inputs.shape))
    targets[:20, :-1] = inputs[:20, 1:]
    for function in functions[1:4]:
        # only tokens that occur matter to the definition, apart from how many there are
        plain = reference(texts, VOCAB, function.pattern, MAPS)
        counts, levels = walked(function, inputs)
        for (b, t), count in np.ndenumerate(counts):
            assert count == plain.count(inputs[b, : t + 1].tolist())
            assert levels[b, t] == plain.matched(inputs[b, : t + 1].tolist())
        probabilities = function.target_probabilities(inputs, targets)
        for b in (19, 20):
            expected = plain.distribution(inputs[b].tolist())[targets[b, -1]]
            assert probabilities[b, -1] == pytest.approx(expected, rel=1e-12)


def test_no_n_gram_spans_two_streams(walked: Walked) -> None:
    parts = [Stream32(np.array([1, 2, 3])), Stream32(np.array([4, 5, 6]))]
    (function,) = KneserNey.fit(FittingText(parts, 8, {}), ["kn(1,2)"])
    inputs = np.array([[1, 2, 3, 4, 5]])
    assert walked(function, inputs)[0].tolist() == [[0, 1, 0, 0, 1]]


@pytest.mark.parametrize("length", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["kn()", "kn(1,2)", "kn(9)", "kn(1,9)", "kn(->k)"])
def test_hardly_any_text_gives_a_proper_function(length: int, name: str) -> None:
    text = [Stream32(np.full(length + 1, 2))] if length else []
    (function,) = KneserNey.fit(FittingText(text, 5, {"k": np.array([0, 0, 3, 3, 1])}), [name])
    for history in ([2], [2, 2], [4, 0, 2]):
        distribution = function.distribution(np.array(history))
        assert distribution.sum() == pytest.approx(1, abs=1e-12)
        assert (distribution > 0).all()
    block = np.array([[2, 2], [4, 1]])
    assert np.isfinite(np.log(function.target_probabilities(block, block[:, ::-1]))).all()


def test_an_offset_beyond_every_stream_leaves_the_prediction_to_the_shorter_context(
    streams: list[Stream32],
) -> None:
    text = FittingText(streams, VOCAB, MAPS)
    far, near = KneserNey.fit(text, ["kn(1,9999)", "kn(1,9998)"])
    history = streams[0].tokens(0, 3).astype(np.int64)
    assert len(far.levels[2].rows) == 0
    assert np.array_equal(far.distribution(history), near.distribution(history))


def test_a_vocabulary_of_one_token_is_certain() -> None:
    functions = KneserNey.fit(
        FittingText([Stream32(np.zeros(9))], 1, {"k": [0]}), ["kn(1,2)", "kn(1:k->k)"]
    )
    for function in functions:
        assert function.distribution(np.array([0, 0])).tolist() == [pytest.approx(1)]


def test_all_equal_text_is_expected_to_go_on(make_stream: type) -> None:
    (function,) = KneserNey.fit(FittingText([make_stream([7] * 500)], 20, {}), ["kn(1,2,3)"])
    distribution = function.distribution(np.array([7, 7, 7, 7]))
    assert distribution.argmax() == 7
    assert distribution.sum() == pytest.approx(1, abs=1e-12)
    assert (distribution > 0).all()


def test_each_pattern_is_made_once(streams: list[Stream32]) -> None:
    one, two, other = KneserNey.fit(FittingText(streams, VOCAB, {}), ["kn(1)", "kn( 1 )", "kn(2)"])
    assert one is two
    assert one.levels[0] is not other.levels[0]


def test_progress_goes_to_the_reporter(streams: list[Stream32]) -> None:
    updates: list[tuple[float, str]] = []

    class Task:
        def update(self, completed: float, note: str = "") -> None:
            updates.append((completed, note))

    class RecordingReporter:
        @contextmanager
        def task(self, description: str, total: float | None = None):  # noqa: ANN202
            assert total == 4
            yield Task()

    KneserNey.fit(
        FittingText(streams, VOCAB, {}, reporter=RecordingReporter()), ["kn(1,2)", "kn(1,3)"]
    )
    assert updates == [(1, "()"), (2, "(1)"), (3, "(1,2)"), (4, "(1,3)")]


class TestRefusals:
    def test_a_class_map_must_be_there(self, streams: list[Stream32]) -> None:
        with pytest.raises(ConfigError, match="no class map 'k9', expected one of"):
            KneserNey.fit(FittingText(streams, VOCAB, MAPS), ["kn(1:k9)"])

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            (np.zeros(3, dtype=int), r"expected integers \(70000,\)"),
            (np.zeros(VOCAB), "float64"),
            (np.full(VOCAB, -1), "expected 0 and up"),
        ],
    )
    def test_a_class_map_has_a_class_for_each_token(
        self, classes: np.ndarray, message: str, streams: list[Stream32]
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            KneserNey.fit(FittingText(streams, VOCAB, {"k": classes}), ["kn(1:k)"])

    def test_a_token_outside_the_vocabulary_is_named(self, streams: list[Stream32]) -> None:
        with pytest.raises(DataError, match="expected 0 to 99"):
            KneserNey.fit(FittingText(streams, 100, {}), ["kn(1)"])

    def test_too_much_text_is_refused_before_it_is_read(self) -> None:
        class Endless:
            n_tokens = 1 << 32

        with pytest.raises(DataError, match=r"expected below 2\*\*32"):
            KneserNey.fit(FittingText([Endless()], 10, {}), ["kn(1)"])

    def test_a_workspace_that_cannot_be_made_is_named(
        self, streams: list[Stream32], tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ArtifactError, match="file cannot be written"):
            KneserNey.fit(
                FittingText(streams, VOCAB, {}, workspace=tmp_path / "file", memory_bytes=1),
                ["kn(1)"],
            )

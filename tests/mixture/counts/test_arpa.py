import math
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np
import pytest

from clso.errors import ArtifactError, ConfigError
from clso.mixture.counts import KneserNey, write_arpa
from clso.mixture.text import FittingText

VOCAB = 30


@pytest.fixture(scope="module")
def text(markov: Callable[..., np.ndarray]) -> np.ndarray:
    # the last token is in no text
    return markov(VOCAB - 1, 3000)


@pytest.fixture(scope="module")
def functions(text: np.ndarray, make_stream: type) -> list[KneserNey]:
    # short streams too: a stream's first tokens have no token before them to be counted with
    streams = [make_stream(text[:2900]), make_stream(text[2900:2906]), make_stream(text[2906:])]
    patterns = ["kn(1)", "kn(1,2)", "kn(1,2,3,4)"]
    return KneserNey.fit(FittingText(streams, VOCAB, {}), patterns)


@pytest.fixture(scope="module")
def blocks(text: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    seen = np.lib.stride_tricks.sliding_window_view(text, 12)[rng.integers(0, 2900, 20)]
    return np.concatenate([seen, rng.integers(0, VOCAB, (20, 12))])


def kenlm_nll(path: Path, blocks: np.ndarray, words: list[str]) -> np.ndarray:
    model = kenlm.Model(str(path))
    nll = np.empty((len(blocks), blocks.shape[1] - 1))
    for b, block in enumerate(blocks):
        before, after = kenlm.State(), kenlm.State()
        model.NullContextWrite(before)
        for t, token in enumerate(block):
            log10 = model.BaseScore(before, words[token], after)
            before, after = after, before
            if t:
                nll[b, t - 1] = -log10 * math.log(10)
    return nll


@pytest.mark.parametrize("index", range(3))
def test_kenlm_gives_every_token_the_same_probability(
    index: int, functions: list[KneserNey], blocks: np.ndarray, tmp_path: Path
) -> None:
    function, path = functions[index], tmp_path / "model.arpa"
    words = [f"Ġ{chr(0x4E00 + token)}" for token in range(VOCAB)]
    write_arpa(function, path, words)
    expected = -np.log(function.target_probabilities(blocks[:, :-1], blocks[:, 1:]))
    np.testing.assert_allclose(kenlm_nll(path, blocks, words), expected, rtol=0, atol=1e-5)


def test_the_file_holds_what_its_head_says(functions: list[KneserNey], tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    write_arpa(functions[2], path)
    head, *sections = path.read_text(encoding="utf-8").removesuffix("\n\\end\\\n").split("\n\n")
    numbers = [int(line.split("=")[1]) for line in head.splitlines()[1:]]
    assert len(numbers) == len(sections) == 5
    known: set[tuple[str, ...]] = {()}
    for m, (number, section) in enumerate(zip(numbers, sections, strict=True), start=1):
        title, *lines = section.splitlines()
        assert title == f"\\{m}-grams:"
        grams = {tuple(line.split("\t")[1].split(" ")) for line in lines}
        assert len(grams) == len(lines) == number
        assert all(gram[:-1] in known for gram in grams)
        assert all(float(value) <= 0 for line in lines for value in line.split("\t")[::2])
        known |= grams


def test_a_unigram_function_has_one_section(make_stream: type, tmp_path: Path) -> None:
    (function,) = KneserNey.fit(FittingText([make_stream([0, 1, 1, 0, 1])], 3, {}), ["kn()"])
    write_arpa(function, tmp_path / "model.arpa")
    lines = (tmp_path / "model.arpa").read_text().splitlines()
    assert lines[1] == "ngram 1=6"
    logs = {line.split("\t")[1]: float(line.split("\t")[0]) for line in lines if "\t" in line}
    for token, p in enumerate(function.base):
        assert logs[f"t{token}"] == pytest.approx(math.log10(p), abs=1e-6)


@pytest.mark.parametrize("pattern", ["kn(2)", "kn(2,1)", "kn(1,2:k)", "kn(1->k)"])
def test_only_plain_patterns_can_be_written(
    pattern: str, make_stream: type, tmp_path: Path
) -> None:
    maps = {"k": np.zeros(3, dtype=np.int64)}
    (function,) = KneserNey.fit(FittingText([make_stream([0, 1, 1, 0, 1])], 3, maps), [pattern])
    with pytest.raises(ConfigError, match="no plain n-gram pattern"):
        write_arpa(function, tmp_path / "model.arpa")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b"], "2 words were given for 3 tokens"),
        (["a", "b", "a"], "token 2 is written 'a', and so is token 0"),
        (["a", "<s>", "b"], "token 1 is written '<s>', and so is a sign"),
        (["a", "", "b"], "token 1 is written ''"),
        (["a", "b c", "b"], "without spaces"),
        (["a", "b\xa0c", "b"], "without spaces"),
        (["a", "b\n", "b"], "without spaces"),
    ],
)
def test_words_must_be_told_apart(
    words: list[str], message: str, make_stream: type, tmp_path: Path
) -> None:
    (function,) = KneserNey.fit(FittingText([make_stream([0, 1, 1, 0, 1])], 3, {}), ["kn(1)"])
    with pytest.raises(ConfigError, match=message):
        write_arpa(function, tmp_path / "model.arpa", words)


def test_a_file_that_cannot_be_completed_leaves_the_old_one(
    make_stream: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (function,) = KneserNey.fit(FittingText([make_stream([0, 1, 1, 0, 1])], 3, {}), ["kn(1)"])
    path = tmp_path / "model.arpa"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ArtifactError, match="No space left"):
        write_arpa(function, path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.arpa"]
    assert path.read_text() == "old"

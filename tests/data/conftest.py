from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clso.data import DataSettings, Tokenizer, TokenizerSettings

LETTERS = list("abcdefghijklmnopqrstuvwxyzéß")
SMALL_BPE = TokenizerSettings(kind="bpe", vocab_size=300)


def _words(rng: np.random.Generator, n: int) -> list[str]:
    known = ["".join(rng.choice(LETTERS, size=rng.integers(1, 8))) for _ in range(200)]
    ranks = np.minimum(rng.zipf(1.4, size=n) - 1, len(known) - 1)
    return [known[rank] for rank in ranks]


@pytest.fixture(scope="session")
def make_text() -> Callable[[int, int], str]:
    """Return a function of a number of words and a seed that makes up text in lines."""

    def make(n_words: int, seed: int = 0) -> str:
        words = _words(np.random.default_rng(seed), n_words)
        return "".join(word + ("\n" if i % 12 == 11 else " ") for i, word in enumerate(words))

    return make


@pytest.fixture(scope="session")
def tokenizer(make_text: Callable[[int, int], str]) -> Tokenizer:
    return Tokenizer.train([make_text(3000, 1)], 300)


@pytest.fixture(scope="session")
def gpt2() -> Tokenizer:
    return Tokenizer.from_gpt2()


@pytest.fixture
def files_config() -> Callable[..., DataSettings]:
    def make(train: Path | str, *, block_size: int = 8, **fields: object) -> DataSettings:
        globs = {"train": str(train)} | {
            name: str(fields.pop(name)) for name in ("validation", "test") if name in fields
        }
        text_field = fields.pop("text_field", "text")
        return DataSettings.model_validate(
            {
                "source": "files",
                "files": {**globs, "text_field": text_field},
                "block_size": block_size,
                **fields,
            }
        )

    return make

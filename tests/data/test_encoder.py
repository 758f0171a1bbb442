from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clso.data import Tokenizer
from clso.data.encoder import StreamEncoder
from clso.data.spool import TextRun

ODD = " \n\t\r'sdtrevlm.,a1<|>Zé\u00a0\u3000\u2028\x1c\x85中\u0661\u0301_-\x0b\u200b"
WORDS = ["don't", " I'll", "''s", "\n\n  foo", "end ", "<|endoftext|>", " 12ab", "...!", "' s"]
TEXTS = st.one_of(
    st.text(min_size=1, max_size=30),
    st.text(alphabet=ODD, min_size=1, max_size=30),
    st.lists(st.sampled_from([*WORDS, "\u00a0\u00a0x"]), min_size=1).map("".join),
)


def expected(tokenizer: Tokenizer, runs: list[TextRun]) -> list[list[int]]:
    return [
        tokenizer.encode(run.text.decode()) + [tokenizer.end_token_id] * run.ends_extent
        for run in runs
    ]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), ends=st.lists(st.booleans(), min_size=4))
def test_tokens_are_those_of_each_text_alone(
    gpt2: Tokenizer, texts: list[str], ends: list[bool]
) -> None:
    runs = [TextRun(text.encode(), end) for text, end in zip(texts, ends, strict=False)]
    encoder = StreamEncoder(gpt2)
    for _ in range(2):  # the second time, everything is known
        tokens, counts = encoder.encode(runs)
        wanted = expected(gpt2, runs)
        assert tokens.tolist() == list(chain(*wanted))
        assert counts.tolist() == [len(run) for run in wanted]


def test_forgetting_changes_nothing(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clso.data.encoder._KNOWN_CHUNKS", 5)
    monkeypatch.setattr("clso.data.encoder._CALL_BYTES", 16)
    monkeypatch.setattr("clso.data.encoder._JOINED_BYTES", 8)
    encoder = StreamEncoder(tokenizer)
    rng = np.random.default_rng(0)
    for _ in range(20):
        words = [f"{number}, " for number in rng.integers(0, 40, size=30)]
        runs = [TextRun("".join(words).encode(), True), TextRun(b"ende ", False)]
        tokens, _ = encoder.encode(runs)
        assert tokens.tolist() == list(chain(*expected(tokenizer, runs)))
        assert len(encoder._rows) <= 5 + 100

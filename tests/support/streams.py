"""Streams of drawn tokens, for what counts them."""

import numpy as np


class Stream:
    def __init__(self, tokens: np.ndarray) -> None:
        self._tokens = tokens
        self.n_tokens = max(len(tokens) - 1, 0)
        self.largest_read = 0

    def tokens(self, start: int, stop: int) -> np.ndarray:
        self.largest_read = max(self.largest_read, stop - start)
        return self._tokens[start:stop]


def zipf(vocab_size: int, length: int, seed: int = 0) -> Stream:
    rng = np.random.default_rng(seed)
    p = 1.0 / np.arange(1, vocab_size + 1)
    return Stream(rng.choice(vocab_size, length, p=p / p.sum()).astype(np.uint16))

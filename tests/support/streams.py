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


def stepping_walk(vocab_size: int, n: int = 6000) -> Stream:
    """Return a walk that mostly steps from x to 3 x or 3 x + 1; the last token never occurs."""
    rng = np.random.default_rng(0)
    tokens = [1]
    for jump, side, other in zip(
        rng.random(n) < 0.15,
        rng.integers(0, 2, n),
        rng.integers(0, vocab_size - 1, n),
        strict=True,
    ):
        tokens.append(int(other) if jump else (3 * tokens[-1] + int(side)) % (vocab_size - 1))
    return Stream(np.array(tokens, dtype=np.uint16))

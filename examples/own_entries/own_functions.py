"""Basis functions of your own: a token said again, and what followed a token in training.

A basis function is one class: `fit` returns what is learned from the text as named arrays, and
`distribution` returns p(y | history), which must sum to 1. YAML names it with its arguments,
such as `echo(2)`. `pyproject.toml` names the class.
"""

import numpy as np

from clso.counting import count_pairs
from clso.mixture import FittingText, PlainFunction


class Echo(PlainFunction):
    """The token `back` places back is the next one, as often as it was in the training text."""

    def __init__(self, back: int) -> None:
        if back < 1:
            raise ValueError(f"back is {back}, expected 1 or more")
        self.back = back

    def fit(self, text: FittingText) -> dict[str, np.ndarray]:
        """Return the share of such repetitions, and the unigram."""
        same, total = 1, 2
        for stream in text.streams:
            tokens = stream.tokens(0, stream.n_tokens + 1)
            same += int((tokens[self.back :] == tokens[: -self.back]).sum())
            total += max(len(tokens) - self.back, 0)
        return {"share": np.array([same / total]), "unigram": text.unigram.p}

    def distribution(self, history: np.ndarray) -> np.ndarray:
        """Return p(y | history), `(V,)`."""
        p = self.arrays["unigram"].copy()
        if len(history) >= self.back:
            share = self.arrays["share"][0]
            p *= 1.0 - share
            p[history[-self.back]] += share
        return p

    def flops_per_token(self, block_size: int) -> int:
        """Operations that score one target."""
        return 3


class Follow(PlainFunction):
    """Bigram counts, smoothed with `weight` counts that follow the unigram."""

    def __init__(self, weight: float = 5.0) -> None:
        self.weight = weight

    def fit(self, text: FittingText) -> dict[str, np.ndarray]:
        """Return a table of bigram counts, and the unigram."""
        keys, counts = count_pairs(text.streams, text.vocab_size)
        table = np.zeros((text.vocab_size, text.vocab_size), dtype=np.int32)
        table.reshape(-1)[keys] = counts
        return {"table": table, "unigram": text.unigram.p}

    def distribution(self, history: np.ndarray) -> np.ndarray:
        """Return p(y | history), `(V,)`."""
        row = self.arrays["table"][history[-1]]
        return (row + self.weight * self.arrays["unigram"]) / (row.sum() + self.weight)

    def flops_per_token(self, block_size: int) -> int:
        """Operations that score one target."""
        return 3

"""A basis function of another package: what was said a few tokens ago is said again."""

import numpy as np

from clso.mixture import FittingText, PlainFunction


class Echo(PlainFunction):
    """The token `back` places before the next one, with the share that it has in the text."""

    def __init__(self, back: int) -> None:
        if back < 1:
            raise ValueError(f"back is {back}, expected 1 or more")
        self.back = back

    def fit(self, text: FittingText) -> dict[str, np.ndarray]:
        same, total = 1, 2
        for stream in text.streams:
            tokens = stream.tokens(0, stream.n_tokens + 1)
            same += int((tokens[self.back :] == tokens[: -self.back]).sum())
            total += max(len(tokens) - self.back, 0)
        return {"share": np.array([same / total]), "unigram": text.unigram.p}

    def distribution(self, history: np.ndarray) -> np.ndarray:
        p = self.arrays["unigram"].copy()
        if len(history) >= self.back:
            share = self.arrays["share"][0]
            p *= 1.0 - share
            p[history[-self.back]] += share
        return p

    def flops_per_token(self, block_size: int) -> int:
        return 3

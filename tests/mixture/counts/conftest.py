"""Streams of tokens, and modified Kneser-Ney by dictionaries, slow and plain."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from clso.mixture.counts import KneserNey, Pattern


class Stream:
    def __init__(self, tokens: Sequence[int] | np.ndarray) -> None:
        self._tokens = np.asarray(tokens, dtype=np.uint16)
        self.n_tokens = max(len(self._tokens) - 1, 0)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        return self._tokens[start:stop]


class Reference:
    """What `KneserNey` computes, straight from the definition."""

    def __init__(
        self,
        streams: Sequence[Sequence[int]],
        vocab_size: int,
        pattern: Pattern,
        class_maps: Mapping[str, np.ndarray],
    ) -> None:
        self.pattern = pattern
        self.vocab_size = vocab_size
        self.maps = class_maps
        n = len(pattern.elements)
        # occurrences of (h_k, y) for every k, as long as h_k lies inside the stream
        raw: list[Counter] = [Counter() for _ in range(n + 1)]
        self.unigram: Counter = Counter()
        for stream in streams:
            for t in range(1, len(stream)):
                self.unigram[int(stream[t])] += 1
                for k in range(n + 1):
                    context = self.context(stream[:t], k)
                    if context is not None:
                        raw[k][context, self.seen_as(pattern.target, stream[t])] += 1
        self.counts: list[dict] = []
        for k in range(n + 1):
            level: dict = defaultdict(Counter)
            if k == n:
                for (context, y), count in raw[n].items():
                    level[context][y] = count
            else:
                for context, y in raw[k + 1]:
                    level[context[:-1]][y] += 1
            self.counts.append(level)
        self.discounts = [
            self.discounts_of([c for row in level.values() for c in row.values()])
            for level in self.counts
        ]

    def seen_as(self, classes: str | None, token: int) -> int:
        return int(token if classes is None else self.maps[classes][token])

    def context(self, history: Sequence[int], k: int) -> tuple[int, ...] | None:
        elements = self.pattern.elements[:k]
        if any(element.offset > len(history) for element in elements):
            return None
        return tuple(self.seen_as(e.classes, history[-e.offset]) for e in elements)

    @staticmethod
    def discounts_of(counts: list[int]) -> list[float]:
        n1, n2, n3, n4 = (sum(c == r for c in counts) for r in (1, 2, 3, 4))
        if n1 == 0 or n2 == 0:
            return [0.5, 0.5, 0.5]
        y = n1 / (n1 + 2 * n2)
        if n3 and n4:
            three = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if all(0 < d < r for r, d in enumerate(three, start=1)):
                return three
        return [min(max(y, 0.1), 0.9)] * 3

    def interpolate(
        self, row: Mapping[int, int], discounts: list[float], lower: dict[int, float]
    ) -> dict[int, float]:
        total = sum(row.values())
        if total == 0:
            return lower
        gamma = sum(discounts[min(c, 3) - 1] for c in row.values()) / total
        return {
            y: gamma * p + (row[y] - discounts[min(row[y], 3) - 1] if y in row else 0.0) / total
            for y, p in lower.items()
        }

    def distribution(self, history: Sequence[int]) -> np.ndarray:
        target = self.pattern.target
        symbols = sorted({self.seen_as(target, y) for y in range(self.vocab_size)})
        p = dict.fromkeys(symbols, 1 / len(symbols))
        for k, (level, discounts) in enumerate(zip(self.counts, self.discounts, strict=True)):
            context = self.context(history, k)
            if context is None:
                break
            p = self.interpolate(level.get(context, {}), discounts, p)
        if target is None:
            return np.array([p[y] for y in range(self.vocab_size)])
        discounts = self.discounts_of(list(self.unigram.values()))
        whole = np.zeros(self.vocab_size)
        for symbol, mass in p.items():
            members = [y for y in range(self.vocab_size) if self.seen_as(target, y) == symbol]
            row = {y: self.unigram[y] for y in members if self.unigram[y]}
            inside = self.interpolate(row, discounts, dict.fromkeys(members, 1 / len(members)))
            for y, share in inside.items():
                whole[y] = mass * share
        return whole

    def count(self, history: Sequence[int]) -> int:
        context = self.context(history, len(self.pattern.elements))
        return 0 if context is None else sum(self.counts[-1].get(context, {}).values())

    def matched(self, history: Sequence[int]) -> int:
        deepest = 0
        for k in range(1, len(self.counts)):
            context = self.context(history, k)
            if context is None or context not in self.counts[k]:
                break
            deepest = k
        return deepest


@pytest.fixture(scope="session")
def make_stream() -> type[Stream]:
    return Stream


@pytest.fixture(scope="session")
def reference() -> type[Reference]:
    return Reference


@pytest.fixture(scope="session")
def markov() -> Callable[..., np.ndarray]:
    def text(vocab_size: int, length: int, seed: int = 0) -> np.ndarray:
        """A text whose tokens mostly follow from the last two."""
        rng = np.random.default_rng(seed)
        p = 1.0 / np.arange(1, vocab_size + 1)
        noise = rng.choice(vocab_size, length, p=p / p.sum())
        tokens = noise.copy()
        for t in range(2, length):
            if noise[t] % 3:
                tokens[t] = (tokens[t - 1] * 5 + tokens[t - 2] * 3 + noise[t] % 2) % vocab_size
        return tokens

    return text


@pytest.fixture
def walked() -> Callable[[KneserNey, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Say how often each whole context was seen, and how many elements its longest seen prefix has.

    Both `(B, T)`; a context that reaches over the block's start was not seen.
    """

    def walk(function: KneserNey, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_levels = len(function.levels) - 1
        counts = np.zeros(inputs.size, dtype=np.int64)
        levels = np.zeros(inputs.size, dtype=np.int64)
        if not n_levels:
            counts[:] = int(function.levels[0].totals[0])
        for level, active, rows in function.walk(inputs, np.arange(inputs.size)):
            levels[active] = level
            if level == n_levels:
                counts[active] = function.levels[level].totals[rows].astype(np.int64)
        return counts.reshape(inputs.shape), levels.reshape(inputs.shape)

    return walk

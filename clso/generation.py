r"""Text from a language model: one token after another, drawn from its distribution.

Notation: p(y) a distribution over V tokens, T the temperature.

.. math:: p_T(y) \propto p(y)^{1/T}

T = 1 leaves p as it is, T = 0 is its most probable token. The nucleus of p is the smallest set
of most probable tokens whose mass reaches `top_p`; the others are never drawn.

Source: Holtzman et al. 2020, The curious case of neural text degeneration, section 3.1.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clso.errors import ConfigError
from clso.scoring import GenerativeModel

__all__ = ["Sampling", "decoded"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How a text is drawn.

    Args:
        max_tokens: the largest number of tokens.
        temperature: T; 0 means always the most probable token.
        top_p: mass of the nucleus; 1 means that every token can be drawn.
        seed: of the random draws.

    Raises:
        ConfigError: a setting is out of range.
    """

    max_tokens: int = 100
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "max tokens": (self.max_tokens, self.max_tokens >= 1, "1 or more"),
            "temperature": (self.temperature, 0 <= self.temperature < math.inf, "0 or more"),
            "top p": (self.top_p, 0 < self.top_p <= 1, "a share above 0, up to 1"),
            "seed": (self.seed, self.seed >= 0, "0 or more"),
        }
        for setting, (value, is_valid, expected) in ranges.items():
            if not is_valid:
                raise ConfigError(
                    f"{setting} is {value}, expected {expected}",
                    remedy="leave it out for the usual value, or give another",
                )

    def generate(
        self,
        model: GenerativeModel,
        prompt: Sequence[int],
        *,
        n_positions: int,
        end_token_id: int,
    ) -> Iterator[int]:
        """Yield the tokens that continue a prompt, up to `max_tokens` or the end token (left out).

        The model sees the last `n_positions` tokens, and for an empty prompt (the beginning of a
        document) the end token alone. The same settings and arguments give the same tokens.
        """
        rng = np.random.default_rng(self.seed)
        history = list(prompt) or [end_token_id]
        for _ in range(self.max_tokens):
            context = np.asarray(history[-n_positions:], dtype=np.int64)
            p = self.nucleus(self.tempered(model.distribution(context)))
            token = int(rng.choice(len(p), p=p))
            if token == end_token_id:
                return
            history.append(token)
            yield token

    def tempered(self, p: FloatArray) -> FloatArray:
        """Return p_T of a distribution p, both `(V,)`; at T = 0 ties go to the first token."""
        if self.temperature == 0:
            greedy = np.zeros(len(p))
            greedy[p.argmax()] = 1.0
            return greedy
        # the log of an impossible token is minus infinity; a low temperature can overflow
        with np.errstate(divide="ignore", over="ignore"):
            logs = np.log(p / p.max()) / self.temperature
        powers = np.exp(logs)
        return np.asarray(powers / powers.sum())

    def nucleus(self, p: FloatArray) -> FloatArray:
        """Return a distribution p within its nucleus, both `(V,)`; ties go to the first tokens."""
        if self.top_p == 1:
            return np.asarray(p / p.sum())
        order = np.argsort(-p, kind="stable")
        masses = np.cumsum(p[order])
        # relative to the sum of p, which rounding may leave below 1
        size = int(np.searchsorted(masses, self.top_p * masses[-1])) + 1
        kept = np.zeros(len(p))
        kept[order[:size]] = p[order[:size]]
        return np.asarray(kept / kept.sum())


def decoded(tokens: Iterable[int], token_texts: Sequence[bytes]) -> Iterator[str]:
    """Yield the text of tokens as they come; `token_texts` are the UTF-8 bytes of all V tokens.

    Several tokens may share one character, which is yielded with its last byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if text := decoder.decode(token_texts[token]):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text

r"""Text from a language model: one token after the other, drawn from its distribution.

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

__all__ = ["Sampling", "decoded", "generate", "nucleus", "tempered"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How a text is drawn.

    Args:
        max_tokens: where it ends at the latest.
        temperature: T; 0: always the most probable token.
        top_p: mass of the nucleus; 1: every token can be drawn.
        seed: of the draws.

    Raises:
        ConfigError: a setting is out of range.
    """

    max_tokens: int = 100
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.max_tokens >= 1, "max tokens", self.max_tokens, "1 or more")
        _check(0 <= self.temperature < math.inf, "temperature", self.temperature, "0 or more")
        _check(0 < self.top_p <= 1, "top p", self.top_p, "a share above 0, up to 1")
        _check(self.seed >= 0, "seed", self.seed, "0 or more")


def _check(good: bool, setting: str, value: float, expected: str) -> None:
    if not good:
        raise ConfigError(
            f"{setting} is {value}, expected {expected}",
            remedy="leave it out for the usual value, or give another",
        )


def tempered(distribution: FloatArray, temperature: float) -> FloatArray:
    """Return p_T, `(V,)`; of equally probable tokens, T = 0 takes the first.

    Args:
        distribution: p, `(V,)`.
        temperature: T, 0 or more.
    """
    if temperature == 0:
        greedy = np.zeros(len(distribution))
        greedy[distribution.argmax()] = 1.0
        return greedy
    # an impossible token has log 0, and a low temperature takes others there
    with np.errstate(divide="ignore", over="ignore"):
        logs = np.log(distribution / distribution.max()) / temperature
    powers = np.exp(logs)
    return np.asarray(powers / powers.sum())


def nucleus(distribution: FloatArray, top_p: float) -> FloatArray:
    """Return the distribution within the nucleus, `(V,)`; of equals, the first are in it.

    Args:
        distribution: p, `(V,)`.
        top_p: the mass that the nucleus reaches, above 0, up to 1.
    """
    if top_p == 1:
        return np.asarray(distribution / distribution.sum())
    order = np.argsort(-distribution, kind="stable")
    masses = np.cumsum(distribution[order])
    # as a share of the sum, which rounding may leave below 1
    size = int(np.searchsorted(masses, top_p * masses[-1])) + 1
    kept = np.zeros(len(distribution))
    kept[order[:size]] = distribution[order[:size]]
    return np.asarray(kept / kept.sum())


def generate(
    model: GenerativeModel,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    n_positions: int,
    end_token_id: int,
) -> Iterator[int]:
    """Yield the tokens that continue a prompt, until the end token or `max_tokens` of them.

    The same arguments give the same tokens.

    Args:
        model: gives the distributions.
        prompt: its tokens; none stand for the beginning of a document, after an end token.
        sampling: temperature, nucleus, length and seed.
        n_positions: the model sees so many last tokens, no more.
        end_token_id: ends the text and is not yielded.
    """
    random = np.random.default_rng(sampling.seed)
    history = list(prompt) or [end_token_id]
    for _ in range(sampling.max_tokens):
        context = np.asarray(history[-n_positions:], dtype=np.int64)
        distribution = tempered(model.distribution(context), sampling.temperature)
        drawn = nucleus(distribution, sampling.top_p)
        token = int(random.choice(len(drawn), p=drawn))
        if token == end_token_id:
            return
        history.append(token)
        yield token


def decoded(tokens: Iterable[int], token_texts: Sequence[bytes]) -> Iterator[str]:
    """Yield the text of tokens as they come, each character when its last byte is there.

    Args:
        tokens: byte-level, so a character may be spread over several.
        token_texts: the UTF-8 bytes of each token, V of them.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if text := decoder.decode(token_texts[token]):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text

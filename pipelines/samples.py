"""A sample of text from each model of a run: all continue the same lines of the validation split.

The draws have the run's seed, so the same run gives the same texts. A sample is stored, so that a
report needs no model. Test is not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from clso.data import Dataset
from clso.generation import Sampling, decoded
from clso.scoring import GenerativeModel, Int64Array, LanguageModel

__all__ = ["TextSampler"]

_PROMPT_TOKENS: Final = 16
_MAX_TOKENS: Final = 48


@dataclass(frozen=True)
class _Generative:
    """A model that gives a distribution after a text, by its distributions at every position."""

    model: LanguageModel

    def distribution(self, history: Int64Array) -> npt.NDArray[np.float64]:
        return np.asarray(self.model.probabilities(history[None])[0, -1])


class TextSampler:
    """Draws a text from models, all after the first tokens of a data set's validation split."""

    def __init__(self, dataset: Dataset, block_size: int, seed: int) -> None:
        validation = dataset.splits["validation"]
        n_blocks = min(validation.n_blocks, -(-(_PROMPT_TOKENS + _MAX_TOKENS) // block_size))
        tokens = validation.blocks(slice(0, n_blocks))[0].ravel()  # blocks follow each other
        self._tokenizer = dataset.tokenizer
        self._token_texts = list(dataset.tokenizer.token_texts)
        self._token_texts[dataset.tokenizer.end_token_id] = b"\n\n"
        self._block_size = block_size
        self._prompt = tokens[:_PROMPT_TOKENS].tolist()
        self._followed_by = tokens[_PROMPT_TOKENS : _PROMPT_TOKENS + _MAX_TOKENS].tolist()
        self._sampling = Sampling(max_tokens=_MAX_TOKENS, seed=seed)

    def columns(self, model: LanguageModel) -> dict[str, Any]:
        """Return the columns of the table `samples` for a model, without those of the run."""
        generative = model if hasattr(model, "distribution") else _Generative(model)
        drawn = list(
            self._sampling.generate(
                cast("GenerativeModel", generative),
                self._prompt,
                n_positions=self._block_size,
                end_token_id=self._tokenizer.end_token_id,
            )
        )
        return {
            "model": model.name,
            "prompt": self._text(self._prompt),
            "followed_by": self._text(self._followed_by),
            "text": self._text(drawn),
            "n_tokens": len(drawn),
            "temperature": self._sampling.temperature,
            "top_p": self._sampling.top_p,
        }

    def _text(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens; an end token begins a new paragraph."""
        return "".join(decoded(tokens, self._token_texts))

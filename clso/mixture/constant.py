"""The two predictors that look at nothing: every token alike, and every token by its frequency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clso.counting import TokenStream, count_targets, log_unigram
from clso.errors import ArtifactError
from clso.mixture.function import FloatArray
from clso.scoring import Int64Array

__all__ = ["Uniform", "Unigram"]

_REMEDY = "build the library again"


class Uniform:
    """`p(y) = 1 / V`.

    Args:
        vocab_size: V.
    """

    name = "uniform"
    family = "constant"
    stored_bytes = 0

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def __repr__(self) -> str:
        return f"Uniform(vocab_size={self.vocab_size})"

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return `1 / V` everywhere, `(B, T)`."""
        return np.full(targets.shape, 1.0 / self.vocab_size)

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return `1 / V` for every token, `(V,)`."""
        return np.full(self.vocab_size, 1.0 / self.vocab_size)

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return nothing: V says it all."""
        return {}

    @classmethod
    def from_arrays(
        cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Uniform:
        """Make the function again.

        Raises:
            ArtifactError: the specification is another function's.
        """
        _check_name(spec, cls.name)
        return cls(spec["vocab_size"])


class Unigram:
    """Tokens by their frequency, smoothed as `log_unigram` says, so that none has 0.

    Args:
        probabilities: p(y), `(V,)`; kept, not copied.
    """

    name = "unigram"
    family = "constant"

    def __init__(self, probabilities: FloatArray) -> None:
        self.probabilities = probabilities

    def __repr__(self) -> str:
        return f"Unigram(vocab_size={len(self.probabilities)})"

    @classmethod
    def fit(cls, streams: Iterable[TokenStream], vocab_size: int) -> Unigram:
        """Count the targets of the streams."""
        return cls(np.exp(log_unigram(count_targets(streams, vocab_size))))

    @property
    def stored_bytes(self) -> int:
        """One number per token."""
        return self.probabilities.nbytes

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(y), `(B, T)`."""
        return np.asarray(self.probabilities[targets])

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p, `(V,)`."""
        return self.probabilities.copy()

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": len(self.probabilities)}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return p as `unigram`, `(V,)`."""
        return {"unigram": self.probabilities}

    @classmethod
    def from_arrays(
        cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Unigram:
        """Make the function again, equal to the last bit.

        Raises:
            ArtifactError: the specification is another function's, or p is missing or not `(V,)`.
        """
        _check_name(spec, cls.name)
        unigram = arrays.get("unigram")
        if unigram is None or unigram.shape != (spec["vocab_size"],):
            raise ArtifactError(
                f"the stored unigram is {None if unigram is None else unigram.shape}, "
                f"expected ({spec['vocab_size']},)",
                remedy=_REMEDY,
            )
        return cls(unigram)


def _check_name(spec: Mapping[str, Any], name: str) -> None:
    if spec.get("name") != name:
        raise ArtifactError(
            f"a stored function is named {spec.get('name')!r}, expected {name!r}", remedy=_REMEDY
        )

"""The log-linear basis function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.errors import ArtifactError, ConfigError
from clso.mixture.arrays import Float32Array, UnsignedArray, check_tokens, narrow, stored_array
from clso.mixture.counts import KneserNey, Pattern
from clso.mixture.full import DistributionSum, Groups
from clso.mixture.loglinear.exponents import fit_exponents
from clso.mixture.loglinear.full import AllTokens
from clso.mixture.loglinear.name import LogLinearName
from clso.mixture.loglinear.positions import OFFSETS, Experts, Positions
from clso.mixture.loglinear.scores import Scores
from clso.mixture.loglinear.topic import token_vectors
from clso.mixture.pointer import BlockView, flops_over_sources
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["LogLinear"]

_HELD_OUT_TOKENS: Final = 8192
_MOST_CLASSES: Final = 4096  # tables of pairs of classes are kept
_LARGEST_EXPONENT: Final = 100.0  # scores of larger ones may pass the range of floating point
_STREAM: Final = int.from_bytes(b"topi")  # separates this random stream from others


class LogLinear:
    """Predicts the class of the next token, then the token, each by a product of experts.

    Args:
        counts: how often each token occurs in the text, `(V,)`.
        models: Kneser-Ney models by their patterns; at least those of the settings.
        classes: the class of each token, `(V,)`.
        lifts: the lift of classes after classes, `(C, C)` per offset.
        vectors: of tokens, `(V, d)`; see `clso.mixture.loglinear.topic`.
        exponents: of the experts on classes, then of those on tokens, `(J,)`; `None`: defaults.
    """

    family = "class"
    parse = staticmethod(LogLinearName.parse)

    def __init__(
        self,
        settings: LogLinearName,
        counts: UnsignedArray,
        models: Mapping[Pattern, KneserNey],
        classes: UnsignedArray,
        lifts: Sequence[Float32Array],
        vectors: Float32Array,
        exponents: FloatArray | None = None,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.counts = counts
        self.models = {pattern: models[pattern] for pattern in settings.patterns}
        self.classes = classes
        self.lifts = list(lifts)
        self.vectors = vectors
        self._experts = Experts(settings, counts, models, classes, lifts, vectors)
        self.exponents = self._experts.default_exponents if exponents is None else exponents
        self._for_all: AllTokens | None = None
        self._for_targets: Scores | None = None

    def __repr__(self) -> str:
        return f"LogLinear({self.name!r})"

    @classmethod
    def from_text(cls, settings: LogLinearName, text: FittingText) -> Self:
        """Count a text. The exponents are those that it keeps, or follow from held-out text.

        Raises:
            ConfigError: a class map is missing or not `(V,)`, or has too many classes.
        """
        name = settings.classes
        n_classes = int(text.class_map(name).max()) + 1
        if n_classes > _MOST_CLASSES:
            raise ConfigError(
                f"{settings.name} predicts {n_classes:,} classes, expected {_MOST_CLASSES:,} at "
                "most",
                remedy="name a class map with fewer classes, such as loglinear(k128)",
            )
        models = {pattern: KneserNey.from_text(pattern, text) for pattern in settings.patterns}
        unigrams = models[Pattern()].levels[0]
        counts = np.zeros(text.vocab_size, dtype=np.int64)
        counts[unigrams.rows.symbols] = unigrams.counts
        function = cls(
            settings,
            narrow(counts),
            models,
            text.class_map(name),
            [text.lift(name, name, offset) for offset in OFFSETS],
            text.once(
                "topic vectors",
                lambda: token_vectors(text.streams, counts, np.random.default_rng(_STREAM)),
            ),
            text.kept.get(settings.name),
        )
        if settings.name not in text.kept and text.held_out is not None:
            function.exponents = function._fitted_exponents(
                *text.held_out.spread_blocks(_HELD_OUT_TOKENS)
            )
        return function

    @property
    def vocab_size(self) -> int:
        """V."""
        return int(self.classes.shape[0])

    @property
    def stored_bytes(self) -> int:
        """Size of the arrays that `to_arrays` returns."""
        return sum(array.nbytes for array in self.to_arrays().values())

    def flops_per_token(self, block_size: int) -> int:
        """Return the operations for one target, whose class has an average number of columns.

        A model finds its contexts, and takes 4 operations per outcome and level. An outcome takes 2
        per exponent, 2 d per topic, and 2 for exponential and sum. A source of the block takes 4.
        """
        columns = self._experts.columns
        per_class = -(-len(columns) // columns.n_classes)
        lookups = 0
        for pattern, model in self.models.items():
            n_outcomes = per_class if pattern.target is None else columns.n_classes
            lookups += model.flops_per_token(block_size) + 4 * len(pattern.elements) * n_outcomes
        per_outcome, dimensions = 2 * len(self.exponents) + 2, int(self.vectors.shape[1])
        return (
            lookups
            + columns.n_classes * (per_outcome + 2 * dimensions)
            + per_class * (per_outcome + 4 * dimensions)
            + flops_over_sources(4, block_size)
        )

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)` float64.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        inputs, targets = (
            check_tokens(tokens, self.vocab_size, self.name) for tokens in (inputs, targets)
        )
        probability = np.empty(inputs.shape)
        for blocks, view in BlockView.cut(inputs, targets):
            probability[blocks] = self._scores.target_probabilities(view.inputs, view.targets)
        return probability

    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)` float64, after the `(t,)` tokens of a block.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        history = check_tokens(history, self.vocab_size, self.name)
        found = self._all_tokens.at(history, len(history) - 1, np.ones(1))
        p = found.p[0, self._experts.columns.of_token]
        p[found.tokens] += found.more
        return np.asarray(p)

    def add_distributions(self, weights: FloatArray, out: DistributionSum) -> None:
        """Add w(t) p(. | history up to t) at all positions of a sum; `weights` is `(n,)`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        history = check_tokens(out.history, self.vocab_size, self.name)
        found, columns = self._all_tokens.at(history, out.start, weights), self._experts.columns
        groups = Groups(columns.of_token, None, len(columns))
        out.add_values(f"columns({self.settings.classes})", groups, found.p)
        out.add_tokens(found.tokens, found.positions, found.more)

    @property
    def _scores(self) -> Scores:
        if self._for_targets is None or self._for_targets.exponents is not self.exponents:
            self._for_targets = Scores(self._experts, self.exponents)
        return self._for_targets

    @property
    def _all_tokens(self) -> AllTokens:
        scores = self._scores
        if self._for_all is None or self._for_all.scores is not scores:
            self._for_all = AllTokens(self._experts, scores)
        return self._for_all

    def _fitted_exponents(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return the exponents that make the targets of blocks `(B, T)` likeliest."""
        positions = Positions(self._experts, BlockView(inputs, targets))
        return np.concatenate(
            [
                fit_exponents([positions.class_choices()], self._class_exponents),
                fit_exponents(list(positions.column_choices()), self._column_exponents),
            ]
        )

    @property
    def _class_exponents(self) -> FloatArray:
        return self.exponents[: self._experts.n_class_exponents]

    @property
    def _column_exponents(self) -> FloatArray:
        return self.exponents[self._experts.n_class_exponents :]

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of all models, counts and vectors of tokens, lifts and exponents."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for model in self.models.values():
            arrays |= model.to_arrays()
        lifts = zip(_lift_names(self.settings), self.lifts, strict=True)
        return arrays | {
            **dict(lifts),
            "token_counts": self.counts,
            "topic_vectors": self.vectors,
            f"exponents({self.name})": self.exponents,
        }

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild the stored function, equal to the last bit.

        Raises:
            ArtifactError: an array is missing, does not fit, or has impossible values.
        """
        settings, vocab_size = cls.parse(spec["name"]), int(spec["vocab_size"])
        models = {
            pattern: KneserNey.from_arrays({**spec, "name": pattern.name}, arrays)
            for pattern in settings.patterns
        }
        classes = stored_array(arrays, f"classes({settings.classes})", (vocab_size,))
        n_classes = int(classes.max()) + 1
        vectors = arrays.get("topic_vectors", np.empty((0, 0)))
        function = cls(
            settings,
            stored_array(arrays, "token_counts", (vocab_size,)),
            models,
            classes,
            [stored_array(arrays, name, (n_classes,) * 2) for name in _lift_names(settings)],
            stored_array(arrays, "topic_vectors", (vocab_size, vectors.shape[-1])),
        )
        shape = function.exponents.shape
        name = f"exponents({function.name})"
        function.exponents = stored_array(arrays, name, shape)
        if not bool(np.all(np.abs(function.exponents) <= _LARGEST_EXPONENT)):
            raise ArtifactError(
                f"the array {name} has {function.exponents} where numbers from "
                f"-{_LARGEST_EXPONENT:g} to {_LARGEST_EXPONENT:g} were expected",
                remedy="make the model again",
            )
        return function


def _lift_names(settings: LogLinearName) -> list[str]:
    return [f"lift({settings.classes},{offset},{settings.classes})" for offset in OFFSETS]

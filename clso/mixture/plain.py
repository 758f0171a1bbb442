"""The base class for basis functions of other packages.

A package offers a subclass of `PlainFunction` under the entry-point group `clso.basis_functions`.
A configuration uses the name of the entry point:

    class Echo(PlainFunction):
        def __init__(self, back: int, share: float = 0.5) -> None:
            self.back, self.share = back, share

    mixture: {library: {functions: ["echo(2)", "echo(3,share=0.8)"]}}

The class is called with the numbers and words in the parentheses.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from clso.counting import FloatArray
from clso.errors import ArtifactError, ConfigError, WorkError
from clso.mixture.text import FittingText
from clso.scoring import Int64Array

__all__ = ["PlainFunction"]

_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\(([^()]*)\))?")
_SUM_TOLERANCE = 1e-6
_CHECKED_POSITIONS = 4  # of every chunk of blocks


@dataclass(frozen=True)
class _Settings:
    """The parsed name of a plain function."""

    name: str
    class_names: frozenset[str]
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]


class PlainFunction(ABC):
    """A predictor p(y | context) that another package adds.

    A subclass defines `fit`, `distribution` and `flops_per_token`. It may override
    `target_probabilities` with a faster method; some positions are checked against `distribution`.

    Attributes:
        class_maps: names of the class maps that `fit` reads, such as `k64`; may depend on the
            arguments.
        name: the canonical name, such as `echo(2)`; set before `fit`.
        vocab_size: V; set before `fit`.
        arrays: the result of `fit`; stored with a model, and set when the model is loaded.
    """

    family: ClassVar[str] = "plain"
    class_maps: tuple[str, ...] = ()
    name: str
    vocab_size: int
    arrays: dict[str, npt.NDArray[Any]]

    @abstractmethod
    def fit(self, text: FittingText) -> Mapping[str, npt.NDArray[Any]]:
        """Count in a text and return all arrays that `distribution` reads from `arrays`."""

    @abstractmethod
    def distribution(self, history: Int64Array) -> FloatArray:
        """Return p(. | history), `(V,)`, after the `(t,)` tokens of a block, t >= 1."""

    @abstractmethod
    def flops_per_token(self, block_size: int) -> int:
        """Return the operations that price one target; see `clso.mixture.function`."""

    def target_probabilities(self, inputs: Int64Array, targets: Int64Array) -> FloatArray:
        """Return p(targets | inputs up to the same position), `(B, T)`."""
        probability = np.empty(inputs.shape)
        for block, position in np.ndindex(*inputs.shape):
            distribution = self.distribution(inputs[block, : position + 1])
            probability[block, position] = distribution[targets[block, position]]
        return probability

    def check(self, inputs: Int64Array, targets: Int64Array, scored: FloatArray) -> None:
        """Check at some positions that distributions are proper and agree with `scored`, `(B, T)`.

        Raises:
            WorkError: a distribution is not `(V,)`, is negative somewhere, does not sum to 1, or
                gives a target another probability than `scored`.
        """
        if scored.shape != inputs.shape:
            self._refuse(f"scores {scored.shape} for targets {inputs.shape}")
        for index in np.linspace(0, inputs.size - 1, _CHECKED_POSITIONS if inputs.size else 0):
            block, position = divmod(int(index), inputs.shape[1])
            distribution = np.asarray(self.distribution(inputs[block, : position + 1]))
            total = float(distribution.sum())
            if distribution.shape != (self.vocab_size,):
                self._refuse(f"has a distribution {distribution.shape}, not ({self.vocab_size},)")
            if not (distribution.min() >= 0 and abs(total - 1.0) <= _SUM_TOLERANCE):
                self._refuse(
                    f"has a distribution from {distribution.min():g} that sums to {total:g}"
                )
            expected = float(distribution[targets[block, position]])
            if not np.isclose(scored[block, position], expected, rtol=1e-6, atol=1e-12):
                self._refuse(f"gives a target {scored[block, position]:g} and then {expected:g}")

    def _refuse(self, reason: str) -> None:
        raise WorkError(
            f"the basis function {self.name} ({type(self).__module__}) {reason}",
            remedy="repair the package, or leave the function out of mixture.library.functions",
        )

    @property
    def stored_bytes(self) -> int:
        """Size of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def spec(self) -> dict[str, Any]:
        """Return name and V."""
        return {"name": self.name, "vocab_size": self.vocab_size}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays under names that begin with the name of the function."""
        return {f"{self.name}.{name}": array for name, array in self.arrays.items()}

    @classmethod
    def parse(cls, text: str) -> _Settings:
        """Read a name such as `echo(2,share=0.8)`.

        Raises:
            ConfigError: the syntax is wrong, or the class does not take these arguments.
        """
        call = _CALL.fullmatch(text)
        if call is None:
            raise ConfigError(f"{text!r} is no function", remedy="write name(value,option=value)")
        arguments: list[Any] = []
        options: dict[str, Any] = {}
        for written in call[2].split(",") if call[2] else []:
            name, equals, value = written.rpartition("=")
            if equals:
                options[name] = _value(value)
            else:
                arguments.append(_value(value))
        try:
            function = cls(*arguments, **options)
            bound = inspect.signature(cls).bind(*arguments, **options)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{text!r}: {error}", remedy=f"write {call[1]}{inspect.signature(cls)}"
            ) from error
        parts = []
        for name, parameter in bound.signature.parameters.items():
            value = bound.arguments.get(name, parameter.default)
            if parameter.default is parameter.empty:
                parts.append(_written(value))
            elif value != parameter.default:
                parts.append(f"{name}={_written(value)}")
        return _Settings(
            f"{call[1]}({','.join(parts)})" if parts else call[1],
            frozenset(function.class_maps),
            bound.args,
            tuple(bound.kwargs.items()),
        )

    @classmethod
    def from_text(cls, settings: _Settings, text: FittingText) -> Self:
        """Return the function with these settings, fitted on a text."""
        function = cls._named(settings, text.vocab_size)
        function.arrays = {
            name: np.ascontiguousarray(array) for name, array in function.fit(text).items()
        }
        return function

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild a function from `spec` and `to_arrays`, bit for bit.

        Raises:
            ArtifactError: the arrays are those of another function.
        """
        settings = cls.parse(str(spec["name"]))
        function = cls._named(settings, int(spec["vocab_size"]))
        prefix = f"{settings.name}."
        if not all(name.startswith(prefix) for name in arrays):
            raise ArtifactError(f"the arrays {sorted(arrays)} are not those of {settings.name}")
        function.arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        return function

    @classmethod
    def _named(cls, settings: _Settings, vocab_size: int) -> Self:
        function = cls(*settings.arguments, **dict(settings.options))
        function.name, function.vocab_size = settings.name, vocab_size
        return function


def _value(written: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(written)
        except ValueError:
            continue
    return written


def _written(value: object) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)

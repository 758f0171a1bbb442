"""The parameters of an Optuna study as genes, and back.

Notation: a parameter has n values in order (categorical ones in the order of the choices). Up to 32
values, and all categorical ones, are the options of one gene. Of more values, k genes are the
digits of a code 0 <= c < R = b^k, the most significant first, with the least k for which b <= 32
suffices. So genomes that share the first digits have near values, and one gene never has more
options than a surrogate can learn about. Value number i = floor(c n / R). On a logarithmic scale
the codes divide [ln(low - 1/2), ln(high + 1/2)] evenly, with R large enough that each integer has a
code. Several codes may mean one value. Its *canonical* code is the lowest, or the one at the
logarithm of the value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate, product
from numbers import Integral, Real
from typing import Any, Protocol

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from clso.genome import Genome, GenomeSpace, Slot

__all__ = ["Genes", "is_finite"]

_MOST_OPTIONS = 32
_ON_GRID = 1e-8  # share of a step by which a value may lie beside the grid, as Optuna has it


def is_finite(distribution: BaseDistribution) -> bool:
    """Return whether a parameter can be genes: it has several values, but a finite number."""
    if distribution.single():
        return False
    if isinstance(distribution, FloatDistribution):
        return distribution.step is not None
    return isinstance(distribution, IntDistribution | CategoricalDistribution)


class _Codes(Protocol):
    """The values of a parameter as codes."""

    @property
    def n_values(self) -> int: ...

    @property
    def n_codes(self) -> int:
        """The codes that are needed; the digits may have some more."""

    def code(self, value: Any, n_codes: int) -> int | None:  # noqa: ANN401 - of any parameter
        """Return the canonical code of a value; `None`: the parameter has no such value."""

    def value(self, code: int, n_codes: int) -> Any: ...  # noqa: ANN401


class _Choices:
    """A categorical parameter."""

    def __init__(self, distribution: CategoricalDistribution) -> None:
        self._distribution = distribution
        self.n_values = self.n_codes = len(distribution.choices)

    def code(self, value: Any, n_codes: int) -> int | None:  # noqa: ANN401
        try:
            return int(self._distribution.to_internal_repr(value))
        except ValueError:
            return None

    def value(self, code: int, n_codes: int) -> Any:  # noqa: ANN401
        return self._distribution.choices[code]


class _Steps:
    """Numbers in equal steps."""

    def __init__(self, low: float, high: float, step: float) -> None:
        self._low, self._high, self._step = low, high, step
        self.n_values = self.n_codes = round((high - low) / step) + 1

    def code(self, value: Any, n_codes: int) -> int | None:  # noqa: ANN401
        number = _number(value)
        if number is None or not self._low <= number <= self._high:
            return None
        steps = (number - self._low) / self._step
        index = round(steps)
        return -(-index * n_codes // self.n_values) if abs(steps - index) < _ON_GRID else None

    def value(self, code: int, n_codes: int) -> float:
        value = self._low + code * self.n_values // n_codes * self._step
        return min(value, self._high)  # in floating point the last step may end above


class _Logarithmic:
    """More integers than one gene can have, on a logarithmic scale."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high
        self._start = math.log(low - 0.5)
        self._span = math.log(high + 0.5) - self._start
        self.n_values = high - low + 1
        # twice the codes at which the widest step, at `high`, is 1
        self.n_codes = math.ceil(2.0 * (high + 0.5) * self._span)

    def code(self, value: Any, n_codes: int) -> int | None:  # noqa: ANN401
        number = _number(value)
        if number is None or not self._low <= number <= self._high or number != int(number):
            return None
        return min(int((math.log(number) - self._start) / self._span * n_codes), n_codes - 1)

    def value(self, code: int, n_codes: int) -> int:
        value = round(math.exp(self._start + (code + 0.5) / n_codes * self._span))
        return min(max(value, self._low), self._high)


def _number(value: object) -> int | float | None:
    """Return a number, also one of NumPy, as Python's own; `None`: it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return int(value) if isinstance(value, Integral) else float(value)


def _codes_of(distribution: BaseDistribution) -> _Codes:
    if isinstance(distribution, CategoricalDistribution):
        return _Choices(distribution)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log and high - low >= _MOST_OPTIONS:
        return _Logarithmic(int(low), int(high))
    assert step is not None
    return _Steps(low, high, step)


class _Parameter:
    """A parameter as one gene or more, its digits."""

    def __init__(self, distribution: BaseDistribution) -> None:
        self.codes = _codes_of(distribution)
        n_digits, n_codes = 1, self.codes.n_codes
        if not isinstance(distribution, CategoricalDistribution):
            while _MOST_OPTIONS**n_digits < n_codes:
                n_digits += 1
        base = n_codes if n_digits == 1 else math.ceil(n_codes ** (1.0 / n_digits))
        # the root may be rounded down or up
        base += base**n_digits < n_codes
        base -= (base - 1) ** n_digits >= n_codes
        self.n_digits, self._base = n_digits, base
        self._n_codes: int = base**n_digits

    @property
    def cardinalities(self) -> list[int]:
        return [self._base] * self.n_digits

    @property
    def unique(self) -> bool:
        """Whether each value has one code only."""
        return self._n_codes == self.codes.n_values

    def genes(self, value: Any) -> Genome | None:  # noqa: ANN401
        code = self.codes.code(value, self._n_codes)
        if code is None:
            return None
        digits = []
        for _ in range(self.n_digits):
            code, digit = divmod(code, self._base)
            digits.append(digit)
        return tuple(reversed(digits))

    def value(self, genes: Genome) -> Any:  # noqa: ANN401
        code = 0
        for digit in genes:
            code = code * self._base + digit
        return self.codes.value(code, self._n_codes)


class Genes:
    """The genomes of a search space of Optuna whose parameters are all finite.

    Attributes:
        space: the genomes; the canonical form of a genome has the canonical codes of its values.
        size: the number of different sets of values.
    """

    def __init__(self, search_space: Mapping[str, BaseDistribution]) -> None:
        self._parameters = {name: _Parameter(search_space[name]) for name in search_space}
        ends = list(accumulate(parameter.n_digits for parameter in self._parameters.values()))
        self._places = {
            name: slice(end - parameter.n_digits, end)
            for (name, parameter), end in zip(self._parameters.items(), ends, strict=True)
        }
        self._ambiguous = [name for name, of in self._parameters.items() if not of.unique]
        slots = [
            Slot(f"{name}.{digit}" if parameter.n_digits > 1 else name, cardinality)
            for name, parameter in self._parameters.items()
            for digit, cardinality in enumerate(parameter.cardinalities)
        ]
        if self._ambiguous:
            self.space = GenomeSpace(tuple(slots), canonicalize=self._canonical)
        else:
            self.space = GenomeSpace(tuple(slots))
        self.size = math.prod(parameter.codes.n_values for parameter in self._parameters.values())

    def genome_of(self, params: Mapping[str, Any]) -> Genome | None:
        """Return the canonical genome of a trial's values; `None` if it is outside the space."""
        genome: list[int] = []
        for name, parameter in self._parameters.items():
            genes = parameter.genes(params[name]) if name in params else None
            if genes is None:
                return None
            genome += genes
        return tuple(genome)

    def params_of(self, genome: Genome) -> dict[str, Any]:
        """Return the values that a genome means."""
        return {
            name: parameter.value(genome[self._places[name]])
            for name, parameter in self._parameters.items()
        }

    def all_genomes(self) -> Iterator[Genome]:
        """Yield every canonical genome once."""
        seen: set[Genome] = set()
        for genome in product(*map(range, self.space.cardinalities)):
            canonical = self.space.canonicalize(genome)
            if canonical not in seen:
                seen.add(canonical)
                yield canonical

    def _canonical(self, genome: Genome) -> Genome:
        genes = list(genome)
        for name in self._ambiguous:
            place, parameter = self._places[name], self._parameters[name]
            canonical = parameter.genes(parameter.value(genome[place]))
            assert canonical is not None
            genes[place] = canonical
        return tuple(genes)

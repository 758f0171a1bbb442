"""The parameters of an Optuna study as genes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.tuning.genes import Genes, is_finite

SMALL = [
    IntDistribution(-3, 9),
    IntDistribution(5, 500),
    IntDistribution(0, 994, step=7),
    IntDistribution(1, 20, log=True),
    IntDistribution(1, 300, log=True),
    IntDistribution(250, 900, log=True),
    FloatDistribution(-1.0, 1.0, step=0.1),
    FloatDistribution(0.0, 7.7, step=0.01),
    CategoricalDistribution((None, True, "a", 0.5)),
    CategoricalDistribution(tuple(range(100))),
]


def values_of(distribution: BaseDistribution) -> list[object]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    assert distribution.step is not None
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + index * distribution.step for index in range(count)]


@pytest.mark.parametrize("distribution", SMALL, ids=str)
def test_every_value_has_one_canonical_genome_and_every_genome_a_value(
    distribution: BaseDistribution,
) -> None:
    genes, values = Genes({"x": distribution}), values_of(distribution)
    genomes = list(genes.all_genomes())
    assert len(genomes) == len(values) == genes.size
    found = [genes.params_of(genome)["x"] for genome in genomes]
    assert found == pytest.approx(values) if isinstance(found[0], float) else found == values
    assert [genes.genome_of({"x": value}) for value in found] == genomes
    kinds = {type(value) for value in found}
    assert isinstance(distribution, CategoricalDistribution) or len(kinds) == 1
    for value in found:
        assert distribution._contains(distribution.to_internal_repr(value))


@example(low=1, width=32**5 - 1, log=False, share=0.0)  # its root is rounded up
@given(
    low=st.integers(1, 10**6),
    width=st.integers(1, 10**9),
    log=st.booleans(),
    share=st.floats(0, 1),
)
def test_numbers_of_any_range_come_back(low: int, width: int, log: bool, share: float) -> None:
    genes = Genes({"x": IntDistribution(low, low + width, log=log)})
    assert max(genes.space.cardinalities) <= 32
    value = low + math.floor(share * width)
    genome = genes.genome_of({"x": value})
    assert genome is not None
    assert genes.params_of(genome) == {"x": value}
    assert genes.space.canonical(genome) == genome


def test_near_values_share_their_first_digits() -> None:
    genes = Genes({"x": IntDistribution(0, 999)})
    assert [slot.name for slot in genes.space.slots] == ["x.0", "x.1"]
    near, far = (genes.genome_of({"x": value}) for value in (501, 900))
    first = genes.genome_of({"x": 500})
    assert first is not None
    assert near is not None
    assert far is not None
    assert near[0] == first[0] != far[0]


@pytest.mark.parametrize("distribution", SMALL[:7], ids=str)
def test_numbers_of_numpy_are_the_same_numbers(distribution: BaseDistribution) -> None:
    genes = Genes({"x": distribution})
    for value in values_of(distribution):
        same = np.array(value)[()]
        assert type(same) is not type(value)
        assert genes.genome_of({"x": same}) == genes.genome_of({"x": value}) is not None


@pytest.mark.parametrize("value", [11, -1, 2.5, "a", None, True, math.inf, np.True_])
def test_a_value_outside_the_range_is_no_genome(value: object) -> None:
    assert Genes({"x": IntDistribution(0, 10)}).genome_of({"x": value}) is None
    assert Genes({"x": IntDistribution(0, 10)}).genome_of({}) is None


def test_only_parameters_of_several_but_finitely_many_values_are_genes() -> None:
    assert not is_finite(FloatDistribution(0.0, 1.0))
    assert not is_finite(IntDistribution(3, 3))
    assert not is_finite(CategoricalDistribution(("a",)))
    assert all(is_finite(distribution) for distribution in SMALL)

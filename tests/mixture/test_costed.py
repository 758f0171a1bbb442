"""What a mixture's genome costs, told from a table, is what the built model takes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moved import moved

from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.costed import (
    CostedMixtures,
    FunctionCost,
)
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.function import CountedFunction
from clso.mixture.history import HistoryCounts
from clso.mixture.model import CrystallineMixture
from clso.mixture.specification import fit_functions

VOCAB, BLOCK, SLOTS = 24, 16, 4
NAMES = (
    "unigram",
    "kn(1)",
    "kn(1,2)",
    "kn(1,2,3)",
    "kn(1:k4->k4)",
    "kn(1:k4,2:k4->k4)",
    "cache(8)",
    "gated(k4)",
    "induction(1)",
    "induction(3)",
    "product(k4)",
    "product(k4,adapt=0)",
)
BUCKETINGS = ("none", "match", "count1*match*position")


class World:
    """Functions, their problem and its costs on a text that walks among the tokens."""

    def __init__(self, text_stream: type) -> None:
        rng = np.random.default_rng(0)
        steps = rng.choice([1, 2, 5], 4000, p=[0.6, 0.3, 0.1])
        tokens = np.cumsum(steps) % VOCAB
        train = text_stream(tokens[:3000])
        maps = fit_class_maps([train], VOCAB, ["k4"], seed=0)
        self.functions: dict[str, CountedFunction] = dict(
            zip(NAMES, fit_functions(NAMES, [train], VOCAB, maps), strict=True)
        )
        self.history = HistoryCounts.fit([train], VOCAB)
        inputs, targets = tokens[3000:3512].reshape(-1, BLOCK), tokens[3001:3513].reshape(-1, BLOCK)
        columns = Columns.of(list(self.functions.values()), inputs, targets, VOCAB, split="x")
        scored = SplitColumns(columns, self.history.of(inputs))
        self.mixtures = MixtureProblem(
            scored, scored, slots=SLOTS, bucketings=BUCKETINGS, smoothing=5.0, steps=4
        )
        self.costs = [FunctionCost.of(one, BLOCK) for one in self.functions.values()]
        self.problem = self.costed(self.costs)

    def costed(self, costs: list[FunctionCost]) -> CostedMixtures:
        return CostedMixtures(self.mixtures, costs, self.history, block_size=BLOCK)

    def model(self, genome: tuple[int, ...]) -> CrystallineMixture:
        picked = [self.functions[name] for name in self.mixtures.functions(genome)]
        weights, bucketing = self.mixtures.weights(genome), self.mixtures.bucketing(genome)
        return CrystallineMixture("mixture", picked, weights, bucketing, self.history, VOCAB)

    def flops(self, name: str) -> int:
        return FunctionCost.of(self.functions[name], BLOCK).flops_per_token


@pytest.fixture(scope="module")
def world(text_stream: type) -> World:
    return World(text_stream)


@given(
    picked=st.lists(st.integers(0, len(NAMES)), min_size=SLOTS, max_size=SLOTS),
    bucketing=st.integers(0, len(BUCKETINGS) - 1),
)
@settings(max_examples=60, deadline=None)
def test_the_bytes_are_the_built_models(world: World, picked: list[int], bucketing: int) -> None:
    genome = (*picked, bucketing)
    cost = world.problem.cost(genome)
    assert cost.stored_bytes == world.model(genome).stored_bytes
    assert world.problem.cost(world.problem.space.canonical(genome)) == cost


def test_arrays_that_functions_share_are_kept_once(world: World) -> None:
    def stored(*names: str) -> int:
        picked = [1 + NAMES.index(name) for name in names]
        return world.problem.cost((*picked, *([0] * (SLOTS - len(picked))), 0)).stored_bytes

    nothing, weight = stored(), 8
    assert stored("cache(8)", "induction(1)") == stored("cache(8)") + weight
    alone = [stored(name) - nothing for name in ("kn(1,2)", "kn(1,2,3)")]
    assert max(alone) < stored("kn(1,2)", "kn(1,2,3)") - nothing < sum(alone)


def test_more_to_look_at_takes_more_operations(world: World) -> None:
    assert world.flops("unigram") == 0
    assert 0 < world.flops("kn(1)") < world.flops("kn(1,2)") < world.flops("kn(1,2,3)")
    assert world.flops("cache(8)") < world.flops("gated(k4)")
    assert world.flops("induction(1)") < world.flops("induction(3)")
    assert world.flops("product(k4)") - world.flops("product(k4,adapt=0)") == 3 * 4


def test_a_pointers_operations_are_those_of_its_mean_number_of_sources(world: World) -> None:
    mean = sum(t + 1 for t in range(BLOCK)) / BLOCK
    assert world.flops("cache(8)") - 1 == np.ceil(3 * mean)


def test_every_pick_adds_its_operations_and_its_share_of_the_sum(world: World) -> None:
    nothing = world.problem.cost((0, 0, 0, 0, 0)).flops_per_token
    assert nothing == world.history.flops_per_token(BLOCK) + 2
    for index, name in enumerate(NAMES, 1):
        cost = world.problem.cost((index, 0, 0, 0, 0)).flops_per_token
        assert cost == nothing + 2 + world.flops(name)
    assert world.problem.cost((3, 0, 3, 0, 1)) == world.problem.cost((0, 0, 0, 3, 1))


def test_it_scores_as_the_problem_does_and_its_costs_are_in_its_name(world: World) -> None:
    genomes = [(1, 2, 0, 0, 1), (4, 4, 4, 4, 2)]
    found = [one.loss for one in world.problem.evaluate(genomes)]
    assert found == [one.loss for one in world.mixtures.evaluate(genomes)]
    assert world.problem.space is world.mixtures.space
    dearer = [replace(one, flops_per_token=1 + one.flops_per_token) for one in world.costs]
    prints = {world.costed(costs).fingerprint for costs in (world.costs, dearer)}
    assert len(prints | {world.mixtures.fingerprint}) == 3
    assert world.costed(list(world.costs)).fingerprint == world.problem.fingerprint


def test_a_moved_problem_has_the_same_costs(world: World) -> None:
    copy, genome = moved(world.problem), (1, 2, 0, 4, 1)
    assert copy.fingerprint == world.problem.fingerprint
    assert copy.cost(genome) == world.problem.cost(genome)


def test_costs_come_back_from_their_table(world: World, tmp_path: Path) -> None:
    FunctionCost.save(tmp_path / "costs.parquet", world.costs)
    assert FunctionCost.load(tmp_path / "costs.parquet") == tuple(world.costs)


def test_costs_of_other_functions_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match="other functions"):
        world.costed(world.costs[1:])

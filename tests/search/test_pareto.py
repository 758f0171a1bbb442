"""The search for a front, on sets of picks whose whole front can be listed."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from data_columns import data_columns
from picked_set import canonical_set

from clso.artifacts import table_from_rows
from clso.errors import ArtifactError, ConfigError, WorkError
from clso.genome import Genome, GenomeSpace, Slot
from clso.problem import Evaluation, GenomeCost
from search.pareto import run_pareto
from search.pareto_result import OBJECTIVES, ParetoMember, ParetoResult, check_objectives
from search.records import MemorySink, Records
from search.settings import ParetoSettings
from search.toolbox import Point, front

WORTH = (0.0, 0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.05, 0.65, 0.4)
BYTES = (0, 900, 300, 200, 20, 90, 30, 10, 640, 250)
FLOPS = (0, 5, 60, 9, 1, 40, 8, 2, 4, 30)
N_PICKS = 3
BOTH = ("loss", "stored_bytes")
ALL = ("loss", "stored_bytes", "flops")
SETTINGS = ParetoSettings(population=16, generations=8, mutation_rate=0.2)


class Picks:
    """Sets of up to 3 out of 9 options, each with a worth, a size and some work of its own."""

    fidelities = (1.0,)
    fingerprint = "picks"

    def __init__(self, fails: Callable[[Genome], bool] = lambda _: False) -> None:
        slots = tuple(Slot(f"pick{i}", len(WORTH)) for i in range(N_PICKS))
        self.space = GenomeSpace(slots, canonical_set, exchangeable=tuple(range(N_PICKS)))
        self.fails = fails
        self.seen: Counter[Genome] = Counter()

    def loss(self, genome: Genome) -> float:
        return 5.0 - sum(WORTH[pick] for pick in sorted(set(genome)))

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        self.seen.update(genomes)
        return [
            Evaluation(None, "failed", 1)
            if self.fails(genome)
            else Evaluation(self.loss(genome), "evaluated", 1)
            for genome in genomes
        ]

    def cost(self, genome: Sequence[int]) -> GenomeCost:
        picked = set(genome)
        return GenomeCost(sum(BYTES[pick] for pick in picked), sum(FLOPS[pick] for pick in picked))

    def every(self) -> Iterator[Genome]:
        for size in range(N_PICKS + 1):
            for picked in combinations(range(1, len(WORTH)), size):
                yield canonical_set((*picked, *([0] * (N_PICKS - size))))

    def point(self, genome: Genome, objectives: Sequence[str]) -> Point:
        return tuple(OBJECTIVES[name](self.loss(genome), self.cost(genome)) for name in objectives)


def search(
    problem: Picks,
    settings: ParetoSettings = SETTINGS,
    objectives: Sequence[str] = ALL,
    *,
    sink: Any = None,  # noqa: ANN401 - any sink
    **options: Any,  # noqa: ANN401 - whatever run_pareto takes
) -> tuple[ParetoResult, list[dict[str, Any]]]:
    sink = sink or MemorySink()
    seed, state_path = options.pop("seed", 1), options.pop("state_path", None)
    records = Records("run", seed, "mixture", sink, state_path)
    result = run_pareto(problem, settings, objectives, records, **options)
    return result, sink.rows("pareto_generations")


def points(members: Sequence[ParetoMember], objectives: Sequence[str]) -> list[Point]:
    return [tuple(OBJECTIVES[name](m.loss, m.cost) for name in objectives) for m in members]


@pytest.mark.parametrize("objectives", [BOTH, ("loss", "flops"), ALL])
def test_a_known_front_is_found(objectives: tuple[str, ...]) -> None:
    problem = Picks()
    every = list(problem.every())
    known = {every[index] for index in front([problem.point(one, objectives) for one in every])}
    result, _ = search(problem, SETTINGS.replaced(generations=7), objectives)
    assert len(problem.seen) < len(every)
    found = {member.genome for member in result.front}
    assert len(found & known) >= 0.9 * len(known)


@pytest.mark.parametrize("objectives", [BOTH, ALL])
def test_the_front_is_that_of_all_evaluated_and_has_the_lowest_loss(
    objectives: tuple[str, ...],
) -> None:
    problem = Picks()
    result, _ = search(problem, objectives=objectives)
    assert sorted(member.genome for member in result.members) == sorted(problem.seen)
    everywhere = points(result.members, objectives)
    on_front = {result.members[index].genome for index in front(everywhere)}
    assert {member.genome for member in result.front} == on_front
    assert result.front[0].loss == min(problem.loss(genome) for genome in problem.seen)
    for member in result.members:
        assert (member.loss, member.cost) == (
            problem.loss(member.genome),
            problem.cost(member.genome),
        )


def test_no_genome_is_evaluated_twice_and_every_generation_brings_new_ones() -> None:
    problem = Picks()
    result, rows = search(problem, SETTINGS.replaced(generations=5))
    assert set(problem.seen.values()) == {1}
    assert all(problem.space.canonical(genome) == genome for genome in problem.seen)
    assert [row["n_evaluated"] for row in rows] == [SETTINGS.population] * 5
    assert result.stop_reason == "generations"


def test_hypervolume_and_best_loss_never_fall_behind() -> None:
    _, rows = search(Picks())
    assert data_columns(table_from_rows(rows, "pareto_generations")).num_rows == 8
    for before, after in pairwise(rows):
        assert after["hypervolume"] >= before["hypervolume"]
        assert after["best_loss"] <= before["best_loss"]
    assert rows[-1]["hypervolume"] > rows[0]["hypervolume"]


def test_failures_breed_nothing_and_stand_on_no_front() -> None:
    problem = Picks(fails=lambda genome: 1 in genome)
    result, rows = search(problem)
    failed = [genome for genome in problem.seen if 1 in genome]
    assert result.n_failed == len(failed) == sum(row["n_failed"] for row in rows) > 0
    assert not any(1 in member.genome for member in result.members)
    hopeless, rows = search(Picks(fails=lambda _: True), SETTINGS.replaced(generations=2))
    assert (hopeless.members, hopeless.bounds, rows[-1]["hypervolume"]) == ((), None, None)
    with pytest.raises(WorkError, match="none of the 32 evaluated genomes has a finite loss"):
        _ = hopeless.front


def test_a_space_without_anything_new_ends_the_search() -> None:
    problem = Picks()
    result, _ = search(problem, SETTINGS.replaced(population=64, generations=99))
    assert result.stop_reason == "exhausted"
    assert len(problem.seen) == len(list(problem.every()))


def test_one_seed_gives_one_front_and_another_another() -> None:
    first, again, other = (search(Picks(), seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first.members != other.members


@pytest.mark.parametrize("killed_after", [1, 3, 7])
def test_a_resumed_search_equals_an_unbroken_one(tmp_path: Path, killed_after: int) -> None:
    unbroken, rows = search(Picks(fails=lambda genome: 4 in genome))
    state, sink = tmp_path / "search.json", MemorySink()
    answers = iter([False] * killed_after + [True])
    fails = Picks(fails=lambda genome: 4 in genome)
    first, _ = search(fails, sink=sink, state_path=state, should_stop=lambda: next(answers))
    assert (first.stop_reason, first.generations) == ("interrupted", killed_after)
    resumed, again = search(fails, sink=sink, state_path=state)
    assert resumed == unbroken
    assert [data(row) for row in again] == [data(row) for row in rows]
    assert max(fails.seen.values()) == 1
    finished, _ = search(Picks(fails=lambda _: pytest.fail("evaluated again")), state_path=state)
    assert finished == unbroken


def data(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "duration_s"}


def test_the_state_of_another_search_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "search.json"
    search(Picks(), state_path=state)
    with pytest.raises(ArtifactError, match="objectives was"):
        search(Picks(), objectives=BOTH, state_path=state)
    with pytest.raises(ArtifactError, match=r"settings\.population was 16, is 18"):
        search(Picks(), SETTINGS.replaced(population=18), state_path=state)
    broken = json.loads(state.read_text())
    del broken["bounds"]
    state.write_text(json.dumps(broken))
    with pytest.raises(ArtifactError, match="is damaged: its bytes are not those"):
        search(Picks(), state_path=state)


def test_sets_of_all_sizes_are_tried() -> None:
    problem = Picks()
    search(problem, SETTINGS.replaced(generations=1))
    assert {sum(pick > 0 for pick in genome) for genome in problem.seen} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["loss", "bytes"], "'bytes' is no objective\n.*loss, stored_bytes, flops"),
        (["loss", ""], "'' is no objective"),
        (["loss"], "two objectives or more, and there is loss"),
        ([], "and there is none"),
        (["loss", "flops", "loss"], "expected each once"),
        (["flops", "stored_bytes"], "expected the loss among them"),
        (["loss", "energy"], "no decision of a search reads a meter"),
        (["loss", "energy_j_per_token"], "joules of the front's models are measured anyway"),
    ],
)
def test_objectives_that_make_no_front_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_objectives(names)
    with pytest.raises(ConfigError):
        search(Picks(), objectives=names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"population": 1}, "population: .* greater than or equal to 2 .*given 1"),
        ({"generations": 0}, "generations: .* greater than or equal to 1 .*given 0"),
        ({"mutation_rate": 1.5}, "mutation_rate: .* less than or equal to 1 .*given 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParetoSettings(**values)

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.artifacts import table_from_rows
from clso.energy import DeviceEnergy, Measurement
from clso.problem import Evaluation
from search.archive import _RANKED, Archive, Scored
from search.generation import Generation, Individual, SearchCounts
from search.ladder import Rung
from search.records import MemorySink, Records

COLUMNS = Records("run", 7, "gpt", MemorySink()).columns


def row_of(
    individuals: list[Individual], number: int = 0, best_loss: float | None = None
) -> dict[str, Any]:
    generation = Generation(number, individuals, len(individuals), Measurement(0.5))
    return COLUMNS | generation.row(best_loss)


def mean_hamming(genomes: list[tuple[int, ...]]) -> float | None:
    row = row_of([Individual(genome, genome, "init", status="failed") for genome in genomes])
    found: float | None = row["mean_hamming"]
    return found


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=12
    )
)
def test_mean_hamming_is_the_mean_over_pairs(genomes: list[tuple[int, ...]]) -> None:
    distances = [
        sum(x != y for x, y in zip(a, b, strict=True)) for a, b in combinations(genomes, 2)
    ]
    assert mean_hamming(genomes) == pytest.approx(sum(distances) / len(distances))


def test_mean_hamming_needs_two() -> None:
    assert mean_hamming([]) is None
    assert mean_hamming([(1, 2)]) is None


@pytest.mark.parametrize(
    ("meters", "estimated"),
    [
        ({"rapl": False}, False),
        ({"nvml": False, "rapl": False}, False),
        ({"cpu_model": True}, True),
        ({"cpu_model": True, "nvml": False}, True),
        ({"replay": True}, True),
        ({}, None),
    ],
)
def test_a_row_says_whether_its_joules_are_modelled(
    meters: dict[str, bool], estimated: bool | None
) -> None:
    one = Individual((1,), (1,), "init", status="evaluated", evaluated_loss=2.0)
    measurement = Measurement(
        0.1,
        tuple(DeviceEnergy(f"on {name}", 1.0, name, modelled) for name, modelled in meters.items()),
    )
    one.evaluation = Evaluation(2.0, "evaluated", 10, measurement)
    (individual,) = Generation(0, [one], 1, Measurement(0.5)).evaluation_rows()
    row = COLUMNS | individual
    assert row["estimated"] is estimated
    assert row["energy_j"] == (len(meters) or None)
    assert row["energy_source"] == ("+".join(sorted(meters)) or None)
    table_from_rows([row], "evaluations")


def test_a_generation_of_predictions_only_has_no_losses() -> None:
    one = Individual((1,), (1,), "crossover", status="predicted")
    one.predict(1.0, 0.1)
    row = row_of([one], 3)
    assert (row["mean_loss"], row["std_loss"], row["best_loss"]) == (None, None, None)
    table_from_rows([row], "generations")


def test_means_are_over_measured_losses_of_evaluated_and_cached() -> None:
    individuals = [
        Individual((1,), (1,), "init", status="evaluated", evaluated_loss=1.0),
        Individual((2,), (2,), "elite", status="cached", evaluated_loss=3.0),
        Individual((3,), (3,), "mutation", status="predicted", predicted_loss=-50.0),
        Individual((4,), (4,), "mutation", status="failed"),
    ]
    row = row_of(individuals, best_loss=1.0)
    assert (row["mean_loss"], row["std_loss"]) == (2.0, 1.0)


def test_counts_add_up() -> None:
    counts = SearchCounts.of(["evaluated", "failed", "cached", "predicted", "predicted"])
    assert counts.total == 5
    assert (counts + SearchCounts(n_discarded=3)).n_discarded == 3
    assert (counts + counts).total == 10


def test_the_same_part_again_replaces_what_it_held() -> None:
    sink = MemorySink()
    sink.append("generations", 1, [{"a": 1}])
    sink.append("generations", 0, [{"a": 0}])
    sink.append("generations", 1, [{"a": 2}])
    assert sink.rows("generations") == [{"a": 0}, {"a": 2}]
    assert sink.rows("evaluations") == []


def test_the_hall_of_fame_is_the_lowest_measured_and_the_earlier_of_equals() -> None:
    archive = Archive()
    for gene, loss in enumerate([3.0, None, 1.0, 2.0, 1.0]):
        archive.add(Scored((gene,), (gene,), loss))
    assert [one.canonical for one in archive.best(3)] == [(2,), (4,), (3,)]
    assert len(archive.best(99)) == 4
    assert archive.training_set()[1] == [3.0, 3.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize("count", [1, 5, _RANKED, _RANKED + 1, 3 * _RANKED])
def test_the_best_of_many_are_those_of_a_stable_sort(count: int) -> None:
    archive = Archive()
    losses = np.random.default_rng(0).integers(0, 40, 2 * _RANKED).astype(float).tolist()
    for gene, loss in enumerate(losses):
        archive.add(Scored((gene,), (gene,), loss))
    expected = sorted(range(len(losses)), key=losses.__getitem__)[:count]
    assert [one.canonical for one in archive.best(count)] == [(gene,) for gene in expected]


def test_the_archive_refuses_a_second_evaluation() -> None:
    archive = Archive()
    archive.add(Scored((1,), (1,), 1.0))
    with pytest.raises(ValueError, match="evaluated twice"):
        archive.add(Scored((1,), (1,), 1.0))


def test_an_archive_of_failures_teaches_nothing() -> None:
    archive = Archive()
    archive.add(Scored((1,), (1,), None))
    assert archive.incumbent is None
    assert archive.training_set() == ([], [])


def test_a_screened_genome_is_known_estimated_and_learned_from_but_never_a_result() -> None:
    archive = Archive()
    archive.add(Scored((1,), (1,), 3.0))
    archive.add(Scored((2,), (2,), 0.5, fidelity=0.25))
    assert archive.training_set() == ([(1,)], [3.0])
    archive.incumbent_rungs = (Rung(0.25, 2.0, None),)
    # the incumbent lost 1 from the part to the whole, so the other is believed to
    assert archive.estimated_loss(0.25, 0.5) == 1.5
    assert archive.estimated_loss(0.5, 0.5) is None
    assert archive.training_set() == ([(1,), (2,)], [3.0, 1.5])
    assert archive.knows((2,))
    assert archive.get((2,)) is None
    assert (len(archive), archive.n_known, archive.incumbent_loss) == (1, 2, 3.0)
    assert [one.canonical for one in archive.best(9)] == [(1,)]


def test_training_goes_by_the_order_of_evaluation_and_failures_by_the_worst_estimate() -> None:
    archive = Archive()
    archive.add(Scored((0,), (0,), 4.0, fidelity=0.25))
    archive.add(Scored((1,), (1,), 3.0))
    archive.add(Scored((2,), (2,), None))
    archive.add(Scored((3,), (3,), 4.0, fidelity=0.5))
    archive.add(Scored((4,), (4,), 2.0))
    archive.incumbent_rungs = (Rung(0.25, 1.5, None),)
    # 4.0 on a quarter, where the incumbent has 1.5 and 2.0 on the whole; nothing is known of halves
    assert archive.training_set() == ([(0,), (1,), (2,), (4,)], [4.5, 3.0, 4.5, 2.0])

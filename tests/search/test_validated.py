import math
from collections.abc import Sequence
from itertools import count

import pytest
from table_problem import TableProblem

from clso.energy import DeviceEnergy, EnergyMonitor, Measurement
from clso.errors import ConfigError, MeterError
from clso.genome import Genome
from clso.problem import Evaluation
from search.settings import Budget, SearchSettings, SurrogateSettings
from search.validated import Halves, ValidatedLoss

SETTINGS = SearchSettings(
    population=6, generations=3, surrogate=SurrogateSettings(kind="ridge", start=1)
)
COST_J = 2.0
COST = Measurement(0.5, (DeviceEnergy("cpu", COST_J, "counter", estimated=False),))


class Counter:
    """A meter that sees nothing but evaluations."""

    device, source, estimated = "cpu", "counter", False

    def __init__(self) -> None:
        self.joules = 0.0

    def read_j(self) -> float:
        return self.joules


class Metered(TableProblem):
    def __init__(self, seed: int, meter: Counter) -> None:
        super().__init__([5] * 6, interaction=0.5, seed=seed)
        self.meter = meter
        self.computed = 0

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        self.computed += len(genomes)
        self.meter.joules += COST_J * len(genomes)
        return [Evaluation(self.loss(genome), "evaluated", 1, COST) for genome in genomes]


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """A counter that may stand still for as long as other processes have the cores."""
    monkeypatch.setattr("clso.energy.monitor.TICK_S", math.inf)
    return Counter()


@pytest.fixture
def halves(meter: Counter) -> Halves:
    return Halves(Metered(1, meter), Metered(2, meter))


def test_the_budget_is_spent_whatever_the_settings_say_and_the_other_half_judges(
    halves: Halves,
) -> None:
    found = halves.search(SETTINGS, Budget(evaluations=40), seed=0, family="table")
    assert found.complete
    assert found.evaluations == 40
    known = halves.known_of(halves.searched)
    best = min(known, key=lambda genome: known[genome].loss or 0.0)
    assert found.search_loss == known[best].loss
    assert isinstance(halves.held_back, TableProblem)
    assert found.loss == halves.held_back.loss(best)
    assert found.energy_j is None


def test_a_search_is_charged_as_if_it_had_computed_all_itself(
    halves: Halves, meter: Counter
) -> None:
    monitor, budget = EnergyMonitor([meter]), Budget(evaluations=30)
    assert isinstance(halves.searched, Metered)

    def search() -> ValidatedLoss:
        return halves.search(
            SETTINGS,
            budget,
            seed=0,
            family="t",
            monitor=monitor,
            should_stop=lambda *_: tick(),
        )

    def tick() -> bool:
        # judging on the other half is nobody's cost, nor is this
        meter.joules += 100.0
        return False

    first = search()
    assert halves.searched.computed == 30
    assert first.energy_j == pytest.approx(30 * COST_J)
    again = search()
    assert halves.searched.computed == 30
    assert again.energy_j == pytest.approx(30 * COST_J)
    assert (again.loss, again.search_loss) == (first.loss, first.search_loss)
    assert (first.energy_source, first.estimated) == ("counter", False)


def test_another_search_pays_for_what_it_shares(halves: Halves, meter: Counter) -> None:
    monitor, budget = EnergyMonitor([meter]), Budget(evaluations=30)
    for seed in (0, 1):
        found = halves.search(SETTINGS, budget, seed=seed, family="t", monitor=monitor)
        assert found.energy_j == pytest.approx(30 * COST_J)


def test_a_budget_of_joules_ends_between_generations(halves: Halves, meter: Counter) -> None:
    found = halves.search(
        SETTINGS,
        Budget(energy_j=25 * COST_J),
        seed=0,
        family="t",
        monitor=EnergyMonitor([meter]),
    )
    assert found.complete
    assert found.energy_j == pytest.approx(found.evaluations * COST_J)
    assert 25 <= found.evaluations < 25 + 10


def test_joules_need_a_meter(halves: Halves) -> None:
    with pytest.raises(MeterError, match="the budget is in joules"):
        halves.search(SETTINGS, Budget(energy_j=5.0), seed=0, family="t")


def test_who_watches_sees_the_loss_held_back_and_may_end_the_search(halves: Halves) -> None:
    seen: list[tuple[int, float | None]] = []
    calls = count(1)

    def stop(spent: int, loss: float | None) -> bool:
        seen.append((spent, loss))
        return next(calls) == 3

    found = halves.search(SETTINGS, Budget(evaluations=60), seed=0, family="t", should_stop=stop)
    assert not found.complete
    assert found.loss == seen[-1][1]
    assert [spent for spent, _ in seen] == sorted({spent for spent, _ in seen})
    assert seen[-1][0] == found.evaluations < 60


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "Budget: give either evaluations or energy_j"),
        ({"evaluations": 3, "energy_j": 1.0}, "Budget: give either evaluations or energy_j"),
        ({"evaluations": 0}, r"evaluations: .* greater than or equal to 1 \(given 0\)"),
        ({"energy_j": 0.0}, r"energy_j: .* greater than 0 \(given 0.0\)"),
    ],
)
def test_a_budget_is_one_number_above_zero(budget: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Budget(**budget)  # type: ignore[arg-type]

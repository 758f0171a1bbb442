from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
from picked_set import canonical_set
from table_problem import TableProblem

from clso.errors import GenomeError
from clso.genome import Genome, GenomeSpace, Slot
from clso.problem import Evaluation
from search.records import MemorySink
from search.rivals import coordinate_descent, greedy_forward, random_search
from search.run import run_search
from search.settings import SearchSettings, SurrogateSettings
from search.watched import Standing, WatchedProblem

WORTH = (0.0, 0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.05)
BY_MODE = (0.0, 0.5, 0.2)
N_PICKS = 3


def canonical(genome: Genome) -> Genome:
    picks = canonical_set(genome[:-1])
    return (*picks, genome[-1] if any(picks) else 0)


class Picks:
    """Sets of up to 3 out of 7 options, each worth something of its own, and a mode."""

    fidelities = (1.0,)
    fingerprint = "picks"

    def __init__(self, fails: Callable[[Genome], bool] = lambda _: False) -> None:
        slots = tuple(Slot(f"pick{i}", len(WORTH)) for i in range(N_PICKS))
        self.space = GenomeSpace(
            (*slots, Slot("mode", len(BY_MODE))), canonical, exchangeable=tuple(range(N_PICKS))
        )
        self.fails = fails
        self.seen: Counter[Genome] = Counter()

    def evaluate(self, genomes: Sequence[Genome], fidelity: float = 1.0) -> list[Evaluation]:
        found = []
        for genome in map(self.space.canonical, genomes):
            self.seen[genome] += 1
            loss = 5.0 - sum(WORTH[pick] for pick in set(genome[:-1])) - BY_MODE[genome[-1]]
            if self.fails(genome):
                found.append(Evaluation(None, "failed", 1))
            else:
                found.append(Evaluation(loss, "evaluated", 1))
        return found


Rival = Callable[..., Iterator[Standing]]
RIVALS = pytest.mark.parametrize("rival", [random_search, greedy_forward, coordinate_descent])


@RIVALS
def test_a_standing_comes_after_every_evaluation_and_never_rises(rival: Rival) -> None:
    problem = Picks()
    standings = list(rival(problem, seed=1, limit=20))
    assert [standing.evaluations for standing in standings] == list(range(1, 21))
    losses = [standing.loss for standing in standings if standing.loss is not None]
    assert all(later <= earlier for earlier, later in pairwise(losses))
    assert sum(problem.seen.values()) == 20
    for standing in standings:
        assert standing.canonical is not None
        assert Picks().evaluate([standing.canonical])[0].loss == standing.loss


@RIVALS
def test_no_genome_is_evaluated_twice_even_where_there_are_no_more(rival: Rival) -> None:
    problem = Picks()
    standings = list(rival(problem, seed=3))
    assert set(problem.seen.values()) == {1}
    assert len(standings) == len(problem.seen)


@RIVALS
def test_equal_seeds_search_alike_and_other_seeds_in_another_order(rival: Rival) -> None:
    first, again, other = (list(rival(Picks(), seed=seed, limit=15)) for seed in (4, 4, 5))
    assert first == again
    assert first != other


@RIVALS
def test_a_longer_search_begins_as_the_shorter_does(rival: Rival) -> None:
    assert list(rival(Picks(), seed=2, limit=20))[:9] == list(rival(Picks(), seed=2, limit=9))


@RIVALS
def test_failures_count_and_are_never_the_best(rival: Rival) -> None:
    standings = list(rival(Picks(fails=lambda genome: 1 in genome[:-1]), seed=0, limit=20))
    assert len(standings) == 20
    for standing in standings:
        assert standing.canonical is None or 1 not in standing.canonical[:-1]


def test_greedy_selection_takes_the_best_option_of_each_round() -> None:
    standings = list(greedy_forward(Picks(), seed=0))
    # nothing, then 7, 6 and 5 options, and the 2 other modes after each pick
    assert len(standings) == 1 + (7 + 2) + (6 + 2) + (5 + 2)
    after_round = [standings[0], standings[9], standings[17], standings[24]]
    assert [standing.canonical for standing in after_round] == [
        (0, 0, 0, 0),
        (1, 0, 0, 1),
        (1, 2, 0, 1),
        (1, 2, 3, 1),
    ]


def test_greedy_selection_ends_where_nothing_helps() -> None:
    problem = Picks(fails=lambda genome: genome[1] > 0)
    standings = list(greedy_forward(problem, seed=0))
    assert standings[-1].canonical == (1, 0, 0, 1)
    # after a round without a better pick or mode there is no other
    assert len(standings) == 1 + (7 + 2) + 6


def test_greedy_selection_needs_a_set_to_pick() -> None:
    with pytest.raises(GenomeError, match="slots that pick a set"):
        next(greedy_forward(TableProblem((4, 4), interaction=0.1, seed=0), seed=0))


def test_random_search_goes_without_a_set() -> None:
    problem = TableProblem((3, 4), interaction=0.1, seed=0)
    standings = list(random_search(problem, seed=0))
    assert len(standings) == 12
    assert standings[-1].loss == min(problem.loss((a, b)) for a in range(3) for b in range(4))


def test_a_pass_of_coordinate_descent_finds_the_optimum_where_slots_do_not_interact() -> None:
    problem = TableProblem((4, 5, 3), interaction=0.0, seed=0)
    standings = list(coordinate_descent(problem, seed=0, passes=1))
    assert len(standings) == 1 + (4 - 1) + (5 - 1) + (3 - 1)
    best = min(problem.loss((a, b, c)) for a in range(4) for b in range(5) for c in range(3))
    assert standings[-1].loss == best


def test_coordinate_descent_begins_again_until_nothing_is_new() -> None:
    problem = TableProblem((4, 5, 3), interaction=2.0, seed=3)
    losses = [problem.loss((a, b, c)) for a in range(4) for b in range(5) for c in range(3)]
    standings = list(coordinate_descent(problem, seed=1))
    assert standings[-1].loss == min(losses)
    assert len(standings) > len(list(coordinate_descent(problem, seed=1, passes=9)))


def test_coordinate_descent_begins_at_the_best_of_the_given_genomes() -> None:
    problem = TableProblem((4, 5, 3), interaction=0.5, seed=0)
    start = [(0, 0, 0), (3, 4, 2), (1, 2, 1)]
    standings = list(coordinate_descent(problem, seed=0, start=start, limit=4))
    assert standings[2].loss == min(map(problem.loss, start))
    best = min(start, key=problem.loss)
    other = standings[3].canonical
    assert other == best or sum(a != b for a, b in zip(best, other or (), strict=True)) == 1


class TestWatched:
    def test_known_evaluations_are_not_computed_again_but_count(self) -> None:
        problem = Picks()
        known: dict[Genome, Evaluation] = {}
        first, second = WatchedProblem(problem, known), WatchedProblem(problem, known)
        assert first.evaluate([(1, 0, 0, 0), (2, 1, 0, 0)]) == second.evaluate(
            [(0, 1, 1, 0), (1, 2, 2, 0)]
        )
        assert set(problem.seen.values()) == {1}
        assert first.standings == second.standings
        assert [standing.evaluations for standing in second.standings] == [1, 2]

    def test_a_search_that_asks_twice_is_found_out(self) -> None:
        watched = WatchedProblem(Picks())
        watched.evaluate([(1, 0, 0, 0)])
        with pytest.raises(ValueError, match="evaluated twice"):
            watched.evaluate([(0, 1, 0, 0)])

    @pytest.mark.parametrize("optimism", [0.0, 1.0])
    def test_the_genetic_algorithm_is_counted_like_the_others(self, optimism: float) -> None:
        watched = WatchedProblem(Picks())
        settings = SearchSettings(
            population=6,
            generations=20,
            max_evaluations=30,
            surrogate=SurrogateSettings(kind="gaussian_process", start=1, optimism=optimism),
        )
        result = run_search(
            watched, settings, seed=0, family="picks", run_id="run", sink=MemorySink()
        )
        assert len(watched.standings) == result.counts.n_evaluated <= 30
        assert watched.standings[-1].loss == result.best.loss
        assert watched.standings[-1].canonical == (1, 2, 3, 1)

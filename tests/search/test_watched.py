from collections.abc import Sequence

import pytest
from moved import moved
from table_problem import TableProblem

from clso.genome import Genome
from clso.problem import Evaluation, Extendable
from search.records import MemorySink
from search.run import run_search
from search.settings import SearchSettings, SurrogateSettings
from search.validated import Halves
from search.watched import Standing, WatchedProblem, improvements


def standings(*losses: float | None) -> list[Standing]:
    return [Standing(number, loss, None) for number, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ((5.0, 5.0, 4.0, 4.0), [1, 3, 4]),
        ((None, 5.0, 4.0), [2, 3]),
        ((None, None), []),
        ((), []),
    ],
)
def test_what_falls_and_the_last_is_kept(losses: tuple[float | None, ...], kept: list[int]) -> None:
    assert [one.evaluations for one in improvements(standings(*losses))] == kept


def test_a_search_and_its_outcome_can_move_to_another_process() -> None:
    settings = SearchSettings(
        population=6, generations=2, surrogate=SurrogateSettings(kind="ridge", start=1)
    )
    halves = Halves(*(TableProblem([5] * 4, interaction=0.5, seed=seed) for seed in (1, 2)))
    watched = WatchedProblem(halves.searched, halves.known_of(halves.searched))
    result = run_search(
        watched, settings, seed=0, family="table", run_id="moved", sink=MemorySink()
    )
    copy, best = moved(watched), result.best.canonical
    assert (copy.fingerprint, copy.spent) == (watched.fingerprint, watched.spent)
    assert copy.standings == watched.standings
    assert copy.archive.incumbent == watched.archive.incumbent
    assert not isinstance(copy, Extendable)
    assert moved(result).evaluations == result.evaluations
    others = moved(halves)
    assert others.known == halves.known
    assert others.judged(best) == halves.judged(best)


class _InTwoSteps(TableProblem):
    def extend(
        self, genomes: Sequence[Genome], begun: Sequence[Evaluation], fidelity: float
    ) -> list[Evaluation]:
        del begun
        return self.evaluate(genomes, fidelity)


def test_a_moved_problem_still_extends() -> None:
    watched = WatchedProblem(_InTwoSteps([3] * 3, interaction=0.5, seed=0))
    copy = moved(watched)
    assert isinstance(copy, Extendable)
    begun = copy.evaluate([(0, 1, 2)], 0.5)
    copy.extend([(0, 1, 2)], begun, 1.0)
    assert (copy.spent, watched.spent) == (1, 0)

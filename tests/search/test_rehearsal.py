from search.rehearsal import TableProblem, rehearse
from search.settings import LocalSearchSettings, SearchSettings, SurrogateSettings

QUICK = SearchSettings(population=16, generations=5)


def test_the_write_ups_quick_run_never_reaches_its_surrogate() -> None:
    result = rehearse(QUICK, [32] * 4)
    counts = result.counts
    assert result.surrogate_start is None
    assert counts.n_predicted == 0
    # 16 per generation and 4 neighbours after each
    assert counts.total == 5 * (16 + 4)
    assert counts.n_evaluated + counts.n_cached == counts.total


def test_without_local_search_rows_are_population_times_generations() -> None:
    settings = SearchSettings(
        population=16,
        generations=8,
        surrogate=SurrogateSettings(kind="random_forest"),
        local_search=LocalSearchSettings(enabled=False),
    )
    result = rehearse(settings, [32] * 4)
    assert result.counts.total == 16 * 8
    assert result.surrogate_start == 5
    assert result.counts.n_predicted > 0


def test_a_rehearsal_is_a_pure_function_of_its_arguments() -> None:
    assert rehearse(QUICK, [32] * 4, seed=3) == rehearse(QUICK, [32] * 4, seed=3)


def test_the_table_has_interactions_between_neighbouring_genes() -> None:
    def gain(problem: TableProblem, second: int) -> float:
        return problem.loss((1, second, 0)) - problem.loss((0, second, 0))

    apart = TableProblem([4, 4, 4], interaction=0.0, seed=0)
    joint = TableProblem([4, 4, 4], interaction=1.0, seed=0)
    assert abs(gain(apart, 0) - gain(apart, 1)) < 1e-9
    assert abs(gain(joint, 0) - gain(joint, 1)) > 1e-3

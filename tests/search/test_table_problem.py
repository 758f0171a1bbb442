from table_problem import TableProblem


def test_the_table_has_interactions_between_neighbouring_genes() -> None:
    def gain(problem: TableProblem, second: int) -> float:
        return problem.loss((1, second, 0)) - problem.loss((0, second, 0))

    apart = TableProblem([4, 4, 4], interaction=0.0, seed=0)
    joint = TableProblem([4, 4, 4], interaction=1.0, seed=0)
    assert abs(gain(apart, 0) - gain(apart, 1)) < 1e-9
    assert abs(gain(joint, 0) - gain(joint, 1)) > 1e-3

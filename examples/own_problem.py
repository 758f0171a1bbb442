"""Search a problem of your own: any function of a list of indices.

Twelve stations stand in a row, and each is painted in one of three colours. The loss counts the
neighbours that are painted alike.

Run: python examples/own_problem.py
"""

from itertools import pairwise

from search import minimize


def loss(genome: list[int]) -> float:
    """Count the neighbours that are alike."""
    return float(sum(left == right for left, right in pairwise(genome)))


if __name__ == "__main__":
    best = minimize(loss, [3] * 12, evaluations=200, seed=0)
    print(best.genome, best.loss)
    print(best.evaluations.to_pandas().groupby("origin")["evaluated_loss"].min())

import numpy as np
import pytest

from clso.mixture.columns import Columns
from clso.mixture.evaluator import MixtureProblem, SplitColumns
from clso.mixture.history import History
from pipelines.families.mixture_rivals import AllAtOnce

N_FUNCTIONS = 99


def problem(slots: int) -> MixtureProblem:
    names = tuple(f"f{index}" for index in range(N_FUNCTIONS))
    columns = Columns(names, ("toy",) * N_FUNCTIONS, np.ones((N_FUNCTIONS, 4), np.float32), 50)
    zeros = np.zeros((1, 4), dtype=np.int64)
    split = SplitColumns(columns, History((zeros,) * 3, zeros))
    return MixtureProblem(split, split, slots=slots, bucketings=("none",), smoothing=5.0, steps=8)


@pytest.mark.parametrize(("slots", "cost"), [(N_FUNCTIONS, 1.0), (24, 4.0)])
def test_all_functions_cost_as_many_evaluations_as_they_fill(slots: int, cost: float) -> None:
    rival = AllAtOnce(problem(slots), problem(N_FUNCTIONS), steps=8, final_steps=60)
    assert rival.cost == cost

"""A process that works on a study: `python tuning_process.py URL TRIALS [KILLED_IN]`.

It says that it is ready and waits for a line on standard input, so that several begin together.
With a number it kills itself within that trial of its own, counted from 1. If the line says `hold`,
it waits for another within its first trial. At the end it prints how many trials it ran.
"""

from __future__ import annotations

import os
import signal
import sys

from table_problem import TableProblem

from search.settings import Budget, SearchSettings, SurrogateSettings
from search.tuning import Params, Range, SearchSpace, TuningSettings, open_tuning
from search.validated import Halves

__all__ = ["HEARTBEAT_S", "NAME", "SPACE", "settings"]

NAME = "shared"
HEARTBEAT_S = 2
SPACE = SearchSpace(
    {"population": Range(4, 8), "mutation_rate": Range(0.02, 0.5, log=True)},
    SearchSettings(population=6, elites=1, surrogate=SurrogateSettings(kind="none")),
)


def settings(trials: int) -> TuningSettings:
    budget = Budget(evaluations=8)
    return TuningSettings(family="table", trials=trials, seeds=(0,), budget=budget)


def main(url: str, trials: int, killed_in: int | None) -> None:
    print("ready", flush=True)
    holds = sys.stdin.readline() == "hold\n"
    calls = 0

    def problems(_: Params) -> Halves:
        nonlocal calls
        # the first call is for the study's identity; the next are within trials
        if calls == killed_in:
            os.kill(os.getpid(), signal.SIGKILL)
        if holds and calls == 1:
            sys.stdin.readline()
        calls += 1
        return Halves(*(TableProblem([4] * 4, interaction=0.5, seed=seed) for seed in (1, 2)))

    with open_tuning(
        url, NAME, SPACE, settings(trials), problems, heartbeat_s=HEARTBEAT_S
    ) as tuning:
        tuning.run()
    print(calls - 1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)

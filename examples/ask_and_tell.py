"""Ask and tell: the search proposes genomes, and your own process pool evaluates them.

Results are told as they arrive, in any order. The folder keeps every result, so a second start
of this script goes on where the first one stopped, also after `kill -9`.

Run: python examples/ask_and_tell.py [FOLDER]
"""

import math
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from search import Search, SearchSettings


def loss(genome: tuple[int, ...]) -> float:
    """Return the distance of a point on a grid to a circle; the origin cannot be evaluated."""
    x, y = (index - 16 for index in genome)
    if x == y == 0:
        raise ValueError("the origin has no angle")
    return abs(math.hypot(x, y) - 10) + 0.1 * abs(math.atan2(y, x))


def main(folder: str) -> None:
    """Search with two processes, then extend the finished search."""
    search = Search([33, 33], SearchSettings(population=16, generations=8), seed=0, folder=folder)
    with ProcessPoolExecutor(2) as pool:
        for evaluations in (60, 120):
            search.extend(evaluations=evaluations)
            while batch := search.ask():
                jobs = {pool.submit(loss, genome): genome for genome in batch}
                for job in as_completed(jobs):
                    # what cannot be evaluated is told as failed: its loss is None
                    value = None if job.exception() else job.result()
                    search.tell([jobs[job]], [value])
            print(search.result.genome, round(search.result.loss, 3))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/ask-and-tell")

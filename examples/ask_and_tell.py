"""Ask and tell: the search proposes genomes, and your own process pool evaluates them.

Results are told as they arrive, in any order. The folder keeps every result: a second start goes
on where the first one stopped, also after `kill -9`, and a larger number of evaluations extends
the search.

Run: python examples/ask_and_tell.py [FOLDER] [EVALUATIONS]
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


def main(folder: str, evaluations: int) -> None:
    """Search with two processes until so many evaluations are spent."""
    settings = SearchSettings(population=16, surrogate={"kind": "ridge", "start": 1})
    search = Search([33, 33], settings, seed=0, folder=folder)
    search.extend(evaluations=evaluations)
    with ProcessPoolExecutor(2) as pool:
        while batch := search.ask():
            jobs = {pool.submit(loss, genome): genome for genome in batch}
            for job in as_completed(jobs):
                # what cannot be evaluated is told as failed: its loss is None
                value = None if job.exception() else job.result()
                search.tell([jobs[job]], [value])
    print(search.result.genome, round(search.result.loss, 3))


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(arguments.get(1, "artifacts/ask-and-tell"), int(arguments.get(2, 120)))

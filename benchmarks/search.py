"""The time of a search without its evaluations: its share, its growth, and its surrogate's.

Everything is kept in a folder: the state, the journal of evaluations and the records.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from benchmarks.stand_ins import LossTable
from benchmarks.timing import Comparison, in_turn
from clso.genome import Genome, GenomeSpace
from clso.gpt import GptFrame, GptProblem, GptShape
from clso.library import BasisLibrary
from clso.threads import one_thread
from pipelines.config import read_config
from search import Search, SearchSettings
from search.surrogates.gaussian_process import GaussianProcessSurrogate

__all__ = ["SHARE", "WORK", "OutsideEvaluation", "outside_evaluation", "run", "surrogate"]

_POPULATION, _GENES, _OPTIONS, _GENERATIONS = 128, 16, 64, 500
SHARE = 100
"""Number of generations that are timed at the beginning and at the end."""

WORK = f"{_GENERATIONS} generations of {_POPULATION} genomes, {_GENES} genes of {_OPTIONS}"
_CONFIG = "original_full"
_VOCAB_SIZE = 50_257  # of GPT-2's tokenizer, which the configuration names
_SCORED = 8
_KNOWN = (100, 500, 1000)
_NEW = 8  # genomes of a generation that are evaluated
_NEIGHBOURS = 1000


def run() -> tuple[float, float]:
    """Return the seconds of the first `SHARE` generations and of the last."""
    settings = SearchSettings.model_validate(
        {
            "population": _POPULATION,
            "generations": _GENERATIONS,
            "surrogate": {"kind": "none"},
        }
    )
    ends, _ = _searched([_OPTIONS] * _GENES, settings)
    assert len(ends) == _GENERATIONS + 1
    return ends[SHARE] - ends[0], ends[-1] - ends[-SHARE - 1]


def _searched(cardinalities: list[int], settings: SearchSettings) -> tuple[list[float], list[int]]:
    """Search a table; return CPU seconds at the start and after each generation, and batches."""
    table = LossTable(cardinalities)
    ends: list[float] = []
    batches: list[int] = []

    def note_end(*_: object) -> None:
        ends.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        search = Search(cardinalities, settings, folder=folder, callbacks=[note_end])
        note_end()
        while batch := search.ask():
            batches.append(len(batch))
            search.tell(batch, table.losses(batch))
    return ends, batches


class OutsideEvaluation(NamedTuple):
    """CPU seconds of `original_full.yaml`'s search.

    Attributes:
        evaluations: in all generations.
        evaluation_s: of one genome, on random tokens.
        outside_s: of all generations, without the evaluations.
        first_s, last_s: the same, of the first ten generations with a surrogate, and the last ten.
    """

    evaluations: int
    evaluation_s: float
    outside_s: float
    first_s: float
    last_s: float

    @property
    def share(self) -> float:
        """Share of the whole that is not evaluation."""
        return self.outside_s / (self.outside_s + self.evaluations * self.evaluation_s)


def outside_evaluation() -> OutsideEvaluation:
    """Time the search on a table, and some evaluations of the problem itself.

    So the whole, which takes half an hour, follows from less than a minute.
    """
    config = read_config(_CONFIG, {})
    model, block_size = config.model, config.data.block_size
    shape = GptShape(
        n_layer=model.n_layer,
        n_head=model.n_head,
        n_embd=model.n_embd,
        block_size=block_size,
        vocab_size=_VOCAB_SIZE,
    )
    library = config.gpt.library
    matrices = BasisLibrary.generate(model.n_embd, library.size, library.families, 1.0, 0)
    size = (config.evaluation.batches, config.evaluation.batch_size, block_size + 1)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, _VOCAB_SIZE, size)
    frame = GptFrame(shape, seed=0)
    share_layers = config.gpt.share_layers
    problem = GptProblem(
        matrices, frame, tokens[..., :-1], tokens[..., 1:], share_layers=share_layers
    )
    cardinalities = list(problem.space.cardinalities)
    genomes: list[Genome] = [tuple(rng.integers(0, cardinalities).tolist()) for _ in range(_SCORED)]
    problem.evaluate(genomes)  # makes matrices dense
    began_s = time.process_time()
    problem.evaluate(genomes)
    evaluation_s = (time.process_time() - began_s) / _SCORED
    ends, batches = _searched(cardinalities, config.search)
    start = config.search.surrogate.start
    return OutsideEvaluation(
        evaluations=sum(batches),
        evaluation_s=evaluation_s,
        outside_s=ends[-1] - ends[0],
        first_s=ends[start + 10] - ends[start],
        last_s=ends[-1] - ends[-11],
    )


def surrogate() -> list[Comparison]:
    """Time a Gaussian process: its factor extended and made anew, neighbours together and alone."""
    compared = [_extended(known) for known in _KNOWN]
    space, genomes, losses = _sample(_KNOWN[1])
    process = GaussianProcessSurrogate(space, 0)
    process.fit(genomes, losses)
    changes = [
        (*genomes[0][:slot], option, *genomes[0][slot + 1 :])
        for slot in range(_GENES)
        for option in range(_OPTIONS)
    ][:_NEIGHBOURS]

    def alone() -> None:
        for genome in changes:
            process.predict([genome])

    what = f"{_NEIGHBOURS:,} neighbours ranked, {_KNOWN[1]} genomes known"
    together = ("means in one product", lambda: process.neighbour_means(genomes[0]))
    predicted = ("one predict", lambda: process.predict(changes))
    compared.append(in_turn(what, together, ("one by one", alone), repeats=5))
    compared.append(in_turn(what, predicted, ("one by one", alone), repeats=5))
    return compared


def _sample(count: int) -> tuple[GenomeSpace, list[Genome], list[float]]:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(_GENES, _OPTIONS))
    drawn = rng.integers(0, _OPTIONS, (count, _GENES))
    losses = table[np.arange(_GENES), drawn].sum(axis=1) + rng.normal(size=count)
    return (
        GenomeSpace.of([_OPTIONS] * _GENES),
        [tuple(row) for row in drawn.tolist()],
        (losses.tolist()),
    )


def _extended(known: int) -> Comparison:
    """Compare a fit with the least that an update of its factor would take, with a prior kept."""
    space, genomes, losses = _sample(known)
    differing = np.array(genomes)[:, None, :] != np.array(genomes)
    covariance = np.exp(differing.sum(axis=2) / -32.0) + 0.01 * np.eye(known)
    old = known - _NEW
    factor = cholesky(covariance[:old, :old], lower=True)

    def update() -> npt.NDArray[np.float64]:
        with one_thread():
            across = solve_triangular(factor, covariance[:old, old:], lower=True).T
            corner = cholesky(covariance[old:, old:] - across @ across.T, lower=True)
            whole = np.zeros((known, known))
            whole[:old, :old], whole[old:, :old], whole[old:, old:] = factor, across, corner
        return whole

    def anew() -> npt.NDArray[np.float64]:
        with one_thread():
            return np.asarray(cholesky(covariance, lower=True))

    def fit() -> None:
        GaussianProcessSurrogate(space, 0, most=known).fit(genomes, losses)

    assert np.allclose(update(), anew())
    fit_s = statistics.median(in_turn("", ("", fit), ("", fit), repeats=5).ours_s)
    factors: tuple[tuple[str, Callable[[], object]], tuple[str, Callable[[], object]]] = (
        (f"extended by {_NEW}", update),
        ("made anew", anew),
    )
    found = in_turn("", *factors, repeats=9)
    share = statistics.median(found.plain_s) / fit_s
    what = f"factor of a Gaussian process, {known} genomes ({share:.0%} of a fit)"
    return Comparison(what, found.ours, found.plain, found.ours_s, found.plain_s)

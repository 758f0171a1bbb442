from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from clso.genome import Genome, GenomeSpace, Slot
from search.settings import SurrogateSettings
from search.surrogates import surrogate_factory
from search.surrogates.encoding import MultiHot
from search.surrogates.gaussian_process import (
    GaussianProcessSurrogate,
    _distances,
    _products,
    _Tridiagonal,
)
from search.surrogates.interface import FloatArray, neighbour_means
from search.surrogates.normal_scores import NormalScoresSurrogate
from search.surrogates.ridge import RidgeSurrogate

Sampler = Callable[..., tuple[list[Genome], list[float]]]


def test_a_gaussian_process_learns_that_picks_depend_on_each_other() -> None:
    # of 10 options, number i says the same as number i + 5
    space = GenomeSpace(tuple(Slot(f"pick{i}", 11) for i in range(5)), exchangeable=(0, 1, 2, 3, 4))
    worth = np.random.default_rng(2).uniform(size=5)
    genomes = list(combinations(range(1, 11), 5))
    np.random.default_rng(0).shuffle(genomes)
    losses = [float(-worth[sorted({(pick - 1) % 5 for pick in one})].sum()) for one in genomes]
    errors = []
    for surrogate in (RidgeSurrogate(space, 0), GaussianProcessSurrogate(space, 0)):
        surrogate.fit(genomes[:150], losses[:150])
        errors.append(np.abs(surrogate.predict(genomes[150:])[0] - losses[150:]).mean())
    assert errors[1] < 0.7 * errors[0]


def test_a_gaussian_process_is_sure_of_what_it_has_seen(
    space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(60)
    surrogate = GaussianProcessSurrogate(space, 0)
    surrogate.fit(genomes[:40], losses[:40])
    mean, std = surrogate.predict(genomes)
    assert std[:40].mean() < std[40:].mean()
    assert np.abs(mean[:40] - losses[:40]).mean() < np.abs(mean[40:] - losses[40:]).mean()


def test_a_gaussian_process_that_may_not_learn_from_all_keeps_bad_ones_too(
    space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(250)
    surrogate = GaussianProcessSurrogate(space, 0, most=80, tuned_on=40)
    surrogate.fit(genomes[:200], losses[:200])
    mean, _ = surrogate.predict(genomes[200:])
    assert spearmanr(mean, losses[200:]).statistic > 0.5


def test_the_parts_of_the_covariance_are_those_of_its_formula() -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([np.zeros((1, 3)), rng.normal(size=(10, 3))])
    slots = (*(Slot(f"pick{i}", 11) for i in range(5)), Slot("other", 4))
    space = GenomeSpace(slots, exchangeable=(0, 1, 2, 3, 4), describe=lambda: known)
    genomes = [tuple(int(rng.integers(one)) for one in space.cardinalities) for _ in range(30)]
    process = GaussianProcessSurrogate(space, 0)
    process.fit(genomes, rng.normal(size=30).tolist())
    rows = MultiHot(space)(genomes).astype(np.float64)
    left, right = rows[:12], rows[12:]
    products = _products(left, right)
    linear, apart = process._linear(left, right, products), _distances(left, right, products)
    centred = rows - rows.mean(axis=0)
    power = np.square(centred).sum(axis=1).mean()
    assert np.allclose(linear, centred[:12] @ centred[12:].T / power, atol=1e-12)
    assert np.allclose(apart, np.square(left[:, None] - right[None]).sum(axis=2), atol=1e-12)


def test_the_tridiagonal_form_gives_the_figures_of_the_whole_covariance() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 50):
        rows = rng.integers(2, size=(count, 30)).astype(np.float64)
        differing = (rows[:, None] != rows).sum(axis=2)
        covariance, losses = np.exp(-differing / 8.0), rng.normal(size=count)
        reduced = _Tridiagonal(covariance.copy(), losses)
        for noise in (1e-4, 0.1, 1.0):
            whole = covariance + noise * np.eye(count)
            quadratic, log_determinant = reduced.with_noise(noise)
            assert np.isclose(quadratic, losses @ np.linalg.solve(whole, losses))
            assert np.isclose(log_determinant, np.linalg.slogdet(whole)[1])


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("normal_scores", [False, True])
@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize("picks", [0, 3])
def test_all_changes_of_one_gene_are_ranked_as_each_alone(
    picks: int, described: bool, normal_scores: bool, repeated: bool
) -> None:
    rng = np.random.default_rng(picks)
    known = np.concatenate([np.zeros((1, 3)), rng.normal(size=(11, 3))])
    slots = (*(Slot(f"pick{i}", 12) for i in range(3)), Slot("b", 4), Slot("c", 4))
    space = GenomeSpace(
        slots,
        exchangeable=tuple(range(picks)),
        describe=(lambda: known) if described and picks else None,
    )

    def drawn() -> Genome:
        chosen = rng.choice(np.arange(1, 12), size=3, replace=False)
        return tuple(int(gene) for gene in (*chosen, rng.integers(4), rng.integers(4)))

    genomes = [drawn() for _ in range(60)]
    losses = [float(np.sin(np.array(one)).sum() + 3 * (one[3] == one[4])) for one in genomes]
    factory = surrogate_factory(
        SurrogateSettings(kind="gaussian_process", normal_scores=normal_scores)
    )
    assert factory is not None
    process = factory(space, 0)
    process.fit(genomes, losses)
    genome = drawn()
    if repeated:
        genome = (genome[0], *genome[:2], *genome[3:])
    means = neighbour_means(process, genome)
    assert means is not None
    assert [len(mean) for mean in means] == list(space.cardinalities)
    compared = 0
    for slot, mean in enumerate(means):
        for option in range(space.cardinalities[slot]):
            others = (*genome[:slot], *genome[slot + 1 : picks])
            if slot < picks and option and option in others:
                continue
            (alone,), _ = process.predict([(*genome[:slot], option, *genome[slot + 1 :])])
            assert mean[option] == pytest.approx(alone, abs=1e-6)
            compared += 1
    assert compared >= 36


def test_normal_scores_see_the_order_of_losses_alone(space: GenomeSpace, sample: Sampler) -> None:
    genomes, losses = sample(80)
    orders = []
    for bent in (lambda loss: loss, lambda loss: float(np.exp(5 * loss))):
        surrogate = NormalScoresSurrogate(GaussianProcessSurrogate, space, 0)
        surrogate.fit(genomes[:60], [bent(loss) for loss in losses[:60]])
        mean, std = surrogate.predict(genomes[60:])
        orders += [np.argsort(mean).tolist(), np.argsort(mean - std).tolist()]
    assert orders[:2] == orders[2:]


def test_normal_scores_give_back_the_losses_that_are_known(
    space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(40)
    surrogate = NormalScoresSurrogate(Remembering, space, 0)
    surrogate.fit(genomes, losses)
    mean, std = surrogate.predict(genomes)
    assert np.allclose(mean, losses)
    assert (std > 0).all()


class Remembering:
    """Predicts what it was told, with a spread of 0.1."""

    kind = "remembering"

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self._known: dict[Genome, float] = {}

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        self._known = dict(zip(genomes, losses, strict=True))

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        return np.array([self._known[genome] for genome in genomes]), np.full(len(genomes), 0.1)

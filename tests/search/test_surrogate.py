from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from clso.genome import Genome, GenomeSpace, Slot
from search.gaussian_process import GaussianProcessSurrogate
from search.rehearsal import TableProblem
from search.surrogate import (
    FitnessPredictor,
    MlpSurrogate,
    RandomForestSurrogate,
    RidgeSurrogate,
    SurrogateFactory,
    surrogate_factory,
)

CARDINALITIES = (12, 3, 1, 8, 12)
SPACE = GenomeSpace(tuple(Slot(f"gene{i}", c) for i, c in enumerate(CARDINALITIES)))


def sample(count: int) -> tuple[list[Genome], list[float]]:
    problem = TableProblem(CARDINALITIES, interaction=0.2, seed=5)
    rng = np.random.default_rng(0)
    genomes = [tuple(int(rng.integers(c)) for c in CARDINALITIES) for _ in range(count)]
    return genomes, [problem.loss(genome) for genome in genomes]


@pytest.fixture(params=["mlp", "random_forest", "ridge", "gaussian_process"])
def make(request: pytest.FixtureRequest) -> SurrogateFactory:
    factory = surrogate_factory(request.param)
    assert factory is not None
    return factory


class TestEverySurrogate:
    def test_predicts_a_finite_mean_and_spread_per_genome(self, make: SurrogateFactory) -> None:
        genomes, losses = sample(40)
        surrogate = make(SPACE, 1)
        surrogate.fit(genomes, losses)
        mean, std = surrogate.predict(genomes[:7])
        assert mean.shape == std.shape == (7,)
        assert mean.dtype == std.dtype == np.float64
        assert np.isfinite(mean).all()
        assert np.isfinite(std).all()
        assert (std >= 0).all()

    def test_ranks_genomes_that_it_has_not_seen(self, make: SurrogateFactory) -> None:
        genomes, losses = sample(250)
        surrogate = make(SPACE, 1)
        surrogate.fit(genomes[:200], losses[:200])
        mean, _ = surrogate.predict(genomes[200:])
        assert spearmanr(mean, losses[200:]).statistic > 0.6

    def test_predictions_are_in_the_unit_of_the_losses(self, make: SurrogateFactory) -> None:
        genomes, losses = sample(100)
        surrogate = make(SPACE, 1)
        surrogate.fit(genomes, [1000 + loss for loss in losses])
        mean, _ = surrogate.predict(genomes)
        assert abs(mean.mean() - 1000 - np.mean(losses)) < 0.5

    def test_equal_seeds_give_equal_bits_whatever_the_threads(self, make: SurrogateFactory) -> None:
        genomes, losses = sample(60)
        results = []
        threads = torch.get_num_threads()
        try:
            for count in (1, 2):
                torch.set_num_threads(count)
                torch.manual_seed(count)
                np.random.seed(count)  # noqa: NPY002 - shows that the global state is not read
                surrogate = make(SPACE, 3)
                surrogate.fit(genomes, losses)
                results.append(surrogate.predict(genomes))
                assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
        assert np.array_equal(results[0][0], results[1][0])
        assert np.array_equal(results[0][1], results[1][1])

    def test_learns_from_two_genomes_and_from_equal_losses(self, make: SurrogateFactory) -> None:
        genomes, _ = sample(2)
        surrogate = make(SPACE, 1)
        surrogate.fit(genomes, [7.0, 7.0])
        mean, std = surrogate.predict(genomes)
        assert np.isfinite(mean).all()
        assert np.isfinite(std).all()

    def test_the_order_of_exchangeable_picks_does_not_matter(self, make: SurrogateFactory) -> None:
        slots = tuple(Slot(f"pick{i}", 9) for i in range(4))
        space = GenomeSpace((*slots, Slot("other", 3)), exchangeable=(0, 1, 2, 3))
        rng = np.random.default_rng(0)
        worth = rng.normal(size=9)
        drawn = [
            tuple(int(gene) for gene in (*rng.integers(9, size=4), rng.integers(3)))
            for _ in range(120)
        ]
        losses = [float(worth[sorted(set(genome[:4]))].sum()) for genome in drawn]
        surrogate = make(space, 0)
        surrogate.fit(drawn[:100], losses[:100])
        shuffled = [(genome[2], genome[0], genome[3], genome[1], genome[4]) for genome in drawn]
        mean, _ = surrogate.predict(drawn)
        assert np.allclose(mean, surrogate.predict(shuffled)[0], rtol=1e-4)
        assert spearmanr(mean[100:], losses[100:]).statistic > 0.4

    def test_nothing_asked_gives_nothing(self, make: SurrogateFactory) -> None:
        genomes, losses = sample(10)
        surrogate = make(SPACE, 1)
        surrogate.fit(genomes, losses)
        mean, std = surrogate.predict([])
        assert mean.shape == std.shape == (0,)


@pytest.mark.parametrize("make", [MlpSurrogate, RandomForestSurrogate])
def test_another_seed_gives_other_guesses(make: SurrogateFactory) -> None:
    genomes, losses = sample(60)
    means = []
    for seed in (1, 2):
        surrogate = make(SPACE, seed)
        surrogate.fit(genomes, losses)
        means.append(surrogate.predict(genomes)[0])
    assert not np.array_equal(means[0], means[1])


def test_kinds_have_their_classes_and_none_has_none() -> None:
    assert surrogate_factory("mlp") is MlpSurrogate
    assert surrogate_factory("random_forest") is RandomForestSurrogate
    assert surrogate_factory("ridge") is RidgeSurrogate
    assert surrogate_factory("gaussian_process") is GaussianProcessSurrogate
    assert surrogate_factory("none") is None


def test_the_predictor_embeds_each_gene_apart_and_has_three_layers() -> None:
    network = FitnessPredictor(
        (4, 4), members=2, embedding=3, hidden=5, generator=torch.Generator().manual_seed(0)
    )
    assert len(network.weights) == 3
    assert network(torch.tensor([[0, 1], [1, 0], [3, 3]])).shape == (2, 3)
    swapped = network(torch.tensor([[0, 1], [1, 0]]))
    assert not torch.equal(swapped[:, 0], swapped[:, 1])
    # one option of one gene of one member changes that member on that option alone
    before = network(torch.tensor([[2, 1], [3, 1]]))
    with torch.no_grad():
        network.table[8 + 2] += 1.0
    after = network(torch.tensor([[2, 1], [3, 1]]))
    assert (before != after).tolist() == [[False, False], [True, False]]


def test_members_of_the_ensemble_learn_independently() -> None:
    genomes, losses = sample(30)
    surrogate = MlpSurrogate(SPACE, 0, members=4)
    surrogate.fit(genomes, losses)
    _, std = surrogate.predict(genomes)
    assert (std > 0).all()


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


def test_a_gaussian_process_is_sure_of_what_it_has_seen() -> None:
    genomes, losses = sample(60)
    surrogate = GaussianProcessSurrogate(SPACE, 0)
    surrogate.fit(genomes[:40], losses[:40])
    mean, std = surrogate.predict(genomes)
    assert std[:40].mean() < std[40:].mean()
    assert np.abs(mean[:40] - losses[:40]).mean() < np.abs(mean[40:] - losses[40:]).mean()


def test_a_gaussian_process_that_may_not_learn_from_all_keeps_bad_ones_too() -> None:
    genomes, losses = sample(250)
    surrogate = GaussianProcessSurrogate(SPACE, 0, most=80, tuned_on=40)
    surrogate.fit(genomes[:200], losses[:200])
    mean, _ = surrogate.predict(genomes[200:])
    assert spearmanr(mean, losses[200:]).statistic > 0.5

"""What every kind of surrogate keeps to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from installed_package import install_package
from scipy.stats import spearmanr

from clso.errors import ConfigError
from clso.genome import Genome, GenomeSpace, Slot
from search import minimize
from search.settings import SearchSettings, SurrogateSettings
from search.surrogates import SURROGATES, SurrogateFactory, surrogate_factory

Sampler = Callable[..., tuple[list[Genome], list[float]]]

KINDS = SURROGATES.names()


@pytest.fixture(params=[*((kind, False) for kind in KINDS), ("gaussian_process", True)])
def make(request: pytest.FixtureRequest) -> SurrogateFactory:
    kind, normal_scores = request.param
    settings = SurrogateSettings(kind=kind, normal_scores=normal_scores)
    factory = surrogate_factory(settings)
    assert factory is not None
    return factory


def test_predicts_a_finite_mean_and_spread_per_genome(
    make: SurrogateFactory, space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(40)
    surrogate = make(space, 1)
    surrogate.fit(genomes, losses)
    mean, std = surrogate.predict(genomes[:7])
    assert mean.shape == std.shape == (7,)
    assert mean.dtype == std.dtype == np.float64
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert (std >= 0).all()


def test_ranks_genomes_that_it_has_not_seen_through_the_noise(
    make: SurrogateFactory, space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(250, noise=0.3)
    surrogate = make(space, 1)
    surrogate.fit(genomes[:200], losses[:200])
    mean, _ = surrogate.predict(genomes[200:])
    assert surrogate.kind is not None
    assert spearmanr(mean, losses[200:]).statistic > 0.6


def test_predictions_are_in_the_unit_of_the_losses(
    make: SurrogateFactory, space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(100)
    surrogate = make(space, 1)
    surrogate.fit(genomes, [1000 + loss for loss in losses])
    mean, std = surrogate.predict(genomes)
    assert abs(mean.mean() - 1000 - np.mean(losses)) < 0.5
    assert std.max() < 5 * np.std(losses)


def test_equal_seeds_give_equal_bits_whatever_the_threads(
    make: SurrogateFactory, space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(60)
    results, kinds = [], []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(count)
            np.random.seed(count)  # noqa: NPY002 - shows that the global state is not read
            surrogate = make(space, 3)
            surrogate.fit(genomes, losses)
            results.append(surrogate.predict(genomes))
            kinds.append(surrogate.kind)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("losses", [[7.0, 7.0], [7.0, 8.0]])
def test_learns_from_two_genomes(
    make: SurrogateFactory, space: GenomeSpace, sample: Sampler, losses: list[float]
) -> None:
    genomes, _ = sample(5)
    surrogate = make(space, 1)
    surrogate.fit(genomes[:2], losses)
    mean, std = surrogate.predict(genomes)
    assert np.isfinite(mean).all()
    assert (std >= 0).all()
    assert np.isfinite(std).all()


def test_a_loss_that_is_the_same_for_all_is_predicted_for_all(
    make: SurrogateFactory, space: GenomeSpace, sample: Sampler
) -> None:
    genomes, _ = sample(40)
    surrogate = make(space, 1)
    surrogate.fit(genomes[:30], [7.0] * 30)
    mean, std = surrogate.predict(genomes)
    assert np.allclose(mean, 7.0, atol=0.5)
    assert (std >= 0).all()
    assert np.isfinite(std).all()


def test_the_order_of_exchangeable_picks_does_not_matter(make: SurrogateFactory) -> None:
    slots = tuple(Slot(f"pick{i}", 9) for i in range(4))
    space = GenomeSpace((*slots, Slot("other", 3)), exchangeable=(0, 1, 2, 3))
    rng = np.random.default_rng(0)
    worth = rng.normal(size=9)
    drawn = [
        tuple(int(gene) for gene in (*rng.integers(9, size=4), rng.integers(3))) for _ in range(120)
    ]
    losses = [float(worth[sorted(set(genome[:4]))].sum()) for genome in drawn]
    surrogate = make(space, 0)
    surrogate.fit(drawn[:100], losses[:100])
    shuffled = [(genome[2], genome[0], genome[3], genome[1], genome[4]) for genome in drawn]
    mean, _ = surrogate.predict(drawn)
    assert np.allclose(mean, surrogate.predict(shuffled)[0], rtol=1e-4)
    assert spearmanr(mean[100:], losses[100:]).statistic > 0.4


def described(n_options: int, n_slots: int) -> tuple[GenomeSpace, np.ndarray]:
    """Return a space of sets whose options' worth follows from what is known of them."""
    rng = np.random.default_rng(5)
    known = rng.normal(size=(n_options, 2))
    known[0] = 0.0
    slots = tuple(Slot(f"pick{number}", n_options) for number in range(n_slots))
    space = GenomeSpace(
        slots, exchangeable=tuple(range(n_slots)), describe=lambda: known / np.sqrt(2)
    )
    return space, known @ rng.normal(size=2)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"mlp"}))
def test_what_is_known_of_options_helps_with_those_that_were_never_seen(
    kind: str,
) -> None:
    space, worth = described(n_options=120, n_slots=4)
    rng = np.random.default_rng(0)
    genomes = [tuple(int(one) for one in rng.choice(120, 4, replace=False)) for _ in range(140)]
    losses = [float(worth[list(genome)].sum()) for genome in genomes]
    figures = []
    factory = surrogate_factory(SurrogateSettings(kind=kind))
    assert factory is not None
    for seen in (space, replace(space, describe=None)):
        surrogate = factory(seen, 0)
        surrogate.fit(genomes[:40], losses[:40])
        figures.append(spearmanr(surrogate.predict(genomes[40:])[0], losses[40:]).statistic)
    assert figures[0] > np.nan_to_num(figures[1]) + 0.2  # `auto` may step aside, blind
    assert figures[0] > 0.5


def test_nothing_asked_gives_nothing(
    make: SurrogateFactory, space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(30)
    surrogate = make(space, 1)
    surrogate.fit(genomes, losses)
    mean, std = surrogate.predict([])
    assert mean.shape == std.shape == (0,)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"auto"}))
def test_a_set_kind_is_its_own_and_never_steps_aside(
    kind: str, space: GenomeSpace, sample: Sampler
) -> None:
    factory = surrogate_factory(SurrogateSettings(kind=kind, min_correlation=1.0))
    assert factory is not None
    surrogate = factory(space, 0)
    surrogate.fit(sample(10)[0], list(np.random.default_rng(0).normal(size=10)))
    assert surrogate.kind == kind


@pytest.mark.parametrize("kind", ["mlp", "random_forest", "gradient_boosting"])
def test_another_seed_gives_other_guesses(kind: str, space: GenomeSpace, sample: Sampler) -> None:
    genomes, losses = sample(60)
    factory = surrogate_factory(SurrogateSettings(kind=kind))
    assert factory is not None
    means = []
    for seed in (1, 2):
        surrogate = factory(space, seed)
        surrogate.fit(genomes, losses)
        means.append(surrogate.predict(genomes)[0])
    assert not np.array_equal(means[0], means[1])


def test_none_makes_none() -> None:
    assert surrogate_factory(SurrogateSettings(kind="none")) is None


def test_another_package_adds_a_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = """
        import numpy as np

        class Middling:
            kind = "middling"

            def __init__(self, space, seed):
                self.mean = 0.0

            def fit(self, genomes, losses):
                self.mean = float(np.mean(losses))

            def predict(self, genomes):
                return np.full(len(genomes), self.mean), np.ones(len(genomes))
        """
    points = {"clso.surrogates": {"middling": "middling:Middling", "broken": "nowhere:None"}}
    install_package(monkeypatch, tmp_path, "search-helpers", {"middling": source}, points)
    settings = SearchSettings(
        population=6, generations=4, surrogate=SurrogateSettings(kind="middling", start=1)
    )
    result = minimize(lambda genome: float(sum(genome)), [9] * 4, settings=settings)
    assert "middling" in result.generations["surrogate"].to_pylist()
    with pytest.raises(ConfigError, match=r"auto \(CLSO\), middling \(search-helpers 1\.0\)"):
        SurrogateSettings(kind="unheard_of")
    with pytest.raises(ConfigError, match=r"'broken' of search-helpers 1\.0 .* cannot be used"):
        surrogate_factory(SurrogateSettings(kind="broken"))

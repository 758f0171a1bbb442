from collections.abc import Callable, Sequence

import numpy as np
import pytest

from clso.genome import Genome, GenomeSpace
from search.surrogates import FloatArray, auto
from search.surrogates.auto import AutoSurrogate
from search.surrogates.gaussian_process import GaussianProcessSurrogate

Sampler = Callable[..., tuple[list[Genome], list[float]]]


class Told:
    """Knows every loss, less what it is told to be off by."""

    kind: str | None = "told"
    truth: dict[Genome, float]
    error: float

    def __init__(self, space: GenomeSpace, seed: int) -> None:
        self.seen: list[Genome] = []
        self.rng = np.random.default_rng(seed)

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        self.seen = list(genomes)

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        exact = np.array([self.truth[genome] for genome in genomes])
        return exact + self.error * self.rng.normal(size=len(exact)), np.ones(len(exact))


def told(name: str, truth: dict[Genome, float], error: float) -> type[Told]:
    return type(name, (Told,), {"kind": name, "truth": truth, "error": error})


def distinct(sample: Sampler, count: int) -> dict[Genome, float]:
    genomes, losses = sample(2 * count)
    return dict(list(dict(zip(genomes, losses, strict=True)).items())[:count])


def test_the_kind_that_ranks_best_is_taken_and_learns_from_all(
    space: GenomeSpace, sample: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = distinct(sample, 80)
    kinds = (told("poor", truth, 5.0), told("good", truth, 0.1), told("fair", truth, 1.0))
    monkeypatch.setattr(auto, "_CANDIDATES", kinds)
    surrogate = AutoSurrogate(space, 0)
    assert surrogate.kind is None
    surrogate.fit(list(truth), list(truth.values()))
    assert surrogate.kind == "good"
    assert isinstance(surrogate._chosen, Told)
    assert surrogate._chosen.seen == list(truth)


@pytest.mark.parametrize(
    ("error", "demanded", "taken"), [(0.0, 0.2, "one"), (0.3, 0.2, "one"), (0.3, 0.9999, "two")]
)
def test_the_first_is_taken_if_it_will_do_and_no_other_is_clearly_ahead(
    space: GenomeSpace,
    sample: Sampler,
    monkeypatch: pytest.MonkeyPatch,
    error: float,
    demanded: float,
    taken: str,
) -> None:
    truth = distinct(sample, 40)
    monkeypatch.setattr(auto, "_CANDIDATES", (told("one", truth, error), told("two", truth, 0.0)))
    surrogate = AutoSurrogate(space, 0, min_correlation=demanded)
    surrogate.fit(list(truth), list(truth.values()))
    assert surrogate.kind == taken


def test_no_genome_is_judged_by_who_learned_from_it_and_only_the_newer_are(
    space: GenomeSpace, sample: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = distinct(sample, 40)
    genomes = list(truth)
    asked: list[Genome] = []

    class Checked(Told):
        def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
            assert not set(self.seen) & set(genomes)
            asked.extend(genomes)
            mean, std = super().predict(genomes)
            # what is said of the older half makes no difference
            old = np.array([genome in set(list(truth)[:20]) for genome in genomes])
            return np.where(old, 0.0, mean), std

    Checked.truth, Checked.error = truth, 0.0
    monkeypatch.setattr(auto, "_CANDIDATES", (Checked,))
    surrogate = AutoSurrogate(space, 0, min_correlation=1.0 - 1e-9)
    surrogate.fit(genomes, list(truth.values()))
    assert sorted(asked) == sorted(genomes)
    assert surrogate.kind == "told"


def test_it_steps_aside_where_losses_are_noise_and_guesses_their_mean(
    space: GenomeSpace, sample: Sampler
) -> None:
    genomes, _ = sample(60)
    losses = list(np.random.default_rng(3).normal(5.0, 2.0, size=60))
    surrogate = AutoSurrogate(space, 0)
    surrogate.fit(genomes, losses)
    assert surrogate.kind is None
    mean, std = surrogate.predict(genomes[:4])
    assert np.array_equal(mean, np.full(4, np.mean(losses)))
    assert np.array_equal(std, np.full(4, np.std(losses)))


@pytest.mark.parametrize("count", [2, 15, 16])
def test_it_steps_aside_while_there_are_too_few_to_judge_by(
    space: GenomeSpace, sample: Sampler, count: int
) -> None:
    genomes, losses = sample(count)
    surrogate = AutoSurrogate(space, 0, min_correlation=0.0)
    surrogate.fit(genomes, losses)
    assert count == 16 or surrogate.kind is None


def test_equal_losses_are_no_reason_to_trust(space: GenomeSpace, sample: Sampler) -> None:
    surrogate = AutoSurrogate(space, 0, min_correlation=0.0)
    surrogate.fit(sample(40)[0], [7.0] * 40)
    assert surrogate.kind is None


def test_the_higher_the_demand_the_earlier_it_steps_aside(
    space: GenomeSpace, sample: Sampler
) -> None:
    genomes, losses = sample(60, noise=1.0)
    kinds = []
    for demanded in (0.2, 0.999):
        surrogate = AutoSurrogate(space, 0, min_correlation=demanded)
        surrogate.fit(genomes, losses)
        kinds.append(surrogate.kind)
    assert kinds[0] is not None
    assert kinds[1] is None


def test_its_guesses_are_those_of_the_kind_it_took(space: GenomeSpace, sample: Sampler) -> None:
    genomes, losses = sample(60)
    surrogate, plain = AutoSurrogate(space, 4), GaussianProcessSurrogate(space, 4)
    for one in (surrogate, plain):
        one.fit(genomes[:50], losses[:50])
    assert surrogate.kind == "gaussian_process"
    for own, its in zip(surrogate.predict(genomes), plain.predict(genomes), strict=True):
        assert np.array_equal(own, its)

from collections.abc import Callable

import numpy as np

from clso.genome import Genome, GenomeSpace
from search.surrogates.gradient_boosting import GradientBoostingSurrogate

Sampler = Callable[..., tuple[list[Genome], list[float]]]


def test_the_spread_is_about_the_size_of_the_error(space: GenomeSpace, sample: Sampler) -> None:
    genomes, losses = sample(260, noise=0.3)
    surrogate = GradientBoostingSurrogate(space, 0)
    surrogate.fit(genomes[:160], losses[:160])
    mean, std = surrogate.predict(genomes[160:])
    error = np.abs(mean - losses[160:])
    assert 0.5 < np.mean(error < std) < 0.9  # of a normal distribution: 0.68


def test_it_learns_options_that_matter_jointly(space: GenomeSpace, sample: Sampler) -> None:
    genomes, _ = sample(400)
    losses = [float((genome[0] < 6) ^ (genome[4] < 6)) for genome in genomes]
    surrogate = GradientBoostingSurrogate(space, 0, trees=100)
    surrogate.fit(genomes[:300], losses[:300])
    mean, _ = surrogate.predict(genomes[300:])
    assert np.corrcoef(mean, losses[300:])[0, 1] > 0.25

from collections.abc import Callable

import torch

from clso.genome import Genome, GenomeSpace
from search.surrogates.mlp import FitnessPredictor, MlpSurrogate

Sampler = Callable[..., tuple[list[Genome], list[float]]]


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


def test_members_of_the_ensemble_learn_independently(space: GenomeSpace, sample: Sampler) -> None:
    genomes, losses = sample(30)
    surrogate = MlpSurrogate(space, 0, members=4)
    surrogate.fit(genomes, losses)
    _, std = surrogate.predict(genomes)
    assert (std > 0).all()

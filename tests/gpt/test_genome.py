"""What a crystalline GPT's genome costs is what the built model takes."""

from __future__ import annotations

import numpy as np
import pytest

from clso.gpt import GptFrame, GptProblem
from clso.library import SLOTS, BasisLibrary

Batches = tuple[np.ndarray, np.ndarray]


def genomes(problem: GptProblem, n: int = 12) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(3)
    return [
        tuple(int(rng.integers(0, size)) for size in problem.space.cardinalities) for _ in range(n)
    ]


@pytest.mark.parametrize("share_layers", [True, False])
def test_the_bytes_are_the_built_models(
    library: BasisLibrary, frame: GptFrame, batches: Batches, share_layers: bool
) -> None:
    problem = GptProblem(library, frame, *batches, share_layers=share_layers)
    for genome in genomes(problem):
        model = problem.model(genome)
        distinct = sum(library[slot][index].stored_bytes for slot, index in set(model.entries))
        expected = distinct + frame.stored_bytes + 4 * len(genome)
        assert problem.cost(genome).stored_bytes == model.stored_bytes == expected


def test_an_entry_is_kept_once_and_used_in_every_layer(
    library: BasisLibrary, frame: GptFrame, batches: Batches
) -> None:
    free = GptProblem(library, frame, *batches, share_layers=False)
    shared = GptProblem(library, frame, *batches, share_layers=True)
    same, other = free.cost((1, 2, 3, 4) * 2), free.cost((1, 2, 3, 4, 1, 2, 3, 5))
    assert same.flops_per_token == shared.cost((1, 2, 3, 4)).flops_per_token
    assert same.stored_bytes - 16 == shared.cost((1, 2, 3, 4)).stored_bytes
    last = library["mlp_down"]
    assert other.stored_bytes - same.stored_bytes == last[5].stored_bytes
    assert other.flops_per_token - same.flops_per_token == last[5].flops - last[4].flops


def test_the_operations_are_those_of_matrices_attention_and_head(
    library: BasisLibrary, frame: GptFrame, batches: Batches
) -> None:
    problem = GptProblem(library, frame, *batches, share_layers=True)
    shape = frame.shape
    keys = sum(t + 1 for t in range(shape.block_size)) / shape.block_size
    layer = 4 * shape.n_embd * keys + sum(library[slot][2].flops for slot in SLOTS)
    head = 2 * shape.vocab_size * shape.n_embd
    assert problem.cost((2, 2, 2, 2)).flops_per_token == shape.n_layer * layer + head

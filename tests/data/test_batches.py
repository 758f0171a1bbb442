import numpy as np
import pytest

from clso.data import EvaluationSettings
from clso.errors import DataError
from clso.scoring import Int64Array


class Split:
    """Ten blocks of three targets; block b holds the numbers 10 b to 10 b + 3."""

    name, n_blocks = "validation", 10

    def blocks(self, index: Int64Array) -> tuple[Int64Array, Int64Array]:
        tokens = 10 * np.asarray(index)[:, None] + np.arange(4)
        return tokens[:, :-1], tokens[:, 1:]


def draw(seed: int, batches: int = 4) -> tuple[Int64Array, Int64Array]:
    return EvaluationSettings(batch_size=2, batches=batches).fixed_batches(Split(), seed)


def test_batches_are_whole_blocks_each_at_most_once() -> None:
    inputs, targets = draw(0)
    assert inputs.shape == targets.shape == (4, 2, 3)
    assert (targets == inputs + 1).all()
    assert len(np.unique(inputs[..., 0])) == 8


def test_the_seed_alone_decides_which() -> None:
    assert (draw(3)[0] == draw(3)[0]).all()
    assert any((draw(3)[0] != draw(seed)[0]).any() for seed in range(4, 9))


def test_more_blocks_than_there_are_is_told() -> None:
    assert len(draw(0, batches=5)[0]) == 5
    with pytest.raises(DataError, match=r"validation has 10 blocks, .* asks for 12"):
        draw(0, batches=6)

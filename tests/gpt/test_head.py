from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from clso.gpt.head import COLUMNS, ROWS, TiledHead


def example(n: int, vocabulary: int, width: int, scale: float = 1.0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, width, generator=generator) * scale
    weight = torch.randn(vocabulary, width, generator=generator)
    targets = torch.randint(vocabulary, (n,), generator=generator)
    return hidden, weight, targets


def exact(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = hidden.double() @ weight.double().t()
    return functional.cross_entropy(logits, targets, reduction="none")


@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, ROWS + 3])
@pytest.mark.parametrize("vocabulary", [1, 5, COLUMNS, 2 * COLUMNS + 7])
def test_it_is_the_cross_entropy_for_any_remainder_of_tiles(n: int, vocabulary: int) -> None:
    hidden, weight, targets = example(n, vocabulary, 6)
    nll = TiledHead(weight).nll(hidden, targets)
    assert nll.dtype == torch.float64
    torch.testing.assert_close(nll, exact(hidden, weight, targets), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [30.0, 300.0])
def test_logits_beyond_the_range_of_exp_are_safe(scale: float) -> None:
    hidden, weight, targets = example(40, 2 * COLUMNS, 8, scale)
    assert (hidden @ weight.t()).max() > 100
    nll = TiledHead(weight).nll(hidden, targets)
    torch.testing.assert_close(nll, exact(hidden, weight, targets), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_equal_rows_are_computed_once_and_count_as_often_as_they_are(scale: float) -> None:
    hidden, rows, _ = example(30, COLUMNS + 3, 6, scale)
    row_of_token = torch.cat([torch.arange(len(rows)), torch.full((4000,), 5)])
    row_of_token = row_of_token[torch.randperm(len(row_of_token))]
    targets = torch.randint(len(row_of_token), (30,))
    head = TiledHead(rows, row_of_token)
    assert torch.equal(head.weight, rows[row_of_token])
    nll = head.nll(hidden, targets)
    torch.testing.assert_close(nll, exact(hidden, head.weight, targets), rtol=1e-5, atol=1e-3)


def test_columns_of_zeros_may_be_left_out() -> None:
    hidden, rows, _ = example(30, 50, 4)
    hidden = torch.cat([hidden, hidden.flip(0)], 1)
    row_of_token = torch.arange(300) % 50
    targets = torch.randint(300, (30,))
    head = TiledHead(rows, row_of_token, torch.tensor([1, 2, 5, 6]), 8)
    assert head.weight.shape == (300, 8)
    assert torch.equal(head.weight[:, [1, 2, 5, 6]], rows[row_of_token])
    assert not head.weight[:, [0, 3, 4, 7]].any()
    nll = head.nll(hidden, targets)
    torch.testing.assert_close(nll, exact(hidden, head.weight, targets), rtol=1e-5, atol=1e-5)


def test_logits_far_below_zero_are_safe() -> None:
    hidden = torch.ones(3, 2)
    weight = torch.full((COLUMNS + 4, 2), -200.0)
    targets = torch.zeros(3, dtype=torch.int64)
    nll = TiledHead(weight).nll(hidden, targets)
    torch.testing.assert_close(nll, exact(hidden, weight, targets), rtol=1e-6, atol=1e-6)


def test_an_undefined_hidden_state_gives_an_undefined_loss_and_only_there() -> None:
    hidden, weight, targets = example(4, 20, 3)
    hidden[2, 0] = torch.nan
    nll = TiledHead(weight).nll(hidden, targets)
    assert torch.isnan(nll).tolist() == [False, False, True, False]


def test_scratch_changes_nothing() -> None:
    hidden, weight, targets = example(ROWS + 1, COLUMNS + 1, 4)
    head = TiledHead(weight)
    scratch = head.scratch().fill_(torch.nan)
    assert torch.equal(head.nll(hidden, targets, scratch), head.nll(hidden, targets))


def test_no_positions_give_no_losses() -> None:
    hidden, weight, targets = example(0, 5, 3)
    assert TiledHead(weight).nll(hidden, targets).shape == (0,)


def test_a_readout_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight is torch.float64 \(5, 3\)"):
        TiledHead(torch.zeros(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("vocabularies", [(5, 7), (7, 5), (3, 2 * COLUMNS), (2 * COLUMNS, 3)])
def test_heads_of_any_sizes_share_one_scratch(vocabularies: tuple[int, int]) -> None:
    scratch = None
    for vocabulary in vocabularies:
        hidden, weight, targets = example(ROWS, vocabulary, 6)
        head = TiledHead(weight)
        scratch = head.scratch(scratch)
        assert torch.equal(head.nll(hidden, targets, scratch), head.nll(hidden, targets))
    first, second = (TiledHead(example(1, size, 6)[1]) for size in vocabularies)
    if vocabularies[0] > vocabularies[1]:
        held = first.scratch()
        assert second.scratch(held) is held

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from clso.errors import ConfigError, GenomeError
from clso.gpt import CrystallineGpt, GptFrame, GptGenomes, GptShape
from clso.gpt.body import _twice_gelu_new_
from clso.library import SLOTS, BasisLibrary

FREE = (0, 1, 2, 3, 4, 5, 0, 1)
SHARED = (5, 0, 3, 2)


@pytest.fixture(params=[FREE, SHARED], ids=["free layers", "shared layers"])
def model(request: pytest.FixtureRequest, library: BasisLibrary, frame: GptFrame) -> CrystallineGpt:
    return CrystallineGpt(library, request.param, frame, share_layers=request.param == SHARED)


def test_every_weight_is_a_library_entry(model: CrystallineGpt, library: BasisLibrary) -> None:
    for layer in range(2):
        for number, slot in enumerate(SLOTS):
            gene = model.genome[number if model.share_layers else 4 * layer + number]
            expected = torch.from_numpy(library[slot][gene].dense())
            assert torch.equal(model.weight(layer, slot), expected)


def test_slots_are_named_by_layer_unless_shared(library: BasisLibrary, frame: GptFrame) -> None:
    free = GptGenomes(library, frame, share_layers=False).space
    shared = GptGenomes(library, frame, share_layers=True).space
    assert [slot.name for slot in shared.slots] == list(SLOTS)
    assert len(free) == 8
    assert free.slots[5].name == "layer1.attn_out"
    assert set(free.cardinalities) == {6}


def test_shared_layers_equal_the_free_genome_that_repeats(
    library: BasisLibrary, frame: GptFrame, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, targets = batches[0][0], batches[1][0]
    shared = CrystallineGpt(library, SHARED, frame, share_layers=True)
    free = CrystallineGpt(library, SHARED * 2, frame, share_layers=False)
    np.testing.assert_array_equal(
        shared.token_nll(inputs, targets), free.token_nll(inputs, targets)
    )


def test_probabilities_are_proper_and_agree_with_the_nll(
    model: CrystallineGpt, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, targets = batches[0][0], batches[1][0]
    distribution = model.probabilities(inputs)
    assert distribution.shape == (*inputs.shape, 300)
    assert (distribution > 0).all()
    np.testing.assert_allclose(distribution.sum(-1), 1.0, atol=1e-12)
    picked = np.take_along_axis(distribution, targets[..., None], axis=-1)[..., 0]
    nll = model.token_nll(inputs, targets)
    assert nll.dtype == np.float64
    np.testing.assert_allclose(nll, -np.log(picked), atol=1e-5)


def test_later_tokens_do_not_change_earlier_predictions(
    model: CrystallineGpt, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs = batches[0][0]
    changed = inputs.copy()
    changed[:, 6:] = (changed[:, 6:] + 1) % 300
    before, after = model.probabilities(inputs), model.probabilities(changed)
    np.testing.assert_allclose(before[:, :6], after[:, :6], atol=1e-7)
    assert np.abs(before[:, 6:] - after[:, 6:]).max() > 1e-6


def test_the_model_depends_on_order_and_position(
    model: CrystallineGpt, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs = batches[0][0]
    swapped = inputs[:, [1, 0, *range(2, inputs.shape[1])]]
    assert np.abs(model.probabilities(inputs) - model.probabilities(swapped))[:, 5].max() > 1e-9


def test_shorter_blocks_are_prefixes(
    model: CrystallineGpt, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, targets = batches[0][0], batches[1][0]
    np.testing.assert_allclose(
        model.token_nll(inputs[:, :4], targets[:, :4]),
        model.token_nll(inputs, targets)[:, :4],
        atol=1e-5,
    )


def test_a_strong_bias_rules_the_prediction(
    library: BasisLibrary, shape: GptShape, log_unigram: np.ndarray
) -> None:
    frame = GptFrame(shape, seed=0, log_unigram=log_unigram)
    distribution = CrystallineGpt(library, SHARED, frame, share_layers=True).probabilities(
        np.zeros((1, 3), np.int64)
    )
    # embeddings of std 0.02 move the logits by about 0.02 sqrt(d): the bias shows through
    np.testing.assert_allclose(np.log(distribution[0, 1]), log_unigram, atol=0.4)


def test_stored_bytes_count_each_entry_once(library: BasisLibrary, frame: GptFrame) -> None:
    shared = CrystallineGpt(library, SHARED, frame, share_layers=True)
    free = CrystallineGpt(library, SHARED * 2, frame, share_layers=False)
    entries = sum(library[slot][g].stored_bytes for slot, g in zip(SLOTS, SHARED, strict=True))
    bias = 4 * 300 if frame.has_bias else 0
    assert shared.stored_bytes == entries + 4 * 12 * (300 + 10) + bias + 4 * 4
    assert free.stored_bytes == shared.stored_bytes + 4 * 4


def test_chunks_do_not_show(library: BasisLibrary, frame: GptFrame) -> None:
    tokens = np.random.default_rng(3).integers(0, 300, (450, 11))
    model = CrystallineGpt(library, FREE, frame, share_layers=False)
    whole = model.token_nll(tokens[:, :-1], tokens[:, 1:])
    alone = model.token_nll(tokens[440:441, :-1], tokens[440:441, 1:])
    np.testing.assert_allclose(whole[440:441], alone, atol=1e-5)


def test_no_blocks_give_no_losses(model: CrystallineGpt) -> None:
    none = np.zeros((0, 10), np.int64)
    assert model.token_nll(none, none).shape == (0, 10)


def test_a_library_of_another_width_is_refused(library: BasisLibrary) -> None:
    frame = GptFrame(GptShape(2, 2, 16, 10, 300), seed=0)
    with pytest.raises(ConfigError, match="library is for n_embd 12, the model has 16"):
        CrystallineGpt(library, SHARED, frame, share_layers=True)


@pytest.mark.parametrize(
    ("genome", "message"),
    [(FREE[:7], "7 genes, expected 8"), ((6, *FREE[1:]), "'layer0.attn_qkv' is 6")],
)
def test_genomes_of_another_space_are_refused(
    library: BasisLibrary, frame: GptFrame, genome: tuple[int, ...], message: str
) -> None:
    with pytest.raises(GenomeError, match=message):
        CrystallineGpt(library, genome, frame, share_layers=False)


def test_the_activation_is_gelu_new() -> None:
    values = torch.cat([torch.linspace(-30, 30, 4001), torch.tensor([-1e30, 1e30, 0.0])])
    expected = functional.gelu(values, approximate="tanh")
    halved = 0.5 * _twice_gelu_new_(values.clone()[:, None])[:, 0]
    torch.testing.assert_close(halved, expected, rtol=1e-5, atol=1e-6)

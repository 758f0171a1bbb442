"""Genomes that pick their embedding and readout too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from drawn_families import family_settings
from moved import moved
from streams import Stream
from torch.nn import functional

from clso.counting import count_targets
from clso.errors import ConfigError
from clso.floors import Unigram
from clso.gpt import CrystallineGpt, GptFrame, GptProblem, GptShape
from clso.gpt.body import State
from clso.gpt.export import to_gpt2
from clso.library import SLOTS, BasisLibrary, ResidualLayout, Weight
from clso.library.cooccurrence import SpectralFactors
from clso.library.settings import SpectralSettings
from clso.library.spectral_library import with_spectral

N_EMBD, BLOCK, VOCAB_SIZE = 32, 16, 50
LAYOUT = ResidualLayout(N_EMBD, 8, 8, BLOCK)
SHAPE = GptShape(2, 2, N_EMBD, BLOCK, VOCAB_SIZE)
# drawn entries are 0 and 1, structured ones 2 to 4, zero is 5
IDLE = (5, 5, 5, 5)


def walk(n: int, seed: int) -> np.ndarray:
    """Tokens that depend on the last one and, weakly, on the one before."""
    rng = np.random.default_rng(seed)
    tokens = [1, 2]
    for kind, other in zip(rng.random(n), rng.integers(0, VOCAB_SIZE, n), strict=True):
        follow = 2 * tokens[-1] if kind < 0.5 else tokens[-2] + 7
        tokens.append(int(other) if kind > 0.8 else follow % VOCAB_SIZE)
    return np.array(tokens, dtype=np.int64)


@pytest.fixture(scope="module")
def library() -> BasisLibrary:
    families = [family_settings("quantized_low_rank", 1.0, {"rank": 3, "bits": 4})]
    drawn = BasisLibrary.generate(N_EMBD, 2, families, 1.0, 0)
    factors = SpectralFactors.fit(
        [Stream(walk(8000, 0))],
        VOCAB_SIZE,
        LAYOUT,
        recent_reach=3,
        topic_reach=5,
        seed=0,
        source="walk",
    )
    spec = SpectralSettings(size=4, embeddings=2, readouts=3, near_gain=(1.0, 1.0))
    return with_spectral(drawn, factors, spec, n_head=2, seed=0)


@pytest.fixture(scope="module")
def frame() -> GptFrame:
    return GptFrame(SHAPE, seed=0, positions=LAYOUT.positions())


@pytest.fixture(scope="module")
def batches() -> tuple[np.ndarray, np.ndarray]:
    blocks = walk(6 * 4 * BLOCK - 1, 1)
    inputs = blocks[:-1][: 6 * 4 * BLOCK].reshape(6, 4, BLOCK)
    return inputs, blocks[1:][: 6 * 4 * BLOCK].reshape(6, 4, BLOCK)


def problem(
    library: BasisLibrary,
    frame: GptFrame,
    batches: tuple[np.ndarray, np.ndarray],
    workers: int = 1,
    *,
    share_layers: bool = False,
) -> GptProblem:
    return GptProblem(library, frame, *batches, share_layers=share_layers, workers=workers)


def random_genomes(found: GptProblem, n: int) -> Iterator[tuple[int, ...]]:
    rng = np.random.default_rng(3)
    for _ in range(n):
        yield tuple(int(rng.integers(0, c)) for c in found.space.cardinalities)


def test_embedding_is_the_first_gene_and_readout_the_last(
    library: BasisLibrary, frame: GptFrame, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    names = [slot.name for slot in problem(library, frame, batches).space.slots]
    assert names[0] == "embedding"
    assert names[-1] == "readout"
    assert names[1:5] == [f"layer0.{slot}" for slot in SLOTS]
    shared = problem(library, frame, batches, share_layers=True).space
    assert [slot.name for slot in shared.slots] == ["embedding", *SLOTS, "readout"]
    assert shared.cardinalities == (2, 6, 6, 6, 6, 3)


def test_equal_matrices_are_one_option(
    library: BasisLibrary, frame: GptFrame, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    space = problem(library, frame, batches).space
    genome = (1, 5, 5, 5, 4, 5, 5, 3, 5, 2)
    assert space.canonical(genome) == (1, 5, 5, 2, 2, 5, 5, 2, 2, 2)
    assert space.canonical(space.canonical(genome)) == space.canonical(genome)


def test_a_model_is_made_of_the_entries_that_its_genes_pick(
    library: BasisLibrary, frame: GptFrame
) -> None:
    model = CrystallineGpt(library, (1, *IDLE, *IDLE, 2), frame, share_layers=False)
    np.testing.assert_array_equal(model.wte.numpy(), library["embedding"][1].dense())
    np.testing.assert_array_equal(model.head.weight.numpy(), library["readout"][2].dense())
    assert model.entries[-2:] == (("embedding", 1), ("readout", 2))
    used = {("embedding", 1), ("readout", 2), *((slot, 5) for slot in SLOTS)}
    stored = sum(library[slot][index].stored_bytes for slot, index in used)
    assert model.stored_bytes == stored + frame.wpe.nbytes + 4 * 10


@pytest.mark.parametrize("share_layers", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_population_losses_are_the_single_models_whatever_the_workers(
    library: BasisLibrary,
    frame: GptFrame,
    batches: tuple[np.ndarray, np.ndarray],
    workers: int,
    share_layers: bool,
) -> None:
    found = problem(library, frame, batches, workers, share_layers=share_layers)
    genomes = list(random_genomes(found, 12))
    alone = problem(library, frame, batches, share_layers=share_layers)
    inputs, targets = (part.reshape(-1, BLOCK) for part in batches)
    for genome, scored in zip(genomes, found.evaluate(genomes), strict=True):
        assert scored.loss == alone.evaluate([genome])[0].loss
        expected = found.model(genome).token_nll(inputs, targets).mean()
        assert scored.loss == pytest.approx(expected, abs=1e-5)


def test_a_plain_gpt2_gives_the_same_loss(
    library: BasisLibrary, frame: GptFrame, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    found = problem(library, frame, batches)
    inputs, targets = (np.ascontiguousarray(part[0]) for part in batches)
    for genome in ((0, 2, 3, 5, 5, *IDLE, 1), next(random_genomes(found, 1))):
        model = found.model(genome)
        gpt2 = to_gpt2(model, end_token_id=0)
        assert not gpt2.config.tie_word_embeddings
        with torch.inference_mode():
            logits = gpt2(torch.from_numpy(inputs)).logits.double()
        nll = functional.cross_entropy(
            logits.flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="none"
        )
        expected = model.token_nll(inputs, targets)
        assert float(nll.mean()) == pytest.approx(expected.mean(), abs=1e-5)


def test_heads_bring_the_earlier_tokens_and_take_the_current_one_out(
    library: BasisLibrary, frame: GptFrame
) -> None:
    inputs = torch.from_numpy(walk(BLOCK - 2, 5)[None])
    embedded = frame.embed(inputs, torch.from_numpy(library["embedding"][0].dense()))
    state = State.first(embedded)
    entry = library["attn_qkv"][2]
    for slot, weight in (
        ("attn_qkv", entry.dense()),
        ("attn_out", library["attn_out"][2].dense() / library["attn_out"][2].parameters["gain"]),
    ):
        state = state.step(slot, Weight(weight), n_head=2, length=BLOCK)
    start = LAYOUT.near
    brought = state.residual[:, start : start + LAYOUT.recent].numpy()
    own = embedded[:, start : start + LAYOUT.recent].numpy()
    rate = entry.parameters["rates"][0]
    ages = np.arange(BLOCK)[:, None] - np.arange(BLOCK)
    past = np.where(ages >= 0, np.exp(-rate * ages), 0.0)
    past = past / past.sum(1, keepdims=True)
    expected = own - past @ own / (1 - np.exp(-rate))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(brought, expected, atol=0.02 * scale)
    # what remains of the current token is little once the past is long
    left = 1 - np.diag(past) / (1 - np.exp(-rate))
    assert np.abs(left[8:]).max() < 0.05


def test_the_chosen_entries_make_a_language_model_without_training(
    library: BasisLibrary, frame: GptFrame, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    found = problem(library, frame, batches)
    idle, reading = found.evaluate([(0, *IDLE, *IDLE, 1), (0, 2, 2, 5, 5, *IDLE, 1)])
    inputs, targets = (part.reshape(-1, BLOCK) for part in batches)
    unigram = Unigram.of_counts(count_targets([Stream(walk(8000, 0))], VOCAB_SIZE))
    floor = float(unigram.token_nll(inputs, targets).mean())
    assert idle.loss is not None
    assert reading.loss is not None
    assert reading.loss < idle.loss < floor


def test_frame_and_library_must_be_made_for_each_other(
    library: BasisLibrary, frame: GptFrame
) -> None:
    genome = (0, *IDLE, *IDLE, 0)
    with pytest.raises(ConfigError, match="not in both"):
        CrystallineGpt(library, genome, GptFrame(SHAPE, seed=0), share_layers=False)
    body = BasisLibrary(N_EMBD, {slot: library[slot] for slot in SLOTS})
    with pytest.raises(ConfigError, match="not in neither"):
        CrystallineGpt(body, IDLE * 2, frame, share_layers=False)
    other = GptFrame(
        GptShape(2, 2, N_EMBD, BLOCK, VOCAB_SIZE + 1), seed=0, positions=LAYOUT.positions()
    )
    with pytest.raises(ConfigError, match="50 tokens, the model has 51"):
        CrystallineGpt(library, genome, other, share_layers=False)


def test_positions_must_fit_the_shape() -> None:
    with pytest.raises(ValueError, match=r"expected \(16, 32\)"):
        GptFrame(SHAPE, seed=0, positions=np.zeros((4, N_EMBD), np.float32))
    with pytest.raises(ValueError, match="bias of its own"):
        GptFrame(SHAPE, seed=0, positions=LAYOUT.positions(), log_unigram=np.zeros(VOCAB_SIZE))


def test_a_genome_costs_what_its_embedding_readout_and_busy_branches_do(
    library: BasisLibrary, frame: GptFrame, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    mine = problem(library, frame, batches)
    idle = (1, *IDLE, *IDLE, 2)
    entries = library["embedding"][1], library["readout"][2]
    cost = mine.cost(idle)
    assert cost.stored_bytes == mine.model(idle).stored_bytes
    assert cost.stored_bytes == sum(e.stored_bytes for e in entries) + frame.stored_bytes + 40
    assert cost.flops_per_token == entries[1].flops
    # a matrix before or after a zero one is kept and never multiplied with
    half = mine.cost((1, 0, 5, 5, 5, *IDLE, 2))
    assert half.flops_per_token == cost.flops_per_token
    assert half.stored_bytes > cost.stored_bytes
    busy = mine.cost((1, 0, 1, 5, 5, *IDLE, 2))
    attention = 2 * N_EMBD * (BLOCK + 1)
    used = library["attn_qkv"][0].flops + library["attn_out"][1].flops + attention
    assert busy.flops_per_token == cost.flops_per_token + used


def test_a_moved_problem_has_its_embeddings_and_canonical_forms(
    library: BasisLibrary, frame: GptFrame, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    found = problem(library, frame, batches)
    copy, genomes = moved(found), [*random_genomes(found, 5)]
    assert copy.fingerprint == found.fingerprint
    canonical = [found.space.canonical(genome) for genome in genomes]
    assert [copy.space.canonical(genome) for genome in genomes] == canonical != genomes
    losses = [one.loss for one in found.evaluate(genomes)]
    assert [one.loss for one in copy.evaluate(genomes)] == losses

"""Memories of token pairs: detection, counts, and what they are worth in a whole GPT-2."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_families import family_settings
from streams import Stream

from clso.errors import ArtifactError, ConfigError
from clso.floors import Bigram
from clso.gpt import CrystallineGpt, GptFrame, GptShape
from clso.gpt.body import State
from clso.gpt.export import to_gpt2
from clso.gpt.genome import GptGenomes
from clso.library import BasisLibrary, ResidualLayout, Weight
from clso.library.context_tables import reweighted_factors
from clso.library.cooccurrence import SpectralFactors
from clso.library.derived import ContextAttention, ContextMerge
from clso.library.pair_counts import PairVectors, _Trigrams
from clso.library.pair_memory import PairDetector, PairMemory
from clso.library.settings import SpectralSettings
from clso.library.spectral import SpectralEmbedding
from clso.library.spectral_library import weight_of_previous, with_spectral
from clso.library.token_code import code_length, token_codes
from clso.mixture.counts import KneserNey
from clso.mixture.text import FittingText
from clso.section import validate_as

VOCAB_SIZE, BLOCK, N_HEAD = 50, 16, 3
LAYOUT = ResidualLayout(72, 8, 4, BLOCK, code_length(VOCAB_SIZE))
SPEC = validate_as(
    SpectralSettings,
    {
        "size": 6,
        "recent_width": 8,
        "topic_width": 4,
        "reweighted": {"rounds": 3, "recent_reach": 4, "topic_reach": 6},
        "memory": {"sets": 2, "detectors": 2, "strength": (1.0, 1.0)},
    },
    "spectral",
)


def walk(n: int, seed: int) -> np.ndarray:
    """Tokens that depend on the last two together."""
    rng = np.random.default_rng(seed)
    tokens = [1, 2]
    for kind, other in zip(rng.random(n), rng.integers(0, VOCAB_SIZE, n), strict=True):
        follow = tokens[-1] * (1 + tokens[-2] % 3) + tokens[-2] % 2
        tokens.append(int(other) if kind > 0.8 else follow % (VOCAB_SIZE - 1))
    return np.array(tokens, dtype=np.int64)


@pytest.fixture(scope="module")
def splits() -> list[Stream]:
    return [Stream(walk(12_000, 0)), Stream(walk(3000, 1))]


@pytest.fixture(scope="module")
def factors(splits: list[Stream]) -> SpectralFactors:
    return reweighted_factors(
        splits, VOCAB_SIZE, LAYOUT, SPEC.reweighted, rates=(0.5, 0.1), seed=0, source="walk"
    )


@pytest.fixture(scope="module")
def vectors(splits: list[Stream], factors: SpectralFactors) -> PairVectors:
    return PairVectors.fit(splits, factors, 400, recent_weight=weight_of_previous(SPEC))


@pytest.fixture(scope="module")
def library(factors: SpectralFactors, vectors: PairVectors) -> BasisLibrary:
    drawn = BasisLibrary.generate(
        LAYOUT.n_embd, 2, [family_settings("quantized_low_rank", 1.0, {"rank": 3, "bits": 4})], 1, 0
    )
    return with_spectral(
        drawn, factors, SPEC, n_head=N_HEAD, seed=0, reweighted=factors, memories=vectors
    )


@pytest.fixture(scope="module")
def frame() -> GptFrame:
    shape = GptShape(2, N_HEAD, LAYOUT.n_embd, BLOCK, VOCAB_SIZE)
    return GptFrame(shape, seed=0, positions=LAYOUT.positions())


def test_a_unit_is_active_after_its_pair_and_no_other() -> None:
    pairs = np.array([[3, 7], [7, 3], [0, 0], [49, 1]])
    weight = PairDetector.of(LAYOUT, pairs, 1.0).dense()[:, : len(pairs)]
    codes = token_codes(np.arange(VOCAB_SIZE), LAYOUT.code) * LAYOUT.code_size
    x2, x1 = np.divmod(np.arange(VOCAB_SIZE**2), VOCAB_SIZE)
    rows = np.zeros((VOCAB_SIZE**2, LAYOUT.n_embd), dtype=np.float32)
    rows[:, LAYOUT.code_start : LAYOUT.code_start + LAYOUT.code] = codes[x1]
    rows[:, LAYOUT.code_start + LAYOUT.code : LAYOUT.waves_start] = codes[x2]
    rows[:, -2:] = LAYOUT.loud, -LAYOUT.loud
    inputs = rows @ weight
    active = pairs[:, 0] * VOCAB_SIZE + pairs[:, 1]
    np.testing.assert_allclose(inputs[active, np.arange(len(pairs))], 8.0, rtol=1e-4)
    inputs[active, np.arange(len(pairs))] = -8.0
    assert inputs.max() < -7.99


def test_strength_is_a_factor_on_what_is_added() -> None:
    pairs = np.array([[3, 7]])
    strong, weak = (PairDetector.of(LAYOUT, pairs, strength).dense() for strength in (1.0, 0.5))
    np.testing.assert_allclose(0.5 * strong, weak, rtol=1e-6)
    memory = PairMemory.of(LAYOUT, np.ones((1, LAYOUT.near), dtype=np.float32), "walk").dense()
    np.testing.assert_allclose(memory.sum(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(8 * memory[0, : LAYOUT.near], 1.0)


@pytest.mark.parametrize("block_size", [2, 16, 300])
def test_attention_copies_the_code_of_the_token_before(
    factors: SpectralFactors, block_size: int
) -> None:
    layout = ResidualLayout(LAYOUT.n_embd, 8, 4, block_size, LAYOUT.code)
    tokens = np.random.default_rng(0).integers(0, VOCAB_SIZE, block_size)
    rows = SpectralEmbedding.of(factors, 0.5).dense()[tokens] + layout.positions()
    state = State.first(torch.from_numpy(rows))
    for slot, entry in (
        ("attn_qkv", ContextAttention.of(layout, N_HEAD, [0.7, 0.1])),
        ("attn_out", ContextMerge.of(layout, N_HEAD, 1.0)),
    ):
        state = state.step(slot, Weight(entry.dense()), n_head=N_HEAD, length=block_size)
    start = layout.code_start + layout.code
    copied = state.residual[1:, start : start + layout.code].numpy() / layout.code_size
    np.testing.assert_allclose(copied, token_codes(tokens[:-1], layout.code), atol=0.02)


def test_rows_are_those_of_the_kneser_ney_trigram(
    splits: list[Stream], factors: SpectralFactors
) -> None:
    trigrams = _Trigrams(splits, VOCAB_SIZE)
    rows = np.arange(0, len(trigrams.pairs), 7)
    p_1 = np.exp(factors.log_prior[trigrams.outcomes])
    table = trigrams.table(rows, p_1, None)  # type: ignore[arg-type]  # the base is not asked
    tile = slice(0, len(rows)), slice(0, len(trigrams.outcomes))
    assert table.lower is not None
    p = table.observed.toarray() + table.backoff[:, None] * table.lower.tile(*tile).numpy()
    (model,) = KneserNey.fit(FittingText(splits, VOCAB_SIZE, {}), ["kn(1,2)"])
    for row, pair in zip(p, trigrams.pairs[rows], strict=True):
        # the shortest distribution differs: here it is that of the bigram floor
        expected = model.distribution(pair)[trigrams.outcomes]
        np.testing.assert_allclose(row, expected, atol=2e-3)


def test_pairs_that_gain_most_come_first_and_steps_lower_the_loss(
    splits: list[Stream], vectors: PairVectors
) -> None:
    trigrams = _Trigrams(splits, VOCAB_SIZE)
    bigram = Bigram.fit(splits, VOCAB_SIZE)
    np.testing.assert_array_equal(vectors.pairs, trigrams.pairs[trigrams.best(bigram, 400)])
    few = trigrams.best(bigram, 10)
    np.testing.assert_array_equal(vectors.pairs[:10], trigrams.pairs[few])
    assert len(np.unique(vectors.pairs, axis=0)) == len(vectors.pairs) == 400
    assert list(vectors.losses) == sorted(vectors.losses, reverse=True)
    assert vectors.losses[-1] < vectors.losses[0] - 0.2


def test_all_tokens_that_never_occur_have_the_row_that_the_readout_gives_them(
    splits: list[Stream],
) -> None:
    more = VOCAB_SIZE + 5
    found = reweighted_factors(
        splits, more, LAYOUT, SPEC.reweighted, rates=(0.5, 0.1), seed=0, source="walk"
    )
    assert _Trigrams(splits, more).outcomes[-1] == found.unseen


def test_a_memory_does_not_say_again_what_the_recent_tokens_say(
    splits: list[Stream], factors: SpectralFactors, vectors: PairVectors
) -> None:
    alone = PairVectors.fit(splits, factors, 400, recent_weight=0.0)
    np.testing.assert_array_equal(alone.pairs, vectors.pairs)
    assert not np.allclose(alone.vectors, vectors.vectors, atol=1e-3)


def test_a_gpt2_with_memories_is_better_and_the_same_in_transformers(
    library: BasisLibrary, frame: GptFrame
) -> None:
    tokens = walk(3000, 2)[: 160 * BLOCK + 1]
    inputs, targets = tokens[:-1].reshape(-1, BLOCK), tokens[1:].reshape(-1, BLOCK)

    def model(up: int, down: int) -> CrystallineGpt:
        genome = (SPEC.embeddings, 2, 2, up, down, 7, 7, 7, 7, SPEC.readouts)
        return CrystallineGpt(library, genome, frame, share_layers=False)

    assert [library["mlp_up"][i].family for i in (2, 3, 4, 5, 6)] == ["pair_detector"] * 4 + [
        "zero"
    ]
    without, with_memories = (
        float(m.token_nll(inputs, targets).mean()) for m in (model(7, 7), model(2, 2))
    )
    assert with_memories < without - 0.2
    found = model(2, 2)
    gpt2 = to_gpt2(found, end_token_id=0)
    with torch.inference_mode():
        logits = gpt2(torch.from_numpy(inputs)).logits.double()
    nll = -torch.log_softmax(logits, 2).numpy()
    ours = found.token_nll(inputs, targets)
    theirs = np.take_along_axis(nll, targets[..., None], 2)[..., 0]
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_assembled_genomes_pair_each_set_with_its_detector(
    library: BasisLibrary, frame: GptFrame
) -> None:
    found = GptGenomes(library, frame, share_layers=False).assembled()
    assert len(found) == SPEC.reweighted.readouts
    assert {genome[:-1] for genome in found} == {(SPEC.embeddings, 2, 2, 2, 2, 6, 6, 4, 3)}
    assert [library["readout"][genome[-1]].family for genome in found] == (
        ["reweighted_readout"] * len(found)
    )
    for layer in (0, 1):
        up, down = found[0][3 + 4 * layer : 5 + 4 * layer]
        pairs = library["mlp_up"][up].arrays["pairs"]
        assert len(pairs) == len(library["mlp_down"][down].arrays["vectors"])
    assert GptGenomes(library, frame, share_layers=True).assembled() == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"memory": {"sets": 1}}, "reweighted.rounds to 3"),
        ({"reweighted": {"rounds": 1}, "memory": {"sets": 4}}, "raise size to 9 or more"),
        ({"reweighted": {"rounds": 1}, "size": 1}, "raise size to 2"),
    ],
)
def test_settings_that_do_not_fit_are_a_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SpectralSettings.model_validate(values)


def test_heads_that_cannot_carry_a_code_are_a_sentence() -> None:
    with pytest.raises(ConfigError, match="three heads or more"):
        ContextAttention.of(LAYOUT, 2, [0.7, 0.1])
    with pytest.raises(ConfigError, match="three heads or more"):
        ContextMerge.of(LAYOUT, 9, 1.0)


def test_damaged_pairs_are_refused() -> None:
    entry = PairDetector.of(LAYOUT, np.array([[1, 2]]), 1.0)
    for pairs in (np.array([[1, -2]]), np.array([1, 2]), np.zeros((4 * LAYOUT.n_embd + 1, 2))):
        with pytest.raises(ArtifactError, match="pair"):
            PairDetector(entry.shape, entry.parameters, {"pairs": pairs.astype(np.int32)})

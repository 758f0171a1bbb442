from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_families import family_settings
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from clso.data.tokenizer import END_TOKEN, Tokenizer
from clso.errors import ArtifactError, ConfigError
from clso.gpt import CrystallineGpt, GptFrame, GptShape
from clso.gpt.export import save_checkpoint, to_gpt2
from clso.library import FAMILIES, BasisLibrary

GENOME = (0, 1, 2, 3, 4, 5, 0, 1)
PARAMETERS: dict[str, dict[str, float]] = {
    "block_sparse": {"block": 5, "density": 0.4},
    "quantized_low_rank": {"rank": 3, "bits": 4},
    "kronecker": {"block": 3},
    "monarch": {"blocks": 3},
}


@pytest.fixture
def model(library: BasisLibrary, frame: GptFrame) -> CrystallineGpt:
    return CrystallineGpt(library, GENOME, frame, share_layers=False)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The end token, 256 bytes and 43 pairs of letters: 300 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = "abcdefg"
    merges = [(a, b) for a in letters for b in letters][:43]
    tokens = [END_TOKEN, *alphabet, *(a + b for a, b in merges)]
    backend = Backend(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END_TOKEN])
    return Tokenizer(backend)


def gpt2_nll(gpt2: torch.nn.Module, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        logits = gpt2(torch.from_numpy(inputs)).logits.double()
    nll = functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="none"
    )
    return nll.view(targets.shape).numpy()


def test_plain_transformers_gives_the_same_loss(
    model: CrystallineGpt, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    inputs, targets = (np.ascontiguousarray(part[0]) for part in batches)
    expected = model.token_nll(inputs, targets)
    gpt2 = to_gpt2(model, end_token_id=7)
    np.testing.assert_allclose(gpt2_nll(gpt2, inputs, targets), expected, atol=1e-5)
    assert not gpt2.training
    assert (gpt2.config.bos_token_id, gpt2.config.eos_token_id) == (7, 7)
    assert gpt2.config.tie_word_embeddings is not model.frame.has_bias


@pytest.mark.parametrize("family", sorted(FAMILIES.names()))
def test_every_family_exports_with_the_same_loss(
    family: str, shape: GptShape, batches: tuple[np.ndarray, np.ndarray]
) -> None:
    specs = [family_settings(family, 1.0, PARAMETERS.get(family, {}))]
    library = BasisLibrary.generate(shape.n_embd, 2, specs, 1.0, 0)
    frame = GptFrame(shape, seed=4)
    model = CrystallineGpt(library, (0, 1, 0, 1, 1, 0, 1, 0), frame, share_layers=False)
    inputs, targets = (np.ascontiguousarray(part[0]) for part in batches)
    expected = model.token_nll(inputs, targets)
    assert np.isfinite(expected).all()
    found = gpt2_nll(to_gpt2(model, end_token_id=7), inputs, targets)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_checkpoint_loads_with_plain_transformers(
    model: CrystallineGpt,
    tokenizer: Tokenizer,
    batches: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    path = tmp_path / "models" / "gpt"
    save_checkpoint(model, tokenizer, path)
    gpt2 = AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
    inputs, targets = (np.ascontiguousarray(part[1]) for part in batches)
    expected = model.token_nll(inputs, targets)
    np.testing.assert_allclose(gpt2_nll(gpt2, inputs, targets), expected, atol=1e-5)
    reloaded = AutoTokenizer.from_pretrained(path, local_files_only=True)
    text = "a baggage, a face: é"
    assert reloaded(text)["input_ids"] == tokenizer.encode(text)
    assert reloaded.decode(tokenizer.encode(text)) == text
    assert reloaded.eos_token_id == gpt2.config.eos_token_id == tokenizer.end_token_id
    assert sorted(tmp_path.glob("models/.*")) == []


def test_the_checkpoint_says_which_entries_it_is_made_of(
    model: CrystallineGpt, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_checkpoint(model, tokenizer, tmp_path / "gpt")
    told = json.loads((tmp_path / "gpt" / "crystalline.json").read_text())
    assert told["genome"] == list(GENOME)
    assert told["library_fingerprint"] == model.library.fingerprint
    assert [matrix["index"] for matrix in told["matrices"]] == list(GENOME)
    assert told["matrices"][5]["slot"] == "attn_out"
    assert told["matrices"][5]["layer"] == 1


def test_saving_again_replaces_the_checkpoint(
    model: CrystallineGpt, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "gpt"
    path.mkdir()
    (path / "old.txt").write_text("old")
    save_checkpoint(model, tokenizer, path)
    assert not (path / "old.txt").exists()
    assert [child.name for child in tmp_path.iterdir()] == ["gpt"]


def test_a_folder_that_cannot_be_written_is_named_and_the_old_one_stays(
    model: CrystallineGpt,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "gpt"
    path.mkdir()
    (path / "old.txt").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clso.checkpoint.atomic_write_json", full)
    with pytest.raises(ArtifactError, match=r"gpt cannot be written: No space[\s\S]*free some"):
        save_checkpoint(model, tokenizer, path)
    assert (path / "old.txt").read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["gpt"]


def test_a_tokenizer_of_another_size_is_refused(
    library: BasisLibrary, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    frame = GptFrame(GptShape(2, 2, 12, 10, 299), seed=0)
    model = CrystallineGpt(library, GENOME, frame, share_layers=False)
    with pytest.raises(ConfigError, match="tokenizer has 300 tokens, the model 299"):
        save_checkpoint(model, tokenizer, tmp_path / "gpt")

"""A mixture in a folder: equal to the last bit when it comes back, refused when damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from clso.artifacts import CHECKSUMS
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError
from clso.mixture.model import CrystallineMixture

BLOCK_SIZE = 16


@pytest.fixture(scope="session")
def stored(
    toy_mixture: CrystallineMixture,
    toy_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("models") / "mixture"
    toy_mixture.save(path, toy_tokenizer, block_size=BLOCK_SIZE)
    return path


@pytest.fixture(scope="session")
def stored_hybrid(
    toy_hybrid: CrystallineMixture,
    toy_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("models") / "hybrid"
    toy_hybrid.save(path, toy_tokenizer, block_size=BLOCK_SIZE)
    return path


@pytest.fixture
def damaged(stored: Path, tmp_path: Path) -> Path:
    """A copy to damage; without its checksums, as another program writes it, all is read."""
    folder = shutil.copytree(stored, tmp_path / "damaged")
    (folder / CHECKSUMS).unlink()
    return folder


def blocks(vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.random.default_rng(1).integers(0, vocab_size, (4, BLOCK_SIZE + 1))
    return tokens[:, :-1], tokens[:, 1:]


def assert_equal(found: CrystallineMixture, model: CrystallineMixture) -> None:
    inputs, targets = blocks(model.vocab_size)
    np.testing.assert_array_equal(
        found.token_nll(inputs, targets), model.token_nll(inputs, targets)
    )
    history = inputs[0]
    np.testing.assert_array_equal(found.distribution(history), model.distribution(history))
    assert repr(found) == repr(model)
    assert found.stored_bytes == model.stored_bytes


def test_a_mixture_comes_back_equal_to_the_last_bit(
    stored: Path, toy_mixture: CrystallineMixture
) -> None:
    assert_equal(CrystallineMixture.load(stored), toy_mixture)


def test_a_hybrid_comes_back_with_its_network(
    stored_hybrid: Path, toy_hybrid: CrystallineMixture
) -> None:
    assert (stored_hybrid / "neural-adamw" / "model.safetensors").is_file()
    assert_equal(CrystallineMixture.load(stored_hybrid), toy_hybrid)


def test_what_a_model_prices_is_what_its_distribution_says(toy_hybrid: CrystallineMixture) -> None:
    inputs, targets = blocks(toy_hybrid.vocab_size)
    nll = toy_hybrid.token_nll(inputs, targets)
    for place in (0, 1, 5, BLOCK_SIZE - 1):
        distribution = toy_hybrid.distribution(inputs[0, : place + 1])
        assert distribution.sum() == pytest.approx(1.0, abs=1e-9)
        assert -np.log(distribution[targets[0, place]]) == pytest.approx(nll[0, place], abs=1e-5)


def test_arrays_that_functions_share_are_stored_once(
    stored: Path, toy_mixture: CrystallineMixture
) -> None:
    named = sum(len(function.to_arrays()) for function in toy_mixture.functions)
    assert len(load_file(stored / "model.safetensors")) < named


def test_saving_again_replaces_the_folder(
    stored: Path, toy_mixture: CrystallineMixture, toy_tokenizer: Tokenizer, damaged: Path
) -> None:
    (damaged / "old.txt").touch()
    toy_mixture.save(damaged, toy_tokenizer, block_size=BLOCK_SIZE)
    assert sorted(path.name for path in damaged.iterdir()) == [
        "checksums.json",
        "config.json",
        "model.safetensors",
        "modeling_clso.py",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [path.name for path in damaged.parent.iterdir()] == ["damaged"]


def edit_config(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((path / "config.json").read_text())
    edit(config)
    (path / "config.json").write_text(json.dumps(config))


def test_a_folder_without_a_mixture_is_told(tmp_path: Path, damaged: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no mixture"):
        CrystallineMixture.load(tmp_path / "nothing")
    (damaged / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"config\.json does not exist"):
        CrystallineMixture.load(damaged)


def test_a_foreign_version_or_type_is_refused(damaged: Path) -> None:
    edit_config(damaged, lambda config: config.update(format_version=2))
    with pytest.raises(ArtifactError, match="has format version 2, this CLSO reads version 1"):
        CrystallineMixture.load(damaged)
    edit_config(damaged, lambda config: config.update(model_type="gpt2"))
    with pytest.raises(ArtifactError, match="of type 'gpt2', expected 'clso_mixture'"):
        CrystallineMixture.load(damaged)
    (damaged / "config.json").write_text("[]")
    with pytest.raises(ArtifactError, match="of type None"):
        CrystallineMixture.load(damaged)


def test_a_torn_file_is_refused(damaged: Path) -> None:
    arrays = damaged / "model.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="damaged is damaged"):
        CrystallineMixture.load(damaged)
    (damaged / "config.json").write_text('{"model_type": "clso_mix')
    with pytest.raises(ArtifactError, match=r"config\.json is damaged"):
        CrystallineMixture.load(damaged)


def test_a_changed_byte_is_noticed(damaged: Path) -> None:
    arrays = damaged / "model.safetensors"
    content = bytearray(arrays.read_bytes())
    content[-100] ^= 1
    arrays.write_bytes(content)
    with pytest.raises(ArtifactError, match="is not what was written"):
        CrystallineMixture.load(damaged)


def test_a_missing_array_is_named(damaged: Path) -> None:
    key = json.loads((damaged / "config.json").read_text())["weights"]["table"]
    arrays = load_file(damaged / "model.safetensors")
    save_file({k: v for k, v in arrays.items() if k != key}, damaged / "model.safetensors")
    with pytest.raises(ArtifactError, match="the array table is missing"):
        CrystallineMixture.load(damaged)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config.pop("weights"),
        lambda config: config.pop("functions"),
        lambda config: config["functions"].pop(),
        lambda config: config.update(functions=[1]),
        lambda config: config.update(history=[]),
        lambda config: config.update(bucketing="weather"),
        lambda config: config["functions"][1]["spec"].update(name="kn(1;2)"),
        lambda config: config["functions"][1]["spec"].update(name="weather"),
        lambda config: config["functions"][1]["arrays"].popitem(),
        lambda config: config["functions"][0].update(spec={"checkpoint": "neural-adamw"}),
    ],
)
def test_a_config_that_does_not_fit_is_damage(
    damaged: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    edit_config(damaged, edit)
    with pytest.raises(ArtifactError, match=r"the mixture .* is damaged"):
        CrystallineMixture.load(damaged)


@pytest.mark.parametrize(
    "folder", ["..", ".", "", "../mixture", "/", "neural-adamw/..", "link", "link/inside", "a\0b"]
)
def test_a_network_outside_of_the_folder_is_not_opened(damaged: Path, folder: str) -> None:
    (damaged.parent / "elsewhere").mkdir()
    (damaged / "link").symlink_to(damaged.parent / "elsewhere")
    absolute = str(damaged.parent / "elsewhere")
    for name in (folder, absolute):
        edit_config(
            damaged, lambda config, at=name: config["functions"][0].update(spec={"checkpoint": at})
        )
        with pytest.raises(ArtifactError, match=r"the mixture .* is damaged") as told:
            CrystallineMixture.load(damaged)
        assert "folder is named" in str(told.value) or "null" in str(told.value)

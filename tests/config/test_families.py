from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clso.errors import ConfigError
from clso.library import FAMILIES, Monarch, Zero
from pipelines.config import load_config


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("family", FAMILIES.names())
def test_every_family_draws_with_its_own_defaults(family: str) -> None:
    settings = FAMILIES.get(family).Settings()
    assert settings.family == family
    entry = FAMILIES.get(family).generate(
        np.random.default_rng(0), (128, 384), gain=1.0, **settings.parameters
    )
    assert entry.family == family


def test_families_mix_by_their_shares(tmp_path: Path) -> None:
    families = "[{family: monarch, blocks: 4, share: 3}, {family: zero}]"
    config = load_config(write(tmp_path, f"gpt: {{library: {{size: 8, families: {families}}}}}"))
    monarch, zero = config.gpt.library.families
    assert isinstance(monarch, Monarch.Settings)
    assert isinstance(zero, Zero.Settings)
    assert (monarch.blocks, monarch.share, zero.share) == (4, 3.0, 1.0)


@pytest.mark.parametrize(
    ("families", "match"),
    [
        (
            "[{family: penrose}]",
            r"'penrose' is not known .*block_sparse, .*zero \(CLSO\)",
        ),
        ("[{block: 3}]", "families.0: family is missing; add one of block_sparse, "),
        ("[zero]", "families.0: expected a section with keys of its own"),
        ("[{family: kronecker, blocks: 2}]", "kronecker.blocks: unknown key; did you mean 'block'"),
        ("[{family: zero, block: 3}]", "zero.block: unknown key; known here: family, share"),
        ("[{family: kronecker, block: 1}]", "kronecker.block: input should be greater than or"),
        ("[{family: kronecker}]", "families.0: block 8 does not divide model.n_embd 12; choose"),
        ("[{family: zero}, {family: monarch}]", "families.1: blocks 8 does not divide model"),
        ("[{family: quantized_low_rank, rank: 13}]", "rank 13 is more than model.n_embd 12"),
    ],
)
def test_a_family_that_does_not_fit_is_told_at_once(
    tmp_path: Path, families: str, match: str
) -> None:
    library = f"gpt: {{library: {{families: {families}}}}}"
    with pytest.raises(ConfigError, match=match):
        load_config(write(tmp_path, f"model: {{n_embd: 12}}\n{library}"))


def test_families_of_a_library_that_is_not_made_need_not_fit(tmp_path: Path) -> None:
    text = "families: [mixture]\nmodel: {n_embd: 4, n_head: 2}"
    assert load_config(write(tmp_path, text)).gpt.library.families


def test_all_mistakes_in_families_are_told_together(tmp_path: Path) -> None:
    families = "[{family: penrose}, {family: kronecker, block: 1, shape: 2, share: -1}]"
    with pytest.raises(ConfigError) as told:
        load_config(write(tmp_path, f"seed: x\ngpt: {{library: {{families: {families}}}}}"))
    for path in (
        "seed",
        "families.0",
        *(f"families.1.kronecker.{at}" for at in ("block", "share")),
    ):
        assert f"{path}: " in str(told.value)
    assert "families.1.kronecker.shape: unknown key" in str(told.value)


def test_settings_of_families_come_back_from_what_they_dump(tmp_path: Path) -> None:
    families = "[{family: monarch, blocks: 4, share: 3}, {family: zero}]"
    config = load_config(write(tmp_path, f"gpt: {{library: {{families: {families}}}}}"))
    dumped = config.model_dump(mode="json")
    assert dumped["gpt"]["library"]["families"] == [
        {"share": 3.0, "family": "monarch", "blocks": 4},
        {"share": 1.0, "family": "zero"},
    ]
    assert config.with_overrides({"seed": 1}, where="here").gpt == config.gpt

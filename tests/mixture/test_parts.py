"""A library fitted in groups of functions, anywhere, is the library fitted at once."""

from pathlib import Path

import numpy as np
import pytest
from elsewhere import Elsewhere

from clso.engine import open_engine
from clso.errors import ConfigError
from clso.mixture import parts
from clso.mixture.classes import fit_class_maps
from clso.mixture.columns import Columns
from clso.mixture.costed import FunctionCost
from clso.mixture.parts import FittedLibrary, LibraryInputs, function_groups
from clso.mixture.settings import FunctionGridSettings
from clso.mixture.specification import fit_functions

VOCAB = 20
GRID = FunctionGridSettings(
    patterns=((1,), (1, 2), (2, 1)),
    class_maps=("k4", "s3"),
    class_patterns=((1,), (1, 2)),
    class_targets=("k4",),
    cache_half_lives=(8.0,),
    gated_maps=("k4",),
    induction_lengths=(1, 2),
    functions=("product(k4)",),
)
NAMES = GRID.function_names()


@pytest.fixture(scope="module")
def inputs(text_stream: type, tmp_path_factory: pytest.TempPathFactory) -> LibraryInputs:
    rng = np.random.default_rng(0)
    train = text_stream(np.cumsum(rng.choice([1, 2, 5], 2000)) % VOCAB)
    maps = fit_class_maps([train], VOCAB, GRID.needed_class_maps(), seed=0)
    stream = np.cumsum(rng.choice([1, 2, 5], (40, 9)), axis=1) % VOCAB
    blocks = {"tune": (stream[:, :-1], stream[:, 1:]), "validation": (stream[:9, :-1],) * 2}
    return LibraryInputs(train, blocks, VOCAB, maps, workspace=tmp_path_factory.mktemp("work"))


def test_groups_hold_each_function_once_and_keep_together_what_is_shared() -> None:
    for most in (1, 2, 5, 100):
        groups = function_groups(NAMES, most)
        assert len(groups) <= most
        assert sorted(name for group in groups for name in group) == sorted(NAMES)
        group_of = {name: number for number, group in enumerate(groups) for name in group}
        assert group_of["cache(8)"] == group_of["induction(1)"] == group_of["gated(k4)"]
        assert group_of["kn(1)"] == group_of["kn(1,2)"]
        assert group_of["kn(1:s3)"] == group_of["kn(1:s3,2:s3)"]
    assert len(function_groups(NAMES, 100)) > 4


def test_groups_take_about_equally_long() -> None:
    sizes = [len(group) for group in function_groups(FunctionGridSettings().function_names(), 4)]
    assert len(sizes) == 4
    assert max(sizes) < 90


def test_columns_and_costs_are_those_of_all_functions_at_once(inputs: LibraryInputs) -> None:
    functions = fit_functions(NAMES, [inputs.train], VOCAB, inputs.class_maps)
    with open_engine("local", workers=1) as engine:
        fitted = [
            FittedLibrary.fit(inputs, NAMES, used, "library") for used in (engine, Elsewhere())
        ]
    for split, blocks in inputs.blocks.items():
        whole = Columns.of(functions, *blocks, VOCAB, split=split)
        for library in fitted:
            assert library.columns[split].fingerprint == whole.fingerprint
            assert library.columns[split].families == whole.families
    block_size = inputs.blocks["tune"][0].shape[1]
    expected = tuple(FunctionCost.of(function, block_size) for function in functions)
    assert [library.costs for library in fitted] == [expected, expected]


def test_a_long_text_is_counted_in_more_groups_with_the_same_columns(
    inputs: LibraryInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def groups(names: tuple[str, ...], most: int) -> list[tuple[str, ...]]:
        asked.append(most)
        return function_groups(names, most)

    monkeypatch.setattr(parts, "function_groups", groups)
    with open_engine("local", workers=1) as engine:
        short = FittedLibrary.fit(inputs, NAMES, engine, "short")
        monkeypatch.setattr(parts, "_TOKENS_PER_GROUP", 500)
        long = FittedLibrary.fit(inputs, NAMES, engine, "long")
    assert asked == [1, inputs.train.n_tokens // 500]
    assert long.columns["tune"].fingerprint == short.columns["tune"].fingerprint


def test_a_copy_leaves_no_files(
    inputs: LibraryInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    FittedLibrary.fit(inputs, NAMES[:4], Elsewhere(), "library")
    assert not [*tmp_path.iterdir()]


def test_a_wrong_name_is_refused(inputs: LibraryInputs) -> None:
    with pytest.raises(ConfigError, match="cach"):
        FittedLibrary.fit(inputs, ["unigram", "cach(8)"], Elsewhere(), "library")

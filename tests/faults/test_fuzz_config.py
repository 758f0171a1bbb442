"""Whatever a configuration or an override holds: it is read, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import fuzzed, settles
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.config import RunConfig, load_config
from pipelines.config.load import parse_override, read_config
from pipelines.config.shipped import shipped_configs
from pipelines.extent import check_extent

_QUICK = yaml.safe_load((Path(__file__).parents[2] / "configs" / "quick.yaml").read_text())
_STUDIES = {
    name: yaml.safe_load((Path(__file__).parents[2] / "configs" / f"{name}.yaml").read_text())
    for name in ("tune", "ablate", "savings", "texts", "opponents")
}


def _paths(values: object, prefix: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values of a nested mapping, inner ones too."""
    found: list[tuple[Any, ...]] = [prefix] if prefix else []
    if isinstance(values, dict):
        for key, value in values.items():
            found += _paths(value, (*prefix, key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            found += _paths(value, (*prefix, index))
    return found


def _replaced(values: object, path: tuple[Any, ...], value: object) -> object:
    if not path:
        return value
    first, *rest = path
    if isinstance(values, list):
        return [_replaced(v, tuple(rest), value) if i == first else v for i, v in enumerate(values)]
    assert isinstance(values, dict)
    return {k: _replaced(v, tuple(rest), value) if k == first else v for k, v in values.items()}


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 10**18, 10**99, 2**63, 2**64]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", ".", "..", "a/b", "\n", "1e3", "null", "true", "kn(1", "[", "a.b", "~"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), inner, max_size=3),
    ),
    max_leaves=6,
)
_CHANGES = st.one_of(
    *(
        st.tuples(st.just(values), st.sampled_from(_paths(values)), _VALUES)
        for values in (_QUICK, *_STUDIES.values())
    )
)
_KEYS = sorted({part for path in _paths(_QUICK) for part in path if isinstance(part, str)})
_MARKS = st.sampled_from(
    [*"{}[]:,-#&*!|>'\"%@`?\n\t ", "  ", "\n  ", ": ", "- ", "<<", "---", "&a"]
)
_WORDS = st.one_of(
    st.sampled_from(_KEYS), _MARKS, st.text(max_size=5), _SCALARS.map(lambda value: f"{value}")
)
_YAML_LIKE = st.lists(_WORDS, max_size=25).map("".join)


@fuzzed
@given(text=_YAML_LIKE)
@example(text="seed: 0\nname: !!python/object:os.system x")
@example(text="a: &a [*a]")
@example(text="? [a]\n: 1")
@example(text="\ud800")
def test_a_text_as_a_configuration(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "text.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    settles(lambda: check_extent(load_config(path)))


@fuzzed
@given(change=_CHANGES)
def test_a_value_in_place_of_another(change: tuple[object, tuple[Any, ...], object]) -> None:
    values, path, value = change
    settles(lambda: _used(read_config(_replaced(values, path, value))))  # type: ignore[arg-type]


@fuzzed
@given(change=_CHANGES)
def test_a_value_in_place_of_another_in_a_file(
    change: tuple[object, tuple[Any, ...], object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    values, path, value = change
    file = tmp_path_factory.mktemp("fuzz") / "values.yaml"
    try:
        text = yaml.safe_dump(_replaced(values, path, value), allow_unicode=True)
    except yaml.YAMLError:
        return
    file.write_bytes(text.encode(errors="surrogatepass"))
    settles(lambda: _used(load_config(file)))


def _used(config: RunConfig) -> None:
    """Do what commands do with a configuration before they work."""
    check_extent(config)
    config.run_id("0123456789abcdef")
    config.digest()


_PATHS = st.one_of(
    st.sampled_from(
        [".".join(map(str, path)) for path in _paths(_QUICK)]
        + ["name", "tune.trials", "ablate.factors", "runtime.engine", "data.files.train", "a..b"]
    ),
    st.text(max_size=12),
)


@fuzzed
@given(
    path=_PATHS,
    value=st.one_of(_YAML_LIKE, _VALUES.map(str)),
    separator=st.sampled_from(["=", "=", "=", "", ":", "=="]),
)
@example(path="name", separator="=", value="\ud800")
@example(path="seed", separator="=", value="0" * 5000)
def test_an_override(path: str, separator: str, value: str) -> None:
    text = f"{path}{separator}{value}"
    settles(lambda: parse_override(text))
    settles(lambda: _used(load_config("smoke", [text])))


@fuzzed
@given(
    name=st.one_of(
        st.text(max_size=300),
        st.sampled_from(sorted(shipped_configs())).map(lambda name: f"../{name}"),
        st.sampled_from(["..", ".", "", "/", "a/b", "\0", "x" * 5000, "\ud800", "a\nb", "~", "-x"]),
    )
)
def test_a_name_of_a_configuration_or_run(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from pipelines.inspect import find_run

    out = tmp_path_factory.mktemp("fuzz")
    (out / "runs").mkdir()
    settles(lambda: find_run(name, out))
    settles(lambda: load_config(name))

    def as_id() -> None:
        run_id = read_config("smoke", {"name": name}).run_id("0123456789abcdef")
        assert run_id not in (".", "..")
        assert "/" not in run_id
        assert len(run_id.encode()) < 256

    settles(as_id)

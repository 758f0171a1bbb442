"""A text is read as it is written, or refused in a sentence; nothing else ever happens."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clso.errors import ConfigError
from pipelines.config import load_config, parse_override
from pipelines.config.plain_yaml import YamlMistake, read_yaml

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
NESTED = ["[" * 5000 + "]" * 5000, "{a: " * 900 + "1" + "}" * 900, "- " * 3000, "[" * 60 + "]" * 60]
LAUGHS = "\n".join(
    ["a0: &a0 [1, 1]"]
    + [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 10)]
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_has_the_values_of_plain_yaml(path: Path) -> None:
    text = path.read_text()
    assert repr(read_yaml(text)) == repr(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", "010"),
        ("0777", "0777"),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("0b11", "0b11"),
        ("0x_", "0x_"),
        ("1_", "1_"),
        ("2024-01-01", "2024-01-01"),
        ("2024-13-45", "2024-13-45"),
        ("=", "="),
        (".", "."),
        ("1e-3", "1e-3"),
        ("0x1f", 31),
        ("-0x1f", -31),
        ("2_560_000", 2_560_000),
        ("-7", -7),
        ("1.0e-3", 1e-3),
        ("-.5", -0.5),
        ("1_0.5", 10.5),
        ("-.inf", float("-inf")),
        ("on", True),
        ("No", False),
        ("~", None),
        ("", None),
    ],
)
def test_a_value_is_read_as_written(text: str, value: object) -> None:
    read = read_yaml(f"[{text}]") if text else [read_yaml(text)]
    assert repr(read) == repr([value])


def test_zeros_before_a_number_do_not_make_it_octal(smoke: Path) -> None:
    assert load_config(smoke, ["seed=010"]).seed == 10
    with pytest.raises(ConfigError, match="seed: input should be a valid integer"):
        load_config(smoke, ["seed=1:30"])


REFUSED = {
    "{a: 1}: 2": "a key is a list or a mapping",
    "[a, b]: 1": "a key is a list or a mapping",
    "? [a]\n: 1": "a key is a list or a mapping",
    "a: {[1]: 2}": "a key is a list or a mapping",
    "a: {b: 1, b: 2}": "the key 'b' is given twice",
    "a: {1: 1, 1.0: 2}": "given twice",
    "a: !!set {x, y}": "!!set is no kind of value here",
    "a: !!omap [x: 1]": "!!omap is no kind of value here",
    "a: !!binary aGk=": "!!binary is no kind of value here",
    "a: !!timestamp x": "!!timestamp is no kind of value here",
    "a: !!python/name:os.system x": "is no kind of value here",
    "a: !mine x": "!mine is no kind of value here",
    "a: !!int abc": "'abc' is no whole number",
    "a: !!int 1:30": "is no whole number",
    "a: !!int [1]": "expected a whole number",
    "a: !!float x": "'x' is no number",
    "a: !!bool maybe": "neither true nor false",
    "a: !!null x": "null has no value",
    "!!map [1]": "expected a mapping",
    "!!seq {a: 1}": "expected a list",
    "a: !!str [b]": "expected a text",
    "a: " + "9" * 5000: "a number has 5,000 digits",
    "a: 0x" + "f" * 5000: "a number has 5,002 digits",
    'a: "\\UFFFFFFFF"': "an escape stands for no character",
    'a: "\\ud800"': "is no character",
    'a: "\\0"': "is no character",
    "a: &a [*a]": "an alias stands inside of what it repeats",
    "a: &a {b: *a}": "an alias stands inside of what it repeats",
    LAUGHS: "more than 100,000 values",
    "a: \x00": "unacceptable character",
    "%YAML 9.9\n---\na: 1": "incompatible YAML",
    "a: 1\n---\nb: 2": "another document",
    "a:b: {c:1}": "needs a space|mapping values",
} | {f"a: {text}" if text[0] != "-" else text: "nested" for text in NESTED}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:24].encode("unicode_escape"))
def test_what_is_no_plain_value_is_refused_in_a_file_and_in_an_override(
    text: str, tmp_path: Path
) -> None:
    with pytest.raises(YamlMistake, match=REFUSED[text]):
        read_yaml(text)
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not valid YAML") as told:
        load_config(path)
    assert len(str(told.value)) < 1000
    if "\n" not in text and not text.startswith(("a:b", "%")):
        with pytest.raises(ConfigError, match="is not valid YAML") as told:
            parse_override(f"gpt={text}")
        assert len(str(told.value)) < 1000


SPECIAL = "{}[]:,-?!&*#|>%@`'\"\\ \n\t=~.0189_xeb<inafu\x00\x85\ud800é"
PIECES = st.sampled_from(
    [
        *("a", "b", "1", "0x", "010", "1:30", "2024-02-30", ".inf", ".nan", "1e5", "yes", "null"),
        *("!!set", "!!int", "!!str", "!!map", "!!seq", "!!bool", "!!float", "!x", "&a", "*a"),
        *("<<:", "{}", "[]", "{a:1}", "[1,2]", "?", ":", "-", "|", ">", "'\"'", '"\\x"'),
        *("---", "...", "%TAG", "#", "~", "=", "_"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
TEXTS = (
    st.text(max_size=40)
    | st.text(SPECIAL, max_size=40)
    | st.lists(PIECES, max_size=12).map(" ".join)
    | st.lists(PIECES, max_size=12).map("\n".join)
    | VALUES.map(yaml.safe_dump)
)


def outcome(text: str, *, spaced: bool = True) -> object:
    try:
        return read_yaml(text, spaced=spaced)
    except YamlMistake as mistake:
        return mistake


@given(TEXTS)
def test_any_text_is_read_or_refused(text: str) -> None:
    for spaced in (True, False):
        read = outcome(text, spaced=spaced)
        assert 0 < len(read.problem) < 1000 if isinstance(read, YamlMistake) else plain(read)


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(plain, value)) and all(map(plain, value.values()))
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


@given(VALUES)
def test_what_yaml_writes_is_read_again(value: object) -> None:
    text = yaml.safe_dump(value, sort_keys=False)
    read = outcome(text)
    if isinstance(read, YamlMistake):
        assert "is no character" in read.problem or "digits" in read.problem
    else:
        assert repr(read) == repr(value)


@pytest.fixture
def smoke() -> Path:
    return next(path for path in CONFIGS if path.stem == "smoke")

"""YAML as configurations have it: numbers, truth values, texts, lists and mappings, nothing else.

Plain YAML 1.1 reads `010` as 8 and `1:30` as 90, makes dates and sets, and keeps the last of two
equal keys. Here whole numbers are decimal (or hexadecimal, `0x1f`), what else looks like a number
stays the text that was written, and other kinds of values are refused.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

from clso.errors import shown

__all__ = ["YamlMistake", "read_yaml"]

_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*|0x[0-9a-fA-F]+(_[0-9a-fA-F]+)*)")
_FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# more digits than any number here has, and fewer than Python refuses to print
_MOST_DIGITS = 100
_MOST_DEPTH = 32
_MOST_VALUES = 100_000


class YamlMistake(ValueError):
    """A text that is no YAML of the kind that is read here.

    Attributes:
        problem: what is wrong.
        place: line and column, counted from 1, as `3:14`; empty if they are not known.
    """

    def __init__(self, problem: str, mark: yaml.Mark | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = f"{mark.line + 1}:{mark.column + 1}" if mark else ""


def read_yaml(text: str, *, spaced: bool = True) -> Any:  # noqa: ANN401 - any YAML value
    """Return the value of a YAML document.

    Args:
        text: the document.
        spaced: whether `{key:value}`, without a space, is refused; plain YAML takes it for one
            long key without a value. Otherwise it is read as it is meant: in a shell, a space would
            end the argument.

    Raises:
        YamlMistake: the text is no YAML, or has values of other kinds, equal keys, keys that are
            no plain values, or too many or too deeply nested values.
    """
    try:
        loader = _Loader(text) if spaced else _OverrideLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_extent(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise YamlMistake(problem, getattr(error, "problem_mark", None)) from error
    except RecursionError:
        raise YamlMistake("its values are nested too deeply", None) from None
    except (ValueError, OverflowError):  # of the scanner
        raise YamlMistake("an escape stands for no character", loader.get_mark()) from None


def _words_alone() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Return the forms of truth values and null, by their first character."""
    kept = (f"{_TAG}bool", f"{_TAG}null")
    return {
        first: [form for form in forms if form[0] in kept]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Loader(yaml.SafeLoader):
    """Reads the kinds of values that a configuration has."""

    # `SafeLoader` has more of both
    yaml_constructors: ClassVar[dict[Any, Any]] = {}
    yaml_implicit_resolvers = _words_alone()


class _OverrideLoader(_Loader):
    """Reads `{key:value}` as it is meant."""


def _mistake(problem: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)


def _check_extent(root: yaml.Node) -> None:
    """Refuse what would take very long or very deep, also by aliases of aliases."""
    extents: dict[int, tuple[int, int]] = {}
    entered: set[int] = set()

    def extent(node: yaml.Node) -> tuple[int, int]:
        """Return how many values a node stands for, and how deeply they are nested."""
        if id(node) in extents:
            return extents[id(node)]
        if id(node) in entered:
            raise _mistake("an alias stands inside of what it repeats", node)
        entered.add(id(node))
        inner = _inner(node)
        below = [extent(one) for one in inner]
        size = 1 + sum(size for size, _ in below)
        depth = 1 + max((depth for _, depth in below), default=0)
        if depth > _MOST_DEPTH:
            raise _mistake(f"its values are nested more than {_MOST_DEPTH} deep", node)
        if size > _MOST_VALUES:
            raise _mistake(f"it has more than {_MOST_VALUES:,} values", node)
        extents[id(node)] = size, depth
        return size, depth

    extent(root)


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _mapping(loader: _Loader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _mistake("expected a mapping, such as {key: value}", node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if _is_unspaced(key_node, value_node):
            if not isinstance(loader, _OverrideLoader):
                key, _, value = key_node.value.partition(":")
                raise _mistake(
                    f"{shown(key_node.value)} needs a space after the colon, {key}: {value}",
                    key_node,
                )
            key_node, value_node = _spaced(loader, key_node)
        key = _built(loader, key_node)
        if not isinstance(key, Hashable):
            raise _mistake("a key is a list or a mapping, expected a name or a number", key_node)
        if key in found:
            raise _mistake(f"the key {shown(key)} is given twice", key_node)
        found[key] = _built(loader, value_node)
    return found


def _sequence(loader: _Loader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise _mistake("expected a list, such as [1, 2]", node)
    return [_built(loader, inner) for inner in node.value]


def _built(loader: _Loader, node: yaml.Node) -> Any:  # noqa: ANN401 - any YAML value
    build: Any = loader.construct_object  # without types in PyYAML
    return build(node, deep=True)


def _is_unspaced(key: yaml.Node, value: yaml.Node) -> bool:
    """Return whether a key without a value is `key:value` in one word."""
    if not (isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)):
        return False
    is_bare = key.style is None and value.style is None and not value.value
    return is_bare and 0 < key.value.find(":") < len(key.value) - 1


def _spaced(loader: _Loader, node: yaml.ScalarNode) -> tuple[yaml.Node, yaml.Node]:
    """Return key and value of `key:value`."""
    resolve: Any = loader.resolve  # as above
    parts = node.value.partition(":")
    key, value = (
        yaml.ScalarNode(
            resolve(yaml.ScalarNode, part, (True, False)), part, node.start_mark, node.end_mark
        )
        for part in (parts[0], parts[2])
    )
    return key, value


def _scalar(node: yaml.Node, expected: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _mistake(f"expected {expected}", node)
    return str(node.value)


def _text(loader: _Loader, node: yaml.Node) -> str:
    text = _scalar(node, "a text")
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise _mistake(f"a text has {character!r}, which is no character", node)
    return text


def _whole(loader: _Loader, node: yaml.Node) -> int:
    text = _scalar(node, "a whole number")
    if not _WHOLE.fullmatch(text):
        raise _mistake(f"{shown(text)} is no whole number", node)
    if len(text) > _MOST_DIGITS:
        raise _mistake(f"a number has {len(text):,} digits", node)
    return int(text, 16 if "x" in text else 10)


def _float(loader: _Loader, node: yaml.Node) -> float:
    text = _scalar(node, "a number")
    digits = text.replace("_", "").lower()
    if digits.lstrip("+-") in (".inf", ".nan"):
        return float(digits.replace(".", ""))
    try:
        return float(digits)
    except ValueError:
        raise _mistake(f"{shown(text)} is no number", node) from None


def _truth(loader: _Loader, node: yaml.Node) -> bool:
    text = _scalar(node, "true or false")
    if text.lower() not in _TRUTHS:
        raise _mistake(f"{shown(text)} is neither true nor false", node)
    return _TRUTHS[text.lower()]


def _nothing(loader: _Loader, node: yaml.Node) -> None:
    if _scalar(node, "null").lower() not in ("", "~", "null"):
        raise _mistake("null has no value", node)


def _refused(loader: _Loader, node: yaml.Node) -> None:
    tag = node.tag.replace(_TAG, "!!")
    raise _mistake(f"{tag} is no kind of value here; write a list, a mapping, or a text", node)


_CONSTRUCTORS: dict[str | None, Any] = {
    f"{_TAG}{name}": build
    for name, build in {
        "map": _mapping,
        "seq": _sequence,
        "str": _text,
        "int": _whole,
        "float": _float,
        "bool": _truth,
        "null": _nothing,
    }.items()
} | {None: _refused}
for _name, _build in _CONSTRUCTORS.items():
    _Loader.add_constructor(_name, _build)
for _kind, _form in (("int", _WHOLE), ("float", _FLOAT)):
    _pattern = re.compile(f"(?:{_form.pattern})$")
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, list("-+0123456789."))

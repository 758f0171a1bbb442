"""Reads a YAML configuration, applies `a.b=c` overrides and reports every mistake at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from clso.config.schema import RunConfig
from clso.errors import ConfigError

__all__ = ["load_config", "with_overrides"]


# pydantic's words for what has plainer ones in a YAML file
_PLAIN = {
    "model_type": "expected a section with keys of its own; to keep its defaults, leave it out",
    "tuple_type": "expected a list, such as [1, 2]",
    "string_pattern_mismatch": "expected letters, digits, '.', '_' or '-', 64 at most",
}


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which plain YAML lets the last one win."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read one run's configuration.

    Args:
        path: a YAML file; its stem is the run's name unless the file has `name`.
        overrides: `a.b=value` in order, the value spelled as in YAML (`a=[1, 2]`).

    Raises:
        ConfigError: the file is missing, no YAML or no mapping, an override is malformed, or
            any field is wrong; all wrong fields are listed, each with its dotted path.
    """
    path = Path(path)
    values = _read_yaml(path)
    values.setdefault("name", path.stem)
    for override in overrides:
        _apply(values, override)
    return _validated(values, str(path), "correct the file, or the --set that gave the value")


def with_overrides(config: RunConfig, overrides: Mapping[str, Any], *, where: str) -> RunConfig:
    """Return a configuration with some values replaced.

    Args:
        config: stays as it is.
        overrides: by dotted path; values as plain as YAML gives them.
        where: what gave the overrides, for messages.

    Raises:
        ConfigError: a path that does not exist, or a value that is wrong.
    """
    values = config.model_dump()
    for path, value in overrides.items():
        _assign(values, path.split("."), value, f"{where}: {path}")
    return _validated(values, where, "correct the override")


def _validated(values: dict[str, Any], where: str, remedy: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [_describe(detail) for detail in _causes(error.errors())]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise ConfigError(
            f"{where}: {count} in the configuration\n" + "\n".join(f"  - {line}" for line in lines),
            remedy=remedy,
        ) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected a YAML file", remedy="name a file in it")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*.yaml")], cutoff=0.5
        )
        hint = f"did you mean {path.parent / near[0]}?" if near else "name an existing YAML file"
        raise ConfigError(f"there is no configuration {path}", remedy=hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read as text: {error}", remedy="save it as UTF-8"
        ) from error
    try:
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(
            f"{where} is not valid YAML: {problem}", remedy="correct the file there"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            f"{path} does not hold named sections, expected e.g. 'seed: 0'",
            remedy="see configs/quick.yaml for what a configuration looks like",
        )
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    dotted, separator, raw = override.partition("=")
    keys = dotted.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(
            f"--set {override!r} is malformed", remedy="write --set section.key=value"
        )
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {override!r}: the value is not valid YAML", remedy="quote it"
        ) from error
    _assign(values, keys, value, f"--set {override!r}")


def _assign(values: dict[str, Any], keys: Sequence[str], value: object, where: str) -> None:
    section = values
    for depth, key in enumerate(keys[:-1]):
        inner = section.get(key)
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{where}: {'.'.join(keys[: depth + 1])} is a value, not a section",
                remedy="set the value itself, or a key of another section",
            )
        section = inner
    section[keys[-1]] = value


def _causes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Drop "too short" where it only says that wrong items were not counted."""
    locations = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(
            len(at) > len(detail["loc"]) and at[: len(detail["loc"])] == detail["loc"]
            for at in locations
        )
    ]


def _describe(detail: ErrorDetails) -> str:
    location = detail["loc"]
    dotted = ".".join(str(part) for part in location) or "(whole file)"
    if detail["type"] == "extra_forbidden":
        known = _fields_of_section(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "known here: " + ", ".join(known)
        return f"{dotted}: unknown key; {hint}"
    if detail["type"] == "missing":
        return f"{dotted}: missing; add it"
    if detail["type"] in _PLAIN:
        message = _PLAIN[detail["type"]]
    else:
        message = detail["msg"].removeprefix("Value error, ")
    given = detail["input"]
    shown = "" if isinstance(given, dict | BaseModel) else f" (given {given!r})"
    return f"{dotted}: {message[0].lower()}{message[1:]}{shown}"


def _fields_of_section(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at a location knows, for the hint at a misspelt one."""
    sections: list[type[BaseModel]] = [RunConfig]
    for part in location:
        if isinstance(part, int):
            continue
        # A union's member stands in the location by its tag, without a field of that name.
        tagged = [s for s in sections if _tag(s) == part]
        sections = tagged or [
            inner
            for section in sections
            if part in section.model_fields
            for inner in _sections_in(section.model_fields[part].annotation)
        ]
    return sorted({name for section in sections for name in section.model_fields})


def _tag(section: type[BaseModel]) -> object:
    field = section.model_fields.get("family")
    return field.default if field else None


def _sections_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections_in(inner)]

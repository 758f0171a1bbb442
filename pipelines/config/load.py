"""Reading configurations: YAML files with overrides, every mistake reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clso.errors import ConfigError, shown
from pipelines.config.plain_yaml import YamlMistake, read_yaml
from pipelines.config.run import RunConfig, assign
from pipelines.config.shipped import config_path

__all__ = ["ConfigSource", "load_config", "parse_override", "read_config"]

ConfigSource = str | Path | Mapping[str, Any] | RunConfig
"""A YAML file, the name of a shipped one, sections as a mapping, or the configuration itself."""


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration as the command line gives it.

    Args:
        source: a YAML file, or the name of a shipped configuration such as `quick`. The file's
            stem is the run's name unless the file has `name`.
        overrides: `a.b=value` in order, the value spelled as in YAML (`a=[1, 2]`).

    Raises:
        ConfigError: the file is missing, no YAML or no mapping, no shipped configuration has the
            name, an override is malformed, or any field is wrong; all wrong fields are listed,
            each with its dotted path.
    """
    path = config_path(source)
    values = _read_yaml(path)
    for override in overrides:
        dotted, value = parse_override(override)
        assign(values, dotted.split("."), value, f"--set {shown(override)}")
    return RunConfig.parsed(values, str(path), "correct the file, or the --set that gave the value")


def read_config(source: ConfigSource, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a configuration as Python callers give it.

    Args:
        source: a YAML file, the name of a shipped configuration, a mapping of sections, or a
            configuration. A mapping without `name` is named `run`, a file by its stem.
        overrides: values that replace others, by dotted path.

    Raises:
        ConfigError: an argument of another type, or as for `load_config`.
    """
    if overrides is not None and not (
        isinstance(overrides, Mapping) and all(isinstance(path, str) for path in overrides)
    ):
        raise ConfigError(
            f"overrides is {shown(overrides)}, expected a mapping of dotted paths to values",
            remedy='write {"seed": 1, "data.train_tokens": 16000}',
        )
    if isinstance(source, RunConfig):
        return source.with_overrides(overrides, where="overrides") if overrides else source
    if isinstance(source, Mapping):
        values, where = _nested(source), "the mapping"
        values.setdefault("name", "run")
    elif isinstance(source, str | Path):
        file = config_path(source)
        values, where = _read_yaml(file), str(file)
    else:
        raise ConfigError(
            f"the configuration is of type {type(source).__name__}, expected the path of a YAML "
            "file, the name of a shipped configuration, a mapping of sections, or a RunConfig",
            remedy='give such as "quick" or "configs/quick.yaml"',
        )
    for path, value in (overrides or {}).items():
        assign(values, path.split("."), value, f"overrides: {path}")
    return RunConfig.parsed(values, where, "correct the value there, or in the overrides")


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with dictionaries, so that overrides do not change the caller's values."""
    return {
        key: _nested(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, expected a YAML file", remedy="name a file in it")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read as text: {error}", remedy="save it as UTF-8"
        ) from error
    try:
        values = read_yaml(text)
    except YamlMistake as error:
        where = f"{path}:{error.place}" if error.place else str(path)
        raise ConfigError(
            f"{where} is not valid YAML: {error.problem}", remedy="correct the file there"
        ) from error
    if values is None:
        values = {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            f"{path} does not hold named sections, expected e.g. 'seed: 0'",
            remedy="copy the shipped configurations with `clso init DIR`, and see quick.yaml",
        )
    values.setdefault("name", path.stem)
    return values


def parse_override(text: str) -> tuple[str, Any]:
    """Return the dotted path and the value of an override as the command line gives it.

    The value is YAML. In braces, a colon needs no space after it: `a={b:1,c:2}`.

    Raises:
        ConfigError: it is not of the form `a.b=value`, or the value is no YAML.
    """
    path, separator, raw = text.partition("=")
    if not separator or not all(path.strip().split(".")):
        raise ConfigError(
            f"--set {shown(text)} is not of the form section.key=value",
            remedy="write such as --set data.train_tokens=5000",
        )
    try:
        return path.strip(), read_yaml(raw, spaced=False)
    except YamlMistake as error:
        raise ConfigError(
            f"--set {shown(text)}: the value is not valid YAML: {error.problem}",
            remedy="close its brackets, or quote it",
        ) from error

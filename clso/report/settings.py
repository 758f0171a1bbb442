"""The report's last section: the command that makes a run again, its machine and configuration."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from clso.artifacts import Run
from clso.report.html import Block, ReportSection

__all__ = ["CONFIG_FILE", "config_yaml", "settings_section"]

CONFIG_FILE = "config.yaml"
"""The whole configuration, which a report is written with."""


def settings_section(
    run: Run,
    command: str = "run",
    pairs: Sequence[tuple[str, str]] = (),
    *,
    options: Sequence[str] = (),
) -> ReportSection:
    """Return the command that makes a run again, then `pairs`, seed, host and configuration.

    `command` is the word of the command, such as `tune`, and `options` are its own.
    """
    manifest = run.manifest
    versions = ", ".join(
        f"{name} {version}" for name, version in manifest.get("versions", {}).items()
    )
    seed = {"seed": manifest["seed"]} if "seed" in manifest else {}
    host = {**seed, **manifest.get("host", {}), "versions": versions or "not recorded"}
    return ReportSection(
        "Settings and machine",
        [
            f"This command makes it again. It reuses what is finished; with --fresh, it begins "
            f"anew. {CONFIG_FILE} lies beside this page and holds the whole configuration.",
            Block("command", _command(run, [command, *options])),
            Block("pairs", [*pairs, *((name, str(value)) for name, value in host.items())]),
            Block("details", ("The whole configuration", config_yaml(run))),
        ],
    )


def config_yaml(run: Run) -> str:
    """Return the whole configuration of a run as YAML that `clso` reads."""
    return yaml.safe_dump(run.config, sort_keys=False, default_flow_style=None, width=88)


def _command(run: Run, command: Sequence[str]) -> str:
    """Return the command as typed in the folder where the report is written."""
    path, here = run.path.resolve(), Path.cwd()
    out = path.parent.parent
    word, *options = command
    words = ["clso", word, _shown(path / CONFIG_FILE, here), *options]
    if out != here / "artifacts":
        words += ["--out", _shown(out, here)]
    return shlex.join(words)


def _shown(path: Path, here: Path) -> str:
    return str(path.relative_to(here) if path.is_relative_to(here) else path)

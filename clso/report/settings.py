"""The report's last section: the command that makes a run again, its machine and configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clso.artifacts import Run
from clso.report.html import Block, ReportSection

__all__ = ["CONFIG_FILE", "config_yaml", "settings_section"]

CONFIG_FILE = "config.yaml"
"""The whole configuration, which a report is written with."""


def settings_section(
    run: Run,
    commands: Sequence[Sequence[str]] | None = None,
    pairs: Sequence[tuple[str, str]] = (),
) -> ReportSection:
    """Return the commands that make a run again, then `pairs`, seed, host and configuration.

    A command is its word and its options, such as `["tune", "--trials", "40"]`; `None`: those of
    the run and its studies.
    """
    if commands is None:
        commands = list(_commands(run))
    manifest = run.manifest
    versions = ", ".join(
        f"{name} {version}" for name, version in manifest.get("versions", {}).items()
    )
    seed = {"seed": manifest["seed"]} if "seed" in manifest else {}
    host = {**seed, **manifest.get("host", {}), "versions": versions or "not recorded"}
    return ReportSection(
        "Settings and machine",
        [
            f"How to make this again. {CONFIG_FILE} lies beside this page and holds the whole "
            "configuration. What is finished is reused; with --fresh, clso run and clso tune begin "
            "anew.",
            Block("command", "\n".join(_typed(run, command) for command in commands)),
            Block("pairs", [*pairs, *((name, str(value)) for name, value in host.items())]),
            Block("details", ("The whole configuration", config_yaml(run))),
        ],
    )


def config_yaml(run: Run) -> str:
    """Return the whole configuration of a run as YAML that `clso` reads."""
    return yaml.safe_dump(run.config, sort_keys=False, default_flow_style=None, width=88)


def _commands(run: Run) -> Iterator[list[str]]:
    """Yield the commands that made the tables of a run."""
    studies = list(_study_commands(run.manifest))
    if run.has("results") or not studies:
        yield ["run"]
    yield from studies


def _study_commands(manifest: Mapping[str, Any]) -> Iterator[list[str]]:
    for word, note_name in (("ablate", "ablations"), ("savings", "savings")):
        for family, note in manifest.get(note_name, {}).items():
            yield [word, *_options(family=family, seeds=note["seeds"]), *_budgets(note)]
    if rivals := manifest.get("rivals"):
        options = _options(family=rivals["family"], seeds=rivals["seeds"])
        # budgets that were not asked for follow from the study, and would be another study
        yield ["rivals", *options, *_budgets(rivals, "asked_evaluations")]
    for family, note in manifest.get("pareto", {}).items():
        objectives, search = ",".join(note["objectives"]), note["search"]
        sizes = {name: search[name] for name in ("generations", "population")}
        yield ["pareto", *_options(family=family, objectives=objectives, **sizes)]
    for family, note in manifest.get("transfer", {}).items():
        ends = zip(("from", "to"), zip(*note["pairs"], strict=True), strict=True)
        texts = [word for end, names in ends for word in _repeated(end, names)]
        yield ["transfer", *texts, *_options(family=family, seeds=note["seeds"])]
    for word in ("multitask", "continual"):
        for family, note in manifest.get(word, {}).items():
            own = {name: note[name] for name in ("share", "seeds") if name in note}
            yield [word, *_repeated("text", note["texts"]), *_options(family=family, **own)]


def _repeated(option: str, values: Iterable[str]) -> list[str]:
    """Return an option once for each distinct value."""
    return [word for value in dict.fromkeys(values) for word in _options(**{option: value})]


def _budgets(note: Mapping[str, Any], asked: str = "evaluations") -> list[str]:
    budgets = note.get(asked, note["evaluations"])
    every = budgets if isinstance(budgets, list) else [budgets]
    return [word for budget in every for word in _options(evaluations=budget)]


def _options(**values: object) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def _typed(run: Run, command: Sequence[str]) -> str:
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

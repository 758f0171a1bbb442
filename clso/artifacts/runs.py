"""All stored runs as one table: flattened configurations and results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from clso.artifacts.run import Run
from clso.artifacts.schemas import schema
from clso.errors import ArtifactError

__all__ = ["load_runs", "run_rows"]

_RUN_COLUMNS = ("run_id", "name", "seed", "status", "error", "stages", "path")
_IDENTITY = ("run_id", "seed", "model")


def load_runs(out: str | Path) -> pa.Table:
    """Return a row per stored run, the oldest first.

    `out` is the output folder (`artifacts`), or the folder of the runs in it. The columns are
    `run_id`, `name`, `seed`, `status`, `error`, `stages`, `path`; then the configuration with
    dotted names (`search.population`), lists as JSON; then the results of each model
    (`mixture.test_loss`, in nats per token; `mixture.energy_j`). A value that a run lacks is null.
    `status` is `finished`, `unfinished` (there are no results, or a stage is not done) or
    `damaged`, with the reason in `error`. A folder without a manifest is not a run.
    """
    rows = run_rows(out)
    settings = dict.fromkeys(name for row in rows for name in row["config"])
    columns = {name: _array([row.get(name) for row in rows]) for name in _RUN_COLUMNS}
    for name in settings:
        if name not in columns:
            columns[name] = _array([row["config"].get(name) for row in rows])
    models = dict.fromkeys(model for row in rows for model in row["results"])
    for model in models:
        for field in schema("results"):
            if field.name not in _IDENTITY:
                values = [row["results"].get(model, {}).get(field.name) for row in rows]
                columns[f"{model}.{field.name}"] = pa.array(values, field.type)
    return pa.table(columns)


def run_rows(out: str | Path) -> list[dict[str, Any]]:
    """Return the values of `load_runs` as they are stored, the oldest run first.

    Besides its columns there are `config` with dotted names, `results` by model, and the
    `manifest`; a damaged run may lack all three. Of many runs this takes much less time than their
    table.
    """
    root = Path(out)
    return [_row(path) for path in Run.folders(root / "runs" if (root / "runs").is_dir() else root)]


def _row(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run_id": path.name, "path": str(path), "config": {}, "results": {}}
    row |= dict.fromkeys(("error", "stages"), None) | {"manifest": {}}
    try:
        run = Run(path)
        stages = run.manifest.get("stages", {})
        row |= {
            "run_id": run.run_id,
            "name": run.config.get("name"),
            "seed": run.config.get("seed", run.manifest.get("seed")),
            "status": "unfinished",
            "stages": _stages(stages),
            "config": dict(_flat(run.config)),
            "manifest": run.manifest,
        }
        if run.has("results"):
            row["results"] = {result["model"]: result for result in run.results.to_pylist()}
            if all(stage["status"] == "done" for stage in stages.values()):
                row["status"] = "finished"
    except ArtifactError as error:
        row |= {"status": "damaged", "error": error.message}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f"{path / 'manifest.json'} is not the manifest of a run: {error!r}"
        row |= {"status": "damaged", "error": reason}
    return row


def _stages(stages: Mapping[str, Any]) -> str:
    if stages and all(stage["status"] == "done" for stage in stages.values()):
        return f"{len(stages)} done"
    return ", ".join(f"{name} {stage['status']}" for name, stage in stages.items())


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value


def _array(values: Sequence[Any]) -> pa.Array:
    """Return an array of the values' type; int and float become float, other mixtures text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array(values, pa.float64())
    if len(kinds) > 1:
        values = [_as_text(value) for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError):  # a number of 100 digits
        return pa.array([_as_text(value) for value in values])


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="replace").decode()

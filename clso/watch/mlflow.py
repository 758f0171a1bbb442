"""Curves and files in MLflow's store."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clso.addresses import without_password
from clso.errors import ConfigError, first_line
from clso.watch.reader import Points
from clso.watch.tracker import Tracker, missing_extra

__all__ = ["MlflowTracker"]

_EXPERIMENT = "clso"
_NAME, _OWN, _PARENT = "mlflow.runName", "clso.run", "mlflow.parentRunId"
_LONGEST = 500  # characters of a parameter, which MLflow limits to 6,000
_MOST_PARAMS, _MOST_METRICS = 100, 1000  # of one call


class MlflowTracker(Tracker):
    """Logs a run and, nested in it, a run for each of its parts.

    A run that the store has under this name goes on: values that it has already are not logged
    again.

    Args:
        name: of the run.
        store: a text is a tracking URI, as MLflow reads it. A `Path` is a folder, whose `mlflow.db`
            is the store and in which files are kept. `None`: what `MLFLOW_TRACKING_URI` says, or
            the folder `mlflow`.
        experiment: that the runs belong to.

    Raises:
        ConfigError: MLflow is not installed, or the store cannot be opened.
    """

    def __init__(
        self, name: str, store: str | Path | None = None, *, experiment: str = _EXPERIMENT
    ) -> None:
        if store is None:
            store = os.environ.get("MLFLOW_TRACKING_URI") or Path("mlflow")
        files = None
        if isinstance(store, Path):
            folder = store.resolve()
            folder.mkdir(parents=True, exist_ok=True)
            store, files = f"sqlite:///{folder / 'mlflow.db'}", (folder / "files").as_uri()
        self._name = name
        self._runs: dict[str, str] = {}
        self._logged: dict[str, set[tuple[str, int]]] = {}
        self._waiting: dict[str, list[Any]] = {}
        with _quiet():
            try:
                from mlflow import MlflowClient
            except ModuleNotFoundError as error:
                raise missing_extra("MLflow", "mlflow") from error
            try:
                self._client = MlflowClient(tracking_uri=store)
                found = self._client.get_experiment_by_name(experiment)
                self._experiment = (
                    self._client.create_experiment(experiment, artifact_location=files)
                    if found is None
                    else found.experiment_id
                )
                self._begin("", {})
            except Exception as error:  # each kind of store raises the errors of its own library
                shown = without_password(str(store))
                reason = first_line(error).replace(str(store), shown)
                raise ConfigError(
                    f"MLflow's store {shown} cannot be opened: {reason}",
                    remedy="give the URI of a store that is there; a folder is a pathlib.Path, or "
                    "runtime.tracking.folder of a configuration",
                ) from error

    def log_settings(self, settings: Mapping[str, str]) -> None:
        """Log the configuration as parameters."""
        with _quiet():
            self._log_params(self._begin("", {}), settings)

    def log_points(self, points: Points) -> None:
        """Log values of curves as metrics, at the next `flush`."""
        with _quiet():
            from mlflow.entities import Metric

            run = self._begin(points.part, points.settings)
            now = int(time.time() * 1000)
            self._waiting.setdefault(run, []).extend(
                Metric(_key(name), value, now, points.step)
                for name, value in points.values.items()
                if (_key(name), points.step) not in self._logged[run]
            )

    def log_file(self, path: Path) -> None:
        """Copy a file into the run's artifacts."""
        with _quiet():
            folder = path.parent.name if path.suffix == ".svg" else None
            self._client.log_artifact(self._runs[""], str(path), folder)

    def flush(self) -> None:
        """Write the metrics that wait."""
        waiting, self._waiting = self._waiting, {}
        with _quiet():
            for run, metrics in waiting.items():
                for start in range(0, len(metrics), _MOST_METRICS):
                    self._client.log_batch(run, metrics=metrics[start : start + _MOST_METRICS])

    def close(self, *, failed: bool = False) -> None:
        """End the run and its parts."""
        self.flush()
        with _quiet():
            for run in self._runs.values():
                self._client.set_terminated(run, "FAILED" if failed else "FINISHED")

    def _begin(self, part: str, settings: Mapping[str, str]) -> str:
        """Return the id of a part's run, which goes on if it is there."""
        if part in self._runs:
            return self._runs[part]
        own = f"{self._name}/{part}" if part else self._name
        found = self._client.search_runs(
            [self._experiment], f"tags.`{_OWN}` = '{own.replace(chr(39), '')}'", max_results=1
        )
        if found:
            run = str(found[0].info.run_id)
            self._client.update_run(run, status="RUNNING")
            self._logged[run] = {
                (name, metric.step)
                for name in found[0].data.metrics
                for metric in self._client.get_metric_history(run, name)
            }
        else:
            tags = {_OWN: own.replace("'", ""), _NAME: part or self._name}
            if part:
                tags[_PARENT] = self._runs[""]
            run = str(self._client.create_run(self._experiment, tags=tags).info.run_id)
            self._logged[run] = set()
            self._log_params(run, settings)
        self._runs[part] = run
        return run

    def _log_params(self, run: str, settings: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(run).data.params
        params = [
            Param(_key(name), value[:_LONGEST])
            for name, value in settings.items()
            if _key(name) not in known
        ]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run, params=params[start : start + _MOST_PARAMS])


def _key(name: str) -> str:
    """Return a name of the characters that MLflow allows."""
    return "".join(char if char.isalnum() or char in "_-. /" else "_" for char in name)


@contextmanager
def _quiet() -> Iterator[None]:
    # MLflow's store warns of what its own libraries deprecate, and tells that it makes its tables
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

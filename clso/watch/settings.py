"""Where a run's curves go while it works."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from clso.addresses import Address, lacks_password
from clso.errors import ConfigError
from clso.section import Section
from clso.watch.tracker import Tracker

__all__ = ["TrackerKind", "TrackingSettings"]

TrackerKind = Literal["tensorboard", "mlflow"]


class TrackingSettings(Section):
    """The programs that a run's curves go to.

    Attributes:
        to: TensorBoard's event files, MLflow's store, both or none.
        folder: of both; `None`: in the output folder, `tensorboard/` and `mlflow/`.
        mlflow_uri: tracking URI of MLflow's store, instead of a folder.
    """

    to: tuple[TrackerKind, ...] = ()
    folder: str | None = None
    mlflow_uri: Address | None = None

    def open(self, name: str, out: Path) -> list[Tracker]:
        """Open the trackers of a run.

        Args:
            name: of the run.
            out: the output folder.

        Raises:
            ConfigError: a package is not installed, a store cannot be opened, or the password of
                its address is missing.
        """
        if "mlflow" in self.to and self.mlflow_uri and lacks_password(self.mlflow_uri):
            raise ConfigError(
                f"runtime.tracking.mlflow_uri is {self.mlflow_uri}: its password is never stored",
                remedy="give the whole URI with --set runtime.tracking.mlflow_uri=..., or leave "
                "user and password to MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            )
        folder = out if self.folder is None else Path(self.folder)
        trackers: list[Tracker] = []
        for kind in dict.fromkeys(self.to):
            if kind == "tensorboard":
                from clso.watch.tensorboard import TensorBoardTracker

                trackers.append(TensorBoardTracker(folder / "tensorboard" / name))
            else:
                from clso.watch.mlflow import MlflowTracker

                store = folder / "mlflow" if self.mlflow_uri is None else self.mlflow_uri
                trackers.append(MlflowTracker(name, store))
        return trackers

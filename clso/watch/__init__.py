"""Runs watched from outside, by what they have written: TensorBoard and MLflow.

A run writes a part of its tables after every generation and training. `RunReader` reads what is new
there, and a `Tracker` passes it on. The search knows nothing of it, so runs in progress and
finished ones are watched alike:

    forward(RunReader("artifacts/runs/<run_id>"), TensorBoardTracker("artifacts/tensorboard/mine"))

A search of one's own takes a tracker as a callback:

    with TensorBoardTracker("artifacts/tensorboard/mine") as tracker:
        minimize(loss, [8] * 12, evaluations=400, callbacks=[tracker.log_generation])
"""

from clso.watch.follow import following, forward
from clso.watch.mlflow import MlflowTracker
from clso.watch.reader import Points, RunReader
from clso.watch.settings import TrackerKind, TrackingSettings
from clso.watch.tensorboard import TensorBoardTracker
from clso.watch.tracker import Tracker

__all__ = [
    "MlflowTracker",
    "Points",
    "RunReader",
    "TensorBoardTracker",
    "Tracker",
    "TrackerKind",
    "TrackingSettings",
    "following",
    "forward",
]

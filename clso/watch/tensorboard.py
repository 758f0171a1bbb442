"""Curves as TensorBoard's event files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clso.artifacts import remove
from clso.watch.reader import Points
from clso.watch.tracker import Tracker, missing_extra

__all__ = ["TensorBoardTracker"]

_RUN = "."
_SUFFIX = ".clso"  # tells our event files from those of other programs
_FORBIDDEN = str.maketrans({"/": "-", "\\": "-", ":": "-"})


class TensorBoardTracker(Tracker):
    """Writes event files: one folder for the run, one below it for each of its parts.

    Where a curve is logged, the event files of earlier trackers are replaced, because everything is
    logged again from a run's artifacts. Those of other programs stay.

    Args:
        folder: of the event files; `tensorboard --logdir` takes it, or a folder above it.

    Raises:
        ConfigError: TensorBoard is not installed.
        ArtifactError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ModuleNotFoundError as error:
            raise missing_extra("TensorBoard", "tensorboard") from error
        self._new_writer = EventFileWriter
        self._folder = Path(folder)
        self._writers: dict[str, Any] = {}

    def log_settings(self, settings: Mapping[str, str]) -> None:
        """Write the configuration as a text."""
        lines = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
        self._text("configuration", f"| setting | value |\n|---|---|\n{lines}")

    def log_points(self, points: Points) -> None:
        """Write values of curves."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value) for name, value in points.values.items()
        ]
        self._add(points.part or _RUN, Summary(value=values), points.step)

    def log_file(self, path: Path) -> None:
        """Do nothing: event files hold no files."""

    def flush(self) -> None:
        """Write what is buffered."""
        for writer in self._writers.values():
            writer.flush()

    def close(self, *, failed: bool = False) -> None:
        """Close the event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self._add(_RUN, Summary(value=[value]), 0)

    def _add(self, part: str, summary: Any, step: int) -> None:  # noqa: ANN401 - has no types
        from tensorboard.compat.proto.event_pb2 import Event

        if part not in self._writers:
            folder = self._folder / part.translate(_FORBIDDEN)
            for path in sorted(folder.glob(f"events.out.tfevents.*{_SUFFIX}")):
                remove(path)
            self._writers[part] = self._new_writer(str(folder), filename_suffix=_SUFFIX)
        self._writers[part].add_event(Event(wall_time=time.time(), step=step, summary=summary))

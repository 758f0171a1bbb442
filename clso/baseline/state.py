"""The state that an interrupted trial resumes from.

One safetensors file holds tensors and, as JSON in its header, the progress. So weights, moments and
step always belong together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from clso.artifacts import atomic_write_bytes
from clso.energy import Measurement
from clso.errors import ArtifactError

__all__ = ["Progress"]

_HEADER = "clso"
_MEASURED = ("training", "validation")


@dataclass
class Progress:
    """The progress of a trial.

    Attributes:
        step: number of steps taken.
        rows: its rows of the table `baseline` so far, without the columns that name the trial.
        best_step: the step with the lowest validation loss.
        best_loss: that loss; `None` before the first.
        training: time and energy of the steps.
        validation: time and energy of the validation losses.
        diverged: a loss was not finite, and the trial has ended.
        threads: cores that it began with; a resumed trial goes on with as many.
    """

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    best_loss: float | None = None
    training: Measurement = field(default_factory=lambda: Measurement(0.0))
    validation: Measurement = field(default_factory=lambda: Measurement(0.0))
    diverged: bool = False
    threads: int = field(default_factory=torch.get_num_threads)

    def save(self, path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the progress with tensors as one file, whole or not at all.

        Raises:
            ArtifactError: the file cannot be written.
        """
        record = asdict(self)
        record |= {name: getattr(self, name).to_record() for name in _MEASURED}
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        atomic_write_bytes(path, save(contiguous, {_HEADER: json.dumps(record, allow_nan=False)}))

    @classmethod
    def load(
        cls, path: Path, device: str | torch.device = "cpu"
    ) -> tuple[Self, dict[str, torch.Tensor]] | None:
        """Read what `save` wrote; `None` if there is no such file.

        Raises:
            ArtifactError: the file is damaged.
        """
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                record = json.loads((file.metadata() or {})[_HEADER])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            record |= {name: Measurement.from_record(record[name]) for name in _MEASURED}
            return cls(**record), tensors
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the training state {path} is damaged: {error}",
                remedy="delete it; the trial starts again",
            ) from error

"""What an interrupted trial resumes from, and what a finished one leaves.

One safetensors file holds tensors and, in its header, the JSON beside them, so that weights,
moments and step can never be of different moments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from clso.artifacts import atomic_write_bytes
from clso.energy import Measurement
from clso.errors import ArtifactError

__all__ = ["Progress", "read_tensors", "write_tensors"]

_HEADER = "clso"


@dataclass
class Progress:
    """How far a trial has come.

    Attributes:
        step: steps taken.
        rows: its rows of the `baseline` table so far, without the columns that name the trial.
        best_step: the step with the lowest validation loss.
        best_loss: that loss; `None` before the first.
        training: what the steps took.
        validation: what the validation losses took.
        diverged: a loss was not finite, and the trial is over.
    """

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    best_loss: float | None = None
    training: Measurement = field(default_factory=lambda: Measurement(0.0))
    validation: Measurement = field(default_factory=lambda: Measurement(0.0))
    diverged: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON values; `from_record` is its inverse."""
        return {
            **asdict(self),
            "training": self.training.to_record(),
            "validation": self.validation.to_record(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Progress:
        """Rebuild from `to_record`."""
        measured = {
            name: Measurement.from_record(record[name]) for name in ("training", "validation")
        }
        return cls(**{**record, **measured})


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], record: object) -> None:
    """Write tensors and a JSON value as one file, whole or not at all.

    Raises:
        ArtifactError: the file cannot be written.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    atomic_write_bytes(path, save(contiguous, {_HEADER: json.dumps(record, allow_nan=False)}))


def read_tensors(
    path: Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, torch.Tensor], Any] | None:
    """Read what `write_tensors` wrote; `None` if there is no such file.

    Raises:
        ArtifactError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            record = json.loads((file.metadata() or {})[_HEADER])
            return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ArtifactError(
            f"the training state {path} is damaged: {error}",
            remedy="delete it; the trial starts again",
        ) from error

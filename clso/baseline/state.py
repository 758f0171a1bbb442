"""The state that an interrupted trial resumes from, and weights that a trial leaves.

One safetensors file holds tensors and, as JSON in its header, the progress. So weights, moments and
step always belong together. The file is sealed, and says whose it is.
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

from clso.artifacts.seal import PLACEHOLDER, Sealed, check_belongs_to, mapped
from clso.artifacts.store import atomic_write_sealed
from clso.energy import Measurement
from clso.errors import DamageError

__all__ = ["Progress", "read_tensors", "write_tensors"]

_HEADER = "clso"
_REMEDY = "delete it; the trial starts again"
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
        """Write the progress with tensors as one file, named after the trial, whole or not at all.

        Raises:
            ArtifactError: the file cannot be written.
        """
        record = asdict(self)
        record |= {name: getattr(self, name).to_record() for name in _MEASURED}
        header = {_HEADER: json.dumps(record, allow_nan=False)}
        write_tensors(path, tensors, header, belongs_to=path.stem)

    @classmethod
    def load(
        cls, path: Path, device: str | torch.device = "cpu"
    ) -> tuple[Self, dict[str, torch.Tensor]] | None:
        """Read what `save` wrote; `None` if there is no such file.

        Raises:
            ArtifactError: the file is damaged, or another trial's.
        """
        if not path.exists():
            return None
        header, tensors = read_tensors(path, belongs_to=path.stem, device=device)
        try:
            record = json.loads(header[_HEADER])
            record |= {name: Measurement.from_record(record[name]) for name in _MEASURED}
            return cls(**record), tensors
        except (KeyError, TypeError, ValueError) as error:
            raise DamageError(
                f"the training state {path} is damaged: {error}", remedy=_REMEDY
            ) from error


def write_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    header: Mapping[str, str] | None = None,
    *,
    belongs_to: str,
) -> None:
    """Write tensors and texts of the header as safetensors, sealed, whole or not at all.

    Raises:
        ArtifactError: the file cannot be written.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    texts = {**(header or {}), "belongs_to": belongs_to, "seal": PLACEHOLDER}
    atomic_write_sealed(path, save(contiguous, texts))


def read_tensors(
    path: Path, *, belongs_to: str, device: str | torch.device = "cpu", remedy: str = _REMEDY
) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Read the header and the tensors that `write_tensors` wrote.

    Raises:
        DamageError: the file is missing or damaged, or belongs to another trial.
    """
    try:
        Sealed(path, mapped(path), remedy).check()
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamageError(f"{path} is damaged: {error}", remedy=remedy) from error
    check_belongs_to(path, header.get("belongs_to"), belongs_to, remedy)
    return header, tensors

"""The optimizers that train a network: AdamW alone, or Muon for the matrices inside it.

Muon orthogonalises the momentum of a matrix (Jordan et al. 2024). Its step is scaled to the size of
AdamW's (Liu et al. 2025), so that both share one learning rate. Embeddings, readout and vectors
stay with AdamW.
"""

from __future__ import annotations

from typing import Literal

import torch

from clso.baseline.trainable import Trainable
from clso.errors import ConfigError

__all__ = ["OptimizerKind", "check_optimizer", "make_optimizers"]

OptimizerKind = Literal["adamw", "muon"]


def check_optimizer(kind: OptimizerKind) -> None:
    """Check that PyTorch has an optimizer.

    Raises:
        ConfigError: it has not.
    """
    if kind == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"the optimizer is muon, which PyTorch {torch.__version__} does not have",
            remedy="install torch 2.9 or newer, or choose the optimizer adamw",
        )


def make_optimizers(
    network: Trainable,
    kind: OptimizerKind,
    *,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers by name; together they have every parameter of the network once.

    `weight_decay` is that of matrices and embeddings, not of vectors; `betas` are AdamW's.

    Raises:
        ConfigError: PyTorch has no such optimizer.
    """
    check_optimizer(kind)
    inside = network.matrices() if kind == "muon" else []
    apart = {id(parameter) for parameter in inside}
    rest = [p for p in network.model.parameters() if id(p) not in apart]
    made: dict[str, torch.optim.Optimizer] = {
        "optimizer": torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
                {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
            ],
            betas=betas,
            fused=True,
        )
    }
    if inside:
        made["muon"] = torch.optim.Muon(
            inside, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
    return made

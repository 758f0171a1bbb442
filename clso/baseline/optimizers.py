"""The optimizers that train a network: AdamW alone, or Muon for the matrices inside it.

Muon orthogonalises the momentum of a matrix (Jordan et al. 2024). Its step is scaled to the size of
AdamW's (Liu et al. 2025), so that both share one learning rate. Embeddings, readout and vectors
stay with AdamW. On a CPU the orthogonalisation is computed in the precision of the parameters:
PyTorch's is in bfloat16, which processors without units for it emulate at some fifteen times the
cost.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from clso.baseline.trainable import GradientModel
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
    network: GradientModel,
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
        is_on_cpu = network.device.type == "cpu"
        muon = _precise_muon() if is_on_cpu else torch.optim.Muon
        made["muon"] = muon(inside, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return made


def _precise_muon() -> type[torch.optim.Muon]:
    """Return Muon in the precision of the parameters; its state is that of PyTorch's."""

    class PreciseMuon(torch.optim.Muon):
        @torch.no_grad()
        def step(self) -> None:  # type: ignore[override]  # closures are for line searches
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, parameter.grad, group)

        def _update(
            self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]
        ) -> None:
            state, momentum = self.state[parameter], group["momentum"]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            direction = gradient.lerp(mean, momentum) if group["nesterov"] else mean
            scale = 0.2 * max(parameter.shape) ** 0.5  # the root mean square of AdamW's steps
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(_orthogonal(direction, group), alpha=-group["lr"] * scale)

    return PreciseMuon


def _orthogonal(matrix: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    """Return about the nearest matrix with singular values 1, by Newton-Schulz iterations."""
    a, b, c = group["ns_coefficients"]
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / x.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x

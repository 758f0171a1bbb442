"""One step of training: gradients, their largest norm, the optimizers' update."""

from __future__ import annotations

import torch

from clso.baseline.optimizers import OptimizerKind, make_optimizers
from clso.baseline.trainable import GradientModel

__all__ = ["TrainingStep", "seed_dropout"]


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the random numbers of dropout on a device, as `torch.manual_seed` does.

    That function also prepares a seed for each kind of device that is not there, with a traceback,
    in a millisecond.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


class TrainingStep:
    """A network, updated in place, with its optimizers.

    Args:
        weight_decay: of matrices and embeddings, not of vectors.
        grad_clip: largest norm of the whole gradient; it is clipped only if it is larger.
        betas: AdamW's.

    Raises:
        ConfigError: PyTorch has no such optimizer.
    """

    def __init__(
        self,
        network: GradientModel,
        *,
        weight_decay: float,
        grad_clip: float,
        optimizer: OptimizerKind = "adamw",
        betas: tuple[float, float] = (0.9, 0.95),
    ) -> None:
        self.network = network
        self.optimizers = make_optimizers(
            network, optimizer, weight_decay=weight_decay, betas=betas
        )
        self._parameters = list(network.model.parameters())
        self._grad_clip = grad_clip

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor, lr: float) -> float:
        """Take one step at rate `lr`; return the mean loss before it, nats."""
        loss = self.network.gradients(inputs, targets)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if norm > self._grad_clip:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._grad_clip, norm)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        return loss

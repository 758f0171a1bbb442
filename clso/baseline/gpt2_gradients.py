"""The gradients of a GPT-2: exact, and fast on a processor without a compiler.

The result equals that of `model(input_ids, labels=...)`. Two things make it faster. The
cross-entropy is tiled. The readout writes the whole gradient of the tied embedding, and the rows of
the inputs are added in place; autograd would add two `(V, d)` arrays.
"""

from __future__ import annotations

import torch
from transformers import GPT2LMHeadModel

from clso.baseline.cross_entropy import TiledCrossEntropy

__all__ = ["Gpt2Gradients"]


class Gpt2Gradients:
    """Sets the gradients of a GPT-2, its head tied or not."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        self.model = model
        self._parameters = list(model.parameters())
        self._embedding = model.transformer.wte.weight
        self._readout = model.lm_head.weight
        self._cross_entropy = TiledCrossEntropy(
            self._embedding.shape[0], device=self._embedding.device
        )

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Set every parameter's `grad` from blocks `(B, T)`; return the mean loss in nats."""
        embedding, readout = self._embedding, self._readout
        if readout.grad is None:
            readout.grad = torch.empty_like(readout)
        embedded = torch.nn.functional.embedding(inputs, embedding.detach()).requires_grad_()
        hidden = self.model.transformer(inputs_embeds=embedded, use_cache=False).last_hidden_state
        width = hidden.shape[-1]
        loss, hidden_gradient = self._cross_entropy(
            hidden.view(-1, width), readout.detach(), targets.reshape(-1), readout.grad
        )
        for parameter in self._parameters:
            if parameter is not readout:
                parameter.grad = None
        hidden.backward(hidden_gradient.view_as(hidden))
        assert embedded.grad is not None
        if embedding.grad is None:
            embedding.grad = torch.zeros_like(embedding)
        embedding.grad.index_add_(0, inputs.reshape(-1), embedded.grad.view(-1, width))
        return float(loss)

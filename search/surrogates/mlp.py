"""The write-up's surrogate: an embedding per gene and a 3-layer perceptron.

Notation: n genomes of L genes; M ensemble members; E numbers per embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.adamw import adamw

from clso.genome import Genome, GenomeSpace
from clso.threads import one_thread
from search.surrogates.interface import FloatArray

__all__ = ["FitnessPredictor", "MlpSurrogate"]

_EMBEDDING, _HIDDEN = 8, 32
_STEPS = 40  # of AdamW, each over all genomes
_LEARNING_RATE = 2e-2  # falls linearly to zero
_WEIGHT_DECAY = 2.0


class FitnessPredictor(nn.Module):
    r"""An ensemble of M networks: an embedding per gene and a 3-layer perceptron.

    .. math:: y_m(g) = w_3 \cdot \phi(W_2\, \phi(W_1 [e_1(g_1); \dots; e_L(g_L)] + b_1) + b_2) + b_3

    with phi = GELU. Each member has weights of its own; all members are computed together. Genes
    that together pick a set share one table, and their embeddings are summed.

    Args:
        cardinalities: options per gene, `(L,)`.
        exchangeable: the genes that pick a set.
        members: number of networks, M.
        embedding: numbers per gene, E.
        hidden: width of both hidden layers.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        exchangeable: Sequence[int] = (),
        members: int,
        embedding: int,
        hidden: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        options = sum(cardinalities)
        starts = np.cumsum([0, *cardinalities[:-1]])
        self.exchangeable = list(exchangeable)
        self.own = [gene for gene in range(len(cardinalities)) if gene not in set(exchangeable)]
        if self.exchangeable:
            starts[self.exchangeable] = starts[self.exchangeable[0]]
        # (M, 1, L): member m's row of gene i's option 0 in the flat table
        rows = torch.as_tensor(starts) + options * torch.arange(members)[:, None, None]
        self.register_buffer("rows", rows)
        self.table = self._weight((members * options, embedding), 1.0, generator)
        inputs = len(self.own) + bool(self.exchangeable)
        widths = (inputs * embedding, hidden, hidden, 1)
        self.weights = nn.ParameterList(
            self._weight((members, width, outputs), width**-0.5, generator)
            for width, outputs in pairwise(widths)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(members, 1, outputs)) for outputs in widths[1:]
        )

    @staticmethod
    def _weight(shape: tuple[int, ...], std: float, generator: torch.Generator) -> nn.Parameter:
        return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float32) * std)

    def forward(self, genomes: torch.Tensor) -> torch.Tensor:
        """Return the members' outputs for genomes `(n, L)` int64, `(M, n)`."""
        assert isinstance(self.rows, torch.Tensor)
        rows = genomes + self.rows  # (M, n, L)
        # the backward pass of `embedding` is several times slower on the CPU
        embedded = self.table.index_select(0, rows.flatten())
        embedded = embedded.view(*rows.shape, -1)  # (M, n, L, E)
        if self.exchangeable:
            picked = embedded[:, :, self.exchangeable].sum(dim=2, keepdim=True)
            embedded = torch.cat([embedded[:, :, self.own], picked], dim=2)
        hidden = embedded.flatten(2)  # (M, n, L * E)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = functional.gelu(hidden)
        return hidden[:, :, 0]


class MlpSurrogate:
    """A `FitnessPredictor` whose members each learn from a bootstrap sample.

    The spread is the standard deviation over the members. The seed decides the initial weights and
    the bootstrap.
    """

    kind = "mlp"

    def __init__(self, space: GenomeSpace, seed: int, *, members: int = 5) -> None:
        self._members = members
        self._bootstrap = np.random.default_rng(seed)
        self._network = FitnessPredictor(
            space.cardinalities,
            exchangeable=space.exchangeable,
            members=members,
            embedding=_EMBEDDING,
            hidden=_HIDDEN,
            generator=torch.Generator().manual_seed(seed),
        )
        self._center, self._scale = 0.0, 1.0

    def fit(self, genomes: Sequence[Genome], losses: Sequence[float]) -> None:
        """Learn from evaluated genomes; see `Surrogate.fit`."""
        observed = np.asarray(losses, dtype=np.float64)
        self._center = float(observed.mean())
        self._scale = float(observed.std()) or 1.0
        count = len(observed)
        weights = self._bootstrap.multinomial(count, np.full(count, 1 / count), self._members)
        with one_thread():
            inputs = torch.as_tensor(np.asarray(genomes, dtype=np.int64))
            targets = torch.as_tensor((observed - self._center) / self._scale).float()
            importance = torch.as_tensor(weights / count).float()  # (M, n)
            parameters: list[torch.Tensor] = list(self._network.parameters())
            means, squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
            counts = [torch.zeros(()) for _ in parameters]
            for step in range(_STEPS):
                error = self._network(inputs) - targets
                loss = (importance * error.square()).sum()
                gradients = list(torch.autograd.grad(loss, parameters))
                with torch.no_grad():
                    # an optimizer object imports torch's compiler, which takes a second
                    adamw(
                        parameters,
                        gradients,
                        means,
                        squares,
                        [],
                        counts,
                        fused=True,
                        amsgrad=False,
                        beta1=0.9,
                        beta2=0.999,
                        lr=_LEARNING_RATE * (1 - step / _STEPS),
                        weight_decay=_WEIGHT_DECAY,
                        eps=1e-8,
                        maximize=False,
                    )

    def predict(self, genomes: Sequence[Genome]) -> tuple[FloatArray, FloatArray]:
        """Predict losses; see `Surrogate.predict`."""
        if not genomes:
            return np.empty(0), np.empty(0)
        with one_thread(), torch.inference_mode():
            outputs = self._network(torch.as_tensor(np.asarray(genomes, dtype=np.int64)))
        losses = outputs.double().numpy() * self._scale + self._center  # (M, n)
        return losses.mean(axis=0), losses.std(axis=0)

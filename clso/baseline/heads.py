r"""Readouts over the seen tokens of a training text: one softmax, or a softmax of classes.

Notation: n positions, d coordinates, h `(n, d)`; S rows of tokens, most frequent first
(`clso.baseline.seen_tokens`). Row y has a vector w_y and a bias b_y, which begins as the token's
log unigram, so that a network begins as the unigram. The full readout is

    p(y | h) = softmax_y(h . w_y + b_y).

The class-factored one (Goodman 2001; Mikolov et al. 2011) puts `size` successive rows into a class,
so that tokens of a class are about equally frequent. With C classes of vectors u_c and biases a_c,

    p(y | h) = softmax_c(h . u_c + a_c) softmax_{y in c}(h . w_y + b_y),

which costs C + size products of vectors a position instead of S.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch

from clso.baseline.cross_entropy import Biases, TiledCrossEntropy
from clso.baseline.seen_tokens import SeenTokens
from clso.errors import ConfigError
from clso.gpt.head import TiledHead

__all__ = ["ClassHead", "FullHead", "HeadKind", "check_classes", "make_head"]

HeadKind = Literal["full", "classes"]

# Positions of one class that share a product of matrices: more of them pad rare classes.
_GROUP = 16


class FullHead(torch.nn.Module):
    """One softmax over all rows; `weight` is `(rows, d)` and may be the embedding's."""

    def __init__(self, seen: SeenTokens) -> None:
        super().__init__()
        self.n_rows = seen.n_seen
        self.bias = torch.nn.Parameter(torch.from_numpy(seen.log_unigram()).float())
        self._cross_entropy: TiledCrossEntropy | None = None

    def loss(self, hidden: torch.Tensor, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the mean of -log p(row | h) in nats, with gradients."""
        if self._cross_entropy is None:
            self._cross_entropy = TiledCrossEntropy(self.n_rows, device=hidden.device)
        loss: torch.Tensor = _TiledLoss.apply(  # type: ignore[no-untyped-call]  # as torch has it
            hidden, weight, self.bias, rows, self._cross_entropy
        )
        return loss

    def nll(self, hidden: torch.Tensor, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return -log p(row | h) in nats, `(n,)` float64, without gradients."""
        # a coordinate of ones, and the biases as its column
        longer = torch.cat([hidden, hidden.new_ones(hidden.shape[0], 1)], 1)
        return TiledHead(torch.cat([weight, self.bias[:, None]], 1)).nll(longer, rows)

    def log_probabilities(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return log p of all rows, `(n, rows)` float64."""
        return (hidden @ weight.t() + self.bias).double().log_softmax(-1)


def check_classes(n_classes: int, n_seen: int) -> None:
    """Check that every class can have a token.

    Raises:
        ConfigError: there are more classes than tokens.
    """
    if not 1 <= n_classes <= n_seen:
        raise ConfigError(
            f"the readout has {n_classes} classes, the training text has {n_seen} different tokens",
            remedy="give fewer classes, or leave their number out",
        )


class ClassHead(torch.nn.Module):
    """A softmax of classes, and one of the tokens in each.

    Args:
        n_classes: about how many; `None`: the square root of the number of rows.

    Raises:
        ConfigError: there are more classes than tokens.
    """

    pad: torch.Tensor

    def __init__(self, seen: SeenTokens, width: int, n_classes: int | None = None) -> None:
        super().__init__()
        n_seen = seen.n_seen
        wanted = round(math.sqrt(n_seen)) if n_classes is None else n_classes
        check_classes(wanted, n_seen)
        self.size = -(-n_seen // wanted)
        self.n_classes = -(-n_seen // self.size)
        self.n_rows = self.n_classes * self.size
        log_unigram = torch.full((self.n_rows,), -math.inf, dtype=torch.float64)
        log_unigram[:n_seen] = torch.from_numpy(seen.log_unigram())
        of_classes = log_unigram.view(self.n_classes, self.size).logsumexp(-1)
        self.class_weight = torch.nn.Parameter(torch.randn(self.n_classes, width) * _INITIAL_STD)
        self.class_bias = torch.nn.Parameter(of_classes.float())
        self.bias = torch.nn.Parameter(log_unigram.nan_to_num(neginf=0.0).float())
        # rows after the last token, which fill the last class
        pad = torch.zeros(self.n_rows)
        pad[n_seen:] = -math.inf
        self.register_buffer("pad", pad, persistent=False)

    def loss(self, hidden: torch.Tensor, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the mean of -log p(row | h) in nats, with gradients."""
        return self._nll(hidden, weight, rows).mean()

    def nll(self, hidden: torch.Tensor, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return -log p(row | h) in nats, `(n,)` float64."""
        return self._nll(hidden, weight, rows).double()

    def log_probabilities(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return log p of all rows, `(n, rows)` float64."""
        inside = (hidden @ weight.t() + self._bias).view(-1, self.n_classes, self.size)
        inside = inside.double().log_softmax(-1)
        return (inside + self._class_logits(hidden).double().log_softmax(-1)[..., None]).flatten(1)

    @property
    def _bias(self) -> torch.Tensor:
        return self.bias + self.pad

    def _class_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(hidden, self.class_weight, self.class_bias)

    def _nll(self, hidden: torch.Tensor, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        classes = rows // self.size
        of_class = torch.nn.functional.cross_entropy(
            self._class_logits(hidden), classes, reduction="none"
        )
        order, place, class_of_group = _groups(classes, self.n_classes)
        grouped = hidden.new_zeros(len(class_of_group) * _GROUP, hidden.shape[1])
        grouped = grouped.index_copy(0, place, hidden[order])
        vectors = weight.view(self.n_classes, self.size, -1)[class_of_group]
        biases = self._bias.view(self.n_classes, 1, self.size)[class_of_group]
        logits = torch.baddbmm(
            biases, grouped.view(-1, _GROUP, hidden.shape[1]), vectors.transpose(1, 2)
        )
        picked = logits.view(-1, self.size)[place]
        inside = torch.nn.functional.cross_entropy(
            picked, rows[order] % self.size, reduction="none"
        )
        return of_class.index_add(0, order, inside)


def make_head(
    kind: HeadKind, seen: SeenTokens, width: int, n_classes: int | None
) -> FullHead | ClassHead:
    """Return a new readout.

    Raises:
        ConfigError: there are more classes than tokens.
    """
    return FullHead(seen) if kind == "full" else ClassHead(seen, width, n_classes)


_INITIAL_STD = 0.02


def _groups(
    classes: torch.Tensor, n_classes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Divide positions into groups of `_GROUP` places, all of one class.

    Returns:
        The positions by class, `(n,)`; the place of each in the groups, `(n,)`; and the class of
        each group.
    """
    device = classes.device
    order = torch.argsort(classes, stable=True)
    counts = torch.bincount(classes, minlength=n_classes)
    n_groups = (counts + _GROUP - 1) // _GROUP
    first_group = n_groups.cumsum(0) - n_groups
    first_position = counts.cumsum(0) - counts
    ordered = classes[order]
    within = torch.arange(len(classes), device=device) - first_position[ordered]
    place = first_group[ordered] * _GROUP + within
    return order, place, torch.repeat_interleave(torch.arange(n_classes, device=device), n_groups)


class _TiledLoss(torch.autograd.Function):
    """The loss of `TiledCrossEntropy`, which computes all gradients with it."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - PyTorch's context
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        rows: torch.Tensor,
        cross_entropy: TiledCrossEntropy,
    ) -> torch.Tensor:
        weight_gradient, biases = torch.empty_like(weight), Biases(bias, torch.empty_like(bias))
        loss, hidden_gradient = cross_entropy(hidden, weight, rows, weight_gradient, biases)
        ctx.save_for_backward(hidden_gradient, weight_gradient, biases.gradient)
        return loss.float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
        gradients: tuple[torch.Tensor, ...] = ctx.saved_tensors
        if float(gradient) != 1.0:  # a pass over memory
            gradients = tuple(of.mul_(gradient) for of in gradients)
        return *gradients, None, None

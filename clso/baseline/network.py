r"""A network: a body that reads tokens, and a readout over the tokens that training has seen.

.. math::
    p(y \mid ctx) = (1 - r) \, p_{head}(y \mid h(ctx)) \text{ for a seen } y, \qquad
    r / U \text{ for each of the } U \text{ others}

The body is a GPT-2 or an LSTM; its state is zero at the start of each block. Tokens are embedded by
their rows (`clso.baseline.seen_tokens`). An unseen token has the mean embedding of the tokens that
were seen least.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from clso.baseline.heads import HeadKind, make_head
from clso.baseline.seen_tokens import SeenTokens

__all__ = ["Network", "NetworkKind", "NetworkShape"]

NetworkKind = Literal["gpt", "lstm"]

_INITIAL_STD = 0.02
_LSTM_STD = 0.1


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The size and the kind of a network.

    Attributes:
        network: `gpt` (a GPT-2) or `lstm`.
        head: `full` (one softmax) or `classes` (class-factored).
        n_layer: number of layers.
        n_head: attention heads of a layer; an LSTM has none.
        n_embd: width of embeddings and layers.
        n_positions: longest context.
        tied: the readout's vectors are the embeddings.
        classes: number of classes; `None`: the square root of the number of seen tokens.
    """

    network: NetworkKind
    head: HeadKind
    n_layer: int
    n_head: int
    n_embd: int
    n_positions: int
    tied: bool = False
    classes: int | None = None

    def to_record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


class Network(torch.nn.Module):
    """One network; its initial weights follow from PyTorch's random numbers.

    Raises:
        ConfigError: there are more classes than tokens.
    """

    row_of_token: torch.Tensor
    rare: torch.Tensor

    def __init__(self, shape: NetworkShape, seen: SeenTokens, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape, self.seen = shape, seen
        self.head = make_head(shape.head, seen, shape.n_embd, shape.classes)
        n_rows = self.head.n_rows
        std = _INITIAL_STD if shape.network == "gpt" or shape.tied else _LSTM_STD
        self.embedding = torch.nn.Parameter(torch.randn(n_rows, shape.n_embd) * std)
        self.readout = (
            None
            if shape.tied
            else torch.nn.Parameter(torch.randn(n_rows, shape.n_embd) * _INITIAL_STD)
        )
        self.body = (_GptBody if shape.network == "gpt" else _LstmBody)(shape, dropout)
        rows = torch.from_numpy(seen.row_of_token(n_rows))
        self.register_buffer("row_of_token", rows, persistent=False)
        rare = torch.from_numpy((seen.counts == seen.counts.min()).nonzero()[0])
        self.register_buffer("rare", rare, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The readout's vectors, `(rows, d)`."""
        return self.embedding if self.readout is None else self.readout

    def hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what the body makes of tokens `(B, T)`, `(B * T, d)`."""
        rows = self.row_of_token[tokens]
        is_unseen = rows == self.head.n_rows
        embedded = torch.nn.functional.embedding(rows.masked_fill(is_unseen, 0), self.embedding)
        if is_unseen.any():
            mean = self.embedding[self.rare].mean(0)
            embedded = torch.where(is_unseen[..., None], mean, embedded)
        hidden: torch.Tensor = self.body(embedded)
        return hidden.reshape(-1, hidden.shape[-1])

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of blocks `(B, T)` of training text, with gradients."""
        rows = self.row_of_token[targets].reshape(-1)
        return self.head.loss(self.hidden(inputs), self.weight, rows) + self._seen_nll

    def nll(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return `-log p(targets | hidden)` in nats, `(B, T)` float64.

        `hidden` is `(B * T, d)`, the targets are `(B, T)`.
        """
        rows = self.row_of_token[targets].reshape(-1)
        is_seen = rows < self.head.n_rows
        nll = hidden.new_full(rows.shape, self._unseen_nll, dtype=torch.float64)
        nll[is_seen] = self._seen_nll + self.head.nll(hidden[is_seen], self.weight, rows[is_seen])
        return nll.view(targets.shape)

    def probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the distributions over all tokens, `(n, V)` float64; each sums to 1."""
        seen = self.seen
        log_p = self.head.log_probabilities(hidden, self.weight)[:, : seen.n_seen]
        share = seen.reserve / max(seen.n_unseen, 1)
        p = hidden.new_full((len(hidden), seen.vocab_size), share, dtype=torch.float64)
        p[:, torch.from_numpy(seen.tokens)] = log_p.exp() * (1.0 - seen.reserve)
        return p

    @property
    def _seen_nll(self) -> float:
        return -math.log1p(-self.seen.reserve)

    @property
    def _unseen_nll(self) -> float:
        reserve = self.seen.reserve
        return -math.log(reserve / self.seen.n_unseen) if reserve else math.inf


class _GptBody(torch.nn.Module):
    def __init__(self, shape: NetworkShape, dropout: float) -> None:
        from transformers import GPT2Config, GPT2Model  # only here: an LSTM is without

        super().__init__()
        config = GPT2Config(
            vocab_size=1,
            n_positions=shape.n_positions,
            n_embd=shape.n_embd,
            n_layer=shape.n_layer,
            n_head=shape.n_head,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.transformer = GPT2Model(config)
        del self.transformer.wte  # tokens are embedded outside
        self.matrices = [p for p in self.transformer.h.parameters() if p.ndim == 2]

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        hidden = self.transformer(inputs_embeds=embedded, use_cache=False).last_hidden_state
        assert isinstance(hidden, torch.Tensor)
        return hidden


class _LstmBody(torch.nn.Module):
    def __init__(self, shape: NetworkShape, dropout: float) -> None:
        super().__init__()
        inside = dropout if shape.n_layer > 1 else 0.0
        self.lstm = torch.nn.LSTM(
            shape.n_embd, shape.n_embd, shape.n_layer, dropout=inside, batch_first=True
        )
        self.dropout = torch.nn.Dropout(dropout)
        self.matrices = [p for p in self.lstm.parameters() if p.ndim == 2]
        with torch.no_grad():
            for layer in range(shape.n_layer):  # an open forget gate at the start
                self.lstm.get_parameter(f"bias_ih_l{layer}")[shape.n_embd : 2 * shape.n_embd] = 1.0

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.lstm(self.dropout(embedded))
        out: torch.Tensor = self.dropout(hidden)
        return out

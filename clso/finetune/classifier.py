"""A GPT-2 that classifies texts: `transformers`' own class, with the body of a language model.

Notation: B texts of T tokens at most, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from clso.data.tokenizer import Tokenizer
from clso.finetune.task import Examples
from clso.scoring import Int64Array

__all__ = ["Classifier", "EncodedTexts"]

_CHUNK_TEXTS = 64
_CONSTANT = 1e-4  # a coordinate that varies by a smaller share of the largest deviation is constant


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """Texts as tokens, one after the other: an end token before each sentence, none at the end.

    The end token also pads, on the right. There no token of a text sees it, and the classifier
    finds the last token of a text as the last one that is no end token. An empty text is a single
    end token.

    Attributes:
        tokens: of all texts.
        starts: place of each text's first token, and the number of all tokens, `(n + 1,)`.
        labels: `(n,)`.
        n_cut: the number of texts whose last tokens were left out.
    """

    tokens: Int64Array
    starts: Int64Array
    labels: Int64Array
    end_token_id: int
    n_cut: int

    @classmethod
    def of(cls, examples: Examples, tokenizer: Tokenizer, max_length: int) -> Self:
        """Return the tokens of texts, at most `max_length` each; the longest sentence is cut."""
        sentences = [sentence for text in examples.texts for sentence in text]
        encoded = iter(tokenizer.encode_many(sentences))
        rows, n_cut = [], 0
        for text in examples.texts:
            parts = [next(encoded) for _ in text]
            kept = _kept([len(part) for part in parts], max_length - len(parts))
            n_cut += kept != [len(part) for part in parts]
            rows.append(
                [
                    token
                    for part, length in zip(parts, kept, strict=True)
                    for token in (tokenizer.end_token_id, *part[:length])
                ]
            )
        lengths = np.array([len(row) for row in rows], np.int64)
        tokens = np.array([token for row in rows for token in row], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return cls(tokens, starts, examples.labels, tokenizer.end_token_id, n_cut)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Int64Array:
        """Tokens of each text, `(n,)`."""
        return np.diff(self.starts)

    def batch(self, index: Int64Array) -> torch.Tensor:
        """Return some of the texts, `(B, T)`, padded to the longest of them."""
        lengths = self.lengths[index]
        places = np.arange(lengths.max(initial=1))
        inside = places < lengths[:, None]
        rows = np.full(inside.shape, self.end_token_id, np.int64)
        rows[inside] = self.tokens[(self.starts[index][:, None] + places)[inside]]
        return torch.from_numpy(rows)


def _kept(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens of each sentence stay: the longer one gives way first."""
    kept = list(lengths)
    while sum(kept) > room:
        longest = max(range(len(kept)), key=kept.__getitem__)
        others = max((length for place, length in enumerate(kept) if place != longest), default=0)
        # down to the next longest, and then one by one in turn
        kept[longest] -= min(sum(kept) - room, max(kept[longest] - others, 1))
    return kept


class Classifier:
    """A `GPT2ForSequenceClassification`: the last token's hidden state, times a K x d matrix."""

    def __init__(self, model: GPT2ForSequenceClassification, end_token_id: int) -> None:
        self.model = model
        self._end_token_id = end_token_id

    @classmethod
    def of(
        cls,
        start: GPT2LMHeadModel,
        labels: Sequence[str],
        *,
        end_token_id: int,
        dropout: float,
        seed: int,
    ) -> Self:
        """Return a classifier with the body of a language model, whose head is left behind.

        The new matrix is drawn from the seed, the same for all bodies of one shape.
        """
        config = GPT2Config(
            vocab_size=start.config.vocab_size,
            n_positions=start.config.n_positions,
            n_embd=start.config.n_embd,
            n_layer=start.config.n_layer,
            n_head=start.config.n_head,
            layer_norm_epsilon=start.config.layer_norm_epsilon,
            # the same function as `gelu_new`, in one kernel of PyTorch instead of eight
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=end_token_id,
            eos_token_id=end_token_id,
            pad_token_id=end_token_id,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = GPT2ForSequenceClassification(config)
        model.transformer.load_state_dict(start.transformer.state_dict())
        return cls(torch.nn.Module.to(model, start.device), end_token_id)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.model.score.weight.device

    def matrices(self) -> list[torch.nn.Parameter]:
        """Return the matrices of attention and MLP in all layers."""
        return [p for p in self.model.transformer.h.parameters() if p.ndim == 2]

    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Set every parameter's `grad` from texts `(B, T)` with labels `(B,)`; return the loss."""
        self.model.zero_grad()
        loss = self._called(self.model, inputs, labels=targets).loss
        loss.backward()
        return float(loss.detach())

    @torch.no_grad()
    def standardize(self, texts: EncodedTexts, index: Int64Array) -> None:
        """Give each coordinate that is classified by mean 0 and deviation 1 over some texts.

        Only weight and bias of the final LayerNorm change, which come before the new matrix: from
        w and b to w / s and (b - m) / s, with mean m and deviation s of the coordinate over the
        last tokens. A coordinate that does not vary becomes 0 and keeps its weight.
        """
        self.model.eval()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        states = []
        for start in range(0, len(index), _CHUNK_TEXTS):
            rows = index[start : start + _CHUNK_TEXTS]
            batch = texts.batch(rows).to(self.device)
            hidden = self._called(self.model.transformer, batch).last_hidden_state
            last = torch.from_numpy(texts.lengths[rows] - 1).to(self.device)
            states.append(hidden[torch.arange(len(rows), device=self.device), last].double())
        deviation, mean = torch.std_mean(torch.cat(states), dim=0, correction=0)
        varies = deviation > _CONSTANT * deviation.max()
        scale = torch.where(varies, deviation, torch.ones_like(deviation))
        norm = self.model.transformer.ln_f
        norm.bias.copy_((norm.bias.double() - mean) / scale)
        norm.weight.copy_(norm.weight.double() / scale)

    @torch.inference_mode()
    def log_probabilities(self, texts: EncodedTexts, index: Int64Array) -> npt.NDArray[np.float64]:
        """Return the log-probabilities of all labels for some of the texts, `(n, K)`."""
        self.model.eval()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        found = np.empty((len(index), self.model.score.out_features))
        # texts of a length together: little padding
        order = np.argsort(texts.lengths[index], kind="stable")
        for start in range(0, len(order), _CHUNK_TEXTS):
            places = order[start : start + _CHUNK_TEXTS]
            batch = texts.batch(index[places]).to(self.device)
            logits = self._called(self.model, batch).logits
            found[places] = logits.double().log_softmax(-1).cpu().numpy()
        return found

    def _called(self, module: torch.nn.Module, tokens: torch.Tensor, **others: torch.Tensor) -> Any:  # noqa: ANN401 - an output class of transformers
        """Call a module on texts `(B, T)`, padding masked: what is behind the last other token."""
        is_text = tokens.ne(self._end_token_id)
        mask = is_text.flip(1).cumsum(1).flip(1) > 0
        mask[:, 0] = True  # an empty text
        return module(input_ids=tokens, attention_mask=mask, use_cache=False, **others)

"""The parts that all crystalline GPTs of a run share: shape, embeddings and readout.

Notation: d = `n_embd`, V tokens, T positions. wte `(V, d)` and wpe `(T, d)` are N(0, 0.02^2), as
GPT-2 starts, and never trained. The readout is tied, logits = h wte^T, or carries a unigram bias,

    logits = h wte^T + log_unigram    over the first d - 1 coordinates of h,

with the last coordinate of h set to 1 and the last column of the readout to log_unigram. A plain
GPT-2 does the same with an untied head and a final LayerNorm whose last weight is 0, bias 1.

Where genes pick wte and readout from a library, the frame has neither. It holds the positions of
the library's layout, and the last coordinate of h is 1 for the readout's own bias.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clso.errors import ConfigError, DataError
from clso.gpt.head import TiledHead
from clso.scoring import Int64Array

__all__ = ["GptFrame", "GptShape"]

_EMBEDDING_STD = 0.02
# Keep these random streams apart from every other use of the same seed.
_TOKEN_STREAM = int.from_bytes(b"wte")
_POSITION_STREAM = int.from_bytes(b"wpe")


@dataclass(frozen=True, slots=True)
class GptShape:
    """The size of a GPT-2.

    Raises:
        ConfigError: a count below 1, or heads that do not divide the width.
    """

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ConfigError(f"model shape: {name} is {value}, expected at least 1")
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"model shape: n_embd {self.n_embd} is not divisible by n_head {self.n_head}",
                remedy="choose n_embd as a multiple of n_head",
            )


class GptFrame:
    """The parts of a model that no gene picks.

    Pickled, it is its arguments: random numbers are drawn again, so few bytes move.

    Args:
        seed: of wte and wpe.
        log_unigram: `(V,)` finite log-probabilities (or any logit bias); `None`: tied readout.
        positions: wpe `(T, d)` for models whose wte and readout are library entries; `None`: wte,
            wpe and readout are the frame's.

    Attributes:
        wte: `(V, d)`, without rows where genes pick the embedding.
        head: the readout, without rows where genes pick it.

    Raises:
        ConfigError: a unigram bias for a model of width 1.
        ValueError: `log_unigram` or `positions` of another shape or not finite, or both given.
    """

    def __init__(
        self,
        shape: GptShape,
        *,
        seed: int,
        log_unigram: npt.NDArray[np.floating] | None = None,
        positions: npt.NDArray[np.float32] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shape = shape
        self.seed = seed
        self._log_unigram, self._positions = log_unigram, positions
        self.device = torch.device(device)
        self.has_token_genes = positions is not None
        self.has_bias = log_unigram is not None or self.has_token_genes
        self.wte = self._gaussian(_TOKEN_STREAM, 0 if self.has_token_genes else shape.vocab_size)
        if positions is None:
            self.wpe = self._gaussian(_POSITION_STREAM, shape.block_size)
        else:
            _check("positions", positions, (shape.block_size, shape.n_embd))
            if log_unigram is not None:
                raise ValueError("a readout from the library brings a bias of its own")
            self.wpe = self._tensor(positions)
        readout = self.wte
        if log_unigram is not None:
            if shape.n_embd < 2:
                raise ConfigError(
                    "a unigram bias takes one coordinate, and n_embd is 1",
                    remedy="choose a larger n_embd, or gpt.unigram_bias: false",
                )
            _check("log_unigram", log_unigram, (shape.vocab_size,))
            readout = self.wte.clone()
            readout[:, -1] = torch.from_numpy(log_unigram.astype(np.float32)).to(self.device)
        self.head = TiledHead(readout)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(
            GptFrame,
            self.shape,
            seed=self.seed,
            log_unigram=self._log_unigram,
            positions=self._positions,
            device=str(self.device),
        ), ()

    def _gaussian(self, stream: int, rows: int) -> torch.Tensor:
        generator = np.random.default_rng([self.seed, stream])
        values = generator.standard_normal((rows, self.shape.n_embd), dtype=np.float32)
        return self._tensor(values).mul_(_EMBEDDING_STD)

    def _tensor(self, values: npt.NDArray[np.float32]) -> torch.Tensor:
        # a copy into torch's own memory, which is aligned to 64 bytes; values may be read-only
        return torch.tensor(values, device=self.device)

    def embed(self, inputs: torch.Tensor, wte: torch.Tensor) -> torch.Tensor:
        """Return the first layer's input for `(B, T)` tokens and wte `(V, d)`, `(B T, d)`."""
        vectors = wte[inputs] + self.wpe[: inputs.shape[1]]
        return vectors.view(-1, self.shape.n_embd)

    def readout(self, normed: torch.Tensor) -> torch.Tensor:
        """Turn the last normalised residual into the head's input, in place, `(n, d)`."""
        if self.has_bias:
            normed[:, -1] = 1.0
        return normed

    def check_tokens(self, *blocks: Int64Array) -> None:
        """Refuse blocks that this model has no embedding for.

        Raises:
            DataError: not `(B, T)` with T at most `block_size`, or a token outside 0 to V - 1.
        """
        for tokens in blocks:
            if tokens.ndim != 2 or tokens.shape[1] > self.shape.block_size:
                raise DataError(
                    f"blocks have the shape {tokens.shape}, expected (B, T) with T at most "
                    f"{self.shape.block_size}",
                    remedy="prepare the data with the model's block size",
                )
            if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.shape.vocab_size:
                raise DataError(
                    f"tokens lie in {tokens.min()} to {tokens.max()}, "
                    f"expected 0 to {self.shape.vocab_size - 1}",
                    remedy="use the tokenizer that the model's vocabulary size was taken from",
                )

    @property
    def stored_bytes(self) -> int:
        """Size of the frame's wte and wpe, and of its unigram bias."""
        own_bias = self.has_bias and not self.has_token_genes
        bias = 4 * self.shape.vocab_size if own_bias else 0
        return self.wte.nbytes + self.wpe.nbytes + bias

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits of shape, embeddings and readout."""
        digest = hashlib.sha256(json.dumps(asdict(self.shape), sort_keys=True).encode())
        for tensor in (self.wte, self.wpe, self.head.weight):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def _check(name: str, values: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"{name} has the shape {values.shape}, expected {shape}, all finite")

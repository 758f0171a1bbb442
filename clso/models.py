"""The models that a run writes, opened from their folders.

Opening another model than a mixture loads `torch`, and a GPT-2 `transformers`, which take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from clso.artifacts import check_folder, read_json
from clso.checkpoint import REMAKE
from clso.data.tokenizer import Tokenizer
from clso.errors import ArtifactError
from clso.mixture.model import MODEL_TYPE, CrystallineMixture
from clso.scoring import GenerativeModel

__all__ = ["StoredModel"]


@dataclass(frozen=True)
class StoredModel:
    """A model, the tokenizer of its data, and `n_positions`, its longest context T."""

    model: GenerativeModel
    tokenizer: Tokenizer
    n_positions: int

    @classmethod
    def load(cls, path: Path) -> Self:
        """Open a model's folder: a mixture, hybrid, network or GPT-2, with its tokenizer.

        Raises:
            ArtifactError: the model is missing, damaged, or of another kind.
        """
        check_folder(path, remedy=REMAKE)
        config = read_json(path / "config.json")
        kind = config.get("model_type") if isinstance(config, dict) else None
        model: GenerativeModel
        if kind == MODEL_TYPE:
            model = CrystallineMixture.load(path)
        else:
            from clso.baseline import network_model

            if kind not in ("gpt2", network_model.MODEL_TYPE):
                kinds = f"'gpt2', {MODEL_TYPE!r} or {network_model.MODEL_TYPE!r}"
                raise ArtifactError(
                    f"{path} holds a model of type {kind!r}, expected {kinds}",
                    remedy=REMAKE,
                )
            model = network_model.load_network(path, name=path.name)
        tokenizer = Tokenizer.load(path / "tokenizer.json")
        n_positions = config.get("n_positions")
        if not isinstance(n_positions, int) or n_positions < 1:
            raise ArtifactError(
                f"{path / 'config.json'} has n_positions {n_positions!r}, expected 1 or more",
                remedy=REMAKE,
            )
        if config.get("vocab_size") != tokenizer.vocab_size:
            raise ArtifactError(
                f"the model in {path} has {config.get('vocab_size')} tokens, its tokenizer "
                f"{tokenizer.vocab_size}",
                remedy=REMAKE,
            )
        return cls(model, tokenizer, n_positions)

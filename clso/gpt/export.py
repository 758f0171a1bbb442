"""A crystalline GPT as an ordinary GPT-2 checkpoint, with the same loss.

Importing this module loads `transformers`, which takes seconds; nothing else in `clso.gpt` does.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from clso.checkpoint import save_gpt2
from clso.data.tokenizer import Tokenizer
from clso.errors import ConfigError
from clso.gpt.model import CrystallineGpt

__all__ = ["save_checkpoint", "to_gpt2"]

_PARAMETERS = {
    "attn_qkv": "attn.c_attn.weight",
    "attn_out": "attn.c_proj.weight",
    "mlp_up": "mlp.c_fc.weight",
    "mlp_down": "mlp.c_proj.weight",
}


def to_gpt2(model: CrystallineGpt, *, end_token_id: int) -> GPT2LMHeadModel:
    """Return the same model as a `GPT2LMHeadModel` in evaluation mode, on the CPU.

    A unigram bias becomes the last column of an untied head. The last coordinate of the final
    LayerNorm multiplies it: weight 0, bias 1.
    """
    frame, shape = model.frame, model.frame.shape
    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.vocab_size,
            n_positions=shape.block_size,
            n_embd=shape.n_embd,
            n_layer=shape.n_layer,
            n_head=shape.n_head,
            activation_function="gelu_new",
            layer_norm_epsilon=1e-5,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=end_token_id,
            eos_token_id=end_token_id,
            tie_word_embeddings=not frame.has_bias,
        )
    )
    with torch.no_grad():
        for name, parameter in gpt2.named_parameters():
            parameter.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
        gpt2.transformer.wte.weight.copy_(model.wte)
        gpt2.transformer.wpe.weight.copy_(frame.wpe)
        for layer, block in enumerate(gpt2.transformer.h):
            for slot, name in _PARAMETERS.items():
                block.get_parameter(name).copy_(model.weight(layer, slot))
        if frame.has_bias:
            gpt2.lm_head.weight.copy_(model.head.weight)
            gpt2.transformer.ln_f.weight[-1] = 0.0
            gpt2.transformer.ln_f.bias[-1] = 1.0
    gpt2.eval()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    return gpt2


def save_checkpoint(model: CrystallineGpt, tokenizer: Tokenizer, path: Path) -> None:
    """Write model and tokenizer to a folder that plain `transformers` loads, without CLSO.

    `crystalline.json` lists the library entries that the weights are. The folder is written beside
    its target, then renamed; an existing folder is replaced.

    Raises:
        ArtifactError: the folder cannot be written.
        ConfigError: the tokenizer's vocabulary is not the model's.
    """
    shape = model.frame.shape
    if tokenizer.vocab_size != shape.vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {shape.vocab_size}",
            remedy="export with the tokenizer of the data that the model was searched on",
        )
    gpt2 = to_gpt2(model, end_token_id=tokenizer.end_token_id)
    save_gpt2(gpt2, tokenizer, path, {"crystalline.json": _describe(model)})


def _describe(model: CrystallineGpt) -> dict[str, object]:
    return {
        "genome": list(model.genome),
        "share_layers": model.share_layers,
        "embedding_seed": model.frame.seed,
        "library_fingerprint": model.library.fingerprint,
        "frame_fingerprint": model.frame.fingerprint,
        "stored_bytes": model.stored_bytes,
        "matrices": [
            {
                "layer": number // 4 if number < len(model.matrices) else None,
                "slot": slot,
                "index": index,
                "family": model.library[slot][index].family,
                "parameters": model.library[slot][index].parameters,
            }
            for number, (slot, index) in enumerate(model.entries)
        ],
    }

"""The number format of the largest product of a search: the head's.

In bfloat16 a logit is off by up to 0.4 % of its terms. Over a readout of random numbers these
errors cancel (losses differ by 1e-6), over one that is fitted to counts they do not (up to 1e-3 for
good models). So bfloat16 is for ranking genomes, never for a result.

AMX computes products of bfloat16 several times as fast as of float32. The instructions of AVX-512
for bfloat16 alone do not: on one core the head takes 1.9 times as long as in float32. `auto`
therefore asks for AMX, and `bfloat16` by name is satisfied with either.
"""

from __future__ import annotations

import torch

from clso.data.batches import Precision
from clso.errors import ConfigError

__all__ = ["head_dtype"]


def head_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the format of a precision on a device.

    Raises:
        ConfigError: bfloat16 by name, and the device has no units for it.
    """
    if precision == "float32" or (precision == "auto" and not _is_fast(device)):
        return torch.float32
    if precision == "bfloat16" and not (_is_fast(device) or _has_units(device)):
        raise ConfigError(
            f"evaluation.precision is bfloat16, but this {device.type} device has no units for "
            "products of bfloat16, expected AMX or AVX-512 bf16, or a GPU that has them",
            remedy="use auto or float32",
        )
    return torch.bfloat16


def _is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def _has_units(device: torch.device) -> bool:
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()

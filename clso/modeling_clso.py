"""Opens a model of CLSO in `transformers`, where the package `clso` is installed.

A copy of this file lies in the folder of every mixture and network. `config.json` names it
(`auto_map`), so that `AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` needs
no `import clso.hub`.
"""

try:
    from clso.hub import (
        CrystallineMixtureConfig,
        CrystallineMixtureForCausalLM,
        NetworkConfig,
        NetworkForCausalLM,
    )
except ModuleNotFoundError as error:
    raise ImportError(
        f"this is a model of CLSO, and the package {error.name} is missing: "
        "install clso into this environment (pip install PATH-OF-ITS-WHEEL-OR-CHECKOUT)"
    ) from error

__all__ = [
    "CrystallineMixtureConfig",
    "CrystallineMixtureForCausalLM",
    "NetworkConfig",
    "NetworkForCausalLM",
]

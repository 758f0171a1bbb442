"""Opens a crystalline mixture in `transformers`, where the package `clso` is installed.

A copy of this file lies in every mixture's folder. `config.json` names it (`auto_map`), so that
`AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)` needs no `import clso.hub`.
"""

try:
    from clso.hub import CrystallineMixtureConfig, CrystallineMixtureForCausalLM
except ModuleNotFoundError as error:
    raise ImportError(
        f"this model is a crystalline mixture of CLSO, and the package {error.name} is missing: "
        "install clso into this environment (pip install PATH-OF-ITS-WHEEL-OR-CHECKOUT)"
    ) from error

__all__ = ["CrystallineMixtureConfig", "CrystallineMixtureForCausalLM"]

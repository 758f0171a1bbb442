"""The crystalline GPT: a GPT-2 whose linear layers are library entries.

The names below are imported when they are first used: all of them load `torch`, and the settings do
not. `clso.gpt.export` loads `transformers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clso.lazy import lazy_names

if TYPE_CHECKING:
    from clso.gpt.evaluator import GptProblem
    from clso.gpt.frame import GptFrame, GptShape
    from clso.gpt.genome import GptGenomes
    from clso.gpt.model import CrystallineGpt

__all__ = [
    "CrystallineGpt",
    "GptFrame",
    "GptGenomes",
    "GptProblem",
    "GptShape",
]

_MODULES = {
    "CrystallineGpt": "clso.gpt.model",
    "GptFrame": "clso.gpt.frame",
    "GptGenomes": "clso.gpt.genome",
    "GptProblem": "clso.gpt.evaluator",
    "GptShape": "clso.gpt.frame",
}

if not TYPE_CHECKING:  # or a misspelt name would have a type
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)

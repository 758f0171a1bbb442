"""The crystalline GPT: a GPT-2 whose linear layers are library entries.

`clso.gpt.export` is not imported here, because it loads `transformers`.
"""

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

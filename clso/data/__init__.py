"""Text from a package, files or the hub, prepared as packed blocks of tokens in four splits."""

from clso.data.batches import EvaluationSettings
from clso.data.dataset import SPLITS, Dataset, TokenSplit
from clso.data.recipe import DatasetRecipe
from clso.data.settings import DataSettings, TokenizerSettings
from clso.data.tokenizer import END_TOKEN, Tokenizer

__all__ = [
    "END_TOKEN",
    "SPLITS",
    "DataSettings",
    "Dataset",
    "DatasetRecipe",
    "EvaluationSettings",
    "TokenSplit",
    "Tokenizer",
    "TokenizerSettings",
]

"""Text from a package, files or the hub, made into packed blocks of tokens in four splits."""

from clso.data.dataset import SPLITS, Dataset, TokenSplit
from clso.data.prepare import dataset_fingerprint, open_dataset, prepare_dataset
from clso.data.settings import DataSettings, EvaluationSettings, TokenizerSettings
from clso.data.tokenizer import END_TOKEN, Tokenizer

__all__ = [
    "END_TOKEN",
    "SPLITS",
    "DataSettings",
    "Dataset",
    "EvaluationSettings",
    "TokenSplit",
    "Tokenizer",
    "TokenizerSettings",
    "dataset_fingerprint",
    "open_dataset",
    "prepare_dataset",
]

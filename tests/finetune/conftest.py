"""A task that a single word decides, and models too small to be of use elsewhere."""

import numpy as np
import pytest
from transformers import GPT2LMHeadModel

from clso.data.tokenizer import Tokenizer
from clso.finetune import FinetuneSettings, Task
from clso.finetune.classifier import Classifier


@pytest.fixture(scope="session")
def animals() -> Task:
    """Who comes first in the toy grammar: a cat or a dog?"""
    rng = np.random.default_rng(1)
    who = ("the cat", "a dog")

    def rows(count: int) -> list:
        return [
            ((f"{who[label]} {rng.choice(['saw', 'ate', 'left'])} the crow. ",), label)
            for label in rng.permutation(np.arange(count) % 2).tolist()
        ]

    return Task.of_labels("animals", "accuracy", rows(48), rows(24), held_out=0.25, seed=0)


@pytest.fixture(scope="session")
def settings() -> FinetuneSettings:
    return FinetuneSettings(learning_rates=(1e-2,), epochs=4, batch_size=8, seeds=2)


@pytest.fixture
def classifier(toy_gpt2: GPT2LMHeadModel, toy_tokenizer: Tokenizer) -> Classifier:
    end = toy_tokenizer.end_token_id
    return Classifier.of(toy_gpt2, ("cat", "dog"), end_token_id=end, dropout=0.0, seed=0)

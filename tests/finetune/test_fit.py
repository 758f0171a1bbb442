from dataclasses import replace

import numpy as np
import pytest

from clso.baseline.task import FromScratch
from clso.data.tokenizer import Tokenizer
from clso.energy import EnergyMonitor
from clso.errors import ConfigError
from clso.finetune import FinetuneSettings, Task
from clso.finetune.classifier import EncodedTexts
from clso.finetune.fit import Fit, FitInputs
from clso.gpt import GptShape

CHOOSING, REPORTED = (Fit("random", 1e-2, 0, chooses=chooses) for chooses in (True, False))


def inputs_of(task: Task, settings: FinetuneSettings, tokenizer: Tokenizer) -> FitInputs:
    shape = GptShape(1, 2, 16, 16, tokenizer.vocab_size)
    start = FromScratch(shape, tokenizer.end_token_id, 0, "cpu")
    train, reported = (
        EncodedTexts.of(examples, tokenizer, 16) for examples in (task.train, task.reported)
    )
    return FitInputs(task, settings, {("random", 0): start}, train, reported, EnergyMonitor())


def test_what_a_word_decides_is_learned(
    animals: Task, settings: FinetuneSettings, toy_tokenizer: Tokenizer
) -> None:
    inputs = inputs_of(animals, settings, toy_tokenizer)
    fitted = inputs.fitted(REPORTED)
    assert fitted.predictions is not None
    assert fitted.predictions.score("accuracy", 2) == 1.0
    assert fitted.n_examples == len(animals.train)
    assert fitted.n_tokens == settings.epochs * inputs.train.lengths.sum()
    again = inputs.fitted(REPORTED)
    assert again.train_loss == fitted.train_loss
    assert again.predictions is not None
    assert again.predictions.loss == fitted.predictions.loss


def test_a_choice_reads_nothing_that_is_reported(
    animals: Task, settings: FinetuneSettings, toy_tokenizer: Tokenizer
) -> None:
    turned = replace(animals.reported, labels=1 - animals.reported.labels)
    one, other = (
        inputs_of(task, settings, toy_tokenizer).fitted(CHOOSING)
        for task in (animals, replace(animals, reported=turned))
    )
    assert one.predictions is not None
    assert other.predictions is not None
    assert one.predictions.loss == other.predictions.loss
    assert one.predictions.documents.tolist() == np.flatnonzero(animals.held_out).tolist()


def test_a_choice_learns_nothing_from_what_is_held_out(
    animals: Task, settings: FinetuneSettings, toy_tokenizer: Tokenizer
) -> None:
    labels = np.where(animals.held_out, 1 - animals.train.labels, animals.train.labels)
    task = replace(animals, train=replace(animals.train, labels=labels))
    one, other = (
        inputs_of(each, settings, toy_tokenizer).fitted(CHOOSING) for each in (animals, task)
    )
    assert one.train_loss == other.train_loss
    assert one.predictions is not None
    assert other.predictions is not None
    assert (one.predictions.predicted == other.predictions.predicted).all()


def test_training_that_diverges_has_no_predictions(
    animals: Task, settings: FinetuneSettings, toy_tokenizer: Tokenizer
) -> None:
    fitted = inputs_of(animals, settings, toy_tokenizer).fitted(replace(REPORTED, lr=1e30))
    assert fitted.predictions is None
    assert fitted.train_loss is None


def test_a_batch_has_no_more_examples_than_there_are(
    animals: Task, settings: FinetuneSettings, toy_tokenizer: Tokenizer
) -> None:
    inputs_of(animals, settings.replaced(batch_size=36), toy_tokenizer).check()
    with pytest.raises(ConfigError, match="36 examples to learn from"):
        inputs_of(animals, settings.replaced(batch_size=37), toy_tokenizer).check()

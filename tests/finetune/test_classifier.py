import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2LMHeadModel

from clso.data.tokenizer import Tokenizer
from clso.finetune import Examples
from clso.finetune.classifier import Classifier, EncodedTexts, _kept

TEXTS = (("the cat saw a dog. ",), ("",), ("a dog ate",), ("the cat", "the crow left"), ("Zoë",))


def examples(texts: tuple[tuple[str, ...], ...]) -> Examples:
    return Examples(texts, np.arange(len(texts)) % 2, np.arange(len(texts)))


@pytest.fixture
def encoded(toy_tokenizer: Tokenizer) -> EncodedTexts:
    return EncodedTexts.of(examples(TEXTS), toy_tokenizer, 16)


def test_an_end_token_begins_every_sentence_and_ends_none(
    encoded: EncodedTexts, toy_tokenizer: Tokenizer
) -> None:
    end = toy_tokenizer.end_token_id
    for number, text in enumerate(TEXTS):
        row = encoded.batch(np.array([number]))[0].tolist()
        expected = [token for part in text for token in (end, *toy_tokenizer.encode(part))]
        assert row == expected[:16]


def test_padding_and_company_change_nothing(classifier: Classifier, encoded: EncodedTexts) -> None:
    together = classifier.log_probabilities(encoded, np.arange(len(TEXTS)))
    for number in range(len(TEXTS)):
        alone = classifier.log_probabilities(encoded, np.array([number]))
        assert np.allclose(alone[0], together[number], atol=1e-5)


def test_the_last_token_decides_as_in_transformers(
    classifier: Classifier, encoded: EncodedTexts
) -> None:
    found = classifier.log_probabilities(encoded, np.arange(len(TEXTS)))
    with torch.inference_mode():
        for number in range(len(TEXTS)):
            tokens = encoded.batch(np.array([number]))
            hidden = classifier.model.transformer(tokens).last_hidden_state[0, -1]
            expected = classifier.model.score(hidden).double().log_softmax(-1)
            assert np.allclose(found[number], expected.numpy(), atol=1e-5)


def test_the_new_matrix_is_the_same_for_every_body(
    toy_gpt2: GPT2LMHeadModel, toy_tokenizer: Tokenizer
) -> None:
    other = GPT2LMHeadModel(toy_gpt2.config)
    end = toy_tokenizer.end_token_id

    def made(body: GPT2LMHeadModel, seed: int) -> Classifier:
        return Classifier.of(body, ("a", "b"), end_token_id=end, dropout=0.0, seed=seed)

    one, two, three = made(toy_gpt2, 1), made(other, 1), made(toy_gpt2, 2)
    assert torch.equal(one.model.score.weight, two.model.score.weight)
    assert not torch.equal(one.model.score.weight, three.model.score.weight)
    body = toy_gpt2.transformer.state_dict()
    for name, weight in one.model.transformer.state_dict().items():
        assert torch.equal(weight, body[name])


def test_standardized_states_have_mean_0_and_deviation_1(
    classifier: Classifier, encoded: EncodedTexts
) -> None:
    norm = classifier.model.transformer.ln_f
    with torch.no_grad():
        norm.weight[0], norm.bias[0] = 0.0, 7.0  # a constant, as a unigram bias has it
        norm.weight[1] = 1e-3
    classifier.standardize(encoded, np.arange(len(TEXTS)))
    with torch.inference_mode():
        states = torch.stack(
            [
                classifier.model.transformer(encoded.batch(np.array([number]))).last_hidden_state[
                    0, -1
                ]
                for number in range(len(TEXTS))
            ]
        )
    assert torch.allclose(states.mean(0), torch.zeros(states.shape[1]), atol=1e-4)
    deviations = states.std(0, correction=0)
    assert deviations[0] == 0
    assert torch.allclose(deviations[1:], torch.ones(len(deviations) - 1), atol=1e-3)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=2), st.integers(0, 40))
def test_the_longer_sentence_gives_way(lengths: list[int], room: int) -> None:
    kept = _kept(lengths, room)
    assert sum(kept) == min(sum(lengths), room)
    for own, length in zip(kept, lengths, strict=True):
        assert 0 <= own <= length
        # what was cut is not shorter than what was not
        assert own == length or own >= max(kept) - 1


def test_texts_that_are_cut_are_counted(toy_tokenizer: Tokenizer) -> None:
    found = EncodedTexts.of(examples(TEXTS), toy_tokenizer, 4)
    assert found.lengths.max() == 4
    whole = EncodedTexts.of(examples(TEXTS), toy_tokenizer, 1000)
    assert whole.n_cut == 0
    assert found.n_cut == int((whole.lengths > 4).sum())

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import accuracy_score, matthews_corrcoef

from clso.finetune import Examples, Task
from clso.finetune.floors import FLOORS, floor_predictions
from clso.finetune.metrics import Predictions, document_counts, score

LABELS = hnp.arrays(np.int64, st.shared(st.integers(1, 40), key="n"), elements=st.integers(0, 3))


@given(LABELS, LABELS, LABELS)
def test_scores_of_counts_are_those_of_labels(
    expected: np.ndarray, predicted: np.ndarray, documents: np.ndarray
) -> None:
    assume(len(np.unique([expected, predicted])) > 1)  # scikit-learn warns of a single label
    counts = document_counts(expected, predicted, documents, 4)
    assert len(counts) == len(np.unique(documents))
    assert counts.sum() == len(expected)
    whole = counts.sum(0)
    assert np.isclose(score("accuracy", whole), accuracy_score(expected, predicted))
    assert np.isclose(score("matthews", whole), matthews_corrcoef(expected, predicted))


@given(LABELS)
def test_a_stack_of_counts_is_scored_one_by_one(labels: np.ndarray) -> None:
    counts = document_counts(labels, np.roll(labels, 1), np.arange(len(labels)), 4)
    for metric in ("accuracy", "matthews"):
        each = [float(score(metric, one)) for one in counts]
        assert np.allclose(score(metric, counts), each)


def test_a_loss_that_is_not_finite_is_none() -> None:
    examples = Examples((("a",), ("b",)), np.array([0, 1]), np.arange(2))
    with np.errstate(divide="ignore"):
        found = Predictions.of(np.log([[1.0, 0.0], [1.0, 0.0]]), examples)
    assert found.loss is None
    assert found.score("accuracy", 2) == 0.5


def toy(words: tuple[str, str]) -> Task:
    rng = np.random.default_rng(0)

    def rows(count: int) -> list:
        labels = rng.permutation(np.arange(count) % 3 > 0).astype(int).tolist()
        return [((f"{rng.integers(99)} {words[label]} day",), label) for label in labels]

    return Task.of_labels("toy", "accuracy", rows(90), rows(60), held_out=0.2, seed=0)


def test_floors_know_shares_and_words() -> None:
    scores = {
        words: [floor_predictions(name, toy(words)).score("accuracy", 2) for name in FLOORS]
        for words in (("bad", "good"), ("same", "same"))
    }
    assert scores["bad", "good"] == [40 / 60, 1.0]
    assert scores["same", "same"][0] == 40 / 60
    assert scores["same", "same"][1] < 0.9

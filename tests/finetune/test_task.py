import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.errors import DataError
from clso.finetune import Examples, Task
from clso.finetune.task import held_out_at_random


def rows(*labels: int | str, text: str = "text") -> list[tuple[tuple[str, ...], int | str]]:
    return [((f"{text} {number}",), label) for number, label in enumerate(labels)]


def task(train: list, reported: list) -> Task:
    return Task.of_labels("toy", "accuracy", train, reported, held_out=0.25, seed=0)


def test_labels_are_numbered_in_their_order() -> None:
    found = task(rows("no", "yes", "no", "yes", "no", "yes"), rows("yes", "no", text="new"))
    assert found.labels == ("no", "yes")
    assert found.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    numbers = task(rows(10, 9, 10, 9, 10, 9), rows(9, 10))
    assert numbers.labels == ("9", "10")


@pytest.mark.parametrize(
    ("train", "reported", "said"),
    [
        ([], rows(0, 1), "train has no examples"),
        (rows(0, 1, 0, 1), [], "dev has no examples"),
        (rows(1, 1, 1), rows(1), "train has the label '1' alone"),
        (rows(0, 1, 0, 1, 0, 1), rows(0, 2), "dev has the label '2', which train has not"),
        (rows(0, "b", 0, "b"), rows(0), "some labels are whole numbers and some are names"),
        (rows(0, 1), rows(0), "too small to hold out"),
    ],
)
def test_what_cannot_be_learned_is_refused(train: list, reported: list, said: str) -> None:
    with pytest.raises(DataError, match=said):
        task(train, reported)


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_some_examples_are_held_out_and_some_are_not(n: int, share: float, seed: int) -> None:
    mask = held_out_at_random(n, share, seed)
    assert 1 <= mask.sum() < n
    assert abs(mask.sum() - share * n) <= 1
    assert (mask == held_out_at_random(n, share, seed)).all()


@given(st.integers(20, 60))
def test_a_limited_task_has_examples_of_the_whole_one(count: int) -> None:
    whole = task(rows(*[number % 3 for number in range(60)]), rows(0, 1, 2, text="new"))
    part = whole.limited(count, seed=4)
    assert len(part.train) == count
    place = {text: number for number, text in enumerate(whole.train.texts)}
    index = [place[text] for text in part.train.texts]
    assert (whole.train.labels[index] == part.train.labels).all()
    assert (whole.held_out[index] == part.held_out).all()
    assert part.reported is whole.reported
    assert whole.limited(None, seed=4) is whole


def test_texts_of_train_among_those_to_report_on_are_counted() -> None:
    found = task(rows(0, 1, 0, 1, 0, 1), [(("text 3",), 1), (("other",), 0)])
    assert found.n_overlapping == 1


def test_a_fingerprint_names_the_examples() -> None:
    one, same, other = (
        task(rows(0, 1, 0, 1, 0, 1), rows(0, 1, text=text)) for text in ("a", "a", "b")
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_a_mask_and_an_index_take_the_same() -> None:
    examples = Examples((("a",), ("b",), ("c",)), np.arange(3), np.arange(3))
    by_mask, by_index = (
        examples.take(np.array([True, False, True])),
        examples.take(np.array([0, 2])),
    )
    assert by_mask.texts == by_index.texts == (("a",), ("c",))
    assert by_mask.labels.tolist() == by_index.documents.tolist() == [0, 2]

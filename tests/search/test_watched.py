import pytest

from search.watched import Standing, improvements


def standings(*losses: float | None) -> list[Standing]:
    return [Standing(number, loss, None) for number, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ((5.0, 5.0, 4.0, 4.0), [1, 3, 4]),
        ((None, 5.0, 4.0), [2, 3]),
        ((None, None), []),
        ((), []),
    ],
)
def test_what_falls_and_the_last_is_kept(losses: tuple[float | None, ...], kept: list[int]) -> None:
    assert [one.evaluations for one in improvements(standings(*losses))] == kept

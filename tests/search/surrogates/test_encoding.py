import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.genome import GenomeSpace, Slot
from search.surrogates.encoding import MultiHot

SLOTS = (Slot("own", 3), *(Slot(f"pick{number}", 6) for number in range(3)))
SET = (1, 2, 3)
PLAIN = GenomeSpace(SLOTS, exchangeable=SET)
# options 1 and 2 are the same for all that is known, 3 the opposite of them
KNOWN = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
DESCRIBED = GenomeSpace(SLOTS, exchangeable=SET, describe=lambda: KNOWN)
GENOMES = st.tuples(st.integers(0, 2), *[st.integers(0, 5)] * 3)


def distance(space: GenomeSpace, one: tuple[int, ...], other: tuple[int, ...]) -> float:
    rows = MultiHot(space)([one, other])
    return float(np.square(rows[0] - rows[1]).sum())


@given(GENOMES, GENOMES)
def test_what_differs_between_two_genomes_is_how_far_their_rows_are_apart(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    differing = ({*one[1:]} ^ {*other[1:]}) - {0}
    assert distance(PLAIN, one, other) == len(differing) + 2 * (one[0] != other[0])


@pytest.mark.parametrize("space", [PLAIN, DESCRIBED])
@given(genome=GENOMES, order=st.permutations(SET))
def test_order_and_repetition_in_a_set_are_not_seen(
    space: GenomeSpace, genome: tuple[int, ...], order: list[int]
) -> None:
    shuffled = (genome[0], *(genome[slot] for slot in order))
    assert distance(space, genome, shuffled) == pytest.approx(0.0, abs=1e-9)
    assert MultiHot(space)([genome]).shape == (1, MultiHot(space).width)


def test_options_that_are_known_to_be_alike_are_close_and_others_are_not() -> None:
    base, alike, opposite, unlike = (0, 1, 0, 0), (0, 2, 0, 0), (0, 3, 0, 0), (0, 4, 0, 0)
    assert distance(PLAIN, base, alike) == distance(PLAIN, base, unlike) == 2.0
    assert distance(DESCRIBED, base, alike) == pytest.approx(0.2 * 2.0)
    assert distance(DESCRIBED, base, unlike) == pytest.approx(2.0)
    assert distance(DESCRIBED, base, opposite) == pytest.approx(0.2 * 2.0 + 0.8 * 4.0)


def test_slots_outside_the_set_weigh_the_same_with_features() -> None:
    assert distance(DESCRIBED, (0, 1, 4, 0), (2, 1, 4, 0)) == 2.0

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from clso.errors import ConfigError
from clso.mixture.classes import fit_class_maps
from clso.mixture.neighbours import NeighbourCounts
from clso.mixture.shapes import TokenShapes

VOCAB = 60
# the text walks through groups 0 -> 1 -> 2 -> 0 ..., members at random; 57 .. 59 are not seen
GROUP = np.arange(VOCAB) % 3


@pytest.fixture(scope="module")
def streams(text_stream: type) -> list:
    rng = np.random.default_rng(0)
    members = [np.arange(group, 57, 3) for group in range(3)]
    text = [int(rng.choice(members[t % 3])) for t in range(3000)]
    return [text_stream(text[:2000]), text_stream(text[2000:])]


@pytest.fixture(scope="module")
def texts() -> list[bytes]:
    """Members of a group look alike: ` aaing`, `Baed`, `12`."""
    words = [b" %c%cing", b"%c%ced", b"%c%c"]
    return [
        words[i % 3] % ((97 + i // 26, 97 + i % 26) if i % 3 < 2 else (48 + i // 10, 48 + i % 10))
        for i in range(VOCAB)
    ]


@pytest.mark.parametrize("name", ["k6", "s6", "p6", "k6.2"])
def test_tokens_of_a_class_stand_in_like_places(name: str, streams: list) -> None:
    classes = fit_class_maps(streams, VOCAB, [name], seed=1)[name][:57]
    for number in np.unique(classes):
        assert len(set(GROUP[:57][classes == number])) == 1


def test_without_texts_unseen_tokens_have_a_class_of_their_own(streams: list) -> None:
    classes = fit_class_maps(streams, VOCAB, ["k6"], seed=1)["k6"]
    assert set(classes[57:]) == {classes.max()}
    assert classes.max() not in classes[:57]


def test_with_texts_unseen_tokens_join_those_that_look_like_them(
    streams: list, texts: list[bytes]
) -> None:
    classes = fit_class_maps(streams, VOCAB, ["k6"], seed=1, token_texts=texts)["k6"]
    for token in range(57, VOCAB):
        assert classes[token] in classes[:57][GROUP[:57] == GROUP[token]]


def test_a_rare_token_leans_to_the_class_of_those_that_look_like_it(
    streams: list, texts: list[bytes], text_stream: type
) -> None:
    # token 57 (group 0 by its look) comes once, between tokens that tell nothing
    odd = [*streams, text_stream([58, 57, 58])]
    classes = fit_class_maps(odd, VOCAB, ["k6"], seed=1, token_texts=texts)["k6"]
    assert classes[57] in classes[:57][GROUP[:57] == 0]


def test_a_map_depends_on_seed_and_name_only(streams: list, texts: list[bytes]) -> None:
    names = ["k8", "s4", "shape", "k8.1"]
    together = fit_class_maps(streams, VOCAB, names, seed=3, token_texts=texts)
    assert list(together) == names
    for name in names:
        alone = fit_class_maps(streams, VOCAB, [name], seed=3, token_texts=texts)[name]
        np.testing.assert_array_equal(alone, together[name])


def test_replicates_and_seeds_cluster_differently(streams: list) -> None:
    maps = fit_class_maps(streams, VOCAB, ["k8", "k8.1"], seed=3)
    other_seed = fit_class_maps(streams, VOCAB, ["k8"], seed=4)
    assert (maps["k8"] != maps["k8.1"]).any()
    assert (maps["k8"] != other_seed["k8"]).any()


def test_a_map_does_not_depend_on_the_number_of_threads(text_stream: type) -> None:
    rng = np.random.default_rng(0)
    vocab_size = 2000
    text = (rng.random(30_000) ** 3 * vocab_size).astype(int)
    maps = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            maps.append(fit_class_maps([text_stream(text)], vocab_size, ["k40"], seed=0)["k40"])
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize(
    ("offset", "pairs"),
    [
        (1, {(0, 1): 3, (1, 0): 2, (3, 2): 3, (2, 3): 2}),
        (2, {(0, 0): 2, (1, 1): 2, (2, 2): 2, (3, 3): 2}),
    ],
)
def test_no_pair_spans_two_streams(
    offset: int, pairs: dict[tuple[int, int], int], text_stream: type
) -> None:
    apart = [text_stream([0, 1, 0, 1, 0, 1]), text_stream([3, 2, 3, 2, 3, 2])]
    counted = NeighbourCounts.from_text(apart, np.arange(4), 4, (offset,))
    first, second, counts = (column.tolist() for column in counted)
    assert dict(zip(zip(first, second, strict=True), counts, strict=True)) == pairs


@pytest.mark.parametrize("text", [[], [1], [1, 1, 1, 1, 1], [0, 1]])
@pytest.mark.parametrize("name", ["k2", "s128"])
def test_tiny_texts_still_give_a_class_to_every_token(
    name: str, text: Sequence[int], text_stream: type
) -> None:
    for token_texts in (None, [b"a", b"b"]):
        classes = fit_class_maps([text_stream(text)], 2, [name], seed=0, token_texts=token_texts)
        assert classes[name].shape == (2,)
        assert classes[name].dtype == np.uint8


def test_classes_are_numbered_without_gaps_in_the_smallest_type(streams: list) -> None:
    for name, classes in fit_class_maps(streams, VOCAB, ["k40", "p2"], seed=0).items():
        assert classes.dtype == np.uint8, name
        np.testing.assert_array_equal(np.unique(classes), np.arange(classes.max() + 1))


def test_shapes_tell_spaces_cases_digits_signs_and_suffixes() -> None:
    tokens = [b" walking", b" talking", b"talking", b" Talking", b" TALKING", b" 1999", b" 2003"]
    tokens += [b" 12", b",", b".", b"\xc3\xa9", b"", b" "]
    coarse = TokenShapes(tokens).class_map
    assert coarse[0] == coarse[1]
    assert coarse[5] == coarse[6] != coarse[7]
    assert len(set(coarse)) == len(tokens) - 2


def test_coarser_shapes_merge_finer_ones(texts: list[bytes]) -> None:
    numberings = TokenShapes(texts).numberings
    for fine, coarse in itertools.pairwise(numberings):
        for number in np.unique(fine):
            assert len(set(coarse[fine == number])) == 1


@pytest.mark.parametrize("name", ["k128", "s64", "p32", "k512.3", "shape"])
def test_every_kind_of_name_is_read(name: str, streams: list, texts: list[bytes]) -> None:
    assert list(fit_class_maps(streams, VOCAB, [name], seed=0, token_texts=texts)) == [name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("q128", "'q128' is no class map"),
        ("k", "'k' is no class map"),
        ("k12.x", "no class map"),
        ("k1", "k1 has 1 classes, expected 2"),
        ("k70000", "70000 classes"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str, streams: list) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_class_maps(streams, VOCAB, [name], seed=0)


def test_shape_needs_a_text_for_every_token(streams: list) -> None:
    with pytest.raises(ConfigError, match="shape needs the texts"):
        fit_class_maps(streams, VOCAB, ["shape"], seed=0)
    with pytest.raises(ConfigError, match="2 token texts, expected 60"):
        fit_class_maps(streams, VOCAB, ["k3"], seed=0, token_texts=[b"a", b"b"])

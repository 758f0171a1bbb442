import pytest
from hypothesis import given
from hypothesis import strategies as st

from clso.errors import ConfigError
from clso.mixture.counts import Element, Pattern

NAMES = st.none() | st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,5}", fullmatch=True)
ELEMENTS = st.lists(st.builds(Element, st.integers(1, 30), NAMES), max_size=6)


@given(ELEMENTS, NAMES)
def test_a_pattern_is_read_back_from_its_name(elements: list[Element], target: str | None) -> None:
    offsets = set()
    kept = []
    for element in elements:
        if element.offset not in offsets:
            kept.append(element)
            offsets.add(element.offset)
    pattern = Pattern(tuple(kept), target)
    assert Pattern.parse(pattern.name) == pattern
    assert pattern.class_names == {e.classes for e in kept} - {None} | {target} - {None}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kn()", "kn()"),
        (" kn( 1, 2:k64 ) ", "kn(1,2:k64)"),
        ("kn(1:k64 -> k64)", "kn(1:k64->k64)"),
        ("kn(->k64)", "kn(->k64)"),
        ("kn(1:k64,1)", "kn(1:k64,1)"),
    ],
)
def test_spaces_do_not_matter(text: str, name: str) -> None:
    assert Pattern.parse(text).name == name
    assert str(Pattern.parse(text)) == name


NO_PATTERNS = """
kn kn( (1) kn(0) kn(01) kn(-1) kn(1,) kn(,1) kn(1:) kn(:k) kn(1->) kn(1->k->k) kn(1:a-b) kn(1)x
kn(1;2) kn(1:2) cache(1)
"""


@pytest.mark.parametrize("text", ["", *NO_PATTERNS.split()])
def test_what_is_no_pattern_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not a (pattern|context)") as caught:
        Pattern.parse(text)
    assert "kn(1,2)" in caught.value.remedy


@pytest.mark.parametrize("text", ["kn(1,1)", "kn(1:k,1:k)", "kn(1,2,1:k)"])
def test_an_element_that_says_nothing_new_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="after an element that determines it"):
        Pattern.parse(text)


def test_an_element_has_a_place_before_the_next_token() -> None:
    with pytest.raises(ConfigError, match="offset 0, expected 1 or more"):
        Element(0)
    with pytest.raises(ConfigError, match="cannot name a class map"):
        Element(1, "a,b")
    with pytest.raises(ConfigError, match="cannot name a class map"):
        Pattern((), "a)")


def test_plain_n_grams_are_told_from_the_rest() -> None:
    assert Pattern.contiguous(3).name == "kn(1,2,3)"
    assert Pattern.contiguous(0).name == "kn()"
    assert all(Pattern.contiguous(n).is_contiguous for n in range(5))
    for text in ("kn(2)", "kn(2,1)", "kn(1,3)", "kn(1:k)", "kn(1->k)"):
        assert not Pattern.parse(text).is_contiguous

"""Several libraries as one."""

import numpy as np
import pytest
from drawn_families import family_settings

from clso.errors import ConfigError
from clso.library import SLOTS, BasisLibrary
from clso.library.joined import distinct_bytes, joined

FAMILIES = [family_settings("block_sparse", 1.0, {"block": 4, "density": 0.3})]
N_SEEDS = 3
LIBRARIES = [BasisLibrary.generate(8, 4, FAMILIES, 1.0, seed) for seed in range(N_SEEDS)]


def contents(library: BasisLibrary, slot: str) -> list[bytes]:
    return [b"".join(entry.content()) for entry in library[slot] if entry.family != "zero"]


def all_bytes(*libraries: BasisLibrary) -> int:
    return distinct_bytes(e for library in libraries for slot in SLOTS for e in library[slot])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1.0])
def test_every_library_has_entries_in_every_slot_and_the_bytes_hold(share: float) -> None:
    most = round(share * all_bytes(*LIBRARIES))
    one = joined(LIBRARIES, most)
    assert all_bytes(one) <= most
    for slot in SLOTS:
        kept = contents(one, slot)
        assert len(set(kept)) == len(kept)
        for own in LIBRARIES:
            assert set(kept) & set(contents(own, slot))
        assert set(kept) <= {content for own in LIBRARIES for content in contents(own, slot)}


def test_all_bytes_keep_all_entries_in_the_order_of_the_libraries() -> None:
    one = joined(LIBRARIES, all_bytes(*LIBRARIES))
    for slot in SLOTS:
        assert contents(one, slot) == [c for own in LIBRARIES for c in contents(own, slot)]


def test_a_library_joined_with_itself_is_itself() -> None:
    own = LIBRARIES[0]
    one = joined([own, own], all_bytes(own))
    assert one.fingerprint == own.fingerprint


def test_matrices_that_all_hold_are_kept_first_and_once() -> None:
    first, second = LIBRARIES[:2]
    both = BasisLibrary(8, {slot: (*first[slot][:2], *second[slot][2:]) for slot in SLOTS})
    one = joined([first, both], round(0.9 * all_bytes(first, both)))
    for slot in SLOTS:
        kept = contents(one, slot)
        for content in contents(first, slot)[:2]:
            assert kept.count(content) == 1


def test_an_array_that_several_entries_hold_counts_once() -> None:
    entry = LIBRARIES[0]["attn_out"][0]
    assert distinct_bytes([entry, entry]) == entry.stored_bytes


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not hold one entry of each slot and library"):
        joined(LIBRARIES, 10)


def test_libraries_of_another_width_are_refused() -> None:
    wider = BasisLibrary.generate(12, 4, FAMILIES, 1.0, 0)
    with pytest.raises(ConfigError, match="differ in width"):
        joined([LIBRARIES[0], wider], 10**9)


def test_slots_of_the_body_have_equally_many_entries() -> None:
    one = joined(LIBRARIES, round(0.45 * all_bytes(*LIBRARIES)))
    assert len({len(one[slot]) for slot in SLOTS}) == 1
    padding = [e for slot in SLOTS for e in one[slot] if e.family == "zero"]
    assert all(not np.any(entry.dense()) for entry in padding)

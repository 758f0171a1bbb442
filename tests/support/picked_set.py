"""The canonical form of slots that together pick a set, option 0 being none."""

from __future__ import annotations

from collections.abc import Sequence

from clso.genome import Genome

__all__ = ["canonical_set"]


def canonical_set(picks: Sequence[int]) -> Genome:
    """Return the distinct picks in order, then zeros."""
    picked = sorted(set(picks) - {0})
    return (*picked, *([0] * (len(picks) - len(picked))))

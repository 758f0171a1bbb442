"""Settings of a matrix family by its name."""

from collections.abc import Mapping

from clso.library import FAMILIES, FamilySettings


def family_settings(
    family: str, share: float = 1.0, parameters: Mapping[str, float] | None = None
) -> FamilySettings:
    """Return a family's settings, what is not given at its default."""
    return FAMILIES.get(family).Settings(share=share, **(parameters or {}))

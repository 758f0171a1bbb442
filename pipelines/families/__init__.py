"""Model families. Built-in are `gpt` and `mixture`; plug-ins add more.

A plug-in is an instance of a subclass of `ModelFamily` that an installed package names in the
entry-point group `clso.model_families`; the entry point has the family's own name.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Annotated, Any

from pydantic import AfterValidator

from clso.errors import ConfigError
from clso.plugins import Registry
from pipelines.families.base import FamilySettings, ModelFamily

__all__ = ["FAMILIES", "AnyFamily", "FamilyName", "FamilySettings", "ModelFamily"]

AnyFamily = ModelFamily[Any]

_GROUP = "clso.model_families"


def _check(name: str, family: object) -> None:
    if ModelFamily not in type(family).__mro__:
        raise TypeError("it is no instance of a subclass of pipelines.families.ModelFamily")
    own = getattr(family, "name", None)
    if own != name:
        raise TypeError(f"the family's own name is {own!r}, expected that of its entry point")


# entry points, because the families' imports take seconds and a configuration needs none
FAMILIES: Registry[AnyFamily] = Registry(
    _GROUP,
    {
        "gpt": EntryPoint("gpt", "pipelines.families.gpt:GPT", _GROUP),
        "mixture": EntryPoint("mixture", "pipelines.families.mixture:MIXTURE", _GROUP),
    },
    check=_check,
)


def _known(name: str) -> str:
    try:
        FAMILIES.origin(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return name


FamilyName = Annotated[str, AfterValidator(_known)]
"""The name of a known family, in settings."""

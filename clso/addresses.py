"""Addresses of servers and databases, which may hold a password that nothing is to write down."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainSerializer

__all__ = ["Address", "lacks_password", "without_password"]

_MASK = "***"
# `user:password@`, and for HTTP also `token@`. A database's password may hold any character.
_USER = re.compile(r"(?<=://)([^:/@]*:).*@")
_TOKEN = re.compile(r"^(https?://)[^:/@]+@")
_QUERY = re.compile(r"([?&][^=&]*(?:passw|pwd|token|secret)[^=&]*=)[^&#]*", re.IGNORECASE)


def without_password(address: str) -> str:
    """Return an address with `***` in place of what only its user may know."""
    for secret, shown in ((_USER, f"{_MASK}@"), (_TOKEN, f"{_MASK}@"), (_QUERY, _MASK)):
        address = secret.sub(rf"\1{shown}", address)
    return address


def lacks_password(address: str) -> bool:
    """Return whether an address has been written by `without_password`, and so opens nothing."""
    return f"{_MASK}@" in address or f"={_MASK}" in address


Address = Annotated[str, PlainSerializer(without_password, return_type=str, when_used="json")]
"""The address of a setting; in JSON, and so in manifests and reports, it has no password."""

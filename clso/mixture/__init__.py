"""The crystalline mixture: a genome picks basis functions over contexts, EM weighs them."""

from clso.mixture.plain import PlainFunction
from clso.mixture.text import FittingText

__all__ = ["FittingText", "PlainFunction"]

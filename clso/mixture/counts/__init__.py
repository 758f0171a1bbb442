"""Count-based basis functions: modified Kneser-Ney over any pattern of context places."""

from clso.mixture.counts.arpa import write_arpa
from clso.mixture.counts.kneser_ney import KneserNey
from clso.mixture.counts.pattern import Element, Pattern
from clso.mixture.counts.store import Tables

__all__ = ["Element", "KneserNey", "Pattern", "Tables", "write_arpa"]

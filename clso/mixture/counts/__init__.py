r"""Count-based basis functions: n-gram models with modified Kneser-Ney smoothing.

An n-gram model predicts the next token y from its context h, the tokens just before it, by how
often y followed h in the training text. Long contexts are rare, so their counts alone say little.
Therefore the estimate for h is interpolated with the estimate for h', the context without its
last element. Kneser-Ney smoothing takes a discount D off every count and gives the probability
that this frees to h':

.. math:: p(y \mid h) = \frac{c(h, y) - D}{c(h)} + \gamma(h) \, p(y \mid h')

For the longest context, c(h, y) is how often y occurred after h. For every shorter context it is
the *continuation count*: after how many distinct longer contexts y occurred. A token that is
frequent after one context only (`Francisco` after `San`) is thus unlikely after other contexts.

The context of a model here is any pattern of earlier tokens, each seen as itself or as its class,
not only the last n - 1 tokens:

    pattern.py      the pattern and its name, such as `kn(1,2:k64)`
    corpus.py       the text that is counted
    keys.py         sorting and counting of integer keys
    rows.py         which symbols follow which context
    count_table.py  how often they do, discounts and backoff weights
    counting.py     the counts after one prefix of a pattern
    tables.py       the counts of many patterns, which share what they have in common
    kneser_ney.py   the model
    walk.py         the contexts of many models, which share what they have in common
    pricing.py      their predictions of given targets
    arpa.py         its export for other n-gram tools
    floor.py        the 5-gram as a language model of its own, in every result table

Sources: Kneser and Ney 1995; Chen and Goodman 1999 (modified Kneser-Ney, with three discounts).
"""

from clso.mixture.counts.arpa import write_arpa
from clso.mixture.counts.floor import KneserNeyFloor
from clso.mixture.counts.kneser_ney import CountedTogether, KneserNey
from clso.mixture.counts.pattern import Element, Pattern

__all__ = ["CountedTogether", "Element", "KneserNey", "KneserNeyFloor", "Pattern", "write_arpa"]

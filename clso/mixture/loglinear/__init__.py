r"""Log-linear basis functions: experts are multiplied, and few exponents weigh them.

The next token is predicted in two steps, its class c and then the token among those of its class:

.. math::
    p(y \mid h) = p(c(y) \mid h) \, p(y \mid c(y), h), \qquad
    p(c \mid h) \propto \exp \sum_j a_j f_j(c, h), \qquad
    p(y \mid c, h) \propto \exp \sum_j b_j g_j(y, h)

A mixture adds the predictions of its functions, so that each of them can only make a token
likelier. Here every expert can make a token unlikely. Normalisation is cheap, because it sums over
the classes and then over the tokens of one class.

Most experts are logarithms of Kneser-Ney models over different views of the last tokens. The others
say what the block is about, and what it repeats. The experts are counted. The exponents, some
twenty numbers, are fitted on text that the experts have not counted: their likelihood is concave,
and Newton's method finds its maximum. There is no back-propagation.

    name.py       how a function is written
    columns.py    the tokens in the order of their classes
    counts.py     the Kneser-Ney models, evaluated for the tokens of a class at once
    topic.py      vectors of tokens and of blocks
    positions.py  all experts at the positions of blocks
    full.py       all tokens at once, for full distributions
    exponents.py  Newton's method
    function.py   the basis function

Sources: Rosenfeld 1996 (maximum entropy, triggers); Goodman 2001, "Classes for fast maximum entropy
training" (two steps); Hinton 2002 (products of experts); Klakow 1998 (log-linear interpolation).
"""

from clso.mixture.loglinear.function import LogLinear
from clso.mixture.loglinear.name import LogLinearName

__all__ = ["LogLinear", "LogLinearName"]

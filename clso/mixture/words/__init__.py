r"""Count-based basis functions over words, for vocabularies whose tokens are parts of words.

Notation: a *letter* is a token whose class under the map `letters` is not 0; a word is a run of
letters, seen through that map, so without case. At a position, w_0 are the letters since the last
other token, none or more, and w_k is the k-th word before them. A word is a node of a tree: the
root is the empty word, and a node's children are the words with one more letter.

`word(1,2)` is interpolated modified Kneser-Ney as in `clso.mixture.counts.kneser_ney`, with the
context elements

    the last token, the one before it, the third last, w_0, w_1, w_2

the most important first. So `word()` knows the beginning of the current word, and `word(2)` the
word before the last one besides. Words that the text does not have, and words whose beginning may
lie before the block, are unknown; the prediction then is that of the elements before them.

    name.py      the name of a function and of its tables
    places.py    where words begin and end
    function.py  the counts, and the function
"""

from clso.mixture.words.function import WordCounts
from clso.mixture.words.name import LETTERS, WordName

__all__ = ["LETTERS", "WordCounts", "WordName"]

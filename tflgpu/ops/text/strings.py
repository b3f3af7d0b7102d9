"""SKIP_GRAM. (Operators that move strings are in movement.)"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tflgpu.model.graph import Array, Node
from tflgpu.ops.registry import function, require

MAX_GRAMS = 1 << 20
"""More n-grams than this in one sentence are refused: their number grows as (max_skip_size + 1) ** ngram_size."""


@function("SKIP_GRAM", inputs=1, types="STRING")
def skip_gram(node: Node, x: Array) -> Array:
    """A vector of all n-grams of the words of x's first string that skip at most max_skip_size words at a time.

    Grams of ngram_size words; with include_all_ngrams, of fewer words too.
    """
    require(x.size, "SKIP_GRAM takes a string. ")
    words = _words(bytes(x.reshape(-1)[0]))
    size = int(node.options.ngram_size)
    found: list[bytes] = []
    if 0 < size <= len(words):
        smallest = 1 if node.options.include_all_ngrams else size
        for visited, gram in enumerate(_grams(len(words), size, int(node.options.max_skip_size))):
            require(visited < MAX_GRAMS, f"SKIP_GRAM visits more than {MAX_GRAMS} n-grams. ")
            if len(gram) >= smallest:
                found.append(b" ".join([words[i] for i in gram]))
    y = np.empty(len(found), object)
    y[:] = found
    return y


def _words(sentence: bytes) -> list[bytes]:
    """The sentence at its white space, as TensorFlow Lite cuts it: a word after a single leading space is lost."""
    spaces = b" \t\n\v\f\r"
    words: list[bytes] = []
    start = 0
    for i in range(1, len(sentence)):
        if sentence[i] in spaces:
            if i > start and sentence[start] not in spaces:
                words.append(sentence[start:i])
            start = i + 1
    if start < len(sentence):
        words.append(sentence[start:])
    return words


def _grams(count: int, size: int, skip: int) -> Iterator[list[int]]:
    """All runs of up to `size` of `count` words with at most `skip` between neighbours, longer before their starts.

    The list is reused: it must be read before the next.
    """

    for first in range(count):
        gram, following = [first], first + 1
        while gram:
            if len(gram) < size and following < min(gram[-1] + skip + 2, count):
                gram.append(following)
                following += 1
            else:
                yield gram
                following = gram.pop() + 1

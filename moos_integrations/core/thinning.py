"""Which words of a sentence may go where thinning is on, so that what is left still says what the source says.

A sentence that is thinned loses articles and filler words, with the commas behind them. Without a grammar, no other
word is safe to drop: a noun leaves "with or without" behind, a verb or an adjective makes another statement. In other
languages than English, and in lines of structured text, nothing may go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moos_integrations.core.types import BoolArray, Kind, SegmentedText

_FUNCTION_WORDS = frozenset(
    (
        "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "with", "as", "are",
        "this", "by", "be",
    )
)  # fmt: skip

_LEAST_ENGLISH = 0.12
"""Share of function words from which a text counts as English; other languages in Latin script stay far below."""
_NEGATIONS = frozenset(("no", "not", "never", "hardly", "nor", "neither", "without", "cannot"))
_ARTICLES = frozenset(("the", "a", "an"))
_QUANTITIES = frozenset(("few", "little", "lot", "bit", "number", "couple", "dozen", "hundred", "thousand", "million"))
"""What says something else without its article: "a few" is not "few"."""
_FILLERS = frozenset(
    (
        "very", "really", "actually", "indeed", "moreover", "furthermore", "however", "therefore", "thus", "also",
        "additionally", "basically", "essentially", "nevertheless", "nonetheless",
    )
)  # fmt: skip
_ATTACHED = frozenset(",;:")


def droppable_words(document: SegmentedText) -> BoolArray:
    """Which words may go without turning what their sentence says. Shape: `(words,)`."""
    words = [word.lower() for word in document.words()]
    flags = np.zeros(len(words), bool)
    if not words or sum(word in _FUNCTION_WORDS for word in words) < _LEAST_ENGLISH * len(words):
        return flags
    prose = (document.unit_kinds == Kind.SENTENCE) & ~document.unit_structured
    inside, behind = prose[document.unit_of_word], follows_word(document)
    for index in np.flatnonzero(inside).tolist():
        if behind[index]:  # a mark goes with the word that it is behind
            flags[index] = flags[index - 1]
        else:
            flags[index] = _may_go(words[index], words[max(index - 2, 0) : index], words[index + 1 : index + 2])
    return flags


def follows_word(document: SegmentedText) -> BoolArray:
    """Marks that go with the word that they are behind. Shape: `(words,)`."""
    flags = np.array([word in _ATTACHED for word in document.words()], bool)
    flags[:1] = False
    flags[1:] &= document.word_ends[:-1] == document.word_starts[1:]
    return flags


def _may_go(word: str, before: Sequence[str], after: Sequence[str]) -> bool:
    if word in _ARTICLES:
        return not _QUANTITIES.intersection(after)
    denied = any(other in _NEGATIONS or other.endswith(("n't", "n’t")) for other in before)
    return word in _FILLERS and not denied  # "not very safe" says other than "not safe"

"""Preserve/discard labels for words, from data that says which words mattered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import regex

from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.types import BoolArray, IntArray

_QUESTION_STOP_WORDS = frozenset(
    """
    a an and are as at be been being but by can could did do does done for from had has have having he her his how i if
    in into is it its many may might more most much must name of on one or other s she should some such than that the
    their them then there these they this those to type used use was were what when where which while who whom whose
    why will with would you your
    """.split()  # noqa: SIM905 - a list of words reads better as prose
)
_NEGATIONS = frozenset(["no", "not", "never", "none", "neither", "nor", "without", "cannot"])
_SUFFIX = regex.compile(r"(?:'s|’s|ings?|edly|ed|ies|es|s|ly)$")


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with a preserve label per word.

    Attributes:
        text: The source.
        keep: True where the word is to be preserved. Shape: `(words,)`, aligned with `word_spans(text)`.
    """

    text: str
    keep: BoolArray


def labels_from_token_mask(text: str, tokens: Sequence[str], mask: Sequence[bool]) -> LabelledText | None:
    """Labels from a keep mask over white-space tokens of `text` (the Google sentence-compression pairs).

    Args:
        text: Source text; its characters without white space must be those of `tokens` in order.
        tokens: Tokens of the source.
        mask: True for each token that the compression kept. Same length as `tokens`.

    Returns:
        The labelled text, or None where the tokens do not spell the text (quotes rewritten by the source's tokeniser).
    """
    kept_characters = np.zeros(len(text), bool)
    position = 0
    for token, keep in zip(tokens, mask, strict=True):
        found = text.find(token, position)
        if found < 0 or text[position:found].strip():
            return None
        position = found + len(token)
        kept_characters[found:position] = keep
    return LabelledText(text, _any_inside(kept_characters, *word_spans(text)))


def labels_from_questions(context: str, questions: Sequence[str], answers: Iterable[tuple[int, int]]) -> LabelledText:
    """Query-free labels: the words that any question or answer about a passage needs.

    Preserved are the words of every answer, and, inside the sentences that hold an answer, the content words that a
    question repeats (compared by stem) and negations.

    Args:
        context: The passage.
        questions: All questions asked about it.
        answers: Character spans `(start, end)` of all their answers in `context`.

    Returns:
        The labelled passage.
    """
    in_answer = np.zeros(len(context), bool)
    for start, end in answers:
        in_answer[start:end] = True
    starts, ends = word_spans(context)
    answer_words = _any_inside(in_answer, starts, ends)
    units, _ = unit_spans(context)
    unit_of_word = np.searchsorted(units, starts, side="right") - 1
    needed_units = np.isin(unit_of_word, unit_of_word[answer_words])
    asked = {stem for question in questions for stem in _content_stems(question)}
    repeated = np.array(
        [
            _stem(context[start:end]) in asked or context[start:end].lower() in _NEGATIONS
            for start, end in zip(starts, ends, strict=True)
        ],
        bool,
    )
    return LabelledText(context, answer_words | (repeated & needed_units))


def _any_inside(flags: BoolArray, starts: IntArray, ends: IntArray) -> BoolArray:
    counts = np.concatenate([[0], np.cumsum(flags)])
    return np.asarray(counts[ends] > counts[starts])


def _content_stems(question: str) -> set[str]:
    words = (question[start:end].lower() for start, end in zip(*word_spans(question), strict=True))
    return {_stem(word) for word in words if word not in _QUESTION_STOP_WORDS and any(c.isalnum() for c in word)}


def _stem(word: str) -> str:
    """A crude stem: enough to meet `measured` with `measure`, on both sides alike."""
    word = word.lower()
    shorter = _SUFFIX.sub("", word)
    return (shorter if len(shorter) >= 3 else word).rstrip("e")

"""Preserve/discard labels for words, from questions, answers and evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import regex

from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Span

_STOP_WORDS = frozenset(
    """
    a an and are as at be been being but by can could did do does done for from had has have having he her his how i if
    in into is it its many may might more most much must name of on one or other s she should some such than that the
    their them then there these they this those to type used use was were what when where which while who whom whose
    why will with would you your
    """.split()  # noqa: SIM905 - a list of words reads better as prose
)
_NEGATIONS = frozenset(["no", "not", "never", "none", "neither", "nor", "without", "cannot"])
_CONTENT_WORD, _FUNCTION_WORD = 0.8, 0.5  # targets inside a needed sentence
_SUFFIX = regex.compile(r"(?:'s|’s|ings?|edly|ed|ies|es|s|ly)$")


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with a target per word.

    Attributes:
        text: The source.
        targets: Target preserve probability, in [0, 1]: 1 preserve, 0 discard, between them words that matter less
            (0.5 and more counts as the class "preserve"). Shape: `(words,)`, aligned with `word_spans(text)`.
    """

    text: str
    targets: FloatArray


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
    return LabelledText(text, _any_inside(kept_characters, *word_spans(text)).astype(float))


def labels_from_questions(context: str, questions: Sequence[str], answers: Iterable[Span]) -> LabelledText:
    """Query-free labels: the words that any question or answer about a passage needs.

    Preserved are the words of every answer. In sentences with an answer, also negations and content words that a
    question repeats (compared by stem).

    Args:
        context: The passage.
        questions: All questions about it.
        answers: Character spans `(start, end)` of all their answers in `context`.

    Returns:
        The labelled passage.
    """
    words = _Words(context)
    answer_words = words.touching(answers)
    needed = words.in_units_of(answer_words) & (words.repeating(questions) | words.among(_NEGATIONS))
    return LabelledText(context, (answer_words | needed).astype(float))


def labels_for_question(
    context: str, question: str, answers: Iterable[Span] = (), evidence: Iterable[Span] = ()
) -> LabelledText:
    """Query-aware labels: the words that one question needs.

    Sentences with an answer and sentences of the evidence are needed, all others are discarded. In needed sentences the
    answer's words, words that the question repeats, numbers and negations have the target 1, other content words 0.8,
    function words 0.5. Readers prefer whole sentences; under a tighter budget, the answer is dropped last.

    Args:
        context: The passage.
        question: The question.
        answers: Character spans of its answers in `context`; without any, the passage is a negative.
        evidence: Character spans of supporting sentences.

    Returns:
        The labelled passage.
    """
    words = _Words(context)
    answer_words = words.touching(answers)
    needed = words.in_units_of(answer_words | words.touching(evidence))
    targets = np.where(words.among(_STOP_WORDS) | ~words.speaking, _FUNCTION_WORD, _CONTENT_WORD)
    targets[answer_words | words.repeating([question]) | words.among(_NEGATIONS) | words.numeric] = 1.0
    return LabelledText(context, targets * needed)


class _Words:
    """The words of a passage, and masks over them. Shape of each mask: `(words,)`."""

    def __init__(self, context: str) -> None:
        self.starts, self.ends = word_spans(context)
        self._length = len(context)
        self._words = [context[start:end].lower() for start, end in zip(self.starts, self.ends, strict=True)]
        units, _ = unit_spans(context)
        self._unit = np.searchsorted(units, self.starts, side="right") - 1

    def touching(self, spans: Iterable[Span]) -> BoolArray:
        inside = np.zeros(self._length, bool)
        for start, end in spans:
            inside[start:end] = True
        return _any_inside(inside, self.starts, self.ends)

    def in_units_of(self, chosen: BoolArray) -> BoolArray:
        return np.asarray(np.isin(self._unit, self._unit[chosen]))

    def among(self, wanted: frozenset[str]) -> BoolArray:
        return np.array([word in wanted for word in self._words], bool)

    def repeating(self, questions: Iterable[str]) -> BoolArray:
        asked = {stem for question in questions for stem in _content_stems(question)}
        return np.array([_stem(word) in asked for word in self._words], bool)

    @property
    def numeric(self) -> BoolArray:
        return np.array([any(c.isdigit() for c in word) for word in self._words], bool)

    @property
    def speaking(self) -> BoolArray:
        """Words with a letter or digit, unlike punctuation."""
        return np.array([any(c.isalnum() for c in word) for word in self._words], bool)


def _any_inside(flags: BoolArray, starts: IntArray, ends: IntArray) -> BoolArray:
    counts = np.concatenate([[0], np.cumsum(flags)])
    return np.asarray(counts[ends] > counts[starts])


def content_words(text: str) -> list[str]:
    """The words that carry meaning, in order: neither stop words nor punctuation."""
    words = (text[start:end] for start, end in zip(*word_spans(text), strict=True))
    return [word for word in words if word.lower() not in _STOP_WORDS and any(c.isalnum() for c in word)]


def _content_stems(question: str) -> set[str]:
    return {_stem(word) for word in content_words(question)}


def _stem(word: str) -> str:
    """A crude stem, the same for `measured` and `measure`."""
    word = word.lower()
    shorter = _SUFFIX.sub("", word)
    return (shorter if len(shorter) >= 3 else word).rstrip("e")

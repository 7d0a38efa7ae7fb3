"""Finds a quoted piece of an answer in texts. Time grows with the words of quote and texts, whatever repeats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import regex

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_GAP = regex.compile(r"[\[(<]?(?:\.\s?\.\s?\.+|…)[\])>]?")  # what LLMs write for words they leave out
_LEAST_SHARED = 3  # words of a quote over two texts that each must have

Place: TypeAlias = tuple[int, int, float]
"""Start, end, and the share of the quote's words that is there."""


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a text, for comparison, and where they are."""

    words: list[str]
    spans: list[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> _Words:
        spans = [match.span() for match in _WORD.finditer(text)]
        return cls([text[start:end].casefold() for start, end in spans], spans)

    def place(self, start: int, end: int, coverage: float) -> Place:
        """The place of the words `start` to `end`, end excluded."""
        return self.spans[start][0], self.spans[end - 1][1], coverage


def places_of(quote: str, text: str, min_coverage: float) -> list[Place]:
    """Places of a quote in a text, compared by words, without case and punctuation.

    Args:
        quote: Possibly rewrapped, as LLMs quote; "..." or "…" in it stands for any words.
        text: The text to search.
        min_coverage: Smallest share of the quote's words that a place must have.

    Returns:
        Every place of all words, or else the place of all parts around "...", or else that of the longest run of words.
    """
    wanted = _Words.of(quote).words
    return _places(wanted, _parts(quote), _Words.of(text), min_coverage) if wanted else []


def places_in(quote: str, texts: Sequence[str], min_coverage: float) -> list[tuple[int, Place]]:
    """Places of a quote in several texts; also of one that begins in one text and ends in another.

    Args:
        quote: As for `places_of`.
        texts: The texts to search.
        min_coverage: As for `places_of`; of a quote over two texts, both together must have that share.

    Returns:
        Index of the text and the place: those with most of the quote first, then in the order of the texts.
    """
    wanted, parts, known = _Words.of(quote).words, _parts(quote), [_Words.of(text) for text in texts]
    if not wanted:
        return []
    found = [(index, place) for index, text in enumerate(known) for place in _places(wanted, parts, text, min_coverage)]
    if not any(place[2] == 1.0 for _, place in found):
        found = _over_two(wanted, known) or found
    return sorted(found, key=lambda item: -item[1][2])


def _parts(quote: str) -> list[list[str]]:
    """The words between the gaps of a quote."""
    return [part for part in (_Words.of(text).words for text in _GAP.split(quote)) if part]


def _places(wanted: list[str], parts: list[list[str]], text: _Words, min_coverage: float) -> list[Place]:
    whole = [text.place(start, start + len(wanted), 1.0) for start in _starts(text.words, wanted)]
    if whole or not text.words:
        return whole
    if len(parts) > 1:
        around = _around_gaps(parts, text.words)
        if around:
            return [text.place(*around, 1.0)]
    start, size = _longest_run(text.words, wanted)
    if not size or size < min_coverage * len(wanted):
        return []
    return [text.place(start, start + size, size / len(wanted))]


def _around_gaps(parts: list[list[str]], words: list[str]) -> tuple[int, int] | None:
    """The run of words that has all parts in their order: the one that ends first, from as late as possible."""
    end = _end_of(parts, words)
    if end is None:
        return None
    # Backwards from there, the latest place of each part.
    size = _end_of([part[::-1] for part in parts[::-1]], words[:end][::-1])
    return None if size is None else (end - size, end)


def _end_of(parts: list[list[str]], words: list[str]) -> int | None:
    """Where the parts end, each at its first place behind the one before; None if they are not all there."""
    end, rest = 0, iter(words)
    for part in parts:
        sizes = _matched(rest, part, _borders(part))
        read = next((count for count, size in enumerate(sizes, 1) if size == len(part)), None)
        if read is None:
            return None
        end += read
    return end


def _over_two(wanted: list[str], texts: list[_Words]) -> list[tuple[int, Place]]:
    """Where the beginning of a quote is in one text and the rest in another; empty if it is not so."""
    heads = [_longest_head(text.words, wanted) for text in texts]
    backward = wanted[::-1]
    tails = [_longest_head(text.words[::-1], backward) for text in texts]
    pairs = [
        (first, second)
        for first in _largest(heads)
        for second in _largest(tails)
        if first != second and heads[first][1] + tails[second][1] >= len(wanted)
    ]
    if not pairs:
        return []
    first, second = pairs[0]
    (start, size), (back, rest) = heads[first], tails[second]
    if min(size, rest) < min(_LEAST_SHARED, len(wanted) // 2):
        return []
    end = len(texts[second].words) - back
    return [
        (first, texts[first].place(start, start + size, size / len(wanted))),
        (second, texts[second].place(end - rest, end, rest / len(wanted))),
    ]


def _largest(runs: list[tuple[int, int]]) -> list[int]:
    """Indices of the two longest runs: with the best of both ends in one text, the second best may be needed."""
    return sorted(range(len(runs)), key=lambda index: -runs[index][1])[:2]


# --- runs of words, in linear time ------------------------------------------------------------------------------------


def _borders(wanted: list[str]) -> list[int]:
    """Per prefix, the length of the longest proper prefix that it also ends with (Knuth, Morris and Pratt)."""
    borders = [0] * len(wanted)
    size = 0
    for index in range(1, len(wanted)):
        while size and wanted[index] != wanted[size]:
            size = borders[size - 1]
        size += wanted[index] == wanted[size]
        borders[index] = size
    return borders


def _matched(words: Iterable[str], wanted: list[str], borders: list[int]) -> Iterator[int]:
    """After each word, how many of the first words of `wanted` the words so far end with."""
    size = 0
    for word in words:
        if size == len(wanted):
            size = borders[size - 1]
        while size and word != wanted[size]:
            size = borders[size - 1]
        size += word == wanted[size]
        yield size


def _starts(words: list[str], wanted: list[str]) -> list[int]:
    """Positions of all of `wanted` in `words`, without overlaps."""
    found: list[int] = []
    for index, size in enumerate(_matched(words, wanted, _borders(wanted))):
        start = index + 1 - len(wanted)
        if size == len(wanted) and (not found or start >= found[-1] + len(wanted)):
            found.append(start)
    return found


def _longest_head(words: list[str], wanted: list[str]) -> tuple[int, int]:
    """Position and length of the longest beginning of `wanted` in `words`, the first one of that length."""
    best = (0, 0)
    for index, size in enumerate(_matched(words, wanted, _borders(wanted))):
        if size > best[1]:
            best = (index + 1 - size, size)
    return best


def _longest_run(words: list[str], wanted: list[str]) -> tuple[int, int]:
    """Position and length of the longest run of `words` that is also one of `wanted`, the first of that length."""
    automaton = _Automaton(wanted)
    best, state, size = (0, 0), 0, 0
    for index, word in enumerate(words):
        while state and word not in automaton.steps[state]:
            state = automaton.links[state]
            size = automaton.lengths[state]
        if word in automaton.steps[state]:
            state, size = automaton.steps[state][word], size + 1
        if size > best[1]:
            best = (index + 1 - size, size)
    return best


class _Automaton:
    """The suffix automaton of a list of words: reads exactly its runs (Blumer and others, 1985).

    Attributes:
        steps: Per state, the next state by word.
        links: Per state, that of its longest suffix in another state.
        lengths: Per state, words of its longest run.
    """

    def __init__(self, words: list[str]) -> None:
        self.steps: list[dict[str, int]] = [{}]
        self.links, self.lengths = [-1], [0]
        last = 0
        for word in words:
            last = self._append(word, last)

    def _append(self, word: str, last: int) -> int:
        state = self._state({}, 0, self.lengths[last] + 1)
        before = last
        while before >= 0 and word not in self.steps[before]:
            self.steps[before][word] = state
            before = self.links[before]
        if before >= 0:
            after = self.steps[before][word]
            self.links[state] = after if self.lengths[after] == self.lengths[before] + 1 else self._split(before, word)
        return state

    def _split(self, before: int, word: str) -> int:
        """A copy of the state after `word`, for its shorter runs."""
        after = self.steps[before][word]
        copy = self._state(dict(self.steps[after]), self.links[after], self.lengths[before] + 1)
        self.links[after] = copy
        while before >= 0 and self.steps[before].get(word) == after:
            self.steps[before][word] = copy
            before = self.links[before]
        return copy

    def _state(self, steps: dict[str, int], link: int, length: int) -> int:
        self.steps.append(steps)
        self.links.append(link)
        self.lengths.append(length)
        return len(self.steps) - 1

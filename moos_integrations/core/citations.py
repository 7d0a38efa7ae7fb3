"""Finds a quoted piece of an answer in a text."""

from __future__ import annotations

from difflib import SequenceMatcher

import regex

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def places_of(quote: str, text: str, min_coverage: float) -> list[tuple[int, int, float]]:
    """Places of a quote in a text, compared by words, without case and punctuation.

    Args:
        quote: Possibly rewrapped, as LLMs quote.
        text: The text to search.
        min_coverage: Smallest share of the quote's words that a place must have in a row.

    Returns:
        Start, end and the share of the quote's words that are there in a row: every place of all words, or else the
        place of the longest run.
    """
    wanted = [word.casefold() for word in _WORD.findall(quote)]
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[start:end].casefold() for start, end in spans]
    if not wanted or not words:
        return []
    runs = [(start, len(wanted)) for start in _starts(words, wanted)]
    if not runs:
        match = SequenceMatcher(None, words, wanted, autojunk=False).find_longest_match()
        runs = [(match.a, match.size)] if match.size and match.size >= min_coverage * len(wanted) else []
    return [(spans[start][0], spans[start + size - 1][1], size / len(wanted)) for start, size in runs]


def _starts(words: list[str], wanted: list[str]) -> list[int]:
    """Positions of all of `wanted` in `words`, without overlaps."""
    found: list[int] = []
    for start, word in enumerate(words):
        free = not found or start >= found[-1] + len(wanted)
        if word == wanted[0] and free and words[start : start + len(wanted)] == wanted:
            found.append(start)
    return found

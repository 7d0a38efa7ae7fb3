"""Source plus kept words to text: only slices of the source, so the output is a character subsequence of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import regex

from moos_integrations.core.types import BoolArray, IntArray, SegmentedText, Span

_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}_]")
_LINE_BREAK = regex.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Longest white space taken over between two words that were not neighbours: a line break and its indentation.
_MAX_JOINT = 32
_NONE, _SPACE, _LINE, _PARAGRAPH = range(4)


class Renderer:
    """Renders one document, many times with different words kept (selection measures each try).

    Neighbouring kept words keep the white space between them as it is. Where words were dropped, the strongest of the
    gaps around them joins what is left (paragraph break over line break over space), so tables keep their rows.
    """

    def __init__(self, document: SegmentedText) -> None:
        """Look at the gaps between the document's words once."""
        self._text = document.text
        self._starts, self._ends = document.word_starts, document.word_ends
        self._joint_starts, self._joint_ends, self._strength = self._gaps()
        # Strongest gap first, then the earliest: one number, so that a running maximum finds it.
        self._opens, self._closes = self._punctuation()
        gaps = len(self._strength)
        self._rank = self._strength * (gaps + 1) + np.arange(gaps, 0, -1)

    def _gaps(self) -> tuple[IntArray, IntArray, IntArray]:
        """Per gap behind a word: the part that may join two words (start, end), and its strength."""
        before, after = self._ends[:-1], self._starts[1:]
        starts, ends, strength = before.copy(), after.copy(), np.minimum(after - before, _SPACE)
        for gap in np.flatnonzero(_may_break(self._text, before, after)).tolist():
            starts[gap], ends[gap], strength[gap] = _joint(self._text, int(before[gap]), int(after[gap]))
        return starts, ends, strength

    def _punctuation(self) -> tuple[BoolArray, BoolArray]:
        """Per word: does it stick to what follows (an opening bracket), or to what is before it (a comma)?

        Brackets say so themselves; quotes, dashes and the like by the side on which the source has no space.
        """
        opens, closes = np.zeros(len(self._starts), bool), np.zeros(len(self._starts), bool)
        gap_behind = np.append(self._strength, _SPACE)
        for word, (start, end) in enumerate(zip(self._starts.tolist(), self._ends.tolist(), strict=True)):
            if self._text[start].isalnum() or _WORD_CHARACTER.search(self._text, start, end):
                continue
            category = unicodedata.category(self._text[start])
            attached = word > 0 and gap_behind[word - 1] == _NONE
            bracket = category in ("Ps", "Pi")
            # A mark behind an opening one opens as well: the star in "*args".
            opens[word] = gap_behind[word] == _NONE and (bracket or not attached or opens[word - 1])
            closes[word] = attached and not bracket and not opens[word]
        return opens, closes

    def spans(self, kept: BoolArray) -> list[Span]:
        """Source spans of the kept words and of the white space between them, neighbours merged.

        Args:
            kept: Shape: `(words,)`.
        """
        words = np.flatnonzero(kept)
        if len(words) == 0:
            return []
        left, right = words[:-1], words[1:]
        adjacent = right == left + 1
        if adjacent.all():
            return [(int(self._starts[words[0]]), int(self._ends[words[-1]]))]
        gaps = self._gap_between(left, right)
        glued = gaps < 0
        table = np.zeros((2 * len(words) - 1, 2), np.int64)
        table[0::2, 0], table[0::2, 1] = self._starts[words], self._ends[words]
        table[1::2, 0] = np.where(adjacent, self._ends[left], np.where(glued, 0, self._joint_starts[gaps]))
        table[1::2, 1] = np.where(adjacent, self._starts[right], np.where(glued, 0, self._joint_ends[gaps]))
        table = table[table[:, 0] < table[:, 1]]
        first = np.ones(len(table), bool)
        first[1:] = table[1:, 0] != table[:-1, 1]
        last = np.append(first[1:], True)
        return list(zip(table[first, 0].tolist(), table[last, 1].tolist(), strict=True))

    def _gap_between(self, left: IntArray, right: IntArray) -> IntArray:
        """Index of the gap that joins each pair of kept words, or -1 where punctuation is to stick to its neighbour."""
        if len(left) == 0:
            return np.empty(0, np.int64)
        # The gaps from each left word up to its right one; `reduceat` ends the last segment with the slice.
        best = np.maximum.reduceat(self._rank[: right[-1]], left)
        gaps = len(self._strength)
        strength, gap = best // (gaps + 1), gaps - best % (gaps + 1)
        return np.where((self._closes[right] | self._opens[left]) & (strength < _LINE), -1, gap)

    def text(self, spans: Sequence[Span]) -> str:
        """The kept text: the concatenation of what `spans` gave."""
        source = self._text
        return "".join([source[start:end] for start, end in spans])


def _may_break(text: str, before: IntArray, after: IntArray) -> BoolArray:
    """True for gaps that are not empty and not one plain space."""
    length = after - before
    plain = np.fromiter((text[position] == " " for position in before[length == 1].tolist()), bool)
    flags = length > 1
    flags[length == 1] = ~plain
    return np.asarray(flags, bool)


def _joint(text: str, start: int, end: int) -> tuple[int, int, int]:
    """The part of a gap that may join two words which were not neighbours, and its strength.

    That is its last two line breaks with the indentation behind them, or its last space.
    """
    breaks = [match.start() for match in _LINE_BREAK.finditer(text, start, end)][-2:]
    if not breaks:
        return end - 1, end, _SPACE
    stop = min(end, breaks[0] + _MAX_JOINT)
    if text[stop - 1 : stop + 1] == "\r\n":
        stop -= 1
    return breaks[0], stop, _PARAGRAPH if len(breaks) > 1 else _LINE

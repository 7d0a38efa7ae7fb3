"""Source plus kept words to text: only slices of the source, so the output is a character subsequence of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import regex

from moos_integrations.core.json_commas import JsonCommas
from moos_integrations.core.types import BoolArray, IntArray, SegmentedText, Span

_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}_]")
_LINE_BREAK = regex.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Longest white space taken over between two words that were not neighbours: a line break and its indentation.
_MAX_JOINT = 32
_NONE, _SPACE, _LINE, _PARAGRAPH = range(4)
# Marks that every line of a comment or quotation begins with.
_MARK = regex.compile(r"[ \t]*+(?:#+|//+|;+|--+|%+|\*|(?:>[ \t]?)+)(?:[ \t]++|(?<=>))")
_BLANK = regex.compile(r"[^\S\r\n]*+")


class Renderer:
    """Renders one document, many times with different words kept (selection measures each try).

    Neighbouring kept words keep the white space between them as it is. Where words were dropped within a line, the
    first space between joins what is left. Where lines were dropped, what follows brings the break and the indentation
    of its line, and the mark of a comment or quotation if that begins the line; a blank line between stays one.
    """

    def __init__(self, document: SegmentedText) -> None:
        """Look at the gaps between the document's words once."""
        self._text = document.text
        self._commas = JsonCommas.of(self._text)
        self._starts, self._ends = document.word_starts, document.word_ends
        self._joint_starts, self._joint_ends, self._strength = self._gaps()
        self._line_starts = np.array([0, *(match.end() for match in _LINE_BREAK.finditer(self._text))], np.int64)
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
        spans = self._spans(kept)
        return spans if self._commas is None else self._commas.without_dangling(spans)

    def _spans(self, kept: BoolArray) -> list[Span]:
        words = np.flatnonzero(kept)
        if len(words) == 0:
            return []
        first = self._beginning(int(words[0]))
        left, right = words[:-1], words[1:]
        cuts = np.flatnonzero(right != left + 1)
        if not len(cuts):
            return _merged([*first, (int(self._starts[words[0]]), int(self._ends[words[-1]]))])
        gaps = self._gap_between(left[cuts], right[cuts])
        found, begun = first, int(words[0])
        for before, after, gap in zip(left[cuts].tolist(), right[cuts].tolist(), gaps.tolist(), strict=True):
            found.append((int(self._starts[begun]), int(self._ends[before])))
            found += self._joints(gap, after)
            begun = after
        found.append((int(self._starts[begun]), int(self._ends[words[-1]])))
        return _merged(found)

    def _beginning(self, word: int) -> list[Span]:
        """What stands before the first kept word in its line: the indentation, and the mark of a comment."""
        start = int(self._starts[word])
        line = self._line_start(start)
        mark = _MARK.match(self._text, line, start)
        if mark is not None:
            return [(line, mark.end())]
        return [] if self._text[line:start].strip() else [(line, start)]

    def _line_start(self, position: int) -> int:
        """Where the line begins that holds a position."""
        line = int(np.searchsorted(self._line_starts, position, side="right")) - 1
        return int(self._line_starts[line])

    def _joints(self, gap: int, word: int) -> list[Span]:
        """What joins a kept word to the one before it, where the words between were dropped.

        Args:
            gap: The strongest gap between them, the earliest of those; -1 to join them without any.
            word: Index of the word.
        """
        if gap < 0:
            return []
        strongest = (int(self._joint_starts[gap]), int(self._joint_ends[gap]))
        if self._strength[gap] < _LINE:
            return [strongest]
        nearest = start, end = self._break_before(word)
        blank = self._strength[gap] == _PARAGRAPH and len(_LINE_BREAK.findall(self._text, start, end)) < 2
        earlier = _LINE_BREAK.match(self._text, strongest[0]) if blank and strongest[0] < start else None
        return [earlier.span(), nearest] if earlier is not None and earlier.end() <= start else [nearest]

    def _break_before(self, word: int) -> Span:
        """The break before a word's line with the line's indentation and mark; there is a line before it."""
        start = int(self._starts[word])
        line = self._line_start(start)
        # A word that begins its line has the blank lines before it too; before other words, the break is enough.
        begins = int(self._ends[word - 1]) <= line
        from_here = int(self._ends[word - 1]) if begins else max(0, line - 2)
        breaks = [match.start() for match in _LINE_BREAK.finditer(self._text, from_here, line)][-2 if begins else -1 :]
        mark = _MARK.match(self._text, line, start) or _BLANK.match(self._text, line, start)
        return breaks[0] if breaks else line, mark.end() if mark is not None else line

    def _gap_between(self, left: IntArray, right: IntArray) -> IntArray:
        """Index of the gap that joins each pair of kept words, or -1 where punctuation is to stick to its neighbour."""
        # The gaps from each left word up to its right one: every other segment; the last ends with the slice.
        borders = np.stack([left, right], 1).ravel()[:-1]
        best = np.maximum.reduceat(self._rank[: right[-1]], borders)[::2]
        gaps = len(self._strength)
        strength, gap = best // (gaps + 1), gaps - best % (gaps + 1)
        return np.where((self._closes[right] | self._opens[left]) & (strength < _LINE), -1, gap)

    def text(self, spans: Sequence[Span]) -> str:
        """The kept text: the concatenation of what `spans` gave."""
        source = self._text
        return "".join([source[start:end] for start, end in spans])


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Spans in ascending order without empty ones, neighbours joined."""
    found: list[Span] = []
    for start, end in spans:
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        elif start < end:
            found.append((start, end))
    return found


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

"""Source plus kept words to text: only slices of the source, so the output is a character subsequence of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import regex

from moos_integrations.core.json_commas import JsonCommas
from moos_integrations.core.types import BoolArray, IntArray, SegmentedText, Span

_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}_]")
_LINE_BREAK = regex.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_NONE, _SPACE, _LINE, _PARAGRAPH = range(4)
# Marks that every line of a comment or quotation begins with.
_MARK = regex.compile(r"[ \t]*+(?:#+|//+|;+|--+|%+|\*|(?:>[ \t]?)+)(?:[ \t]++|(?<=>))")
_BLANK = regex.compile(r"[^\S\r\n]*+")


class Gap(NamedTuple):
    """Words in a row that are left out: indices of the first and of the last one."""

    first: int
    last: int


class Renderer:
    """Renders one document, many times with different words kept (selection measures each try).

    Neighbouring kept words keep the white space between them as it is. Where words were dropped within a line, the
    first space between joins what is left. Where lines were dropped, what follows brings the break and the indentation
    of its line, and the mark of a comment or quotation if that begins the line; a blank line between stays one.

    With omission marks, a mark for whole lines stands on a line by itself, behind the indentation of the first line
    that it is for. Any other stands within the line, and what was around the words that it is for stays around it.
    """

    def __init__(self, document: SegmentedText) -> None:
        """Look at the gaps between the document's words once."""
        self._text = document.text
        self._commas = JsonCommas.of(self._text)
        self._starts, self._ends = document.word_starts, document.word_ends
        self._breaks, self._strength = self._gaps()
        self._line_starts = np.array([0, *(match.end() for match in _LINE_BREAK.finditer(self._text))], np.int64)
        # Strongest gap first, then the earliest: one number, so that a running maximum finds it.
        self._opens, self._closes = self._punctuation()
        gaps = len(self._strength)
        self._rank = self._strength * (gaps + 1) + np.arange(gaps, 0, -1)

    def _gaps(self) -> tuple[IntArray, IntArray]:
        """Per gap behind a word: where the last two of its line breaks begin, and its strength."""
        before, after = self._ends[:-1], self._starts[1:]
        breaks, strength = before.copy(), np.minimum(after - before, _SPACE)
        for gap in np.flatnonzero(_may_break(self._text, before, after)).tolist():
            found = list(_LINE_BREAK.finditer(self._text, int(before[gap]), int(after[gap])))[-2:]
            if found:
                breaks[gap], strength[gap] = found[0].start(), _PARAGRAPH if len(found) > 1 else _LINE
        return breaks, strength

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

    def pieces(self, kept: BoolArray) -> list[Span | Gap]:
        """What `spans` gives, with each gap where its omission mark is to be; none if no word is kept.

        Args:
            kept: Shape: `(words,)`.
        """
        words = np.flatnonzero(kept)
        if not len(words):
            return []
        left, right = np.concatenate([[-1], words]), np.append(words, len(kept))
        found: list[Span | Gap] = list(self._beginning(0)) if kept[0] else []
        begun = 0
        for cut in np.flatnonzero(right != left + 1).tolist():
            before, after = int(left[cut]), int(right[cut])
            if before >= 0:
                found.append((int(self._starts[begun]), int(self._ends[before])))
            found += self._marked(before, after)
            begun = after
        if begun < len(kept):
            found.append((int(self._starts[begun]), int(self._ends[-1])))
        return _merged_pieces(found)

    def _marked(self, left: int, right: int) -> list[Span | Gap]:
        """The gap between two kept words with the white space around its mark.

        Args:
            left: Index of the word before the gap, or -1.
            right: Index of the word behind it, or the number of words.
        """
        gap, goes_on = Gap(left + 1, right - 1), right < len(self._starts)
        start = int(self._starts[gap.first])
        leaves_line = goes_on and self._line_start(int(self._starts[right])) > start
        if not self.begins_line(gap.first):
            if not leaves_line:
                return [*self._space_before(gap.first), gap, *(self._space_before(right) if goes_on else [])]
            (strongest,) = self._gap_between(np.array([left]), np.array([right])).tolist()
            return [*self._space_before(gap.first), gap, *self._joints(strongest, right)]
        before = self._indentation(gap.first) if left < 0 else self._break_before(gap.first)
        if not goes_on or leaves_line:
            return [before, gap, *([self._break_before(right)] if goes_on else [])]
        # The mark of a comment or quotation may be a word of the gap.
        return [(before[0], max(before[1], self._break_before(right)[1])), gap, *self._space_before(right)]

    def begins_line(self, word: int) -> bool:
        """Whether a word is the first one in its line."""
        return word == 0 or int(self._ends[word - 1]) <= self._line_start(int(self._starts[word]))

    @property
    def is_json(self) -> bool:
        """Whether the document is JSON, or lines of JSON."""
        return self._commas is not None

    @property
    def lines(self) -> int:
        """How many lines the document has."""
        return len(self._line_starts)

    def line_of(self, position: int) -> int:
        """The number of the line that holds a position, from 1."""
        return int(np.searchsorted(self._line_starts, position, side="right"))

    def lines_between(self, first: int, last: int) -> int:
        """How many lines hold two words and all between them, blank ones included."""
        lines = np.searchsorted(self._line_starts, [self._starts[first], self._ends[last] - 1], side="right")
        return int(lines[1] - lines[0]) + 1

    def _space_before(self, word: int) -> list[Span]:
        """The last character of the white space before a word, if there is any."""
        start = int(self._starts[word])
        return [(start - 1, start)] if self._ends[word - 1] < start else []

    def _indentation(self, word: int) -> Span:
        """The white space with which a word's line begins."""
        line = self._line_start(int(self._starts[word]))
        return line, _BLANK.match(self._text, line, int(self._starts[word])).end()  # type: ignore[union-attr]

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
        strength, breaks = int(self._strength[gap]), int(self._breaks[gap])
        if strength < _LINE:
            end = int(self._starts[gap + 1])
            return [(end - strength, end)]
        nearest = start, end = self._break_before(word)
        blank = strength == _PARAGRAPH and len(_LINE_BREAK.findall(self._text, start, end)) < 2
        earlier = _LINE_BREAK.match(self._text, breaks) if blank and breaks < start else None
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


def _merged_pieces(pieces: Sequence[Span | Gap]) -> list[Span | Gap]:
    """As `_merged`, between gaps."""
    found: list[Span | Gap] = []
    spans: list[Span] = []
    for piece in pieces:
        if isinstance(piece, Gap):
            found += [*_merged(spans), piece]
            spans = []
        else:
            spans.append(piece)
    return [*found, *_merged(spans)]


def _may_break(text: str, before: IntArray, after: IntArray) -> BoolArray:
    """True for gaps that are not empty and not one plain space."""
    length = after - before
    plain = np.fromiter((text[position] == " " for position in before[length == 1].tolist()), bool)
    flags = length > 1
    flags[length == 1] = ~plain
    return np.asarray(flags, bool)

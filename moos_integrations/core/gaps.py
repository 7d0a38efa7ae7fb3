"""What a request leaves out, as its omission marks say it: which gaps get a mark, what it says, what it costs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter

import numpy as np
import regex

from moos_integrations.core.json_elements import JsonElements
from moos_integrations.core.omission import UNITS, EarlierMark, MarkTemplate, OmissionMark
from moos_integrations.core.rendering import Gap
from moos_integrations.core.table import Table
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import BoolArray, Span

_SAYS_SOMETHING = regex.compile(r"[\p{L}\p{N}]")
# Between what a mark costs most: on a line by itself, and within one.
_AROUND = (("a\n", "{}\n", "b"), ("A. ", "{} ", "B."))


@dataclass(frozen=True, slots=True)
class _Known:
    """A mark that a document has already, as words: indices of the first and of the last one."""

    first: int
    last: int
    mark: EarlierMark


_first, _last = attrgetter("first"), attrgetter("last")


@dataclass(eq=False)
class Omissions:
    """The omission marks of a request.

    Attributes:
        table: The request.
        template: Of the marks.
        counter: Of the target LLM's tokens.
        tokens: Most tokens that a mark costs, with the white space around it. A gap that costs no more is kept.
    """

    table: Table
    template: MarkTemplate
    counter: TokenCounter
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        """Count a mark, and find those that the texts have already."""
        lines = max((text.renderer.lines for text in self.table.texts), default=1)
        self.tokens = _most_tokens(self.template, self.counter, lines)
        self._json: dict[int, JsonElements] = {}
        self._unit_of_word = self.table.by_document(self.table.unit_of_word)
        self._known = [self._known_in(index) for index in range(self.table.documents)]
        # Where marks begin, and how many more lines the source had before each and behind the last one.
        self._lines_in_marks = [
            ([own.mark.start for own in known], [0, *accumulate(own.mark.more_lines for own in known)])
            for known in self._known
        ]
        self._is_known = np.zeros(self.table.words, bool)
        for first_word, known in zip(self.table.word_borders.tolist(), self._known, strict=False):
            for mark in known:
                self._is_known[first_word + mark.first : first_word + mark.last + 1] = True

    @property
    def has_earlier(self) -> bool:
        """Whether a text has marks already."""
        return bool(self._is_known.any())

    def closed(self, kept: BoolArray) -> BoolArray:
        """What is kept where gaps have marks.

        A gap that costs no more than its mark is kept. A mark from an earlier pass is part of the gap beside it;
        between kept words it stays as it is. The more words are kept, the more there are of them afterwards.

        Args:
            kept: True for kept words. Shape: `(words,)`.
        """
        if not len(kept):
            return kept
        said, document = kept & ~self._is_known, self.table.document_of_word
        begins = np.flatnonzero((said[1:] != said[:-1]) | (document[1:] != document[:-1])) + 1
        begins = np.concatenate([[0], begins])
        cost = np.add.reduceat(self.table.cost, begins)
        says_nothing_new = ~np.logical_or.reduceat(~self._is_known, begins)
        begun = np.bincount(document, weights=said, minlength=self.table.documents) > 0
        closes = ~said[begins] & begun[document[begins]] & ((cost <= self.tokens) | says_nothing_new)
        return said | np.repeat(closes, np.diff(np.append(begins, len(kept))))

    def mark(self, index: int, gap: Gap) -> tuple[str, int, str, Span]:
        """The text of a gap's mark, and what it counts.

        Args:
            index: Of the document.
            gap: Its words are indices within the document.

        Returns:
            The text, the number of units and their name, and the numbers of the first and last line.
        """
        known = self._known_within(index, gap)
        counts = dict.fromkeys(UNITS, 0)
        new = self._new(index, gap, known)
        for count, unit in [*([new] if new else []), *((mark.mark.count, mark.mark.unit) for mark in known)]:
            counts[unit if unit in counts else (new or (0, "part"))[1]] += count
        units = [name for name, count in counts.items() if count] or ["part"]
        count, unit = sum(counts.values()), units[0] if len(units) == 1 else "part"
        lines, whole = self._lines(index, gap)
        return self.template.text(count, unit, lines, whole_lines=whole), count, unit, lines

    def _lines(self, index: int, gap: Gap) -> tuple[Span, bool]:
        """Numbers of a gap's first and last line, and whether nothing else of these is left."""
        document, renderer = self.table.texts[index].document, self.table.texts[index].renderer
        whole = renderer.begins_line(gap.first)
        whole = whole and (gap.last + 1 == len(document) or renderer.begins_line(gap.last + 1))
        places = int(document.word_starts[gap.first]), int(document.word_ends[gap.last]) - 1
        starts, more = self._lines_in_marks[index]
        first, last = (renderer.line_of(place) + more[bisect_left(starts, place)] for place in places)
        return (first, last), whole

    def _known_within(self, index: int, gap: Gap) -> list[_Known]:
        known = self._known[index]
        return known[bisect_left(known, gap.first, key=_first) : bisect_right(known, gap.last, key=_last)]

    def in_json(self, index: int, spans: Sequence[Span]) -> list[tuple[int, str, OmissionMark]]:
        """The marks of a JSON document, each an item or a member of what it is for.

        Args:
            index: Of the document.
            spans: Its kept spans, without commas that separate nothing.

        Returns:
            For each mark its place in the source, its text, and the mark with offsets of 0; in ascending order.
        """
        if index not in self._json:
            self._json[index] = JsonElements.of(self.table.texts[index].document.text)
        renderer, found = self.table.texts[index].renderer, []
        for missing in self._json[index].missing(spans):
            lines = renderer.line_of(missing.span[0]), renderer.line_of(missing.span[1] - 1)
            earlier = [next(self.template.earlier(element), None) for element in missing.elements]
            count = sum(1 if mark is None else mark.count for mark in earlier)
            said = self.template.text(count, missing.unit, lines, whole_lines=missing.unit == "line")
            mark = OmissionMark(0, 0, missing.span, count, missing.unit, lines)
            found.append((missing.place, missing.written(said), mark))
        return found

    def _new(self, index: int, gap: Gap, known: list[_Known]) -> tuple[int, str] | None:
        """How many units of the text itself a gap leaves out, and which; None if it has earlier marks only."""
        document, renderer = self.table.texts[index].document, self.table.texts[index].renderer
        of_word = self._unit_of_word[index] - int(self.table.unit_borders[index])
        words = np.arange(gap.first, gap.last + 1)
        if known:
            words = words[~self._is_known[words + int(self.table.word_borders[index])]]
        if not len(words):
            return None
        units, first, last = np.unique(of_word[words]), int(words[0]), int(words[-1])
        outside = [of_word[gap.first - 1]] if gap.first else []
        outside += [of_word[gap.last + 1]] if gap.last + 1 < len(of_word) else []
        if set(outside) & {units[0], units[-1]}:
            spans = zip(document.word_starts[words].tolist(), document.word_ends[words].tolist(), strict=True)
            return max(1, sum(bool(_SAYS_SOMETHING.search(document.text, *span)) for span in spans)), "word"
        if not document.unit_structured[units].any():
            return len(units), "sentence"
        if renderer.begins_line(first) and (last + 1 == len(of_word) or renderer.begins_line(last + 1)):
            between = [mark for mark in known if first < mark.first < last and renderer.begins_line(mark.first)]
            return renderer.lines_between(first, last) - len(between), "line"
        return len(units), "part"

    def _known_in(self, index: int) -> list[_Known]:
        """The marks that a document has already, as far as they are whole words."""
        document, renderer = self.table.texts[index].document, self.table.texts[index].renderer
        if renderer.is_json:  # a mark there is an item or a member
            return []
        found = []
        for mark in self.template.earlier(document.text):
            first = int(np.searchsorted(document.word_starts, mark.start))
            last = int(np.searchsorted(document.word_ends, mark.end, side="right")) - 1
            touched = int(np.searchsorted(document.word_starts, mark.end)) - 1
            begins_before = first > 0 and int(document.word_ends[first - 1]) > mark.start
            if first <= last == touched and not begins_before:
                found.append(_Known(first, last, mark))
        return found


def _most_tokens(template: MarkTemplate, counter: TokenCounter, lines: int) -> int:
    numbers = (lines, max(1, lines - 1))  # not in order, so that they are two, and long ones
    costs = [
        counter.count(before + around.format(template.text(count, unit, numbers, whole_lines=unit == "line")) + behind)
        - counter.count(before + behind)
        for before, around, behind in _AROUND
        for unit in UNITS
        for count in (1, 9)
    ]
    return max(0, *costs)

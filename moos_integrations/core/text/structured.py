"""Tables, code, settings, markup, logs and diffs: text whose lines are units whole."""

from __future__ import annotations

import regex

from moos_integrations.core.text.context import has_numbers
from moos_integrations.core.text.lines import LEADER, Form, Line
from moos_integrations.core.text.sentences import sentence_ends
from moos_integrations.core.text.units import BELOW, NEXT, NOTHING, Depth, Level, Unit, at
from moos_integrations.core.text.writer import ASKS, Writer
from moos_integrations.core.types import Kind

_WHOLE_ELEMENT = 600
_OPENER = regex.compile(r"(?r)(?:[{(\[:]|=>|->|\bdo|\bthen|\bbegin)", regex.IGNORECASE)
# Lines of a stack trace that are no further in than its first: of Java, and of Python, where the error comes last.
_NEXT_TRACES = (
    regex.compile(r"Caused by|\.\.\.|During|The above"),
    regex.compile(r"[\w.]*(?:Error|Exception|Warning|Exit|Interrupt)|During|The above"),
)
_HUNK = regex.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_FIRST_CELL_EMPTY = (regex.compile(r"\|"), regex.compile(r"\|\s*\|"))  # without and with pipes at the sides
_ONE_CELL = regex.compile(r"\|?\s*[^|\s][^|]*(?:\|\s*){2,}")  # a row that heads those below it
_FILE_HEAD = regex.compile(
    r"(?:index [\da-f]|---|\+\+\+|new file|deleted file|old mode|new mode|similarity|rename|copy|Binary|={10})"
)
_ELEMENT = regex.compile(
    r"<(p|li|dd|dt|td|th|h[1-6]|blockquote|title|summary|option|figcaption|a|b|strong)\b[^<>]*>", regex.IGNORECASE
)
_ANY_TAG = regex.compile(r"<[^<>]{0,500}>")
_TAG = regex.compile(
    r"<(?P<close>/)?(?P<name>[a-zA-Z][\w:.\-]{0,60})(?:\s[^<>]{0,500})?>(?<!/>)|\\(?:(?P<begin>begin)|(?P<end>end))\{"
)
# Elements that may be left open, and those within a line of prose.
_NO_DEPTH = regex.compile(
    r"br|hr|meta|link|input|img|source|area|base|col|embed|wbr|param|p|li|td|th|tr|dt|dd|option|a|b|i|u|s|em|strong|"
    r"span|code|small|sub|sup|font|label|abbr|cite|q|mark|h[1-6]",
    regex.IGNORECASE,
)


class Structured(Writer):
    """Writes the units of structured text."""

    def _table(self, index: int) -> int:
        stop = index
        ruled = self.lines[index].form == Form.ROW_RULE
        simple = ruled and self.text[self.lines[index].first] in "=-"
        while stop < len(self.lines) and (
            self.lines[stop].form in (Form.ROW, Form.ROW_RULE) or (simple and self.lines[stop].form != Form.BLANK)
        ):
            stop += 1
        if stop - index == 1 and ruled:
            return self._rule(index)
        self._close_lists(self.lines[index].indent)
        starts, header = self._rows(index, stop)
        for number, begin in enumerate(starts):
            line = self.lines[begin]
            level = at(self.lines[index].indent)
            if header and not number:
                self._add(line, Kind.HEADER_ROW, True, level + Depth.HEADER, level + Depth.HEADER + 1, leads=NEXT)
            elif _ONE_CELL.fullmatch(self.text, line.first, line.last) and number + 1 < len(starts):
                self._add(line, Kind.ROW, True, level + Depth.ROW - 1, level + Depth.ROW, leads=BELOW)
            else:
                kind = Kind.RULE if header and line.form == Form.ROW_RULE else Kind.ROW
                self._add(line, kind, True, level + Depth.ROW)
        return stop

    def _rows(self, index: int, stop: int) -> tuple[list[int], bool]:
        """The lines at which a table's head and its rows begin, and whether it has a head."""
        rules = [at_line for at_line in range(index, stop) if self.lines[at_line].form == Form.ROW_RULE]
        if not rules:
            begins = self._first_full_row(index, stop)
            if index < begins < stop:
                return [index, *range(begins, stop)], True
            bare = self.lines[index].mark == LEADER or self.text[self.lines[index].first] == "("
            header = stop - index > 1 and not bare and not has_numbers(self.text, self.lines[index])
            return list(range(index, stop)), header
        if rules[0] > index:  # | a | b | over |---|---|
            head = list(range(index, rules[0])) if rules[0] > index + 1 else [index]
            # The rule of pipes is a line by itself: a tight budget may have room for the head and a row only.
            rows = list(
                range(rules[0] + ("|" not in self.text[self.lines[rules[0]].first : self.lines[rules[0]].last]), stop)
            )
            return [*head, *rows], len(head) == 1
        if len(rules) > 2 and self.text[self.lines[index].first] == "+":  # a grid: a row is what is between two rules
            return [index] + [rule + 1 for rule in rules[1:-1]], True
        behind = rules[1] + 1 if len(rules) > 1 else stop
        return [index, *range(behind, stop)], True

    def _first_full_row(self, index: int, stop: int) -> int:
        """The first row whose first cell is filled: the rows before it name the columns (`| | 2024 | 2023 |`)."""
        rows = self.lines[index:stop]
        empty = _FIRST_CELL_EMPTY[all(self.text[line.first] == "|" for line in rows)]
        filled = (at_row for at_row, line in enumerate(rows) if not empty.match(self.text, line.first, line.last))
        return index + next(filled, 0)

    def _code(self, index: int, kind: Kind = Kind.CODE) -> int:
        line = self.lines[index]
        first = self.text[line.first]
        closes = first in ")]}" or self._is_opening(line)
        opens = _OPENER.match(self.text, line.first, line.last) is not None
        below = self._next(index)
        indent = self._indent(index, first in ")]}")
        over = below is not None and (below.indent > line.indent or self._is_opening(below))
        leads = NEXT if below is not None and opens else BELOW if over else NOTHING
        unit = self._structured(line, kind, indent, opens=False, closes=closes, leads=leads)
        if below is not None and below.form == Form.ROW:  # what SQL inserts
            unit.accepts, unit.leads, unit.until = at(indent) + Depth.HEADER, NEXT, self._block
        self._open_flat(index)
        if kind != Kind.JSON:
            self._close_lists(line.indent)
        return index + 1

    def _json(self, index: int) -> int:
        return self._code(index, Kind.JSON)

    def _markup(self, index: int) -> int:
        line, stop = self.lines[index], self._element_end(index)
        before, after = self._depths(line.start, self.lines[stop - 1].stop)
        inner = (
            _ANY_TAG.sub("", self.text[line.first : self.lines[stop - 1].last]).strip()
            if line.last - line.first < 2000
            else "x"
        )
        if line.level and inner:
            return self._heading(index, Level.HASHED + line.level, lines=stop - index)
        if inner and ASKS.match(inner):
            self._add(line, Kind.QUESTION, True, Level.QUESTION, Level.QUESTION + 1, leads=NEXT)
            return stop
        indent = line.indent if line.in_row else 2 * min(before, after)
        closes = self.text.startswith("</", line.first) or self.text.startswith("\\end", line.first)
        unit = self._structured(
            line, Kind.MARKUP, indent, opens=False, closes=closes, leads=NOTHING if closes or after <= before else BELOW
        )
        self._split_element(unit, line, self.lines[stop - 1])
        return stop

    def _split_element(self, unit: Unit, line: Line, last: Line) -> None:
        """A long element of prose is made of sentences, of which the first and the last hold its tags."""
        if last.last - line.first <= _WHOLE_ELEMENT:
            return
        ends = list(sentence_ends(self.text, line.start, last.stop, ordinals=self.ordinals))
        first = len(self.units) - 1
        for begun in ends[:-1]:
            self._add(line, Kind.SENTENCE, False, unit.level + 1).start = begun
        if len(ends) > 1:
            unit.structured, unit.partner, self.units[-1].partner = False, len(self.units) - 1, first

    def _element_end(self, index: int) -> int:
        """Behind the last line of an element of prose that begins at a line."""
        line = self.lines[index]
        element = _ELEMENT.match(self.text, line.first, line.last)
        if element is None or line.in_row:
            return index + 1
        closing, stop = f"</{element[1]}", index + 1
        if self.text.find(closing, element.end(), line.last) >= 0:
            return stop
        while stop < len(self.lines) and self._is_prose_of_element(self.lines[stop]):
            stop += 1
            if self.text.find(closing, self.lines[stop - 1].first, self.lines[stop - 1].last) >= 0:
                break
        return stop

    def _is_prose_of_element(self, line: Line) -> bool:
        return line.form != Form.BLANK and not (line.form == Form.MARKUP and not self._closes_inline(line))

    def _closes_inline(self, line: Line) -> bool:
        name = regex.match(
            r"</(?:p|li|dd|dt|td|th|h[1-6]|blockquote|a|b|strong)>", self.text[line.first : line.first + 16]
        )
        return name is not None

    def _depths(self, start: int, stop: int) -> tuple[int, int]:
        """How many elements are open before and behind a span of markup."""
        before, depth = self._tags, self._tags
        for match in _TAG.finditer(self.text, start, min(stop, start + 20000)):
            if match["name"] and _NO_DEPTH.fullmatch(match["name"]):
                continue
            depth = max(depth - 1, 0) if match["close"] or match["end"] else depth + 1
        self._tags = depth
        return before, depth

    def _fence(self, index: int) -> int:
        """A fenced block: both fences and the lines between; an open one goes on to the end."""
        line, text = self.lines[index], self.text
        mark = text[line.first : line.first + 3]
        stop = index + 1
        while stop < len(self.lines) and not (
            self.lines[stop].form == Form.FENCE
            and not text[self.lines[stop].first : self.lines[stop].last].strip(mark[0])
            and text.startswith(mark, self.lines[stop].first)
        ):
            stop += 1
        level = at(line.indent) + Depth.LINE
        opening = len(self.units)
        self._add(line, Kind.FENCE, True, level, level + 1, leads=NEXT)
        for inner in self.lines[index + 1 : stop]:
            if inner.form == Form.BLANK:
                continue
            indent = line.indent + max(inner.indent - line.indent, 0)
            closes = text[inner.first] in ")]}"
            self._add(
                inner,
                Kind.CODE,
                True,
                at(indent) + (Depth.CLOSES if closes else Depth.HEADER),
                at(indent) + (Depth.CLOSES + 1 if closes else Depth.DEEPER),
            )
        if stop < len(self.lines):
            self._add(self.lines[stop], Kind.FENCE, True, at(line.indent) + 3, partner=opening, parent=opening)
            self.units[opening].partner = len(self.units) - 1
        return stop + 1

    def _log(self, index: int) -> int:
        self._add(self.lines[index], Kind.LOG, True, Level.LOG, Level.LOG + 1, until=self._block)
        self._nest, self._flat = [], []
        return index + 1

    def _trace_line(self, index: int) -> int:
        line = self.lines[index]
        later = self._trace and not line.indent and _NEXT_TRACES[self._python].match(self.text, line.first) is not None
        if not later and not line.indent:
            self._python = self.text.startswith("Trace", line.first)
        level = at(line.indent) + (Depth.LINE if later or line.indent else 0)
        self._trace = True
        self._add(line, Kind.TRACE, True, level, level + 1, leads=NOTHING if later or line.indent else BELOW)
        return index + 1

    def _diff(self, index: int) -> int:
        line = self.lines[index]
        if line.form == Form.HUNK:
            return self._hunk(index)
        stop = index + 1
        while stop < len(self.lines) and _FILE_HEAD.match(self.text, self.lines[stop].first, self.lines[stop].last):
            stop += 1
        self._add(line, Kind.DIFF, True, Level.LOG, Level.LOG + 1, leads=NEXT)
        return stop

    def _hunk(self, index: int) -> int:
        line = self.lines[index]
        self._add(line, Kind.DIFF, True, Level.LOG + 1, Level.LOG + 2, leads=NEXT)
        counts = _HUNK.match(self.text, line.first, line.last)
        old, new = (int(count or 1) for count in counts.groups()) if counts else (0, 0)
        stop = index + 1
        while stop < len(self.lines) and (old > 0 or new > 0):
            inner = self.lines[stop]
            mark = self.text[inner.start] if inner.start < inner.stop else " "
            if mark not in "+- \\\r\n" or (inner.form in (Form.HUNK, Form.DIFF_HEAD) and mark not in "+-"):
                break
            old, new = old - (mark not in "+\\"), new - (mark not in "-\\")
            if inner.form != Form.BLANK:
                self._add(inner, Kind.DIFF, True, Level.LOG + 2)
            stop += 1
        return stop

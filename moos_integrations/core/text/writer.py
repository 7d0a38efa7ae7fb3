"""What all kinds of blocks need to write their units."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import regex

from moos_integrations.core.text.lines import LEADER, Form, Line
from moos_integrations.core.text.units import BELOW, CLOSED, NEXT, Depth, Level, Unit, at
from moos_integrations.core.types import Kind

ASKS = regex.compile(r"(?r)[?？؟](?:[\"'”’»)\]*_`\s]|</\w{1,10}>)*")
_OPENER = regex.compile(r"(?r)(?:[{(\[:]|=>|->|\bdo|\bthen|\bbegin)", regex.IGNORECASE)
_FIRST_WORD = regex.compile(r"\S{1,60}")


_SEPARATOR = regex.compile("[:=：]")
_LONGEST_KEY = 80
_LONGEST_HEAD = 50  # characters
_SETTINGS = (Form.KEY_VALUE, Form.LABELLED)
_COMMIT = regex.compile(r"commit [\da-f]{7,40}\b")
_TITLED = (Form.PROSE, Form.HEADING, Form.LABEL)


class Writer:
    """The units written so far, and what is open while the next are written."""

    def __init__(self, text: str, lines: Sequence[Line], *, ordinals: bool) -> None:
        """Look at the lines once, before the units are written."""
        self.text, self.lines, self.ordinals = text, lines, ordinals
        self.units: list[Unit] = []
        self._block = 0
        self._nest: list[tuple[int, str]] = []  # indentation and marker of the lists that are open
        self._flat: list[int] = []  # brackets that are open although the lines in them are no further in
        self._tags = 0  # elements that are open
        self._trace = self._python = False
        forms = [line.form for line in lines]
        self._speakers = forms.count(Form.LABELLED) + forms.count(Form.CHAT)
        self._questions = sum(line.form == Form.PROSE and self._asks(line) for line in lines)
        self._records = self._record_keys()
        self._labels = sum(line.form == Form.LABEL and not line.indent for line in lines)
        self._records_headed = sum(self._heads_settings(index) for index in range(len(lines)))
        self._titles, self._alike = self._titles_alone()

    def _titles_alone(self) -> tuple[Counter[str], Counter[tuple[int, str]]]:
        """How often the text has a title, and how often titles that are lines alone have a first and a last word."""
        titles: Counter[str] = Counter()
        alike: Counter[tuple[int, str]] = Counter()
        for before, line, after in zip([None, *self.lines], self.lines, [*self.lines[1:], None], strict=False):
            if line.form not in _TITLED or line.last - line.first > _LONGEST_KEY:
                continue
            title = self._title_of(line)
            titles[title] += 1
            words = title.split()
            alone = all(one is None or one.form == Form.BLANK for one in (before, after))
            if line.form == Form.PROSE and words and alone:
                alike.update({(0, words[0]): 1, (-1, words[-1]): 1})
        return titles, alike

    def _title_of(self, line: Line) -> str:
        return self.text[line.first : min(line.last, line.first + _LONGEST_KEY)].strip("*_#=: \t").lower()

    def _line_at(self, start: int) -> Line:
        """The line that begins at an offset."""
        return self.lines[bisect_left(self.lines, start, key=lambda line: line.start)]

    def _heads_settings(self, index: int) -> bool:
        """Whether a short line begins a block and lines of settings follow it: `Invoice 17` over `Total: 40`."""
        line, below = self.lines[index], self._next(index)
        begins = index == 0 or self.lines[index - 1].form in (Form.BLANK, Form.RULE)
        if not begins or line.form != Form.PROSE or line.mark or below is None:
            return False
        if below.form not in _SETTINGS and below.mark != LEADER:
            return False
        words = self.text[line.first : min(line.last, line.first + _LONGEST_HEAD + 1)]
        named = words[0].isupper() or words[0].isdigit() or _COMMIT.match(words) is not None
        return len(words) <= _LONGEST_HEAD and named and words[-1] not in ".!?,;。！？" and below.indent >= line.indent

    def _record_keys(self) -> frozenset[str]:
        """Keys with which several blocks of settings begin: each such block is a record, headed by its first line."""
        begins: dict[str, int] = {}
        for before, line in zip([None, *self.lines], self.lines, strict=False):
            if line.form in _SETTINGS and (before is None or before.form == Form.BLANK):
                key = self._key(line)
                begins[key] = begins.get(key, 0) + 1
        return frozenset(key for key, count in begins.items() if count > 1)

    def _key(self, line: Line) -> str:
        return _SEPARATOR.split(self.text[line.first : min(line.last, line.first + _LONGEST_KEY)], 1)[0].strip()

    def _add(self, line: Line, kind: Kind, structured: bool, level: int, accepts: int = CLOSED, **more: int) -> Unit:
        unit = Unit(line.start, kind, structured, level, accepts, block=self._block)
        for name, value in more.items():
            setattr(unit, name, value)
        self.units.append(unit)
        return unit

    def _below(self, index: int) -> Line | None:
        """The next line that is not blank."""
        for line in self.lines[index + 1 : index + 12]:
            if line.form != Form.BLANK:
                return line
        return None

    def _next(self, index: int) -> Line | None:
        """The next line, if it is not blank."""
        following = self.lines[index + 1] if index + 1 < len(self.lines) else None
        return None if following is None or following.form == Form.BLANK else following

    def _asks(self, line: Line) -> bool:
        return ASKS.match(self.text, line.first, line.last) is not None

    def _heading(self, index: int, level: int, lines: int = 1) -> int:
        line = self.lines[index]
        kind = Kind.QUESTION if self._asks(line) else Kind.HEADING
        self._add(line, kind, True, level, level + 1, leads=NEXT)
        self._nest, self._flat, self._tags = [], [], 0
        return index + lines

    def _close_lists(self, indent: int) -> None:
        while self._nest and self._nest[-1][0] >= indent:
            self._nest.pop()

    def _breaks_early(self, line: Line, below: Line) -> bool:
        """Whether the first word of the next line would have had room in a line."""
        word = _FIRST_WORD.match(self.text, below.first)
        room = below.last - below.start
        return word is not None and line.last - line.start + 1 + word.end() - word.start() < room

    def _rule(self, index: int) -> int:
        self._add(self.lines[index], Kind.RULE, True, at(0))
        self._nest = []
        return index + 1

    def _setting(self, index: int) -> int:
        line, below = self.lines[index], self._below(index)
        key = self.text[line.last - 1] in ":：|>" or _OPENER.match(self.text, line.first, line.last) is not None
        leads = NEXT if key and below is not None and below.indent > line.indent else BELOW
        unit = self._structured(line, Kind.KEY_VALUE, self._indent(index, False), opens=key, closes=False, leads=leads)
        begins = index == 0 or self.lines[index - 1].form == Form.BLANK
        if begins and self._next(index) is not None and self._key(line) in self._records:
            unit.level, unit.accepts = Level.LABEL, Level.LABEL + 1  # and what follows, as a mail its header
        self._open_flat(index)
        self._close_lists(line.indent)
        return index + 1

    def _structured(self, line: Line, kind: Kind, indent: int, *, opens: bool, closes: bool, leads: int) -> Unit:
        level = at(indent) + (Depth.CLOSES + (self.text[line.first] in ")]}") if closes else Depth.LINE)
        accepts = level + 1 if closes else at(indent) + (Depth.ROW if opens else Depth.DEEPER)
        return self._add(line, kind, True, level, accepts, leads=leads)

    def _indent(self, index: int, closes: bool) -> int:
        """Columns of a line of code, with one more for each open bracket whose lines are not further in."""
        line = self.lines[index]
        while self._flat and (line.indent < self._flat[-1] or (closes and line.indent == self._flat[-1])):
            self._flat.pop()
        return line.indent + len(self._flat)

    def _open_flat(self, index: int) -> None:
        line, below = self.lines[index], self._next(index)
        if (
            below is not None
            and below.indent <= line.indent
            and self.text[line.last - 1] in "{[("
            and self.text[below.first] not in ")]}{"
        ):
            self._flat.append(line.indent)

    def _is_opening(self, line: Line) -> bool:
        """Whether a line holds an opening bracket alone: it is below the line before it."""
        return line.form == Form.CLOSING and self.text[line.first] in "([{" and line.last - line.first < 3

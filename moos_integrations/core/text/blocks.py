"""Lines to units: sentences of paragraphs, list items, rows, lines of code and settings, each with its place.

A unit's *level* says how deep it is, and what it *accepts* from which level on others are below it: headings first, in
their order, then blocks by their indentation. `structure` makes parents of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

from moos_integrations.core.text.context import ends_sentence, has_numbers, reads_as_prose
from moos_integrations.core.text.lines import Form, Line
from moos_integrations.core.text.sentences import sentence_ends
from moos_integrations.core.types import Kind

CLOSED = 1 << 62
"""What a unit accepts that nothing is below."""
FOR_EVER = 1 << 62
NOTHING, BELOW, NEXT = range(3)
_NO_PARENT_GIVEN = -2

# Levels of headings, and of blocks: a column of indentation is worth `_COLUMN`.
_TITLE, _SECTION, _CAPITALS, _NUMBERED, _BOLD, _PLAIN, _LABEL, _QUESTION, _ASKED, _SPEAKER = 1, 20, 21, 22, 32, 34, 36, 38, 40, 50
_HASHED = 10
_LOG, _TURN, _BLOCK, _COLUMN = 900, 910, 1000, 64
_STRUCTURED, _HEADER, _ROW, _ITEM, _DEEPER, _CLOSES = 2, 4, 8, 16, 48, 56
_MOST_NESTED = 12  # kinds of markers in lists of one indentation

_FULL = 40  # characters of a line that an editor may have wrapped
_EARLY = 0.75  # a line that fills less of its paragraph's width was ended on purpose
_SHORT_HEADING = 80  # characters
_SHORT_TITLE = 120
_WHOLE_ITEM = 400
_WHOLE_ELEMENT = 600
_ANSWERED_WITHIN_UNITS = 12  # options of a quiz
_ANSWERED_WITHIN = 4  # paragraphs behind a question that may belong to its answer


@dataclass(slots=True)
class Unit:
    """A unit and its place among the others.

    Attributes:
        start: Offset of its first character; it ends where the next one starts.
        kind: What it is.
        structured: It is made of whole lines that only make sense whole.
        level: How deep it is.
        accepts: From which level on units are below it.
        until: The last block (lines without a blank line between) in which it accepts any.
        block: Index of its block.
        leads: Whether it introduces nothing, what is below it, or else what comes next.
        parent: Index of the unit that it is under, where its level does not say it.
        partner: Index of its other half, where that is known from the lines.
    """

    start: int
    kind: Kind
    structured: bool
    level: int
    accepts: int = CLOSED
    until: int = FOR_EVER
    block: int = 0
    leads: int = NOTHING
    parent: int = _NO_PARENT_GIVEN
    partner: int = -1


def at(indent: int) -> int:
    """The level of prose that is so many columns in."""
    return _BLOCK + _COLUMN * indent


# --- how lines read --------------------------------------------------------------------------------------------------

_CAPITAL_LINE = regex.compile(r"[^\p{Ll}]*\p{Lu}[^\p{Ll}]*\p{Lu}[^\p{Ll}]*+$")
_LETTER = regex.compile(r"\p{L}")
_NUMBERED_HEADING = regex.compile(
    r"(?:\d{1,3}(?:\.\d{1,3}){0,5}\.?|[IVXLC]{1,6}\.|[A-Z]\.|(?i:chapter|section|part|article|appendix|annex|kapitel|"
    r"abschnitt|teil|artikel|anhang|chapitre|título|capítulo)\s+[\dIVXLC]{1,6}[.:]?|§\s?\d{1,4}[a-z]?)"
    r"(?:\s+(?=\S)|$)"
)
_ASKS = regex.compile(r"(?r)[?？؟](?:[\"'”’»)\]*_`\s]|</\w{1,10}>)*")
_LEADS = regex.compile(r"(?r)[:：](?:[\"'”’»)\]*_`\s]|</\w{1,10}>)*")
_QUESTION_LABEL = regex.compile(
    r"(?:\*\*|__|#{1,6}\s)?(?:Q|Question|Frage|F|Pregunta|P|Domanda|D|Вопрос|В|問|问|质问|Quiz)\s?\d{0,4}\s?[.:)：]", regex.IGNORECASE
)
_ANSWER_LABEL = regex.compile(
    r"(?:\*\*|__)?(?:A|Answer|Antwort|Respuesta|R|Réponse|Risposta|Lösung|Solution|Ответ|О|答|答え|Ans|Correct answer|Accepted answer)"
    r"\s?\d{0,4}\s?(?:\*\*|__)?[.:)：]",
    regex.IGNORECASE,
)
_OPENER = regex.compile(r"(?r)(?:[{(\[:]|=>|->|\bdo|\bthen|\bbegin)", regex.IGNORECASE)
_COLON = regex.compile("[:：]")
_KEY = regex.compile(r"[a-z_$/\"'.][^\s]{0,60}:$|[\w.\-]{1,60}:$")
_NO_BODY = (Form.RULE, Form.SECTION)
_SETTINGS = (Form.CODE, Form.KEY_VALUE)
_TRIM = regex.compile(r"[\s*_#>]*+")
_FIRST_WORD = regex.compile(r"\S{1,60}")
# Lines of a stack trace that are no further in than its first: of Java, and of Python, where the error comes last.
_NEXT_TRACES = (
    regex.compile(r"Caused by|\.\.\.|During|The above"),
    regex.compile(r"[\w.]*(?:Error|Exception|Warning|Exit|Interrupt)|During|The above"),
)
_HUNK = regex.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_FILE_HEAD = regex.compile(
    r"(?:index [\da-f]|---|\+\+\+|new file|deleted file|old mode|new mode|similarity|rename|copy|Binary|={10})"
)
_ELEMENT = regex.compile(r"<(p|li|dd|dt|td|th|h[1-6]|blockquote|title|summary|option|figcaption|a|b|strong)\b[^<>]*>", regex.IGNORECASE)
_ANY_TAG = regex.compile(r"<[^<>]{0,500}>")
_TAG = regex.compile(r"<(?P<close>/)?(?P<name>[a-zA-Z][\w:.\-]{0,60})(?:\s[^<>]{0,500})?>(?<!/>)|\\(?:(?P<begin>begin)|(?P<end>end))\{")
_NO_DEPTH = frozenset(
    ["br", "hr", "meta", "link", "input", "img", "source", "area", "base", "col", "embed", "wbr", "param", "p", "li", "td", "th", "tr", "dt", "dd", "option", "a", "b", "i", "u", "s", "em", "strong", "span", "code", "small", "sub", "sup", "font", "label", "abbr", "cite", "q", "mark", "h1", "h2", "h3", "h4", "h5", "h6"]
)


class Blocks:
    """One pass over the lines of a text that writes its units."""

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
        self._labels = sum(line.form == Form.LABEL and not line.indent for line in lines)
        self._handlers: dict[Form, Callable[[int], int]] = {
            Form.FENCE: self._fence,
            Form.ROW: self._table,
            Form.ROW_RULE: self._table,
            Form.DIFF_HEAD: self._diff,
            Form.HUNK: self._diff,
            Form.LOG: self._log,
            Form.TRACE: self._trace_line,
            Form.CHAT: self._turn,
            Form.LABELLED: self._labelled,
            Form.LABEL: self._label,
            Form.KEY_VALUE: self._setting,
            Form.CODE: self._code,
            Form.CLOSING: self._code,
            Form.JSON: self._json,
            Form.MARKUP: self._markup,
            Form.HEADING: self._hashed_heading,
            Form.SECTION: self._section,
            Form.RULE: self._rule,
            Form.ITEM: self._item,
        }

    def units_of_lines(self) -> list[Unit]:
        """All units, in order; they cover the text without a gap."""
        index, lines = 0, self.lines
        if lines and lines[0].form == Form.BLANK:
            self._add(lines[0], Kind.BLANK, False, _BLOCK)
        while index < len(lines):
            line = lines[index]
            if line.form == Form.BLANK or (line.mark and line.body >= line.last and self.units and not self._only_closes(line)):
                self._block += 1
                self._trace = False
                index += 1
                continue
            index = self._handlers.get(line.form, self._prose)(index)
        return self.units

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

    def _alone(self, index: int) -> bool:
        """Whether a line has blank lines, or the text's ends, around it."""
        before = index == 0 or self.lines[index - 1].form == Form.BLANK
        return before and self._next(index) is None

    def _asks(self, line: Line) -> bool:
        return _ASKS.match(self.text, line.first, line.last) is not None

    # --- headings ----------------------------------------------------------------------------------------------------

    def _heading(self, index: int, level: int, lines: int = 1) -> int:
        line = self.lines[index]
        kind = Kind.QUESTION if self._asks(line) else Kind.HEADING
        self._add(line, kind, True, level, level + 1, leads=NEXT)
        self._nest, self._flat, self._tags = [], [], 0
        return index + lines

    def _hashed_heading(self, index: int) -> int:
        line = self.lines[index]
        words = _TRIM.match(self.text, line.first, line.last)
        if words and _ANSWER_LABEL.match(self.text, words.end(), line.last):
            return self._heading(index, _ASKED + 2)
        return self._heading(index, _HASHED + line.level if line.level < 7 else _BOLD)

    def _section(self, index: int) -> int:
        return self._heading(index, _SECTION)

    def _rule(self, index: int) -> int:
        self._add(self.lines[index], Kind.RULE, True, at(0))
        self._nest = []
        return index + 1

    def _underlined(self, index: int) -> int:
        """The level of a heading that is underlined; 0 for none."""
        below = self._next(index)
        if below is None or below.form not in (Form.RULE, Form.ROW_RULE) or below.indent > 3:
            return 0
        mark = self.text[below.first]
        lone = index == 0 or self.lines[index - 1].form in (Form.BLANK, Form.RULE)
        if mark not in "=-~^*#+" or not lone or " " in self.text[below.first : below.last]:
            return 0
        return _HASHED + {"=": 1, "-": 2}.get(mark, 3)

    def _plain_heading(self, index: int) -> int:
        """The level of a heading that only its form tells: capitals, a number, a short line alone; 0 for none."""
        line, text, after = self.lines[index], self.text, self._below(index)
        begin, end = line.first, line.last
        if line.mark or end - begin > _SHORT_TITLE or after is None or after.form in _NO_BODY:
            return 0
        if self.units and (self.units[-1].kind == Kind.QUESTION or self.units[-1].level == _ASKED + 2):
            return 0  # the answer
        if index == 0 and self._next(index) is None:
            return _TITLE if self._is_short_line(line, _SHORT_TITLE) else 0
        before = index == 0 or self.lines[index - 1].form in (Form.BLANK, Form.RULE)
        if not before or not self._is_short_line(line, _SHORT_HEADING):
            return 0
        below = self._next(index)
        if _CAPITAL_LINE.match(text, begin, end) and len(_LETTER.findall(text, begin, end)) > 3:
            return _CAPITALS if below is None or below.form != line.form or not _CAPITAL_LINE.match(text, below.first, below.last) else 0
        number = _NUMBERED_HEADING.match(text, begin, end)
        if number and (below is None or (below.form == Form.PROSE and self._breaks_early(line, below))):
            return _NUMBERED + min(number.group().count("."), 6)
        if below is None:
            return _PLAIN if not line.indent or line.indent < 4 else 0
        return _PLAIN if self._stands_over(index, line, below) else 0

    def _is_short_line(self, line: Line, longest: int) -> bool:
        first = self.text[line.first]
        return (
            line.last - line.first <= longest
            and not first.islower()
            and (first.isalnum() or first in "§“\"«([¿¡")
            and self.text[line.last - 1] not in ".!,;:。！،"
            and not self.text[line.first : line.last].count(" ") > 14
        )

    def _stands_over(self, index: int, line: Line, below: Line) -> bool:
        """Whether a line directly over a paragraph is its heading: it breaks early, and the paragraph has sentences."""
        if below.form != Form.PROSE or below.mark or line.last - line.first > 50:
            return False
        return (
            self._breaks_early(line, below)
            and not self.text[below.first].islower()
            and ends_sentence(self.text, below.first, below.last)
            and not ends_sentence(self.text, line.first, line.last)
        )

    def _breaks_early(self, line: Line, below: Line) -> bool:
        """Whether the first word of the next line would have had room in a line."""
        word = _FIRST_WORD.match(self.text, below.first)
        room = below.last - below.start
        return word is not None and line.last - line.start + 1 + word.end() - word.start() < room

    # --- prose -------------------------------------------------------------------------------------------------------

    def _prose(self, index: int) -> int:
        underlined = self._underlined(index)
        if underlined:
            return self._heading(index, underlined, lines=2)
        level = self._plain_heading(index)
        if level:
            return self._heading(index, level)
        stop = self._paragraph_end(index)
        return self._paragraph(index, stop)

    def _paragraph_end(self, index: int) -> int:
        """Behind the last line of the paragraph that begins at a line."""
        first, stop = self.lines[index], index + 1
        while stop < len(self.lines) and self._joins(first, self.lines[stop - 1], self.lines[stop], stop - index):
            stop += 1
        if stop - index < 2:
            return stop
        width = max(line.last - line.start for line in self.lines[index:stop])
        for at_line in range(index + 1, stop) if width >= _FULL else ():
            if self._hard_break(self.lines[at_line - 1], self.lines[at_line], width):
                return at_line
        return stop

    def _joins(self, first: Line, previous: Line, line: Line, count: int) -> bool:
        """Whether a line goes on with a paragraph."""
        if line.form != Form.PROSE:
            return False
        if line.mark != first.mark:
            return first.mark == "/*" or (first.mark == "" and self._only_closes(line))
        if line.mark and line.mark != '"':
            return (line.body < line.last and previous.body < previous.last) or self._only_closes(line)
        if line.indent == previous.indent or self._only_closes(line):
            return True
        return count == 1 and previous.last - previous.first >= 40 and not ends_sentence(self.text, previous.first, previous.last)

    def _only_closes(self, line: Line) -> bool:
        return self.text[line.first : line.last] in ('"""', "'''", "*/", "**/")

    def _hard_break(self, line: Line, below: Line, width: int) -> bool:
        """Whether a line was ended on purpose: the next word would have had room, and begins like a new line."""
        word = _FIRST_WORD.match(self.text, below.body)
        if word is None or self._only_closes(below):
            return False
        length = word.end() - word.start()
        room = line.last - line.start + 1 + length < _EARLY * width
        begins = not self.text[below.body].islower() and self.text[line.last - 1] not in ",-–—"
        return room and begins

    def _paragraph(self, index: int, stop: int) -> int:
        """Write the sentences of a paragraph."""
        first, last = self.lines[index], self.lines[stop - 1]
        single = stop - index == 1
        ends = list(sentence_ends(self.text, first.start, last.stop, ordinals=self.ordinals))
        if len(ends) == 1 and _ASKS.match(self.text, first.first, last.last) and not first.mark:
            self._question(first, stop)
            return stop
        level, begun = at(first.indent), first.start
        for end in ends:
            unit = self._add(first, Kind.SENTENCE, False, level)
            unit.start, begun = begun, end
            unit.leads = NEXT if end != ends[-1] and _ASKS.match(self.text, unit.start, end) else NOTHING
        self._close_lists(first.indent)
        self._lead_in(self.units[-1], first, last, stop, single)
        return stop

    def _question(self, line: Line, stop: int) -> None:
        answered_here = stop < len(self.lines) and self.lines[stop].form != Form.BLANK
        until = self._block if answered_here else self._block + _ANSWERED_WITHIN
        self._add(line, Kind.QUESTION, False, _QUESTION, _QUESTION + 1, leads=NEXT, until=until)
        self._nest = []

    def _lead_in(self, unit: Unit, first: Line, last: Line, stop: int, single: bool) -> None:
        """Open the last sentence of a paragraph for what it introduces."""
        below = self._below(stop - 1)
        if below is None:
            return
        if _LEADS.match(self.text, last.first, last.last):
            unit.accepts, unit.leads = unit.level + 1, NEXT
        elif single and below.indent > first.indent and not ends_sentence(self.text, first.first, last.last) and not first.mark:
            unit.accepts, unit.leads = unit.level + _DEEPER, BELOW  # a term over its definition
        elif first.mark and first.mark != '"' and stop < len(self.lines) and self.lines[stop].form in _SETTINGS:
            unit.leads = NEXT  # a comment over its line of code

    def _close_lists(self, indent: int) -> None:
        while self._nest and self._nest[-1][0] >= indent:
            self._nest.pop()

    # --- labels, questions, turns ------------------------------------------------------------------------------------

    def _label(self, index: int) -> int:
        """`Model X:`, `key:` or a short lead-in on a line alone."""
        line, below = self.lines[index], self._next(index)
        text = self.text[line.first : line.last]
        deeper = below is not None and below.indent > line.indent
        if (_KEY.match(text) and (line.indent or text[0].islower() or deeper)) or (deeper and below.form in (Form.KEY_VALUE, Form.CODE)):  # type: ignore[union-attr]
            return self._setting(index)
        underlined = self._underlined(index)
        if underlined:
            return self._heading(index, underlined, lines=2)
        if _QUESTION_LABEL.match(text) or _ANSWER_LABEL.match(text):
            return self._labelled(index)
        if not line.indent and self._labels > 1 and not text[0].islower() and text.count(" ") < 5:
            return self._heading(index, _LABEL)
        after = self._below(index)
        prose = after is not None and after.form in (Form.PROSE, Form.LABELLED) and after.indent <= line.indent
        unit = self._add(line, Kind.HEADING, True, at(line.indent), at(line.indent) + (not prose), leads=NEXT)
        unit.until = self._block + (below is None) if prose else FOR_EVER
        self._close_lists(line.indent)
        return index + 1

    def _labelled(self, index: int) -> int:
        """`Name: what is said`, or `key: value`."""
        line, text = self.lines[index], self.text
        if _QUESTION_LABEL.match(text, line.first, line.last) and not line.indent:
            return self._speech(index, _ASKED, Kind.QUESTION, FOR_EVER)
        if _ANSWER_LABEL.match(text, line.first, line.last) and not line.indent:
            return self._answer(index)
        if index == 0 and self._speakers < 3 and not self._asks(line) and self._plain_heading(index):
            return self._heading(index, _TITLE)
        if self._underlined(index):
            return self._heading(index, self._underlined(index), lines=2)
        if self._alone(index) and _NUMBERED_HEADING.match(text, line.first, line.last) and self._plain_heading(index):
            return self._heading(index, _NUMBERED)
        if self._is_asked() and not line.indent:
            return self._turn(index)
        if self.text[line.first].islower() or not self._is_said(line):
            return self._setting(index)
        if line.indent:
            return self._speech(index, at(line.indent) + _STRUCTURED, Kind.SPEAKER, self._block)
        return self._turn(index)

    def _is_said(self, line: Line) -> bool:
        """Whether prose is behind a label."""
        found = _COLON.search(self.text, line.first, line.last)
        colon = found.end() if found else line.first
        behind = Line(line.start, line.stop, line.first, line.last, line.indent, line.form, colon)
        ends = ends_sentence(self.text, colon, line.last)
        words = self.text[colon : line.last].strip().count(" ") > 0 or self.text[colon - 1] == "："
        return (ends and words) or reads_as_prose(self.text, behind)

    def _answer(self, index: int) -> int:
        """`A: ...` is under the question before it, or under the item that asks."""
        for asked in self.units[: -_ANSWERED_WITHIN_UNITS - 1 : -1]:
            if (asked.level < _TURN and asked.kind == Kind.QUESTION) or (asked.kind == Kind.ITEM and asked.leads == NEXT):
                return self._speech(index, asked.level + 1, Kind.SPEAKER, FOR_EVER)
        return self._speech(index, _ASKED + 2, Kind.SPEAKER, FOR_EVER)

    def _turn(self, index: int) -> int:
        """A turn of speech; behind one that ends in a question, it is its answer."""
        asked = self.units[-1] if self._is_asked() else None
        until = self._block + (_ANSWERED_WITHIN if self._speakers > 2 else 0)
        parent, level = _NO_PARENT_GIVEN, _SPEAKER
        if asked is not None:
            parent = len(self.units) - 1
            level = min(asked.level % _TURN if asked.level >= _TURN else asked.level, _LOG - 2) + 1
        begun = len(self.units)
        index = self._speech(index, level, Kind.SPEAKER, until)
        self.units[begun].parent = parent
        if _ASKS.match(self.text, self.lines[index - 1].first, self.lines[index - 1].last):
            self.units[-1].kind, self.units[-1].leads = Kind.QUESTION, NEXT
            if len(self.units) - begun > 1:
                self.units[-1].level, self.units[-1].accepts = _TURN + level, CLOSED
        return index

    def _is_asked(self) -> bool:
        """Whether the unit before is a turn that ends in a question."""
        last = self.units[-1] if self.units else None
        return last is not None and last.kind == Kind.QUESTION and _SPEAKER <= last.level < _BLOCK

    def _speech(self, index: int, level: int, kind: Kind, until: int) -> int:
        """Write a turn: its first sentence with the label, the others under it."""
        first, stop = self.lines[index], index + 1
        while stop < len(self.lines) and self._says_more(first, self.lines[stop - 1], self.lines[stop]):
            stop += 1
        begun = first.start
        for number, end in enumerate(sentence_ends(self.text, first.start, self.lines[stop - 1].stop, ordinals=self.ordinals)):
            unit = self._add(first, kind, False, level, level + 1, until=until)
            unit.leads = NEXT if kind == Kind.QUESTION else NOTHING
            unit.start, begun = begun, end
            if number:
                unit.kind, unit.level, unit.accepts, unit.leads = Kind.SENTENCE, max(level + 1, _TURN), CLOSED, NOTHING
        if self.text[first.last - 1] in ":：" and stop == index + 1:
            self.units[-1].leads = NEXT
        if level < _BLOCK:
            self._nest, self._flat = [], []
        return stop

    def _says_more(self, first: Line, previous: Line, line: Line) -> bool:
        """Whether a line goes on with the sentence of a turn."""
        if line.form != Form.PROSE or line.mark:
            return False
        if line.indent > first.indent or self.text[line.first].islower():
            return True
        return line.indent == previous.indent and not self._breaks_early(previous, line)

    # --- lists -------------------------------------------------------------------------------------------------------

    def _item(self, index: int) -> int:
        underlined = self._underlined(index)
        if underlined:
            return self._heading(index, underlined, lines=2)
        if self._is_numbered_heading(index):
            level = _QUESTION if self._asks(self.lines[index]) else _NUMBERED
            dots = self.lines[index].mark.count(".")
            return self._heading(index, level + (min(dots, 6) if level == _NUMBERED else 0))
        line, stop = self.lines[index], index + 1
        while stop < len(self.lines) and self._continues_item(line, self.lines[stop - 1], self.lines[stop]):
            stop += 1
        self._write_item(index, stop, self._nesting(line))
        return stop

    def _nesting(self, line: Line) -> int:
        """How many lists of this indentation an item is in, told by their markers."""
        while self._nest and self._nest[-1][0] > line.indent:
            self._nest.pop()
        key = line.indent, line.mark
        if key in self._nest:
            while self._nest[-1] != key:
                self._nest.pop()
        else:
            self._nest.append(key)
        return min(sum(indent == line.indent for indent, _ in self._nest[-_MOST_NESTED:]), _MOST_NESTED) - 1

    def _is_numbered_heading(self, index: int) -> bool:
        """`1. Model X` over a paragraph is a heading; over or behind another marker it is an item."""
        line, below = self.lines[index], self._below(index)
        if line.mark[:1] not in ("1", "A", "(") or line.indent > 3 or below is None or line.last - line.first > _SHORT_TITLE:
            return False
        behind = self.text[line.body : line.body + 1]
        if (ends_sentence(self.text, line.first, line.last) and not self._asks(line)) or not behind or behind.islower():
            return False
        if below.form == Form.ITEM and below.mark.strip("().") == line.mark.strip("()."):
            return False
        if index and self.lines[index - 1].form == Form.ITEM and self.lines[index - 1].mark == line.mark:
            return False
        if "." in line.mark[:-1] or self._next(index) is None:
            return True
        if below.form == Form.PROSE:
            return below.indent <= line.indent and (self._breaks_early(line, below) or self._asks(line)) and not self.text[below.first].islower()
        return below.indent <= line.indent

    def _continues_item(self, item: Line, previous: Line, line: Line) -> bool:
        if line.form != Form.PROSE or line.mark:
            return False
        if line.indent > item.indent:
            return True
        full = previous.last - previous.start >= 40 and not ends_sentence(self.text, previous.first, previous.last)
        return line.indent == item.indent and (self.text[line.first].islower() or (full and not self._breaks_early(previous, line)))

    def _write_item(self, index: int, stop: int, nested: int) -> None:
        line, last = self.lines[index], self.lines[stop - 1]
        level = at(line.indent) + _ITEM + 2 * nested
        unit = self._add(line, Kind.ITEM, True, level, level + 1)
        if _LEADS.match(self.text, line.first, last.last) or _ASKS.match(self.text, line.first, last.last):
            unit.leads = NEXT
        elif not ends_sentence(self.text, line.first, last.last):
            unit.leads = BELOW
        if last.last - line.first <= _WHOLE_ITEM:
            return
        ends = list(sentence_ends(self.text, line.body, last.stop, ordinals=self.ordinals))
        for begun in ends[:-1]:
            more = self._add(line, Kind.SENTENCE, False, at(line.indent) + _DEEPER)
            more.start = begun
        unit.structured = len(ends) < 2

    # --- tables ------------------------------------------------------------------------------------------------------

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
                self._add(line, Kind.HEADER_ROW, True, level + _HEADER, level + _HEADER + 1, leads=NEXT)
            else:
                self._add(line, Kind.ROW, True, level + _ROW)
        return stop

    def _rows(self, index: int, stop: int) -> tuple[list[int], bool]:
        """The lines at which a table's head and its rows begin, and whether it has a head."""
        rules = [at_line for at_line in range(index, stop) if self.lines[at_line].form == Form.ROW_RULE]
        if not rules:
            first = self.lines[index]
            header = stop - index > 1 and not has_numbers(self.text, first)
            return list(range(index, stop)), header
        if rules[0] > index:  # | a | b | over |---|---|
            head = list(range(index, rules[0])) if rules[0] > index + 1 else [index]
            rows = list(range(rules[0] + 1, stop))
            return [head[-1]] + rows if len(head) == 1 else head + rows, len(head) == 1
        if len(rules) > 2 and self.text[self.lines[index].first] == "+":  # a grid: a row is what is between two rules
            return [index] + [rule + 1 for rule in rules[1:-1]], True
        behind = rules[1] + 1 if len(rules) > 1 else stop
        return [index, *range(behind, stop)], True

    # --- code, settings, JSON, markup --------------------------------------------------------------------------------

    def _structured(self, line: Line, kind: Kind, indent: int, *, opens: bool, closes: bool, leads: int) -> Unit:
        level = at(indent) + (_CLOSES + (self.text[line.first] in ")]}") if closes else _STRUCTURED)
        accepts = level + 1 if closes else at(indent) + (_ROW if opens else _DEEPER)
        return self._add(line, kind, True, level, accepts, leads=leads)

    def _indent(self, index: int, closes: bool) -> int:
        """Columns of a line of code, with one more for each open bracket whose lines are not further in."""
        line = self.lines[index]
        while self._flat and (line.indent < self._flat[-1] or (closes and line.indent == self._flat[-1])):
            self._flat.pop()
        return line.indent + len(self._flat)

    def _open_flat(self, index: int) -> None:
        line, below = self.lines[index], self._next(index)
        if below is not None and below.indent <= line.indent and self.text[line.last - 1] in "{[(" and self.text[below.first] not in ")]}{":
            self._flat.append(line.indent)

    def _code(self, index: int, kind: Kind = Kind.CODE) -> int:
        line = self.lines[index]
        first = self.text[line.first]
        closes = first in ")]}" or self._is_opening(line)
        opens = _OPENER.match(self.text, line.first, line.last) is not None
        below = self._next(index)
        indent = self._indent(index, first in ")]}")
        over = below is not None and (below.indent > line.indent or self._is_opening(below))
        leads = NEXT if below is not None and opens else BELOW if over else NOTHING
        self._structured(line, kind, indent, opens=False, closes=closes, leads=leads)
        self._open_flat(index)
        if kind != Kind.JSON:
            self._close_lists(line.indent)
        return index + 1

    def _is_opening(self, line: Line) -> bool:
        """Whether a line holds an opening bracket alone: it is below the line before it."""
        return line.form == Form.CLOSING and self.text[line.first] in "([{" and line.last - line.first < 3

    def _json(self, index: int) -> int:
        return self._code(index, Kind.JSON)

    def _setting(self, index: int) -> int:
        line, below = self.lines[index], self._below(index)
        key = self.text[line.last - 1] in ":：|>" or _OPENER.match(self.text, line.first, line.last) is not None
        leads = NEXT if key and below is not None and below.indent > line.indent else BELOW
        self._structured(line, Kind.KEY_VALUE, self._indent(index, False), opens=key, closes=False, leads=leads)
        self._open_flat(index)
        self._close_lists(line.indent)
        return index + 1

    def _markup(self, index: int) -> int:
        line, stop = self.lines[index], self._element_end(index)
        before, after, deepest = self._depths(line.start, self.lines[stop - 1].stop)
        inner = _ANY_TAG.sub("", self.text[line.first : self.lines[stop - 1].last]).strip() if line.last - line.first < 2000 else "x"
        if line.level and inner:
            return self._heading(index, _HASHED + line.level, lines=stop - index)
        if inner and _ASKS.match(inner):
            self._add(line, Kind.QUESTION, True, _QUESTION, _QUESTION + 1, leads=NEXT)
            return stop
        indent = line.indent if line.in_row else 2 * min(before, after)
        closes = self.text.startswith("</", line.first) or self.text.startswith("\\end", line.first)
        unit = self._structured(line, Kind.MARKUP, indent, opens=False, closes=closes, leads=NOTHING if closes or after <= before else BELOW)
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
        name = regex.match(r"</(?:p|li|dd|dt|td|th|h[1-6]|blockquote|a|b|strong)>", self.text[line.first : line.first + 16])
        return name is not None

    def _depths(self, start: int, stop: int) -> tuple[int, int, int]:
        """How many elements are open before and behind a span of markup, and the most within."""
        before, depth = self._tags, self._tags
        deepest = depth
        for match in _TAG.finditer(self.text, start, min(stop, start + 20000)):
            if match["name"] and match["name"].lower() in _NO_DEPTH:
                continue
            depth = max(depth - 1, 0) if match["close"] or match["end"] else depth + 1
            deepest = max(deepest, depth)
        self._tags = depth
        return before, depth, deepest

    # --- fences, logs, traces, diffs ---------------------------------------------------------------------------------

    def _fence(self, index: int) -> int:
        """A fenced block: both fences and the lines between; an open one goes on to the end."""
        line, text = self.lines[index], self.text
        mark = text[line.first : line.first + 3]
        stop = index + 1
        while stop < len(self.lines) and not (
            self.lines[stop].form == Form.FENCE and not text[self.lines[stop].first : self.lines[stop].last].strip(mark[0])
            and text.startswith(mark, self.lines[stop].first)
        ):
            stop += 1
        level = at(line.indent) + _STRUCTURED
        opening = len(self.units)
        self._add(line, Kind.FENCE, True, level, level + 1, leads=NEXT)
        for inner in self.lines[index + 1 : stop]:
            if inner.form == Form.BLANK:
                continue
            indent = line.indent + max(inner.indent - line.indent, 0)
            closes = text[inner.first] in ")]}"
            self._add(inner, Kind.CODE, True, at(indent) + (_CLOSES if closes else _HEADER), at(indent) + (_CLOSES + 1 if closes else _DEEPER))
        if stop < len(self.lines):
            self._add(self.lines[stop], Kind.FENCE, True, at(line.indent) + 3, partner=opening, parent=opening)
            self.units[opening].partner = len(self.units) - 1
        return stop + 1

    def _log(self, index: int) -> int:
        self._add(self.lines[index], Kind.LOG, True, _LOG, _LOG + 1, until=self._block)
        self._nest, self._flat = [], []
        return index + 1

    def _trace_line(self, index: int) -> int:
        line = self.lines[index]
        later = self._trace and not line.indent and _NEXT_TRACES[self._python].match(self.text, line.first) is not None
        if not later and not line.indent:
            self._python = self.text.startswith("Trace", line.first)
        level = at(line.indent) + (_STRUCTURED if later or line.indent else 0)
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
        self._add(line, Kind.DIFF, True, _LOG, _LOG + 1, leads=NEXT)
        return stop

    def _hunk(self, index: int) -> int:
        line = self.lines[index]
        self._add(line, Kind.DIFF, True, _LOG + 1, _LOG + 2, leads=NEXT)
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
                self._add(inner, Kind.DIFF, True, _LOG + 2)
            stop += 1
        return stop

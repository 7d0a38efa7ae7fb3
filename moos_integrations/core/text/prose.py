"""Headings, paragraphs, turns of speech and lists."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import regex

from moos_integrations.core.text.context import ends_sentence, reads_as_prose
from moos_integrations.core.text.lines import Form, Line
from moos_integrations.core.text.sentences import sentence_ends
from moos_integrations.core.text.units import BELOW, BY_LEVEL, CLOSED, FOR_EVER, NEXT, NOTHING, Depth, Level, Unit, at
from moos_integrations.core.text.writer import ASKS, Writer
from moos_integrations.core.types import Kind

_MOST_NESTED = 12  # kinds of markers in lists of one indentation
_FULL = 40  # characters of a line that an editor may have wrapped
_QUOTED_COLUMNS = 2  # that what is quoted in a mail counts as further in
_EARLY = 0.75  # a line that fills less of its paragraph's width was ended on purpose
_SHORT_HEADING = 80  # characters
_SHORT_TITLE = 120
_LONGEST_WORD = 40  # also a heading in a script without spaces
_WHOLE_ITEM = 400
_LEAST_ENTRIES = 5  # lines; fewer, as of an address, say more together
_LONGEST_ENTRY = 60  # characters
_UNSPACED_FROM = "\u2e80"  # where the scripts of East Asia begin
_ANSWERED_WITHIN_UNITS = 12  # options of a quiz
_MOST_ASKED = 2  # a question that answers a question, and its answer
_ANSWERED_WITHIN = 4  # paragraphs behind a question that may belong to its answer
_CAPITAL_LINE = regex.compile(r"[^\p{Ll}]*\p{Lu}[^\p{Ll}]*\p{Lu}[^\p{Ll}]*+$")
_LETTER = regex.compile(r"\p{L}")
_NUMBERED_HEADING = regex.compile(
    r"(?:\d{1,3}(?:\.\d{1,3}){0,5}\.?|[IVXLC]{1,6}\.|[A-Z]\.|(?i:chapter|section|part|article|appendix|annex|kapitel|"
    r"abschnitt|teil|artikel|anhang|chapitre|título|capítulo)\s+[\dIVXLC]{1,6}[.:]?|§\s?\d{1,4}[a-z]?)"
    r"(?:\s+(?=\S)|$)"
)
_DECIMAL = regex.compile(r"\d{1,3}\.\d")
_LEADS = regex.compile(r"(?r)[:：](?:[\"'”’»)\]*_`\s]|</\w{1,10}>)*")
_QUESTION_LABEL = regex.compile(
    r"(?:\*\*|__|#{1,6}\s)?(?:Q|Question|Frage|F|Pregunta|P|Domanda|D|Вопрос|В|問|问|质问|Quiz)\s?\d{0,4}\s?[.:)：]",
    regex.IGNORECASE,
)
_ANSWER_LABEL = regex.compile(
    r"(?:\*\*|__)?(?:A|Ans|(?:Correct |Accepted )?Answer|Antwort|Respuesta|R|Réponse|Risposta|Lösung|Solution|Ответ|О|"
    r"答|答え)\s?\d{0,4}\s?(?:\*\*|__)?[.:)：]",
    regex.IGNORECASE,
)
_LABEL_END = regex.compile(r"[:：](?:\*\*|__)?(?:\s+|(?<=：))")
_SPEECH = regex.compile(
    r"\b(?:wrote|writes|says|said|asks|asked|repl(?:y|ies|ied)|answer(?:s|ed)?|respon(?:se|ds|ded)|posted|comment(?:s|ed)|"
    r"schrieb|sagte?|fragte?|antwortete?|a écrit|a répondu|escribió|respondió|ha scritto)\b",
    regex.IGNORECASE,
)
_SENTENCES = regex.compile(r"[.!?…] \p{Lu}")
_SMALL_WORD = regex.compile(r"(?<![^\s(\"])\p{Ll}{2,}(?=[\s,:])")
_COLON = regex.compile("[:：]")
_KEY = regex.compile(r"[a-z_$/\"'.][^\s]{0,60}:$|[\w.\-]{1,60}:$")
_QUOTES = "\"'“”‘’„«»「"
_NO_BODY = (Form.RULE, Form.SECTION)
_SETTINGS = (Form.CODE, Form.KEY_VALUE)
_TRIM = regex.compile(r"[\s*_#>]*+")
_FIRST_WORD = regex.compile(r"\S{1,60}")


class Prose(Writer):
    """Writes the units of prose: sentences, and the headings, labels and markers above and before them."""

    def _alone(self, index: int) -> bool:
        """Whether a line has blank lines, or the text's ends, around it."""
        before = index == 0 or self.lines[index - 1].form == Form.BLANK
        return before and self._next(index) is None

    def _hashed_heading(self, index: int) -> int:
        line = self.lines[index]
        words = _TRIM.match(self.text, line.first, line.last)
        if words and _ANSWER_LABEL.match(self.text, words.end(), line.last):
            stop = self._heading(index, Level.ASKED + 2)
            self._as_lead_in(line)
            return stop
        return self._heading(index, Level.HASHED + line.level if line.level < 7 else Level.BOLD)

    def _heading(self, index: int, level: int, lines: int = 1) -> int:
        """Write a heading; that of a turn of speech is under the question that it answers."""
        asked, line = len(self.units) - 1, self.lines[index]
        answers = self._is_answered_by(line, level)
        stop = super()._heading(index, level, lines)
        if answers:
            self.units[-1].parent = asked
            self._as_lead_in(line)
        return stop

    def _is_answered_by(self, line: Line, level: int) -> bool:
        """Whether the unit before is a question under a heading like this one, and both name speakers."""
        if not self.units or self.units[-1].kind != Kind.QUESTION:
            return False
        over = next((unit for unit in self.units[:-_ANSWERED_WITHIN_UNITS:-1] if unit.kind == Kind.HEADING), None)
        if over is None or over.level != level:
            return False
        names = [self._title_of(line), self._title_of(self._line_at(over.start))]
        return names[0] != names[1] and all(self._titles[name] > 1 or _SPEECH.search(name) for name in names)

    def _as_lead_in(self, line: Line) -> None:
        """A label that is heading by its form only says nothing without the first sentence below it."""
        if _LEADS.match(self.text, line.first, line.last) and self.units[-1].kind == Kind.HEADING:
            self.units[-1].kind = Kind.SPEAKER

    def _section(self, index: int) -> int:
        return self._heading(index, Level.SECTION)

    def _underlined(self, index: int) -> int:
        """The level of a heading that is underlined; 0 for none."""
        below = self._next(index)
        if below is None or below.form not in (Form.RULE, Form.ROW_RULE) or below.indent > 3:
            return 0
        mark = self.text[below.first]
        lone = index == 0 or self.lines[index - 1].form in (Form.BLANK, Form.RULE)
        if mark not in "=-~^*#+" or not lone or " " in self.text[below.first : below.last]:
            return 0
        return Level.HASHED + {"=": 1, "-": 2}.get(mark, 3)

    def _plain_heading(self, index: int) -> int:
        """The level of a heading that only its form tells: capitals, a number, a short line alone; 0 for none."""
        line, text, after = self.lines[index], self.text, self._below(index)
        begin, end = line.first, line.last
        if line.mark or end - begin > _SHORT_TITLE or after is None or after.form in _NO_BODY:
            return 0
        answer = self.units and (self.units[-1].kind == Kind.QUESTION or self.units[-1].level == Level.ASKED + 2)
        if answer and not (_CAPITAL_LINE.match(text, begin, end) and self._titles[self._title_of(line)] > 1):
            return 0
        if index == 0 and self._next(index) is None and not _NUMBERED_HEADING.match(text, begin, end):
            return self._title_level(line) if self._is_short_line(line, _SHORT_TITLE) else 0
        before = index == 0 or self.lines[index - 1].form in (Form.BLANK, Form.RULE)
        if not before or not self._is_short_line(line, _SHORT_HEADING):
            return 0
        below = self._next(index)
        letters = len(_LETTER.findall(text, begin, end))
        if _CAPITAL_LINE.match(text, begin, end) and (letters > 3 or self._titles[self._title_of(line)] > 1):
            return (
                Level.CAPITALS
                if below is None or below.form != line.form or not _CAPITAL_LINE.match(text, below.first, below.last)
                else 0
            )
        number = _NUMBERED_HEADING.match(text, begin, end)
        if number and (below is None or (below.form == Form.PROSE and self._breaks_early(line, below))):
            return Level.NUMBERED + min(number.group().count("."), 6)
        if below is None:
            return Level.PLAIN if not line.indent or line.indent < 4 else 0
        return Level.PLAIN if self._stands_over(index, line, below) else 0

    def _title_level(self, line: Line) -> int:
        """The first line is the title of all, but not if another line alone begins or ends with the same word."""
        words = self._title_of(line).split()
        return Level.PLAIN if any(self._alike[place, words[place]] > 1 for place in (0, -1)) else Level.TITLE

    def _is_short_line(self, line: Line, longest: int) -> bool:
        first = self.text[line.first]
        return (
            line.last - line.first <= longest
            and not first.islower()
            and (first.isalnum() or first in "§([¿¡")
            and self.text[line.last - 1] not in ".!,;:。！،"
            and not ends_sentence(self.text, line.first, line.last)
            and self._has_heading_length(line)
        )

    def _has_heading_length(self, line: Line) -> bool:
        spaces = len(self.text[line.first : line.last].split()) - 1
        letters = _LETTER.search(self.text, line.first, line.last) is not None
        return letters and spaces <= 14 and (spaces > 0 or line.last - line.first <= _LONGEST_WORD)

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

    def _prose(self, index: int) -> int:
        underlined = self._underlined(index)
        if underlined:
            return self._heading(index, underlined, lines=2)
        level = self._plain_heading(index)
        if level:
            return self._heading(index, level)
        if self._heads_settings(index):
            stop = self._heading(index, Level.PLAIN)
            self.units[-1].until = FOR_EVER if self._records_headed > 1 else self._block
            return stop
        if self._asks_alone(index):
            self._question(self.lines[index], index + 1)  # its answer begins on the next line
            return index + 1
        return self._paragraph(index, self._paragraph_end(index))

    def _asks_alone(self, index: int) -> bool:
        """Whether a line is one question, whatever paragraph goes on below it, in a text of several questions."""
        line, below = self.lines[index], self.lines[min(index + 1, len(self.lines) - 1)]
        if self._questions < 2 or line.mark or not self._asks(line):
            return False
        return next(sentence_ends(self.text, line.start, below.stop, ordinals=self.ordinals)) == line.stop

    def _paragraph_end(self, index: int) -> int:
        """Behind the last line of the paragraph that begins at a line."""
        first, stop = self.lines[index], index + 1
        while stop < len(self.lines) and self._joins(first, self.lines[stop - 1], self.lines[stop], stop - index):
            stop += 1
        if stop - index < 2:
            return stop
        width = max(line.last - line.start for line in self.lines[index:stop])
        if self._is_verse(self.lines[index:stop]):
            return stop
        for at_line in range(index + 1, stop) if width >= _FULL else ():
            if self._hard_break(self.lines[at_line - 1], self.lines[at_line], width):
                return at_line
        return stop

    def _is_verse(self, lines: Sequence[Line]) -> bool:
        """Whether every line begins with a capital, though sentences go on from line to line."""
        commas = any(self.text[line.last - 1] in ",;:–—" for line in lines[:-1])
        return len(lines) > 3 and commas and all(not self.text[line.body].islower() for line in lines)

    def _joins(self, first: Line, previous: Line, line: Line, count: int) -> bool:
        """Whether a line goes on with a paragraph."""
        if line.form != Form.PROSE:
            return False
        if line.mark != first.mark:
            return first.mark == "/*" or (first.mark == "" and self._only_closes(line))
        if line.mark and line.mark != '"':
            goes_on = previous.body < previous.last or self._only_opens(previous)
            return (line.body < line.last and goes_on) or self._only_closes(line)
        if line.indent == previous.indent or self._only_closes(line):
            return True
        return (
            count == 1
            and previous.last - previous.first >= 40
            and not ends_sentence(self.text, previous.first, previous.last)
        )

    def _only_closes(self, line: Line) -> bool:
        return self.text[line.first : line.last] in ('"""', "'''", "*/", "**/")

    def _only_opens(self, line: Line) -> bool:
        return self.text[line.first : line.last] in ('"""', "'''", "/*", "/**")

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
        if self._are_entries(index, stop):
            return self._entries(index, stop)
        first, last = self.lines[index], self.lines[stop - 1]
        single = stop - index == 1
        ends = list(sentence_ends(self.text, first.start, last.stop, ordinals=self.ordinals))
        if len(ends) == 1 and ASKS.match(self.text, first.first, last.last) and not first.mark:
            self._question(first, stop)
            return stop
        level, begun = at(first.indent + _QUOTED_COLUMNS * first.mark.count(">")), first.start
        for end in ends:
            unit = self._add(first, Kind.SENTENCE, False, level)
            unit.start, begun = begun, end
            unit.leads = NEXT if end != ends[-1] and ASKS.match(self.text, unit.start, end) else NOTHING
        self._close_lists(first.indent)
        self._lead_in(self.units[-1], first, last, stop, single)
        return stop

    def _are_entries(self, index: int, stop: int) -> bool:
        """Whether the lines of a block are a list without markers: short, no sentences, and ended on purpose."""
        lines = self.lines[index:stop]
        width = max(line.last - line.start for line in lines)
        if len(lines) < _LEAST_ENTRIES or lines[0].mark or width > _LONGEST_ENTRY:
            return False
        if any(self.text[line.last - 1] in ",-–—" or self._is_sentence(line) for line in lines):
            return False
        early = 0
        for line, below in itertools.pairwise(lines):
            word = _FIRST_WORD.match(self.text, below.first)
            room = word is not None and line.last - line.start + 1 + word.end() - word.start() <= width
            early += room or self._is_word(line)
        return 2 * early >= len(lines) - 1

    def _is_word(self, line: Line) -> bool:
        """Whether a line is one word of a script with spaces."""
        return self.text[line.first] < _UNSPACED_FROM and " " not in self.text[line.first : line.last]

    def _is_sentence(self, line: Line) -> bool:
        return ends_sentence(self.text, line.first, line.last) or reads_as_prose(self.text, line)

    def _entries(self, index: int, stop: int) -> int:
        for line in self.lines[index:stop]:
            self._add(line, Kind.ITEM, True, at(line.indent) + Depth.ITEM)
        self._close_lists(self.lines[index].indent)
        return stop

    def _question(self, line: Line, stop: int) -> None:
        answered_here = stop < len(self.lines) and self.lines[stop].form != Form.BLANK
        until = self._block if answered_here else self._block + (_ANSWERED_WITHIN if self._questions > 1 else 1)
        if self.text[line.first] in _QUOTES:  # a question of a story, which the next paragraph need not answer
            self._add(line, Kind.SENTENCE, False, at(line.indent), leads=NEXT)
            return
        self._add(line, Kind.QUESTION, False, Level.QUESTION, Level.QUESTION + 1, leads=NEXT, until=until)
        self._nest = []

    def _lead_in(self, unit: Unit, first: Line, last: Line, stop: int, single: bool) -> None:
        """Open the last sentence of a paragraph for what it introduces."""
        below = self._below(stop - 1)
        if below is None:
            return
        if _LEADS.match(self.text, last.first, last.last):
            unit.accepts, unit.leads = unit.level + 1, NEXT
        elif self.text.startswith("\\begin", below.first) and not ends_sentence(self.text, last.first, last.last):
            unit.leads = NEXT  # "there is an n with", and a formula
        elif first.mark == ">" and below.mark != ">" and ASKS.match(self.text, last.first, last.last):
            unit.leads = NEXT  # quoted to be answered
        elif (
            single
            and below.indent > first.indent
            and not ends_sentence(self.text, first.first, last.last)
            and not first.mark
        ):
            unit.accepts, unit.leads = unit.level + Depth.DEEPER, BELOW  # a term over its definition
        elif first.mark and first.mark != '"' and stop < len(self.lines) and self.lines[stop].form in _SETTINGS:
            unit.leads = NEXT  # a comment over its line of code

    def _label(self, index: int) -> int:
        """`Model X:`, `key:` or a short lead-in on a line alone."""
        line, below = self.lines[index], self._next(index)
        text = self.text[line.first : line.last]
        if len(text) > _SHORT_HEADING:
            line.form = Form.PROSE
            return self._paragraph(index, self._paragraph_end(index))
        deeper = below is not None and below.indent > line.indent
        of_settings = below is not None and below.indent > line.indent and below.form in _SETTINGS
        if of_settings or (_KEY.match(text) and (line.indent or text[0].islower() or deeper)):
            return self._setting(index)
        underlined = self._underlined(index)
        if underlined:
            return self._heading(index, underlined, lines=2)
        if _QUESTION_LABEL.match(text) or _ANSWER_LABEL.match(text):
            return self._labelled(index)
        short = text.count(" ") < 5 and len(text) <= _LONGEST_WORD
        if not line.indent and self._labels > 1 and not text[0].islower() and short and not self._leads_in(text):
            return self._heading(index, Level.LABEL)
        after = self._below(index)
        prose = after is not None and after.form in (Form.PROSE, Form.LABELLED) and after.indent <= line.indent
        kind = Kind.SPEAKER if self._leads_in(text) else Kind.HEADING
        unit = self._add(line, kind, True, at(line.indent), at(line.indent) + (not prose), leads=NEXT)
        unit.until = self._block + (below is None) if prose else FOR_EVER
        self._close_lists(line.indent)
        return index + 1

    def _leads_in(self, text: str) -> bool:
        """Whether a label is a sentence of words rather than a name: "Room 3 has these parts:"."""
        return len(_SMALL_WORD.findall(text)) >= 2 and not _SPEECH.search(text)

    def _labelled(self, index: int) -> int:
        """`Name: what is said`, or `key: value`."""
        line, text = self.lines[index], self.text
        if _QUESTION_LABEL.match(text, line.first, line.last) and not line.indent:
            return self._speech(index, Level.ASKED, Kind.QUESTION, FOR_EVER)
        if _ANSWER_LABEL.match(text, line.first, line.last) and not line.indent:
            return self._answer(index)
        if index == 0 and self._speakers < 3 and not self._asks(line) and self._plain_heading(index):
            return self._heading(index, Level.TITLE)
        if self._underlined(index):
            return self._heading(index, self._underlined(index), lines=2)
        if self._alone(index) and _NUMBERED_HEADING.match(text, line.first, line.last) and self._plain_heading(index):
            return self._heading(index, Level.NUMBERED)
        if self._is_asked() and not line.indent:
            return self._turn(index)
        label = self._key(line)
        if (label[:1].islower() and label.count(" ") < 2) or not self._is_said(line):
            return self._setting(index)
        if self._speakers == 1 or label[:1].islower():  # "Note: ..." in prose
            line.form = Form.PROSE
            return self._paragraph(index, self._paragraph_end(index))
        if line.indent:
            return self._speech(index, at(line.indent) + Depth.LINE, Kind.SPEAKER, self._block)
        return self._turn(index)

    def _is_said(self, line: Line) -> bool:
        """Whether prose is behind a label."""
        found = _COLON.search(self.text, line.first, line.last)
        colon = found.end() if found else line.first
        behind = Line(line.start, line.stop, line.first, line.last, line.indent, line.form, colon)
        ends = ends_sentence(self.text, colon, line.last) or _SENTENCES.search(self.text, colon, line.last) is not None
        words = self.text[colon : line.last].strip().count(" ") > 0 or self.text[colon - 1] == "："
        return (ends and words) or reads_as_prose(self.text, behind)

    def _answer(self, index: int) -> int:
        """`A: ...` is under the question before it, or under the item that asks."""
        for asked in self.units[: -_ANSWERED_WITHIN_UNITS - 1 : -1]:
            if (asked.level < Level.TURN and asked.kind == Kind.QUESTION) or (
                asked.kind == Kind.ITEM and asked.leads == NEXT
            ):
                return self._speech(index, asked.level + 1, Kind.SPEAKER, FOR_EVER)
        return self._speech(index, Level.ASKED + 2, Kind.SPEAKER, FOR_EVER)

    def _turn(self, index: int) -> int:
        """A turn of speech; behind one that ends in a question, it is its answer."""
        until = self._block + (_ANSWERED_WITHIN if self._speakers > 2 else 0)
        depth = self._asked_depth()
        parent = len(self.units) - 1 if depth else BY_LEVEL
        begun = len(self.units)
        index = self._speech(index, Level.SPEAKER + depth, Kind.SPEAKER, until)
        self.units[begun].parent = parent
        last = self.units[-1]
        if ASKS.match(self.text, self.lines[index - 1].first, self.lines[index - 1].last):
            last.kind, last.leads = Kind.QUESTION, NEXT
            if len(self.units) - begun > 1:
                last.level, last.accepts = Level.TURN + depth, CLOSED
        return index

    def _asked_depth(self) -> int:
        """How deep a turn is under the questions before it, which it answers; 0 for none."""
        if not self._is_asked():
            return 0
        level = self.units[-1].level
        depth = 1 + level - (Level.TURN if level >= Level.TURN else Level.SPEAKER)
        return depth if depth <= _MOST_ASKED else 0

    def _is_asked(self) -> bool:
        """Whether the unit before is a turn that ends in a question."""
        last = self.units[-1] if self.units else None
        return last is not None and last.kind == Kind.QUESTION and Level.SPEAKER <= last.level < Level.BLOCK

    def _speech(self, index: int, level: int, kind: Kind, until: int) -> int:
        """Write a turn: a single sentence with its label; of several, the label and the sentences under it."""
        first, stop = self.lines[index], index + 1
        while stop < len(self.lines) and self._says_more(first, self.lines[stop - 1], self.lines[stop]):
            stop += 1
        lead = self._add(first, kind, False, level, level + 1, until=until)
        lead.leads = NEXT if kind == Kind.QUESTION else NOTHING
        for begun in self._sentences_of_turn(first, self.lines[stop - 1].stop, kind):
            lead.leads = NEXT
            self._add(first, Kind.SENTENCE, False, max(level + 1, Level.TURN)).start = begun
        if self.text[first.last - 1] in ":：" and stop == index + 1:
            lead.leads = NEXT
        if level < Level.BLOCK:
            self._nest, self._flat = [], []
        return stop

    def _sentences_of_turn(self, first: Line, stop: int, kind: Kind) -> list[int]:
        """Where the sentences behind a label start, if there are several; a question is not taken apart."""
        ends = list(sentence_ends(self.text, first.start, stop, ordinals=self.ordinals))
        if len(ends) < 2 or (kind == Kind.QUESTION and stop - first.start <= _WHOLE_ITEM):
            return []
        label = _LABEL_END.search(self.text, first.first, first.last)
        behind = ends[0] if label is None else label.end()
        return [behind, *(end for end in ends[:-1] if end > behind)]

    def _says_more(self, first: Line, previous: Line, line: Line) -> bool:
        """Whether a line goes on with the sentence of a turn."""
        if line.form != Form.PROSE or line.mark:
            return False
        if line.indent > first.indent or self.text[line.first].islower():
            return True
        return line.indent == previous.indent and not self._breaks_early(previous, line)

    def _item(self, index: int) -> int:
        underlined = self._underlined(index)
        if underlined:
            return self._heading(index, underlined, lines=2)
        if self._is_numbered_heading(index):
            level = Level.QUESTION if self._asks(self.lines[index]) else Level.NUMBERED
            dots = self.lines[index].mark.count(".")
            return self._heading(index, level + (min(dots, 6) if level == Level.NUMBERED else 0))
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
        if (
            line.mark[:1] not in ("1", "A", "(")
            or line.indent > 3
            or below is None
            or line.last - line.first > _SHORT_TITLE
        ):
            return False
        following = self._next(index)
        if following is not None and following.form == Form.PROSE and self.text[following.first].islower():
            return False  # a sentence that goes on
        behind = self.text[line.body : line.body + 1]
        if (ends_sentence(self.text, line.first, line.last) and not self._asks(line)) or not behind or behind.islower():
            return False
        if _SENTENCES.search(self.text, line.body, line.last):
            return False
        number = self.text[line.first : line.body].strip("(). \t")
        if below.form == Form.ITEM and self.text.startswith(f"{number}.1", below.first):
            return True
        if below.form == Form.ITEM and below.mark.strip("().") == line.mark.strip("()."):
            return False
        if index and self.lines[index - 1].form == Form.ITEM and self.lines[index - 1].mark == line.mark:
            return False
        if _DECIMAL.match(self.text, line.first) or self._next(index) is None:
            return True
        if below.form == Form.PROSE:
            return (
                below.indent <= line.indent
                and (self._breaks_early(line, below) or self._asks(line) or self._begins_section(index, below))
                and not self.text[below.first].islower()
            )
        return below.indent <= line.indent

    def _begins_section(self, index: int, below: Line) -> bool:
        """Whether a numbered line behind a blank one is over a sentence, and headings like it are before it."""
        before = index == 0 or self.lines[index - 1].form == Form.BLANK
        level = Level.NUMBERED + min(self.lines[index].mark.count("."), 6)
        heads = any(unit.kind == Kind.HEADING and unit.level == level for unit in self.units)
        return before and heads and ends_sentence(self.text, below.first, below.last)

    def _continues_item(self, item: Line, previous: Line, line: Line) -> bool:
        if line.form == Form.LABEL and line.indent > item.indent and self.text[line.first].islower():
            return not ends_sentence(self.text, previous.first, previous.last)
        if line.form != Form.PROSE or line.mark:
            return False
        if line.indent > item.indent:
            return True
        full = previous.last - previous.start >= 40 and not ends_sentence(self.text, previous.first, previous.last)
        return line.indent == item.indent and (
            self.text[line.first].islower() or (full and not self._breaks_early(previous, line))
        )

    def _write_item(self, index: int, stop: int, nested: int) -> None:
        line, last = self.lines[index], self.lines[stop - 1]
        level = at(line.indent) + Depth.ITEM + 2 * nested
        unit = self._add(line, Kind.ITEM, True, level, level + 1)
        if _LEADS.match(self.text, line.first, last.last) or ASKS.match(self.text, line.first, last.last):
            unit.leads = NEXT
        elif not ends_sentence(self.text, line.first, last.last):
            unit.leads = BELOW
        if last.last - line.first <= _WHOLE_ITEM:
            return
        ends = list(sentence_ends(self.text, line.body, last.stop, ordinals=self.ordinals))
        for begun in ends[:-1]:
            more = self._add(line, Kind.SENTENCE, False, at(line.indent) + Depth.DEEPER)
            more.start = begun
        unit.structured = len(ends) < 2

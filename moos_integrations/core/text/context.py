"""What lines are in their context: wrapped prose, comments, code between code, rows of CSV."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import regex

from moos_integrations.core.text.lines import LEADER, LEVEL_WORD, Form, Line

_FULL = 40  # characters of a line that an editor may have wrapped
_SENTENCE_END = regex.compile(r"(?r)[.!?…:;。！？।؟۔](?:[\"'”’»)\]*_`]*)")
_LOWER_WORD = regex.compile(r"(?<![^\s(\"'“])\p{Ll}{2,}(?=[\s,.;:!?)\"'”]|$)")
_TOKEN = regex.compile(r"\S+")
_NUMERIC_FIELD = regex.compile(r"(?:^|[,;\t])\s*\"?[+\-]?\p{Sc}?\d[\d.,:/\-T ]*%?\"?\s*(?=[,;\t]|$)")
_CONTINUES_CODE = frozenset((Form.CODE, Form.CLOSING, Form.KEY_VALUE, Form.JSON))
_WEAK = frozenset((Form.PROSE, Form.LABELLED, Form.LABEL, Form.ITEM, Form.KEY_VALUE, Form.SECTION, Form.JSON))
# Forms that a line of wrapped prose may have by chance, and those that say nothing if they are alone.
_FILLABLE = frozenset((Form.PROSE, Form.LABELLED, Form.LABEL, Form.ITEM, Form.KEY_VALUE, Form.CODE, Form.TRACE))
_CHANCE = frozenset((Form.LABELLED, Form.LABEL, Form.KEY_VALUE, Form.CODE))
_CODE_SIGN = regex.compile(r"[=(){}\[\]<>_;$@]")
_OPEN_FIELD = regex.compile(r"(?:(?<![^\n])|[,;\t])\"(?:[^\"]|\"\")*$")
_CLOSED_FIELD = regex.compile(r"(?:[^\"]|\"\")*\"(?:[,;\t]|$)")
_VALUES = regex.compile(r"(?i)\bVALUES$")
_TUPLE = regex.compile(r"\(.*\)[,;]?$")
_MOST_BREAKS = 20  # lines of a field in quotes
_LEADER = regex.compile(r"[^.\s].{0,200}?(?:\s|\b)\.{4,}\s{0,3}[^\s.].{0,60}$")
_NARROWEST = 12  # columns
_RAGGED = 2  # columns that a filled line may lack
_SENTENCE = regex.compile(r"\p{L}{2}[.!?](?:[\"'”’»)]*\s|$)")
_LEVELLED = frozenset((Form.PROSE, Form.LABELLED, Form.KEY_VALUE, Form.CODE, Form.ITEM))
_LOGGED = frozenset((Form.LOG, Form.TRACE))
_ADMONITION = regex.compile(rf"{LEVEL_WORD}:\s+\p{{Lu}}")
_LEVEL = regex.compile(
    rf"(?:[\w.\-]{{0,30}}[\[\]|:\d][\w.\-\[\]|:]{{0,30}}\s+|\|\s+){{0,3}}{LEVEL_WORD}:?\s+(?=.*[\p{{Ll}}\d])\S"
)
_PROSE_LIKE = frozenset((Form.PROSE, Form.LABELLED))


def in_context(text: str, lines: list[Line]) -> list[Line]:
    """The same lines, with forms that take their neighbours into account."""
    _records(text, lines)
    _leaders(text, lines)
    _levels(text, lines)
    _comments(text, lines)
    _block_comments(text, lines)
    _filled(text, lines)
    _wrapped(text, lines)
    _code(text, lines)
    _separated(text, lines)
    _piped(text, lines)
    return lines


def ends_sentence(text: str, start: int, last: int) -> bool:
    """Whether a line ends with a mark that ends a sentence or leads on to the next."""
    return _SENTENCE_END.match(text, start, last) is not None


def reads_as_prose(text: str, line: Line) -> bool:
    """Whether a line has enough small words in a row of words to be a sentence or part of one."""
    end = min(line.last, line.body + 200)
    words = len(_LOWER_WORD.findall(text, line.body, end))
    return words >= 3 and 2 * words >= len(_TOKEN.findall(text, line.body, end))


def _runs(lines: list[Line], belongs: Callable[[Line], bool]) -> Iterator[tuple[int, int]]:
    """Longest runs of lines that belong together."""
    start = 0
    while start < len(lines):
        if not belongs(lines[start]):
            start += 1
            continue
        stop = start + 1
        while stop < len(lines) and belongs(lines[stop]):
            stop += 1
        yield start, stop
        start = stop


def _comments(text: str, lines: list[Line]) -> None:
    """Lines that begin with one `#` are comments where they follow one another or are next to code or settings."""

    def hashed(line: Line) -> bool:
        return (line.form == Form.HEADING and line.level == 1 and text[line.first] == "#") or line.mark == "#"

    for start, stop in _runs(lines, hashed):
        before = lines[start - 1].form if start else Form.BLANK
        after = lines[stop].form if stop < len(lines) else Form.BLANK
        ended = text[lines[start].last - 1] == "."
        if ended or stop - start > 1 or before in _CONTINUES_CODE or after in _CONTINUES_CODE or lines[start].indent:
            for line in lines[start:stop]:
                line.form, line.mark = Form.PROSE, "#"
                line.body = min(line.last, line.first + 2)


def _block_comments(text: str, lines: list[Line]) -> None:
    """Lines between `/*` and `*/`, and between triple quotes, are prose whatever they look like."""
    closing = ""
    for line in lines:
        if closing:
            found = text.find(closing, line.first, line.last) >= 0
            if line.form not in (Form.BLANK, Form.CODE) or found:
                _comment_line(text, line, closing)
            if found:
                closing = ""
        elif line.mark[:2] == "/*" or line.mark[-3:] in ('"""', "'''"):
            closing = "*/" if line.mark[0] == "/" else line.mark[-3:]
            mark = "*" if closing == "*/" else '"'
            if text.find(closing, line.first + len(line.mark), line.last) >= 0:
                closing = ""
            line.mark = mark


def _comment_line(text: str, line: Line, closing: str) -> None:
    star = closing == "*/" and text[line.first : line.first + 1] == "*"
    short = line.form == Form.LABEL and " " not in text[line.first : line.last]
    keep = not star and (short or line.form in (Form.ITEM, Form.ROW, Form.ROW_RULE))
    if keep and text.find(closing, line.first, line.last) < 0:
        return
    line.form = Form.PROSE
    line.mark = "*" if closing == "*/" else '"'
    line.body = min(line.first + 2 * star, line.last)


def _records(text: str, lines: list[Line]) -> None:
    """Join the lines of a row of CSV that has line breaks in quotes."""
    # In JSON an odd number of quotes comes of one that is escaped, and a string goes over no line break.
    quotes = [
        line.form != Form.JSON and not line.in_row and text.count('"', line.first, line.last) % 2 for line in lines
    ]
    if not any(quotes):
        return
    index, joined = 0, []
    while index < len(lines):
        line, stop = lines[index], index + 1
        if quotes[index] and _OPEN_FIELD.search(text, line.first, line.last):
            end = next((at for at in range(stop, min(stop + _MOST_BREAKS, len(lines))) if quotes[at]), None)
            if end is not None and _CLOSED_FIELD.match(text, lines[end].first, lines[end].last):
                stop = end + 1
                line = Line(
                    line.start, lines[end].stop, line.first, lines[end].last, line.indent, Form.PROSE, line.first
                )
        joined.append(line)
        index = stop
    lines[:] = joined


def _leaders(text: str, lines: list[Line]) -> None:
    """Rows of two columns with points between, `Single room ...... 79.00`, and those that SQL inserts."""
    values = False
    for line in lines:
        values = line.form != Form.BLANK and (
            _VALUES.search(text, line.first, line.last) is not None
            or (values and _TUPLE.match(text, line.first, min(line.last, line.first + 2000)) is not None)
        )
        if values and text[line.first] == "(":
            line.form, line.mark = Form.ROW, "csv"
        points = line.form != Form.BLANK and text.find("....", line.first, line.last) > 0
        if points and _LEADER.match(text, line.first, min(line.last, line.first + 400)):
            line.form, line.mark = Form.ROW, LEADER


def _levels(text: str, lines: list[Line]) -> None:
    """Lines that begin with a level are lines of a log where several are together, though none has a time."""

    def begins(line: Line) -> bool:
        return line.form in _LEVELLED and _LEVEL.match(text, line.first, line.last) is not None

    logs = [line for line in lines if line.form in _LOGGED]
    if len(logs) == 1 and _ADMONITION.match(text, logs[0].first, logs[0].last):
        logs[0].form = Form.LABELLED  # "WARNING: ..." in a text of other things

    for start, stop in _runs(lines, lambda line: line.form in _LOGGED or line.indent > 0 or begins(line)):
        above = lines[start - 1] if start else None
        if above is not None and reads_as_prose(text, above) and not ends_sentence(text, above.first, above.last):
            continue  # a sentence goes on
        run = [line for line in lines[start:stop] if line.form == Form.LOG or begins(line)]
        for line in run if len(run) > 1 else ():
            line.form = Form.LOG


def _filled(text: str, lines: list[Line]) -> None:
    """Lines that an editor filled, however narrow: what begins one may look like an item or a label by chance."""
    for start, stop in _runs(lines, lambda line: line.form in _FILLABLE):
        begun = start
        while begun < stop:
            end = begun + 1
            while end < stop and lines[end].indent == lines[max(begun + 1, end - 1)].indent:
                end += 1
            _fill(text, lines[begun:end])
            begun = end if end == stop or end - begun < 2 else end - (lines[end].indent > lines[begun].indent)


def _fill(text: str, block: list[Line]) -> None:
    width = max(line.last - line.start for line in block)
    for start, stop in _filled_runs(text, block, width):
        run = block[start:stop]
        if stop - start > 2 and width >= _NARROWEST and _are_prose(text, run):
            labels = sum(line.form in (Form.LABELLED, Form.LABEL) for line in run)
            marks = [line.mark for line in run]
            for previous, line in itertools.pairwise(run):
                open_end = not ends_sentence(text, previous.first, previous.last)
                alone = line.form == Form.PROSE and marks.count(line.mark) == 1
                if open_end or alone or (line.form in _CHANCE and labels < 2):
                    _as_prose(line)
            if run[0].form in _CHANCE and labels < 2 and text[run[1].first].islower():
                _as_prose(run[0])


def _as_prose(line: Line) -> None:
    line.form, line.body, line.mark = Form.PROSE, line.first, ""


def _filled_runs(text: str, block: list[Line], width: int) -> Iterator[tuple[int, int]]:
    """Longest runs of lines whose next word had no room."""
    start = 0
    for index, line in enumerate(block):
        below = block[index + 1] if index + 1 < len(block) else None
        word = None if below is None else _TOKEN.match(text, below.first)
        if word is None or line.last - line.start + 1 + word.end() - word.start() <= width - _RAGGED:
            yield start, index + 1
            start = index + 1


def _are_prose(text: str, run: list[Line]) -> bool:
    """Whether lines are sentences of small words that go on from line to line."""
    goes_on = sum(
        text[line.first].islower() and not ends_sentence(text, previous.first, previous.last)
        for previous, line in itertools.pairwise(run)
    )
    if 3 * goes_on < len(run) - 1 or not any(_SENTENCE.search(text, line.first, line.stop) for line in run):
        return False
    words = sum(len(_LOWER_WORD.findall(text, line.first, line.last)) for line in run)
    tokens = sum(len(_TOKEN.findall(text, line.first, line.last)) for line in run)
    return words >= 6 and 2 * words >= tokens


def _wrapped(text: str, lines: list[Line]) -> None:
    """Lines that look like items, labels or headings only because prose was wrapped there."""
    previous: Line | None = None
    for index, line in enumerate(lines):
        if line.form == Form.ITEM and line.mark == "A." and not _has_sibling(lines, index):
            _as_prose(line)  # "J. Smith said"
        if line.form == Form.CODE and text[line.last - 1] == ";" and _is_clause(text, line):
            _as_prose(line)
        if previous is not None and line.form in (Form.ITEM, Form.LABELLED, Form.KEY_VALUE, Form.CODE, Form.LABEL):
            below = lines[index + 1] if index + 1 < len(lines) else None
            if _goes_on(text, previous, line, below):
                line.form, line.body, line.mark = Form.PROSE, line.first, previous.mark
        previous = line if line.form in (Form.PROSE, Form.ITEM, Form.LABELLED) else None


def _is_clause(text: str, line: Line) -> bool:
    """Whether a line that ends in ";" is a clause of words and no statement of a program."""
    return reads_as_prose(text, line) and _CODE_SIGN.search(text, line.first, line.last - 1) is None


def _has_sibling(lines: list[Line], index: int) -> bool:
    """Whether an item with the same kind of marker is near."""
    mark = lines[index].mark
    return any(line.mark == mark for line in lines[max(index - 4, 0) : index] + lines[index + 1 : index + 5])


def _goes_on(text: str, previous: Line, line: Line, below: Line | None) -> bool:
    """Whether a line goes on with the sentence of the line above it."""
    full = previous.last - previous.first >= _FULL
    if line.form == previous.form == Form.LABELLED:
        return False
    if not full or ends_sentence(text, previous.body, previous.last) or not reads_as_prose(text, previous):
        return False
    if line.form == Form.ITEM:
        if previous.form == Form.ITEM and previous.indent >= line.indent:
            return False
        first = text[line.first : line.body].strip("(). \t")
        listed = below is not None and below.form == Form.ITEM and below.mark == line.mark
        return line.indent == previous.indent and not listed and first not in ("1", "a", "A", "i", "I")
    if previous.form == Form.ITEM:
        return line.indent > previous.indent and reads_as_prose(text, line)
    return line.indent == previous.indent and reads_as_prose(text, line)


def _code(text: str, lines: list[Line]) -> None:
    """Lines between lines of code that do not read as prose are code too."""
    for order in (lines, lines[::-1]):
        near: Line | None = None
        for line in order:
            if near is not None and line.form in _WEAK and _as_code(text, near, line):
                line.form = Form.CODE
            near = line if line.form in (Form.CODE, Form.CLOSING) else None


def _as_code(text: str, near: Line, line: Line) -> bool:
    if line.mark in ("#", "*", '"', "//", "--", ">", ";;", "%") or (line.form == Form.ITEM and line.mark != "*"):
        return False
    if line.form == Form.LABELLED and not line.indent and not near.indent:
        return False
    begins = text[line.first].isupper() or line.last - line.first > _FULL
    sentence = line.form == Form.PROSE and begins and text[line.last - 1] in ".!?"
    return not sentence and not reads_as_prose(text, line)


def _separated(text: str, lines: list[Line]) -> None:
    """Rows of CSV, of tabs, and of columns of spaces: neighbours with as many separators."""
    kinds = [_separators(text, line) for line in lines]
    start = 0
    while start < len(lines):
        stop = start + 1
        if kinds[start][1]:
            while stop < len(lines) and kinds[stop] == kinds[start]:
                stop += 1
            if stop - start >= (2 if kinds[start][1] > 1 or kinds[start][0] == "\t" else 3):
                for line in lines[start:stop]:
                    line.form, line.mark = Form.ROW, "csv"
        start = stop


def _piped(text: str, lines: list[Line]) -> None:
    """Rows of a table without pipes at its sides, known from the rule under its head."""
    for index, rule in enumerate(lines):
        if rule.form != Form.ROW_RULE or text.find("|", rule.first, rule.last) < 0 or not index:
            continue
        around = [index - 1, *range(index + 1, len(lines))]
        for place in around:
            if lines[place].form in (Form.ROW, Form.ROW_RULE):
                continue
            if lines[place].form == Form.BLANK or text.find("|", lines[place].first, lines[place].last) < 0:
                break
            lines[place].form, lines[place].mark = Form.ROW, ""


_QUOTED = regex.compile(r"\"[^\"]{0,200}\"")
_LONE_NUMBER = regex.compile(r"[($€£+\-−]*\d+(?:[.,]\d+)*[)%$€£ ]*")
_HAS_LETTER = regex.compile(r"\p{L}")
_GROUPED = regex.compile(r"(?<=(?:^|[ \p{Sc}])\d{1,3}(?:,\d{3})*),(?=\d{3}(?:,\d{3})*(?:\.\d+)?(?:[ .;:!?)%]|$))")
_GAP = regex.compile(r"(?<=\S)(?: {3,}|\t+)(?=\S)")


def _separators(text: str, line: Line) -> tuple[str, int]:
    """The separator of a line's fields and how often it is there; ("", 0) or falsy count for none."""
    if line.form not in (Form.PROSE, Form.CODE, Form.LABELLED, Form.KEY_VALUE, Form.ITEM) or line.mark not in ("", "-"):
        return _NOTHING
    content = text[line.first : min(line.last, line.first + 2000)]
    if "\t" in content:
        return "\t", content.count("\t")
    if _LONE_NUMBER.fullmatch(content):
        return _NOTHING
    if '"' in content:
        content = _QUOTED.sub("", content)
    if "," in content and _HAS_LETTER.search(content):
        content = _GROUPED.sub("", content)  # "18,900 euros" is one field
    if (content[-1:] not in ("{", "(", "[", ")", "}") and line.form != Form.CODE) or content.count(",") > 2:
        for separator in ",;":
            plain = content.count(separator) - content.count(separator + " ")
            if plain and plain == content.rstrip(separator).count(separator) + (content[-1:] == separator):
                return separator, plain
    gaps = len(_GAP.findall(content)) if "   " in content else 0
    return ("   ", gaps) if gaps > 1 else _NOTHING


_NOTHING = ("", 0)


def has_numbers(text: str, line: Line) -> bool:
    """Whether a field of a row is a number, so that the row is no header."""
    return _NUMERIC_FIELD.search(text, line.first, min(line.last, line.first + 2000)) is not None

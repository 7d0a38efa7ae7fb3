"""A text's lines and what each looks like by itself. What a line is in its context, `blocks` decides.

A line of the scan is a physical line, except where JSON or HTML was written in one long line: there each member or
element is a line, with its depth as indentation. Only the beginning of a line and its last characters are looked at,
and every pattern is bounded or possessive, so that the scan is linear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import regex

_TAB = 4  # columns
LEADER = "..."
"""The mark of a row that is two columns with points between."""
_LOOK = 400  # characters of a line that its form is told from
_LONG = 160  # a longer line of JSON or markup is taken apart
_DEPTH_COLUMNS = 2


class Form(IntEnum):
    """What a line looks like."""

    BLANK = 0
    PROSE = 1
    HEADING = 2
    RULE = 3
    FENCE = 4
    ITEM = 5
    LABEL = 6
    LABELLED = 7
    KEY_VALUE = 8
    ROW = 9
    ROW_RULE = 10
    CODE = 11
    LOG = 12
    CHAT = 13
    TRACE = 14
    HUNK = 15
    DIFF_HEAD = 16
    MARKUP = 17
    JSON = 18
    SECTION = 19
    CLOSING = 20


@dataclass(slots=True)
class Line:
    """A line and where its parts are.

    Attributes:
        start: Offset of its first character, in code points.
        stop: Offset behind its line break.
        first: Offset of its first character that is not white space.
        last: Offset behind its last such character.
        indent: Columns before `first`, tabs expanded.
        form: What it looks like.
        body: Offset of its text behind a list marker or comment prefix.
        mark: The list marker's kind or the comment prefix; "" for none.
        level: Of a heading, 1 to 6.
        in_row: It is a part of a longer physical line.
    """

    start: int
    stop: int
    first: int
    last: int
    indent: int
    form: Form
    body: int
    mark: str = ""
    level: int = 0
    in_row: bool = False


# --- forms -----------------------------------------------------------------------------------------------------------

_WORDS = r"[\p{L}\p{M}\p{N}'’.\-]{1,30}"
_TIME = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,6})?(?:\s?[AaPp]\.?[Mm]\.?)?"
_DATE = (
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}/\p{Lu}\p{Ll}{2}/\d{4}|"
    r"\p{Lu}\p{Ll}{2}\s{1,2}\d{1,2})"
)
_WEEKDAY = r"(?:\p{Lu}\p{Ll}{2},?\s{1,2})?"  # as in "[Mon Dec 05 06:36:59 2005]", where the year comes last
_STAMP = (
    rf"[\[(<]?(?:{_WEEKDAY}{_DATE}[,T:\s]{{1,2}}\s?{_TIME}(?:Z|\s?[+\-]\d{{2}}:?\d{{2}})?"
    rf"(?:\s\d{{4}}(?=[\])>]))?|{_TIME}"
    r"|\d{2}-\d{2}\s\d{2}:\d{2}:\d{2}\.\d{3})[\])>]?"
)
_NAME = r"\p{Lu}[\p{L}\p{M}\p{N}_'’.\-]{0,30}(?: [\p{Lu}\p{N}(][\p{L}\p{M}\p{N}_'’.\-)]{0,30}){0,3}"
LEVEL_WORD = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRIT(?:ICAL)?|FATAL|SEVERE|PANIC|EMERG|ALERT)"
_LOG = (
    rf"(?:\[?\d{{6,13}}(?:\.\d+)?\]?\s|)(?:{_STAMP}(?=\s)|\d{{6}}\s\d{{6}}\s\d+\s(?={LEVEL_WORD}))"
    rf"|[\[<(]{LEVEL_WORD}[\])>]:?\s|{LEVEL_WORD}(?::\s|\s+(?:[\[(\d]|[\w.\-]+:\s|[\w\-]+(?:\.[\w\-]+)+\s))"
    r"|(?:-|\p{Lu}{2,12})\s\d{9,10}\s\d{4}\.\d\d\.\d\d\s|\d{8}-\d{1,2}:\d{1,2}:\d{1,2}(?::\d{1,3})?(?=[|\s])"
    r"|\d{1,3}(?:\.\d{1,3}){3}\s-\s"
    r"|[IWEF]\d{4}\s\d\d:\d\d:\d\d|\[\s{0,6}\d{1,7}\.\d{6}\]\s"
)
_KEYWORD = "|".join(
    [
        r"(?:async\s+)?(?:def|class|fn|func|function|struct|enum|interface|impl|trait|module|namespace|package|typedef|union)"
        r"\s+\w[\w.]*\s*(?:[({:<;=]|$|extends\b|implements\b)",
        r"import\s+[\w.{*]+(?:\s+as\s+\w+|\s+from\b|[;,.]|\s*$)|from\s+[\w.]+\s+import\b",
        r"(?:return|yield|raise|throw|await|del|assert|defer)(?=[\s(;]|$)"
        r"(?:.*[()=\[\]{}\"'+*/<>_;].*|(?:\s+\S+){0,2}(?<![.!?]))$",
        r"(?:pass|break|continue|else|try|finally|end|fi|done|esac|do|begin)[:;{]?$",
        r"for\s+[\w, ()]+\s+in\s.*:$|except\b.*:|with\s.*\sas\s.*:$|(?:if|for|while|switch|catch)\s?\(",
        # Not a sentence that leads in: "If you have any of these:"
        r"(?:if|elif|else\s+if|for|foreach|while|with|except|switch|case|match|catch|unless|until|when)\b"
        r".*(?:[:{]|\bthen|\bdo)$(?<![\p{L}]\s\p{L}+\s\p{L}+\s\p{L}+:)",
        r"(?:public|private|protected|static|final|const|let|var|val|export|extern|inline|volatile|unsigned|virtual|"
        r"abstract|override)\s+[\w<>\[\]:*&]+\s*[\w(={;:*&]",
        r"#\s?(?:include|define|ifdef|ifndef|if|endif|pragma|else|undef|import)\b|@\w[\w.]*(?:\(.*\)?)?$",
        r"SELECT|INSERT\s+INTO|CREATE\s+(?:TABLE|INDEX|VIEW|FUNCTION|DATABASE|UNIQUE)|ALTER\s+TABLE|DROP\s+TABLE|"
        r"UPDATE\s+\w+\s+SET|DELETE\s+FROM|FROM\s+\w+|WHERE\s+\w|(?:LEFT|RIGHT|INNER|OUTER)\s+JOIN|JOIN\s+\w+|"
        r"GROUP\s+BY|ORDER\s+BY|HAVING\s|UNION\s|VALUES\s*\(",
        r"(?:FROM|RUN|COPY|ENV|EXPOSE|CMD|ENTRYPOINT|WORKDIR|ARG|ADD|VOLUME|USER)\s+[\[\w./$-][^.!?]*$"
        r"(?<!\p{Ll}\s\p{Ll}{3,12})",
    ]
)
_CODE = "|".join(
    [
        _KEYWORD,
        r"(?:>>>|\.\.\.|In\s\[\d+\]:|Out\[\d+\]:)\s|[$%]\s[a-z./~]|<\?php",
        r"(?:sudo|pip|npm|git|docker|kubectl|curl|apt(?:-get)?|cd|mkdir|export|chmod|brew|cargo|make|conda|yarn|wget|ssh)"
        r"\s+[\w\-./~]\S*(?:\s+\S+){0,6}$(?<![.!?])(?<!\p{Ll}{3}\s\p{Ll}{3,9}\s\p{Ll}{3,12})",
        # An assignment, a call, the end of a line that goes on, an instruction.
        r"[\w.$@\[\]'\"*&>\-]{1,80}(?:\s?[:+\-*/|&%]?=|\s:=|\s<-)\s?[^=\s>].*"
        r"(?:[;,({\[\])}'\"]|\b\d+|\w\.\w.*|None|[Tt]rue|[Ff]alse)$",
        r"[\w.$:>\-]{1,80}(?<![,.:])\((?:[^()]*+(?:\([^()]*+\))?)*+\)[;,:{]?$(?<!\s\(.*\))",
        r".*(?:[{;]|=>|->|&&|\|\||\\|\($|\[$)$|[\w.$]+\($|.*\)\s*(?:\{|->.*:|=>.*)$",
        r"(?:\d{1,5}\s)?(?:mov|push|pop|jmp|call|lea|add|sub|xor|ret)\s+[%$\w]+\s*,",
    ]
)
_TRACE = "|".join(
    [
        r"at\s+[\w.$<>/\[\]]+\s?[(:]|at\s+\S+:\d+:\d+|File\s\".*\",\sline\s\d+|Traceback\s\(most|Caused\sby:|\.\.\.\s\d+\smore",
        r"Exception\sin\sthread\s.*|[\w.]*\w(?:Error|Exception|Warning|Interrupt|Exit)(?=[:\s]|$)(?!\s[a-z]+\s)",
        r"#\d+\s+(?:0x[\da-f]+\s)?(?:in\s)?\S+\s\(|goroutine\s\d+|panic:\s",
        r"During\shandling\sof\sthe\sabove|The\sabove\sexception\swas",
    ]
)
_BLOCK_TAG = (
    r"(?:html|head|body|div|p|ul|ol|li|dl|dt|dd|table|thead|tbody|tfoot|tr|td|th|h[1-6]|section|article|nav|header|footer|"
    r"main|aside|form|fieldset|select|option|blockquote|pre|figure|figcaption|title|meta|link|script|style|hr|br|details|summary)"
)
_PROMPT = r">>>\s(?:[\w.]+\s?[(=\[]|(?:import|from|def|for|if|class)\s|\w+$)"  # and no quote in a quote
# In the order in which they are tried.
_FORMS = regex.compile(
    "|".join(
        [
            r"(?P<FENCE>`{3,}[^`]*$|~{3,}[^~]*$)",
            r"(?P<ROW_RULE>\+(?:[\-=]+\+)+$|\|?\s*:?-{2,}:?\s*(?:\|\s*:?-+:?\s*)+\|?$|\|\s*:?-{2,}:?\s*\|$"
            r"|[=\-]{2,}(?:\s{1,4}[=\-]{2,})+$)",
            r"(?P<RULE>(?:={2,}|-{2,}|(?P<rule>[\-*_~=#+.·•])(?:[ \t]*(?P=rule)){2,})$)",
            r"(?P<HUNK>@@\s-\d+(?:,\d+)?\s\+\d+(?:,\d+)?\s@@)",
            r"(?P<DIFF_HEAD>diff\s--git\s|Index:\s\S+$|---\s(?:a/|/|\S+\s+\d{4}-|\S+/\S+$|\S+\.\w+$)|\+\+\+\s\S)",
            r"(?P<SECTION>\[{1,2}[\p{L}_][^\[\],\n=]{0,60}\]{1,2}$)",
            rf"(?P<MARKUP></?[a-zA-Z][\w:\-]*(?:\s[^<>]*)?/?>|</?{_BLOCK_TAG}(?=[\s>/]|$)|<!--|<!DOCTYPE|<\?xml|-->|<!\[CDATA"
            r"|\\(?:begin|end|documentclass|usepackage|label|caption|includegraphics|newcommand|(?:sub)*section|chapter|title)\b)",
            rf"(?P<ROW>(?!\d{{8}}-\d{{1,2}}:|{_STAMP}\s+[^\s|])"
            r"(?:\|[^|].*\||[^|`]+\|[^|`]+\|[^|]*+.*$|\|\s.*$))",
            r"(?P<HEADING>(?P<atx>#{1,6})[ \t]+\S|(?P<bold>\*\*|__)(?=\S)(?:(?!(?P=bold)).){1,120}(?P=bold):?$"
            r"|(?P<wiki>={2,6})\s?[^=]+(?P=wiki)$|(?P<adoc>={1,6})[ \t]+\p{Lu}[^=;{]*$(?<![.,;:]))",
            rf"(?P<CHAT>{_STAMP}(?:\s-)?\s*<?(?!{LEVEL_WORD}\b)(?:{_NAME}>?:\s|[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}]{{1,8}}>?[:：]\s?\S))",
            rf"(?P<LOG>{_LOG})",
            rf"(?P<TRACE>{_TRACE})",
            r"(?P<JSON>[\[{].*[\]}],?$(?<![\])]\(.*))",
            r"(?P<CLOSING>[)\]}]+[;,)]*$|[(\[{]+$|\*/$)",
            r"(?P<LABELLED>[QA]\s?\d{1,3}[.):]\s+\S)",
            r"(?P<ITEM>(?P<option>(?=--?[\w?][\w\-]*(?:[ =,]{1,2}[^\s]+){0,4}\s{2,}\S))"
            r"|(?P<bullet>[\-*+•‣◦▪●○–—·]|\\item|\.(?=[ \t]+\p{Lu}))(?:[ \t]+(?:\[[ xX]\][ \t]+)?|$)"
            r"|(?P<number>\(?(?:\d{1,3}(?:\.\d{1,3}){0,4}|[a-zA-Z]|[ivxIVX]{1,5})[.)](?:[ \t]+|$)"
            r"|(?:\d{1,3}\.){1,4}\d{1,3}[ \t]+(?=[\p{L}\"“(])))",
            rf"(?P<COMMENT>(?P<prefix>(?!{_PROMPT})>(?:[ >]*>)?"
            r"|/{2,3}!?|#|;{1,3}|--|%+|/\*{1,2}|\"{3}|'{3}|[rRbBfFuU]\"{3})"
            r"(?:[ \t]+|$|(?<=\"{3}|'{3}|/\*)))",
            rf"(?P<CODE>{_CODE})",
            r"(?P<LABEL>(?=[^:：=]++[:：]$)(?!\w+:/)(?:[^\s:=]*[^\s:=.!?]\s){0,8}[^\s:=]+\s?[:：]$)",
            r"(?P<KEY_VALUE>[\w.\-]{1,60}\s?=\s?\S|(?:export\s|set\s)?[A-Z_][A-Z0-9_]*="
            r"|[\"']?[\w.\-/$]{1,60}[\"']?:\s+(?:[|>][\-+]?$|[\"'\[{&*])|\"[^\"]{1,80}\"\s?:\s?\S)",
            rf"(?P<LABELLED>(?=[^:：]{{1,200}}+[:：])(?:\*\*|__|-\s)?(?:{_WORDS}\s){{0,4}}{_WORDS}(?:\s\([^()]{{1,30}}\))?(?:\*\*|__)?[:：](?:\*\*|__)?"
            r"(?:\s+\S|(?<=：)\S))",
        ]
    ),
    regex.VERSION1,
)
# A line that begins with a plain word and goes on with another has one of few forms: this sees most prose at once.
_PROSE = regex.compile(r"\p{Lu}?\p{Ll}+,?(?: \p{Lu}?\p{Ll}+,?){3,}+(?=[ .,])(?!.*(?:[:;={}\\|\t]|\($))")
_PROSE_WITHIN = regex.compile(r"\b(?:\p{Ll}+,? ){4}")
_CODE_LINE = regex.compile(_CODE, regex.VERSION1)
# Forms that are told from a line's end as well: of a very long line, it is not looked at.
_WHOLE = ("LABEL", "CLOSING", "SECTION", "RULE", "ROW_RULE")
_LINE = regex.compile(r"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
_SPACE = regex.compile(r"\s*+")
_BLOCK_MARK = regex.compile(r"h([1-6])\b|(?:(?:sub){0,2}section|chapter|title)\*?\{", regex.IGNORECASE)


def scan(text: str) -> list[Line]:
    """The lines of a text, in order; they cover it without a gap."""
    lines: list[Line] = []
    for match in _LINE.finditer(text):
        start, stop = match.span()
        if start < stop:
            lines.extend(_lines(text, start, stop))
    return lines


def _lines(text: str, start: int, stop: int) -> Iterator[Line]:
    first = _SPACE.match(text, start, stop).end()  # type: ignore[union-attr]
    if first >= stop:
        yield Line(start, stop, stop, stop, 0, Form.BLANK, stop)
        return
    indent = first - start if text[start] != "\t" and "\t" not in text[start:first] else _columns(text, start, first)
    last = first + len(text[first:stop].rstrip())
    if last - first > _LONG and text[first] in "{[<":
        parts = list(_parts(text, first, last))
        if len(parts) > 1:
            yield from _inner_lines(text, start, stop, last, indent, parts)
            return
    yield classify(text, Line(start, stop, first, last, indent, Form.PROSE, first))


def _columns(text: str, start: int, first: int) -> int:
    return len(text[start:first].expandtabs(_TAB))


def classify(text: str, line: Line) -> Line:
    """Fill in what a line looks like."""
    end = min(line.last, line.first + _LOOK)
    if _PROSE.match(text, line.first, end):
        return line
    match = _FORMS.match(text, line.first, end)
    if match is None or match.lastgroup is None:
        return line
    name = next(name for name in _NAMES if match[name] is not None)
    if line.last > end and (name in _WHOLE or (name == "CODE" and _PROSE_WITHIN.search(text, line.first, end))):
        return line
    if name == "ROW" and text[line.first] != "|" and _CODE_LINE.match(text, line.first, end):
        name = "CODE"
    if name == "COMMENT":
        line.mark, line.body = match["prefix"].strip(), match.end()
        return line
    line.form = Form[name]
    if name == "ITEM":
        line.mark, line.body = _marker(match), match.end()
    elif name == "HEADING":
        line.level = len(match["atx"] or match["wiki"] or match["adoc"] or "") or 7
    elif name == "MARKUP":
        line.level = _markup_level(text, line.first, end)
    return line


def _markup_level(text: str, first: int, end: int) -> int:
    """The level of an element or command that is a heading; 0 for others."""
    heading = _BLOCK_MARK.match(text, first + 1, end)
    if heading is None:
        return 0
    return int(heading[1]) if heading[1] else 2 + heading.group().count("sub")


_NAMES = [name for name in _FORMS.groupindex if name.isupper()]


def _marker(match: regex.Match[str]) -> str:
    """The kind of a list marker: which lists are one and the same."""
    if match["option"] is not None:
        return "-option"
    if match["bullet"]:
        return str(match["bullet"])
    number = match["number"].strip()
    inner = number.strip("().")
    shape = "1" if inner[:1].isdigit() else "a" if inner.islower() else "A"
    return f"{'(' if number[0] == '(' else ''}{shape}{'.' * inner.count('.')}{number[-1] if number[-1] in '.)' else ''}"


# --- lines within a line ---------------------------------------------------------------------------------------------

_JSON_TOKEN = regex.compile(r"\"(?:[^\"\\]++|\\.)*+(?:\"|\Z)|[{}\[\],]")
_TAG = regex.compile(rf"<(?P<close>/)?(?P<name>(?!t[dh]\b){_BLOCK_TAG})\b[^<>]{{0,500}}>", regex.IGNORECASE)
_XML_TAG = regex.compile(r"<(?P<close>/)?(?P<name>[a-zA-Z][\w:.\-]{0,60})(?:\s[^<>]{0,500})?>(?<!/>)")
_EMPTY = regex.compile(r"br|hr|meta|link|p|li|td|th|tr|dt|dd|option|h[1-6]|title", regex.IGNORECASE)


def _inner_lines(
    text: str, start: int, stop: int, last: int, indent: int, parts: list[tuple[int, int]]
) -> Iterator[Line]:
    """Lines for the parts of a long line, as deep as they are nested."""
    borders = [begin for begin, _ in parts[1:]] + [stop]
    form = Form.MARKUP if text[parts[0][0]] == "<" else Form.JSON
    for (begin, depth), end in zip(parts, borders, strict=True):
        first = _SPACE.match(text, begin, end).end()  # type: ignore[union-attr]
        tail = min(end, last)
        inner = Line(
            begin, end, first, first + len(text[first:tail].rstrip()), indent + _DEPTH_COLUMNS * depth, form, first
        )
        if form == Form.MARKUP:
            inner.level = _markup_level(text, first, end)
        inner.in_row = True
        if begin == parts[0][0]:
            inner.start = start
        yield inner


def _parts(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Where the parts of a line of JSON or markup begin, and how deep they are."""
    return _markup_parts(text, first, last) if text[first] == "<" else _json_parts(text, first, last)


def _json_parts(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Members and items of the containers that are longer than `_LONG`; shorter containers stay in one piece."""
    tokens = [
        (match.start(), match.group())
        for match in _JSON_TOKEN.finditer(text, first, last)
        if match.end() == match.start() + 1
    ]
    closes, opened = {}, []
    for at, token in tokens:
        if token in "{[":
            opened.append(at)
        elif token in "}]" and opened:
            closes[opened.pop()] = at
    yield first, 0
    split: list[bool] = []
    for at, token in tokens:
        if token in "{[":
            split.append(closes.get(at, last) - at > _LONG and all(split[-1:]))
            if split[-1]:
                yield at + 1, sum_true(split)
        elif token in "}]" and split:
            if split[-1]:
                yield at, sum_true(split) - 1
            split.pop()
        elif token == "," and split and split[-1] and at + 1 < last:  # cut off behind a comma, it has no next part
            yield at + 1, sum_true(split)


def sum_true(split: list[bool]) -> int:
    """Depth of the containers that are split: all that hold a split one are split too."""
    return len(split) - (not split[-1])


def _markup_parts(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Where block elements begin and end; for XML, every element that holds others."""
    html = _TAG.search(text, first, last) is not None
    depth = 0
    yield first, 0
    at = first
    for match in (_TAG if html else _XML_TAG).finditer(text, first, last):
        closing, counted = match["close"] is not None, _EMPTY.fullmatch(match["name"]) is None
        if closing and counted:
            depth = max(depth - 1, 0)
        if match.start() > at and not (closing and not counted):
            at = match.start()
            yield at, depth
        if not closing and counted:
            depth += 1

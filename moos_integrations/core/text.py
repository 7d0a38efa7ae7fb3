"""Text to words and units, each with exact `(start, end)` offsets into the source.

A *word* is the smallest thing that is kept or dropped. It is an atom: a number with its separators and unit, a URL,
an identifier or a grapheme cluster is never cut. A *unit* is a sentence, or a line where the text is made of lines
(tables, code, logs, lists). Nothing is normalised and nothing is copied: later stages slice the source.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import regex
import sentencex

from moos_integrations.core.types import BoolArray, IntArray, SegmentedText

# Scripts written without spaces: every grapheme cluster is a word of its own. Katakana stays in runs (loan words).
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"[\p{{L}}\p{{M}}\p{{N}}_--[{_UNSPACED}]]"
_UNIT_AFTER_NUMBER = (
    r"(?:%|‰|°[CF]?|[kKMGTP]i?[bB](?:ps|/s)?|[kcmnµμ]?m[²³]?|[kmµμ]?g|[kmµμn]?s|[kMG]?Hz|[kMG]?W(?:h)?|[km]?V|mAh|"
    r"[km]?l|min|hrs?|ft|in|lbs?|oz|mph|km/h|bn|mn|AM|PM|am|pm|USD|EUR|GBP|percent|million|billion|trillion|thousand)"
)
_NUMBER = (
    r"(?:[+\-−±~≈]|[#№])?\p{Sc}?\d+(?:[.,:/\-–'’_]\d+)*(?:[eE][+\-]?\d+)?"
    rf"(?:[  ]?{_UNIT_AFTER_NUMBER}(?![\p{{L}}\p{{N}}_])|\p{{Sc}}|[年月日时時分秒元円万亿億岁歳個个%]|(?!{_LETTER}))"
)
_URL = r"(?:[a-zA-Z][a-zA-Z0-9+.\-]{1,15}://|www\.)[^\s<>\"'`{}|\\^\[\]]*[^\s<>\"'`{}|\\^\[\].,;:!?)…。，]"
_EMAIL = r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+"
_PATH = r"(?:[A-Za-z]:|~|\.{1,2})?(?:[\\/][\w.\-@+]*\w)+[\\/]?"
# Pieces of letters and digits joined by single connectors: user_id, ORD-99172, a.b.c(), key=value, don't, C++.
_IDENTIFIER = (
    rf"[@#]?{_LETTER}+(?:(?:[._\-'’&@:/\\=·]|::|->|−|‑){_LETTER}+)*"
    r"(?:\(\)|\+\+|#(?![\p{L}\p{N}])|(?<=\b\p{Lu}(?:\.\p{Lu})+)\.)?"
)
_SPACED = rf"(?:{_URL}|{_EMAIL}|(?<![\w)]){_PATH}|{_NUMBER}|{_IDENTIFIER})"
# Punctuation between two words that no space parts ("foo—bar") stays with the first, so that dropping it can never
# glue two words into one that the source does not have.
_BRIDGE = rf"[^\s\p{{L}}\p{{M}}\p{{N}}_]+(?={_LETTER})"

WORD = regex.compile(
    rf"{_SPACED}(?:{_BRIDGE})?|[{_UNSPACED}]\p{{M}}*|([^\s\p{{L}}\p{{N}}_])\1*\p{{M}}*|\S",
    regex.VERSION1,
)
_CLUSTER = regex.compile(r"\X")
_SURROGATE = regex.compile(r"[\ud800-\udfff]")


def segment(text: str) -> SegmentedText:
    """Words and units of a text, with offsets into it."""
    return SegmentedText(text, *word_spans(text), *unit_spans(text))


def well_formed(text: str) -> str:
    """`text` with lone surrogates replaced one for one, so that UTF-8 libraries take it and offsets stay true."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def word_spans(text: str) -> tuple[IntArray, IntArray]:
    """Offsets of the words of `text`.

    Args:
        text: Any string. White space belongs to no word; every other character belongs to exactly one.

    Returns:
        Starts and ends in code points. Shape: `(words,)` each, increasing, `starts[i] < ends[i] <= starts[i + 1]`.
        No boundary lies inside a grapheme cluster.
    """
    spans = [match.span() for match in WORD.finditer(text)]
    if not spans:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    table = np.array(spans, np.int64)
    starts, ends = table[:, 0], table[:, 1]
    return (starts, ends) if text.isascii() else _join_split_clusters(text, starts, ends)


def _join_split_clusters(text: str, starts: IntArray, ends: IntArray) -> tuple[IntArray, IntArray]:
    """Join neighbouring words whose common border lies inside a grapheme cluster, and swallow stray marks."""
    inside = np.ones(len(text) + 1, bool)
    inside[[0, *(match.end() for match in _CLUSTER.finditer(text))]] = False
    if not (inside[starts].any() or inside[ends].any()):
        return starts, ends
    borders = np.flatnonzero(~inside)
    # Widen each word to whole clusters, then merge those that touch the same cluster.
    starts = borders[np.searchsorted(borders, starts, side="right") - 1]
    ends = borders[np.searchsorted(borders, ends, side="left")]
    first = np.ones(len(starts), bool)
    first[1:] = starts[1:] >= np.maximum.accumulate(ends)[:-1]
    last = np.roll(first, -1)
    last[-1] = True
    return starts[first], np.maximum.accumulate(ends)[last]


# --- units ---------------------------------------------------------------------------------------------------------

_LINE = regex.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_STRUCTURED = regex.compile(
    r"\s*[|+]|.*\|.*\||.*\t|\s*(?:[-*•‣◦]|\d{1,3}[.)])\s|\s*#{1,6}\s|\s{2,}\S|[^a-z]*\d{2}:\d{2}|.*[;{}]\s*\Z|\s*```"
)
_INDENTED = regex.compile(r"(?:\A|[\r\n])[ \t]+\S")
_TAB = 4  # columns
_SENTENCE_END = regex.compile(r"[.!?。！？…:;][\"'”’)\]]*\s*\Z")
# The splitter looks for the other half of quotes and brackets as far as it can see, which makes it slow and wrong on
# very long paragraphs; blocks of this many characters keep it linear.
_BLOCK = 4000
_SOFT_WRAP_MIN = 40


def unit_spans(text: str, language: str = "en") -> tuple[IntArray, IntArray]:
    """Offsets of the units of `text`: sentences, or lines where the text is made of lines.

    A line break ends a unit, except where it looks like a soft wrap (a long line of prose that does not end a
    sentence, followed by a line that goes on in lower case). Table rows, list items, code and log lines are units
    whole; other paragraphs are split into sentences.

    Args:
        text: Any string.
        language: ISO code whose abbreviations the sentence splitter knows.

    Returns:
        Starts and ends in code points; the units follow one another without a gap and cover `text`. Shape: `(units,)`.
    """
    text = well_formed(text)
    ends = [end for start, stop in _paragraphs(text) for end in _sentence_ends(text, start, stop, language)]
    if not ends:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    stops = np.array(ends, np.int64)
    return np.concatenate([[0], stops[:-1]]), stops


def structured_units(document: SegmentedText) -> BoolArray:
    """Which units are lines of code, rows of tables, list items, log lines. Shape: `(units,)`."""
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return np.array([_STRUCTURED.match(document.text, start, end) is not None for start, end in spans], bool)


def enclosing_units(document: SegmentedText) -> IntArray:
    """For each unit, the one that it stands under by its indentation: the line that opens its block.

    `def f(x):` encloses the lines of the function, `for y in x:` those of the loop; likewise with nested lists, YAML,
    laid-out JSON, and lines of a stack trace under their error. A sentence has the indentation of its line. A line that
    begins with a closing bracket stands under the line that opened it and encloses what that line does:

        def f(
            x: int,
        ) -> int:
            return x

    Returns:
        Index of the unit, always a smaller one; -1 where there is none. Shape: `(units,)`.
    """
    text = document.text
    found = np.full(len(document.unit_starts), -1, np.int64)
    if not _INDENTED.search(text):
        return found
    open_blocks: list[tuple[int, int]] = []  # indentation and index, from the outermost on
    indentation = 0
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    for unit, (start, end) in enumerate(spans):
        line = text[start:end].lstrip()
        if not line:
            continue
        closing = False
        if start == 0 or text[start - 1] in "\r\n":
            lead = text[start : end - len(line)]
            indentation = len(lead[max(lead.rfind("\n"), lead.rfind("\r")) + 1 :].expandtabs(_TAB))
            closing = line[0] in ")]}"
        while open_blocks and open_blocks[-1][0] >= indentation + closing:  # a bracket closes what is as far in
            open_blocks.pop()
        if open_blocks:
            found[unit] = open_blocks[-1][1]
        open_blocks.append((indentation, unit))
    return found


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Spans of lines, soft-wrapped lines of prose joined."""
    start = 0
    previous = ""
    for match in _LINE.finditer(text):
        line = match.group()
        if not line:
            continue
        if match.start() > start and not _goes_on(previous, line):
            yield start, match.start()
            start = match.start()
        previous = line
    if start < len(text):
        yield start, len(text)


def _goes_on(line: str, following: str) -> bool:
    if not line.strip() or not following.strip():
        return not following.strip()  # blank lines end with the unit before them
    return (
        len(line) >= _SOFT_WRAP_MIN
        and following[0].islower()
        and not _STRUCTURED.match(line)
        and not _SENTENCE_END.search(line)
    )


def _sentence_ends(text: str, start: int, stop: int, language: str) -> Iterator[int]:
    if _STRUCTURED.match(text, start, stop):
        yield stop
        return
    for block_start, block_stop in _blocks(text, start, stop):
        if block_start > start:
            yield block_start
        ends = [
            block_start + boundary["end_index"]
            for boundary in sentencex.get_sentence_boundaries(language, text[block_start:block_stop])
            if not boundary["text"].isspace()
        ]
        yield from ends[:-1]
    yield stop


def _blocks(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while stop - start > _BLOCK:
        cut = text.rfind(" ", start, start + _BLOCK) + 1
        cut = cut if cut > start else start + _BLOCK
        yield start, cut
        start = cut
    yield start, stop

"""What compression does to the text itself: which exact items survive, whether JSON and tables stay valid.

Answer recall asks whether one phrase is left; an agent that reads a log, a price list or a negated sentence depends on
every one of them. Items are found by the detectors of `core.protection`, so their kinds have the same names as in
`protect`, and they are counted as wholes: of `$1,499.00` cut to `$1,499`, nothing has survived. `evaluation.recall` has
a measure for words that a *scorer* keeps, by offsets; here any two texts are compared, so that methods which rewrite,
re-space or reorder can be measured as well.

Every text counts as it is, case and spaces included. All functions are pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import regex

from moos_integrations.core.protection import DETECTORS
from moos_integrations.core.types import Span

KINDS = ("numbers", "negations", "names", "urls", "identifiers")
"""What is counted: names of detectors in `core.protection`."""

# What may stand between the digits of one number: 1,499.00, 10:30, 2019-05-03, 3/4.
_SEPARATORS = frozenset(".,:/'’_-−–")
# A name is neither the second half of a word ("Man" of "Pac-Man") nor the first.
_BEFORE = regex.compile(r"(?<!\w)(?<!\w['’\-])")
_AFTER = regex.compile(r"(?!\w)")
_URL_TAIL = ".,;:!?…。，)]}|\\"  # the end of the sentence or of the bracket around, not of the URL
_OBJECT = regex.compile(r'\{\s*"')
_STRING_OR_BRACE = regex.compile(r'"(?:[^"\\]|\\.)*+"|[{}]')
_PIPE = regex.compile(r"(?<!\\)\|")
_SPACED_PIPE = regex.compile(r"(?<!\S)\|(?!\S)")
_WORDS = regex.compile(r"\w")
_CODE_ENDS = (",", ";", ":", "(", "[", "{")  # `name: str | None,` is no row of a table
_DELIMITERS = regex.compile(r"[\s|:\-]*-[\s|:\-]*")


# --- items -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Survival:
    """How many items of each kind a text has, and how many of them are left. Units: occurrences, by kind in `KINDS`.

    Attributes:
        present: In the source.
        kept: Of these, in the output; never more than `present`.
    """

    present: Mapping[str, int]
    kept: Mapping[str, int]


def items(text: str) -> dict[str, Counter[str]]:
    """The items of a text, with how often each occurs.

    No character counts twice, but for a negation in a name: what lies within a URL is part of the URL alone, and what
    lies within an identifier (`ORD-99172`, `10-minute`, `user_id`) is part of that alone. A number includes the
    separators within it, not its sign, currency or unit. A name is a run of capitalised words in one line.

    Args:
        text: Any string.

    Returns:
        Per kind in `KINDS`, the items as they are written.
    """
    urls = [(start, start + len(text[start:end].rstrip(_URL_TAIL))) for start, end in _spans("urls", text)]
    identifiers = _outside(_spans("identifiers", text), urls)
    taken = sorted([*urls, *identifiers])
    spans = {
        "numbers": _outside(_joined(_spans("numbers", text), text), taken),
        "negations": _outside(_spans("negations", text), taken),
        "names": _outside(_names(text), taken),
        "urls": urls,
        "identifiers": identifiers,
    }
    return {kind: Counter(text[start:end] for start, end in spans[kind]) for kind in KINDS}


def survival(source: str, output: str) -> Survival:
    """Count the items of a source that stand in a compressed text, byte for byte and bounded.

    Each occurrence in the output stands for one in the source: of an item that occurs three times, one left is one
    survivor. A name also counts where it stands at the start of a sentence of the output, or beside another name, as
    dropping words can bring it there; every other kind counts where it would count in a source.

    Args:
        source: The text before compression.
        output: The text after it, by any method.
    """
    wanted, found = _items(source), items(output)
    found["names"] = _bounded(wanted["names"], output)
    return Survival(
        {kind: wanted[kind].total() for kind in KINDS},
        {kind: (wanted[kind] & found[kind]).total() for kind in KINDS},
    )


# The same source is compared with the output of one method after another.
_items = lru_cache(maxsize=64)(items)


def _spans(kind: str, text: str) -> list[Span]:
    return [match.span() for match in DETECTORS[kind].finditer(text)]


def _outside(spans: list[Span], taken: list[Span]) -> list[Span]:
    """The spans that touch none of those that are taken; both in order of their starts."""
    found, at = [], 0
    for start, end in spans:
        while at < len(taken) and taken[at][1] <= start:
            at += 1
        if at == len(taken) or end <= taken[at][0]:
            found.append((start, end))
    return found


def _joined(spans: list[Span], text: str) -> list[Span]:
    """Digits that a single separator parts, as one number."""
    found: list[Span] = []
    for start, end in spans:
        if found and start - found[-1][1] == 1 and text[start - 1] in _SEPARATORS:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _names(text: str) -> list[Span]:
    found: list[Span] = []
    for match in DETECTORS["names"].finditer(text):
        end = match.start()
        for line in match.group().splitlines(keepends=True):
            start, end = end, end + len(line)
            first, last = start + len(line) - len(line.lstrip()), start + len(line.rstrip())
            if first < last and _BEFORE.match(text, first) and _AFTER.match(text, last):
                found.append((first, last))
    return found


def _bounded(wanted: Mapping[str, int], text: str) -> Counter[str]:
    """Where items stand in a text, the longest first, so that a short one is not found within a long one."""
    if not wanted:
        return Counter()
    longest_first = sorted(wanted, key=len, reverse=True)
    any_of_them = "|".join(map(regex.escape, longest_first))
    return Counter(regex.findall(rf"{_BEFORE.pattern}(?:{any_of_them}){_AFTER.pattern}", text))


# --- structure -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Validity:
    """What became of the JSON objects, or of the tables, of a text. Units: objects or tables.

    Attributes:
        present: In the source.
        valid: Of these, still sound in the output; never more than `present`.
        broken: Not sound, but an opening brace, a row or a whole cell is left.
    """

    present: int = 0
    valid: int = 0
    broken: int = 0

    @property
    def dropped(self) -> int:
        """How many left nothing of that in the output; single words of them may be left."""
        return self.present - self.valid - self.broken


def json_validity(source: str, output: str) -> Validity:
    """Whether JSON still parses.

    If the source is one JSON object or list, the output as a whole must parse to the same type. Else each object
    embedded in the source (in a fence, a log line, prose) is looked at: an object of the output counts as valid if it
    parses. Where one does not, nobody can tell where it ends, so all that are not valid count as broken.

    Args:
        source: The text before compression. Embedded objects count only if all of them parse, so that code and
            templates, which use braces otherwise, are left alone; empty objects do not count.
        output: The text after it.

    Returns:
        All zero if the source has no JSON.
    """
    whole = _parsed(source)
    if isinstance(whole, (dict, list)):
        valid = int(type(_parsed(output)) is type(whole))
        return Validity(1, valid, int(not valid and bool(output.strip())))
    objects = [_parsed(group) for group in _groups(source)]
    if not objects or None in objects:
        return Validity()
    left = [_parsed(group) is not None for group in _groups(output)]
    valid = min(sum(left), len(objects))
    return Validity(len(objects), valid, 0 if all(left) else len(objects) - valid)


def table_validity(source: str, output: str) -> Validity:
    """Whether Markdown and pipe tables still are tables.

    A table of the output is valid if its first row is the header of the source (with the row of dashes, where the
    source has one; spaces aside) and all its rows have as many cells as the header.

    Args:
        source: The text before compression. Two or more successive lines with equally many pipes are a table, if they
            begin and end with one, or spaces stand around each and no line ends as code does; a line's cells are one
            more than its pipes.
        output: The text after it. Each line with a pipe counts as a row of the table whose header stood last. A table
            of which cells are left without any row, its pipes being dropped, is broken.

    Returns:
        All zero if the source has no table, or has pipes elsewhere that would count as rows.
    """
    tables = list(_tables(source))
    if not tables or _valid_and_broken(tables, source, source) != (len(tables), 0):
        return Validity()
    return Validity(len(tables), *_valid_and_broken(tables, source, output))


def altered(source: str, output: str, *, spaces: bool = True) -> bool:
    """Whether the output has characters that the source does not have in this order.

    Args:
        source: The text before compression.
        output: The text after it.
        spaces: Whether white space counts; without it, text that was only re-spaced is not altered.

    Returns:
        False if the output is a character subsequence of the source.
    """
    if not spaces:
        source, output = _squeezed(source), _squeezed(output)
    at = -1
    for character in output:
        at = source.find(character, at + 1)
        if at < 0:
            return True
    return False


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _groups(text: str) -> Iterator[str]:
    """What looks like an object with entries, up to its closing brace, or else to the end of the text."""
    at = 0
    while match := _OBJECT.search(text, at):
        depth, at = 0, len(text)
        for mark in _STRING_OR_BRACE.finditer(text, match.start()):
            depth += {"{": 1, "}": -1}.get(mark.group(), 0)
            if depth == 0:
                at = mark.end()
                break
        yield text[match.start() : at]


def _tables(text: str) -> Iterator[list[str]]:
    for cells, lines in groupby(text.splitlines(), _cells):
        rows = list(lines)
        if cells and len(rows) > 1:
            yield rows


def _cells(line: str) -> int:
    """How many cells a row of a table has; 0 for any other line."""
    line = line.strip()
    pipes = len(_PIPE.findall(line))
    framed = len(line) > 1 and line[0] == line[-1] == "|"
    spaced = len(_SPACED_PIPE.findall(line)) == pipes and not line.endswith(_CODE_ENDS)
    return pipes + 1 if pipes and (framed or spaced) else 0


def _head(rows: list[str]) -> list[str]:
    return [_squeezed(row) for row in rows[: 1 + bool(_DELIMITERS.fullmatch(rows[1]))]]


def _valid_and_broken(tables: list[list[str]], source: str, output: str) -> tuple[int, int]:
    heads = [_head(rows) for rows in tables]
    found: list[list[str]] = [[] for _ in tables]
    at = 0
    for line in output.splitlines():
        if _PIPE.search(line):
            at = next((index for index in range(at, len(heads)) if heads[index][0] == _squeezed(line)), at)
            found[at].append(line)
    valid = sum(_is_sound(rows, head) for rows, head in zip(found, heads, strict=True))
    begun = [bool(rows) or _has_cells_of(own, source, output) for rows, own in zip(found, tables, strict=True)]
    return valid, sum(begun) - valid


def _has_cells_of(rows: list[str], source: str, output: str) -> bool:
    """Whether an output without rows of a table has cells that in the source stand in this table alone."""
    elsewhere = "\n".join(line for line in source.splitlines() if line not in rows)
    cells = {cell.strip() for row in rows for cell in _PIPE.split(row)}
    own = {cell: 1 for cell in cells if _WORDS.search(cell) and cell not in elsewhere}
    return bool(_bounded(own, output))


def _is_sound(rows: list[str], head: list[str]) -> bool:
    pipes = {len(_PIPE.findall(row)) for row in rows}
    return [_squeezed(row) for row in rows[: len(head)]] == head and len(pipes) == 1

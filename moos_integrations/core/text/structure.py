"""How units hang together: what each is under, what it introduces, and which are halves of a pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import regex

from moos_integrations.core.text.units import CLOSED, FOR_EVER, NEXT, NOTHING, Unit
from moos_integrations.core.types import IntArray, Kind

_PAIRED = frozenset((Kind.CODE, Kind.KEY_VALUE, Kind.JSON))
_BRACKET = regex.compile(r"\"(?:[^\"\\\r\n]++|\\.)*+\"?+|'(?:[^'\\\r\n]|\\.){0,100}'|[(){}\[\]]")
_TAG = regex.compile(
    r"<(?P<close>/)?(?P<name>[a-zA-Z][\w:.\-]{0,60})(?:\s[^<>]{0,500})?>(?<!/>)|\\(?P<latex>begin|end)\{(?P<env>[^{}\n]{1,60})\}"
    r"|(?P<comment><!--|-->)"
)
_VOID = regex.compile(r"br|hr|meta|link|input|img|source|area|base|col|embed|wbr|param")
_OPENED_BY = {")": "(", "]": "[", "}": "{"}
_COMMENT = regex.compile(r"/\*|\*/|\"{3}|'{3}")
_LONGEST_NAME = 40
_OPEN_AT_MOST = 10_000  # opening halves that wait for their others


def parents_of(units: Sequence[Unit]) -> IntArray:
    """Index of the unit that each is under, always a smaller one; -1 for none. Shape: `(units,)`."""
    parents = np.full(len(units), -1, np.int64)
    opened: list[int] = []
    for index, unit in enumerate(units):
        while opened and _is_over(units[opened[-1]], unit):
            opened.pop()
        if unit.parent >= -1:
            parents[index] = unit.parent
        elif opened:
            parents[index] = _nearest(units, opened, unit)
        if unit.accepts != CLOSED:
            opened.append(index)
    return parents


def _is_over(open_unit: Unit, unit: Unit) -> bool:
    return open_unit.accepts > unit.level or unit.block > open_unit.until


def _nearest(units: Sequence[Unit], opened: list[int], unit: Unit) -> int:
    """The innermost open unit; those whose blocks are over may still be between others."""
    for index in reversed(opened[-64:]):
        if units[index].until == FOR_EVER or unit.block <= units[index].until:
            return index
    return -1


def subtree_ends(parents: IntArray) -> IntArray:
    """Index behind the last unit under each unit, or behind itself. Shape: `(units,)`."""
    ends = np.arange(1, len(parents) + 1)
    over, until = parents.tolist(), ends.tolist()
    for index in range(len(over) - 1, -1, -1):
        if over[index] >= 0:
            until[over[index]] = max(until[over[index]], until[index])
    return np.array(until, np.int64).reshape(-1)


def leads_of(text: str, units: Sequence[Unit], parents: IntArray) -> tuple[IntArray, IntArray]:
    """What each unit introduces: its first unit and the index behind its last; -1 for none. Shape: `(units,)` each."""
    first, until = np.full(len(units), -1, np.int64), np.full(len(units), -1, np.int64)
    children = np.full(len(units) + 1, -1, np.int64)
    backwards = np.array([index for index in range(len(units)) if units[index].kind != Kind.RULE], np.int64)[::-1]
    children[parents[backwards]] = backwards  # the last write is the first child; roots write into the extra place
    ends = subtree_ends(parents)
    for index, unit in enumerate(units):
        if unit.leads == NOTHING:
            continue
        child = int(children[index])
        if child >= 0:
            first[index], until[index] = child, ends[index]
        elif (
            unit.leads == NEXT
            and index + 1 < len(units)
            and (_leads_on(unit, units[index + 1]) or _next_turn(text, units, index, int(parents[index])))
        ):
            first[index], until[index] = index + 1, ends[index + 1]
    return first, until


def _leads_on(unit: Unit, following: Unit) -> bool:
    """Whether a unit without any below it introduces the next: not if that is a heading, or far away."""
    near = following.block <= unit.block + 1
    return near and following.kind not in (Kind.HEADING, Kind.RULE) and unit.kind != Kind.HEADING


def _next_turn(text: str, units: Sequence[Unit], index: int, speaker: int) -> bool:
    """Whether a question that ends a speaker's turn is before the next speaker's, where names are lines in capitals."""
    following = units[index + 1]
    if speaker < 0 or units[index].kind != Kind.QUESTION or following.kind != Kind.HEADING:
        return False
    end = units[index + 2].start if index + 2 < len(units) else len(text)
    names = text[units[speaker].start : units[speaker + 1].start], text[following.start : end]
    return units[speaker].kind == Kind.HEADING and all(name.isupper() and len(name) <= _LONGEST_NAME for name in names)


def partners_of(text: str, units: Sequence[Unit]) -> IntArray:
    """Index of the unit that holds the other half of a pair; -1 for none. Shape: `(units,)`.

    A unit may close one pair and open another, as `} else {` does; it then points to the one that it closes, and the
    other points to it.
    """
    partners = np.array([unit.partner for unit in units], np.int64).reshape(-1)
    brackets: list[tuple[str, int]] = []
    tags: list[tuple[str, int]] = []
    comments: list[tuple[str, int]] = []
    commented = _COMMENT.search(text) is not None
    for index, unit in enumerate(units):
        end = units[index + 1].start if index + 1 < len(units) else len(text)
        if unit.kind in _PAIRED:
            _match_brackets(text, unit.start, end, index, brackets, partners)
        elif unit.kind == Kind.MARKUP:
            _match_tags(text, unit.start, end, index, tags, partners)
        elif unit.kind in (Kind.HEADING, Kind.RULE):
            brackets.clear()
        if commented and unit.kind in (Kind.SENTENCE, Kind.CODE):
            _match_comments(text, unit.start, end, index, comments, partners)
    return partners


def _pair(partners: IntArray, opening: int, closing: int) -> None:
    if opening != closing:
        if partners[closing] < 0 or partners[closing] > closing:
            partners[closing] = opening
        if partners[opening] < 0:
            partners[opening] = closing


def _match_brackets(
    text: str, start: int, end: int, index: int, opened: list[tuple[str, int]], partners: IntArray
) -> None:
    for match in _BRACKET.finditer(text, start, end):
        mark = match.group()
        if mark in _OPENED_BY:
            if opened and opened[-1][0] == _OPENED_BY[mark]:
                _pair(partners, opened.pop()[1], index)
        elif len(mark) == 1 and len(opened) < _OPEN_AT_MOST:
            opened.append((mark, index))


def _match_tags(text: str, start: int, end: int, index: int, opened: list[tuple[str, int]], partners: IntArray) -> None:
    for match in _TAG.finditer(text, start, end):
        if match["comment"]:
            name, closing = "<!--", match["comment"] == "-->"
        elif match["latex"]:
            name, closing = match["env"], match["latex"] == "end"
        else:
            name, closing = match["name"].lower(), match["close"] is not None
        if closing:
            _close(opened, name, index, partners)
        elif not _VOID.fullmatch(name) and len(opened) < _OPEN_AT_MOST:
            opened.append((name, index))


def _close(opened: list[tuple[str, int]], name: str, index: int, partners: IntArray) -> None:
    """Pair a closing tag with the last opening one of its name, of those opened lately."""
    for back in range(1, min(len(opened), 16) + 1):
        if opened[-back][0] == name:
            _pair(partners, opened[-back][1], index)
            del opened[-back:]
            return


def _match_comments(
    text: str, start: int, end: int, index: int, opened: list[tuple[str, int]], partners: IntArray
) -> None:
    for match in _COMMENT.finditer(text, start, end):
        mark = match.group()
        if opened and ((mark == "*/" and opened[-1][0] == "/*") or mark == opened[-1][0] != "/*"):
            _pair(partners, opened.pop()[1], index)
        elif mark != "*/" and not opened:
            opened.append((mark, index))

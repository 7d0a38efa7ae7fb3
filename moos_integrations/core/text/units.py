"""A unit and its place among the others.

A unit's *level* says how deep it is, and what it *accepts* says from which level on others are below it: headings
first, in their order, then blocks by their indentation. `structure` makes parents of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from moos_integrations.core.types import Kind

CLOSED = 1 << 62
"""What a unit accepts that nothing is below."""
FOR_EVER = 1 << 62
NOTHING, BELOW, NEXT = range(3)
"""What a unit may introduce: nothing, what is below it, or else what comes next."""
BY_LEVEL = -2


class Level(IntEnum):
    """How deep headings are, outermost first; one with `n` signs or points is `n` deeper."""

    TITLE = 1
    HASHED = 10
    SECTION = 20
    CAPITALS = 21
    NUMBERED = 22
    BOLD = 32
    PLAIN = 34
    LABEL = 36
    QUESTION = 38
    ASKED = 40
    SPEAKER = 50
    LOG = 900
    TURN = 910
    BLOCK = 1000


class Depth(IntEnum):
    """How deep lines of one indentation are; a column of indentation is worth `COLUMN`."""

    LINE = 2
    HEADER = 4
    ROW = 8
    ITEM = 16
    DEEPER = 48
    CLOSES = 56
    COLUMN = 64


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
    parent: int = BY_LEVEL
    partner: int = -1


def at(indent: int) -> int:
    """The level of prose that is so many columns in."""
    return Level.BLOCK + Depth.COLUMN * indent

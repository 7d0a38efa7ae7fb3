"""Where a text comes from: its pieces in a source, and the short string that keeps them in metadata.

The string is for metadata, which some prompts print. Its numbers are groups of three digits, because the tokenizers of
most LLMs make one token of three digits: a span costs two tokens. It has a checksum of the text, so that it is never
applied to another one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import regex

from moos_integrations.core.types import Span

Within = Literal["text", "node", "document"]
"""Which text a place belongs to: the text as it is now; the node or chunk that was compressed; or the document that the
node was cut from."""
Piece: TypeAlias = tuple[int, int, int]
"""Where a piece is in the text, and its start and end in the source."""

_STORED = regex.compile(r"([ndND])(\d{9})((?:\d{3})+)")
_LEVELS: dict[str, Within] = {"n": "node", "d": "document"}
_PRIME, _BASE = 999_999_937, 257_003  # of the checksum: products stay below 2**63


@dataclass(frozen=True, slots=True)
class Origin:
    """The pieces of a source that a text is made of.

    Attributes:
        within: What the source is.
        pieces: In the order of the text, and ascending in the source. Text between them is not from the source.
    """

    within: Within
    pieces: tuple[Piece, ...]

    @classmethod
    def whole(cls, within: Within, length: int, start: int = 0) -> Origin:
        """A text that is one slice of its source."""
        return cls(within, ((0, start, start + length),) if length else ())

    @property
    def spans(self) -> tuple[Span, ...]:
        """Start and end of each piece in the source; neighbours that touch are one."""
        merged: list[Span] = []
        for _, start, end in self.pieces:
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        return tuple(merged)

    def place(self, start: int, end: int) -> Span | None:
        """The place in the source of a part of the text; None if the part begins or ends outside of all pieces."""
        first, last = self._piece_at(start), self._piece_at(end - 1)
        if first is None or last is None:
            return None
        return first[1] + start - first[0], last[1] + end - last[0]

    def without_rest(self, text: str) -> str:
        """The text with blanks for what is not from the source, as long as before."""
        kept, reached = [], 0
        for at, start, end in self.pieces:
            kept += [" " * (at - reached), text[at : at + end - start]]
            reached = at + end - start
        return "".join([*kept, " " * (len(text) - reached)])

    def part(self, start: int, end: int, at: int = 0) -> Iterator[Piece]:
        """The pieces of a part of the text, which stands at `at` of another text."""
        for place, first, last in self._pieces_from(start):
            left, right = max(place, start), min(place + last - first, end)
            if place >= end:
                return
            if left < right:
                yield at + left - start, first + left - place, first + right - place

    def _pieces_from(self, position: int) -> Iterator[Piece]:
        index = max(bisect_right(self.pieces, position, key=lambda piece: piece[0]) - 1, 0)
        yield from self.pieces[index:]

    def _piece_at(self, position: int) -> Piece | None:
        index = bisect_right(self.pieces, position, key=lambda piece: piece[0]) - 1
        if index < 0:
            return None
        at, start, end = self.pieces[index]
        return self.pieces[index] if position < at + end - start else None


def chained(pieces: Sequence[Piece], origin: Origin) -> Origin:
    """The origin of a text that is made of pieces of another text, whose origin is known."""
    return Origin(origin.within, tuple(piece for at, start, end in pieces for piece in origin.part(start, end, at)))


def stored(origin: Origin, text: str, offset: int | None = None) -> str:
    """The origin of a text as a short string; see `found`.

    Args:
        origin: Of the text, in a node or a document.
        text: The text.
        offset: Where the metadata say that the text begins in its document, so that a later one is noticed.
    """
    plain = _is_all_of(origin.pieces, len(text))
    numbers = [0 if offset is None else offset + 1]
    at = reached = 0
    for place, start, end in origin.pieces:
        numbers += [] if plain else [place - at]
        numbers += [start - reached, end - start]
        at, reached = place + end - start, end
    numbers += [] if plain else [len(text) - at]
    letter = origin.within[0] if plain else origin.within[0].upper()
    return f"{letter}{_checksum(text):09d}" + "".join(f"{group:03d}" for n in numbers for group in _groups(n))


def _is_all_of(pieces: Sequence[Piece], length: int) -> bool:
    """Whether a text of this length has nothing beside the pieces."""
    reached = 0
    for at, start, end in pieces:
        if at != reached:
            return False
        reached += end - start
    return reached == length


def found(value: Any, text: str, offset: int | None = None) -> Origin | None:
    """The origin of a text by a stored string, if the string describes it.

    Args:
        value: What the metadata have.
        text: The text that the metadata belong to now: the described one, a longer one that has it as a part (a prompt
            template around it), or a piece that a text splitter cut from it.
        offset: Where the metadata say now that the text begins in the text that it was cut from.

    Returns:
        None if the value is no such string, or describes another text.
    """
    match = _STORED.fullmatch(value) if isinstance(value, str) else None
    described = _read(match[1], match[3]) if match else None
    if match is None or described is None:
        return None
    origin, length, known_offset = described
    checksum = int(match[2])
    if not length and text:
        return None
    if length <= len(text):
        at = _search(text, length, checksum)
        return None if at is None else Origin(origin.within, tuple(origin.part(0, length, at)))
    # A splitter has written its offset since. With the old offset, the text may be any other.
    if offset is None or offset == known_offset or offset + len(text) > length:
        return None
    return Origin(origin.within, tuple(origin.part(offset, offset + len(text))))


def _read(letter: str, digits: str) -> tuple[Origin, int, int | None] | None:
    """Origin, length of the text, and its offset."""
    plain = letter.islower()
    try:
        first, *rest = _numbers(digits)
    except IndexError:
        return None
    step = 2 if plain else 3
    if len(rest) % step != (0 if plain else 1):
        return None
    pieces, at, reached = [], 0, 0
    for index in range(0, len(rest) - step + 1, step):
        between, gap, length = (0, *rest[index : index + 2]) if plain else rest[index : index + 3]
        at, start = at + between, reached + gap
        pieces.append((at, start, start + length))
        at, reached = at + length, start + length
    length = at if plain else at + rest[-1]
    return Origin(_LEVELS[letter.lower()], tuple(pieces)), length, first - 1 if first else None


# --- numbers in groups of three digits: up to 899 one group; 900 and more go on in the next --------------


def _groups(number: int) -> Iterator[int]:
    while number >= 900:
        number, low = divmod(number - 900, 100)
        yield 900 + low
    yield number


def _numbers(digits: str) -> list[int]:
    """The numbers in the groups.

    Raises:
        IndexError: If the last number has no end.
    """
    groups = [int(digits[index : index + 3]) for index in range(0, len(digits), 3)]
    numbers, index = [], 0
    while index < len(groups):
        parts = []
        while groups[index] >= 900:
            parts.append(groups[index] - 900)
            index += 1
        number = groups[index]
        for low in reversed(parts):
            number = 900 + 100 * number + low
        numbers.append(number)
        index += 1
    return numbers


# --- a checksum that can be searched for: the sum of code * base**position, modulo a prime ----------------------------


def _checksum(text: str) -> int:
    return int(_terms(text).sum() % _PRIME)


def _search(text: str, length: int, checksum: int) -> int | None:
    """The first position at which a part of this length has this checksum; None if there is none."""
    sums = np.concatenate([[0], np.cumsum(_terms(text))])
    starts = np.arange(len(text) - length + 1)
    hits = np.flatnonzero((sums[starts + length] - sums[starts]) % _PRIME == checksum * _powers(len(starts)) % _PRIME)
    return int(hits[0]) if len(hits) else None


def _terms(text: str) -> npt.NDArray[np.int64]:
    # Positions count from the start of the text: a part that begins later has a multiple of its checksum.
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64) + 1
    return np.asarray(codes * _powers(len(codes)) % _PRIME)


def _powers(count: int) -> npt.NDArray[np.int64]:
    """The first powers of the base, modulo the prime. Shape: `(count,)`."""
    powers = np.ones(1, np.int64)
    while len(powers) < count:
        power = int(powers[-1]) * _BASE % _PRIME  # the next one: base ** len(powers)
        powers = np.concatenate([powers, powers * power % _PRIME])
    return powers[:count]

"""JSON stays JSON: the commas that dropped members and items leave behind go too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import regex

from moos_integrations.core.types import BoolArray, IntArray, Span

TOKEN = regex.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s"{}\[\],:]++')
_CLOSES, _COMMA, _OTHER = range(3)
_KINDS = {"}": _CLOSES, "]": _CLOSES, ",": _COMMA}


@dataclass(frozen=True, eq=False)
class JsonCommas:
    """The tokens of a JSON text, or of lines that are JSON each.

    Attributes:
        starts: Offset of each token. Shape: `(tokens,)`.
        kinds: What it is: closing bracket, comma, or anything else. Shape: `(tokens,)`.
    """

    starts: IntArray
    kinds: IntArray

    @classmethod
    def of(cls, text: str) -> JsonCommas | None:
        """The tokens of a text that is one JSON value or a JSON value per line; None for any other text."""
        if json_form(text) is None:
            return None
        tokens = [(match.start(), _KINDS.get(match.group(), _OTHER)) for match in TOKEN.finditer(text)]
        table = np.array(tokens, np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    def without_dangling(self, spans: Sequence[Span]) -> list[Span]:
        """The spans without commas that now separate nothing.

        Args:
            spans: Kept spans of the text, in ascending order.
        """
        kept = np.flatnonzero(self._kept(spans))
        kinds = self.kinds[kept]
        dangling = (kinds == _COMMA) & (np.append(kinds[1:], _CLOSES) == _CLOSES)
        return _without(spans, self.starts[kept[dangling]].tolist())

    def _kept(self, spans: Sequence[Span]) -> BoolArray:
        """True for each token that begins in one of the spans. Shape: `(tokens,)`."""
        borders = np.array(spans, np.int64).reshape(-1, 2)
        span = np.searchsorted(borders[:, 0], self.starts, side="right") - 1
        return np.asarray((span >= 0) & (self.starts < np.append(borders[:, 1], 0)[span]), bool)


def json_form(text: str) -> Literal["value", "lines"] | None:
    """Whether a text is one JSON object or array, or has one on each line; None if it is neither."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    if _parses(text):
        return "value"
    return "lines" if all(_parses(line) for line in text.splitlines() if line.strip()) else None


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _without(spans: Sequence[Span], places: list[int]) -> list[Span]:
    """The spans without the characters at some places, in ascending order."""
    found: list[Span] = []
    waiting = iter(places)
    place = next(waiting, None)
    for start, end in spans:
        while place is not None and place < end:
            if start < place:
                found.append((start, place))
            start, place = place + 1, next(waiting, None)
        if start < end:
            found.append((start, end))
    return found

"""The elements of a JSON text, to say of each array, object and run of lines what was left out of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moos_integrations.core.json_commas import TOKEN, json_form
from moos_integrations.core.types import BoolArray, IntArray, Span

_UNITS = {"[": "item", "{": "member", "": "line"}
_KEY = "..."
"""Key of a mark in an object, longer if the object has a member of that name."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What was left out of one array, one object, or the lines of a text.

    Attributes:
        place: Offset into the source, behind the last thing that is kept of it.
        elements: The elements that were left out.
        unit: "item", "member" or "line".
        span: From the first element that was left out to the last one.
        alone: Whether nothing else is kept of it.
        key: Of the mark, if it is a member.
    """

    place: int
    elements: tuple[str, ...]
    unit: str
    span: Span
    alone: bool
    key: str

    def written(self, mark: str) -> str:
        """A mark as JSON, with what separates it from the element before it."""
        text = json.dumps(mark, ensure_ascii=False)
        if self.unit == "line":
            return f"\n{{{json.dumps(self.key)}: {text}}}"
        separator = "" if self.alone else ", "
        return f"{separator}{json.dumps(self.key)}: {text}" if self.unit == "member" else f"{separator}{text}"


@dataclass(frozen=True, eq=False)
class JsonElements:
    """The tokens of a JSON text, the values that have elements, and the elements.

    Attributes:
        text: The source.
        starts: Offset of each token. Shape: `(tokens,)`.
        ends: Offset behind it. Shape: `(tokens,)`.
        units: What the elements of each value are. Length: `values`.
        closing: Token that closes each value; behind the last one for the lines. Shape: `(values,)`.
        value_of: Value that each element belongs to, in ascending order. Shape: `(elements,)`.
        first: First token of each element. Shape: `(elements,)`.
        last: Last token of each element. Shape: `(elements,)`.
    """

    text: str
    starts: IntArray
    ends: IntArray
    units: tuple[str, ...]
    closing: IntArray
    value_of: IntArray
    first: IntArray
    last: IntArray

    @classmethod
    def of(cls, text: str) -> JsonElements:
        """The elements of a text that is one JSON value, or one a line."""
        matches = list(TOKEN.finditer(text))
        values, elements = _read([match.group() for match in matches], lines=json_form(text) == "lines")
        borders = np.array([match.span() for match in matches], np.int64).reshape(-1, 2)
        found = np.array(sorted(elements), np.int64).reshape(-1, 3)
        units, closing = tuple(unit for unit, _ in values), np.array([end for _, end in values], np.int64)
        return cls(text, borders[:, 0], borders[:, 1], units, closing, found[:, 0], found[:, 1], found[:, 2])

    def missing(self, spans: Sequence[Span]) -> list[Missing]:
        """What is left out of values of which something is kept, in the order of the places of their marks.

        Args:
            spans: Kept spans of the text, in ascending order.
        """
        kept = self._kept(spans)
        if not kept.any():
            return []
        here = np.append(kept, True)[self.closing]
        gone = ~kept[self.first] & here[self.value_of]
        tokens = np.flatnonzero(kept)
        found = [self._of(value, kept, tokens) for value in np.unique(self.value_of[gone]).tolist()]
        return sorted(found, key=lambda missing: missing.place)

    def _of(self, value: int, kept: BoolArray, tokens: IntArray) -> Missing:
        mine = np.arange(*np.searchsorted(self.value_of, [value, value + 1]))
        here = kept[self.first[mine]]
        gone = mine[~here]
        before = int(tokens[np.searchsorted(tokens, self.closing[value]) - 1])
        span = int(self.starts[self.first[gone[0]]]), int(self.ends[self.last[gone[-1]]])
        key = self._free_key(mine[here]) if self.units[value] == "member" else _KEY
        borders = zip(self.starts[self.first[gone]].tolist(), self.ends[self.last[gone]].tolist(), strict=True)
        elements = tuple(self.text[start:end] for start, end in borders)
        return Missing(int(self.ends[before]), elements, self.units[value], span, not here.any(), key)

    def _free_key(self, elements: IntArray) -> str:
        """A key for a mark that none of the kept members has."""
        tokens = self.first[elements]
        keys = {self.text[start:end] for start, end in zip(self.starts[tokens], self.ends[tokens], strict=True)}
        names, key = {json.loads(name) for name in keys}, _KEY
        while key in names:
            key += "."
        return key

    def _kept(self, spans: Sequence[Span]) -> BoolArray:
        """True for each token that begins in one of the spans. Shape: `(tokens,)`."""
        borders = np.array(spans, np.int64).reshape(-1, 2)
        if not len(borders):
            return np.zeros(len(self.starts), bool)
        span = np.searchsorted(borders[:, 0], self.starts, side="right") - 1
        return np.asarray((span >= 0) & (self.starts < borders[:, 1][span]), bool)


def _read(tokens: Sequence[str], *, lines: bool) -> tuple[list[tuple[str, int]], list[tuple[int, int, int]]]:
    """The values that have elements, as unit and closing token, and the elements: value, first and last token."""
    values: list[tuple[str, int]] = [(_UNITS[""], len(tokens))] if lines else []
    elements: list[tuple[int, int, int]] = []
    path, begun = ([0], [-1]) if lines else ([], [])  # open values, and where the element that each is in began
    for index, token in enumerate(tokens):
        ends_element = token in (",", "]", "}") and begun[-1] >= 0
        if ends_element:
            elements.append((path[-1], begun[-1], index - 1))
            begun[-1] = -1
        if token in ("]", "}"):
            value = path.pop()
            values[value] = values[value][0], index
            begun.pop()
        elif token not in (",", ":"):
            if begun and begun[-1] < 0:
                begun[-1] = index
            if token in ("[", "{"):
                path.append(len(values))
                begun.append(-1)
                values.append((_UNITS[token], -1))
        if lines and len(path) == 1 and begun[-1] >= 0:  # a value of a line is complete
            elements.append((0, begun[-1], index))
            begun[-1] = -1
    return values, elements

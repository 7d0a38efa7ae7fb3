"""Text to blocks, units and words."""

from __future__ import annotations

import numpy as np

from moos_integrations.core.text.blocks import Blocks
from moos_integrations.core.text.context import in_context
from moos_integrations.core.text.lines import scan
from moos_integrations.core.text.sentences import ordinals_have_stops
from moos_integrations.core.text.structure import leads_of, parents_of, partners_of
from moos_integrations.core.text.units import Unit
from moos_integrations.core.text.words import find_words, inside_clusters
from moos_integrations.core.types import BoolArray, IntArray, SegmentedText


def segment(text: str, language: str | None = None) -> SegmentedText:
    """Words and units of a text, with offsets into it, and how its units hang together.

    Args:
        text: Any string.
        language: ISO 639-1 code of its language, for where sentences end; None to guess it.
    """
    inside = inside_clusters(text)
    units = _units(text, language, inside)
    starts, ends = _spans(text, units)
    parents = parents_of(units)
    first, until = leads_of(text, units, parents)
    return SegmentedText(
        text,
        *find_words(text, starts, inside),
        starts,
        ends,
        np.array([unit.kind for unit in units], np.int64),
        np.array([unit.structured for unit in units], bool),
        parents,
        first,
        until,
        partners_of(text, units),
    )


def unit_spans(text: str, language: str | None = None) -> tuple[IntArray, IntArray]:
    """Offsets of the units of `text`; they follow one another without a gap and cover it. Shape: `(units,)` each."""
    return _spans(text, _units(text, language, inside_clusters(text)))


def word_spans(text: str) -> tuple[IntArray, IntArray]:
    """Offsets of the words of `text`. Shape: `(words,)` each.

    White space between words belongs to none; every other character belongs to exactly one.
    """
    inside = inside_clusters(text)
    starts, _ = _spans(text, _units(text, None, inside))
    return find_words(text, starts, inside)


def _spans(text: str, units: list[Unit]) -> tuple[IntArray, IntArray]:
    starts = np.array([unit.start for unit in units], np.int64)
    return starts, np.append(starts[1:], len(text)) if len(starts) else starts


def _units(text: str, language: str | None, inside: BoolArray | None) -> list[Unit]:
    lines = in_context(text, scan(text))
    units = Blocks(text, lines, ordinals=ordinals_have_stops(text, language)).units_of_lines()
    return units if inside is None else _on_clusters(units, inside)


def _on_clusters(units: list[Unit], inside: BoolArray) -> list[Unit]:
    """The units without those that start inside a grapheme cluster: the unit before takes their text."""
    places = np.cumsum([not inside[unit.start] for unit in units]) - 1
    if not units or places[-1] == len(units) - 1:
        return units
    for unit in units:
        unit.parent = unit.parent if unit.parent < 0 else int(places[unit.parent])
        unit.partner = unit.partner if unit.partner < 0 else int(places[unit.partner])
    return [unit for unit in units if not inside[unit.start]]

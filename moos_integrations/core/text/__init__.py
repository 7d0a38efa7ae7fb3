"""Text to blocks, units and words, each with exact `(start, end)` offsets into the source.

A *word* is the smallest thing that is kept or dropped: an atom, so that a number with its sign and unit, a date, a URL
or a grapheme cluster is never cut (`words`). A *unit* is a sentence, or a line where the text is made of lines
(`lines`, `context`, `blocks`, `sentences`). `structure` says what each unit is under and what it introduces. Nothing is
normalised and nothing is copied: later stages slice the source.
"""

from moos_integrations.core.text.segmentation import segment, unit_spans, word_spans
from moos_integrations.core.text.words import well_formed
from moos_integrations.core.types import BoolArray, IntArray, SegmentedText

__all__ = ["enclosing_units", "segment", "structured_units", "unit_spans", "well_formed", "word_spans"]


def structured_units(document: SegmentedText) -> BoolArray:
    """Which units are lines of code, rows of tables, list items, log lines. Shape: `(units,)`."""
    return document.unit_structured


def enclosing_units(document: SegmentedText) -> IntArray:
    """For each unit, the nearest one that it is under: always a smaller index, -1 for none. Shape: `(units,)`."""
    return document.unit_parents

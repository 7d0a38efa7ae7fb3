"""Text to blocks, units and words, each with exact `(start, end)` offsets into the source.

A *word* is the smallest thing that is kept or dropped: an atom, so that a number with its sign and unit, a date, a URL
or a grapheme cluster is never cut (`words`). A *unit* is a sentence, or a line where the text is made of lines
(`lines`, `context`, `blocks`, `sentences`). `structure` says what each unit is under and what it introduces. Nothing is
normalised and nothing is copied: later stages slice the source.
"""

from moos_integrations.core.text.segmentation import segment, unit_spans, word_spans
from moos_integrations.core.text.words import well_formed

__all__ = ["segment", "unit_spans", "well_formed", "word_spans"]

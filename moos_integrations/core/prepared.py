"""A text looked at once: its words and units, its rendering, its cost in tokens; kept for the next call."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from functools import cached_property

import numpy as np
from cachetools import LRUCache

from moos_integrations.core.lexical import unit_terms
from moos_integrations.core.redundancy import unit_shingles
from moos_integrations.core.rendering import Renderer
from moos_integrations.core.text import enclosing_units, segment, structured_units
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import BoolArray, IntArray, SegmentedText

_BYTES_PER_CHARACTER = 16  # offsets, gaps and costs of its words, shared out among the characters


class PreparedText:
    """What compression needs to know of a text, whatever the question.

    Attributes:
        document: The segmented text.
        renderer: Renders it, with any words kept.
        costs: About how many tokens each word costs. Shape: `(words,)`.
        tokens: Its exact number of tokens.
    """

    def __init__(self, document: SegmentedText, counter: TokenCounter) -> None:
        """Look at a segmented text."""
        self.document, self.renderer = document, Renderer(document)
        starts = counter.starts(document.text)
        self.costs, self.tokens = _word_costs(document, starts), len(starts)

    @cached_property
    def shingles(self) -> list[list[int]]:
        """Runs of words by unit, to find repetitions."""
        return unit_shingles(self.document)

    @cached_property
    def terms(self) -> list[Counter[str]]:
        """How often each unit has which term, to match a question's."""
        return [Counter(terms) for terms in unit_terms(self.document)]

    @cached_property
    def structured(self) -> BoolArray:
        """Which units are lines of code, rows of tables and the like. Shape: `(units,)`."""
        return structured_units(self.document)

    @cached_property
    def enclosing(self) -> IntArray:
        """The unit that each unit stands under by its indentation, -1 for none. Shape: `(units,)`."""
        return enclosing_units(self.document)


class TextCache:
    """The texts of the last calls, prepared; the least recently used give way. Safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        """Keep about `max_bytes`; 0 keeps none."""
        self._texts: LRUCache[str, PreparedText] = LRUCache(max_bytes // _BYTES_PER_CHARACTER, getsizeof=_characters)
        self._lock = threading.Lock()

    def prepare(self, text: str, counter: TokenCounter) -> PreparedText:
        """The prepared text, known or new; all texts must come with the same counter."""
        with self._lock:
            known = self._texts.get(text)
        if known is not None:
            return known
        fresh = PreparedText(segment(text), counter)
        with self._lock, contextlib.suppress(ValueError):  # longer than the whole cache
            return self._texts.setdefault(text, fresh)
        return fresh


def _characters(text: PreparedText) -> int:
    return max(len(text.document.text), 1)


def _word_costs(document: SegmentedText, token_starts: IntArray) -> IntArray:
    """Tokens per word in the source; a token counts for the word in which, or before which, it starts."""
    owners = np.searchsorted(document.word_ends, token_starts, side="right")
    return np.bincount(owners, minlength=len(document) + 1)[: len(document)]

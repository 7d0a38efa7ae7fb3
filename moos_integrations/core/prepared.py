"""A text looked at once: its words and units, its rendering, its cost in tokens; kept for the next call."""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import cached_property

import numpy as np
from cachetools import LRUCache

from moos_integrations.core.lexical import page_furniture, unit_statements, unit_terms
from moos_integrations.core.rendering import Renderer
from moos_integrations.core.text import segment, well_formed
from moos_integrations.core.thinning import droppable_words, follows_word
from moos_integrations.core.threads import Lock, without_collection
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import BoolArray, IntArray, Kind, SegmentedText

_CLOSING = " \t\r\n\"'”’»)]*_`>"
_ASKING, _INTRODUCING = ("?", "？", "؟"), (":", "：")
_SPOKEN = (Kind.ITEM, Kind.QUESTION, Kind.SPEAKER)
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
        # Offsets need well-formed text, and counts are those of the text as it is.
        exact = counter.locates and well_formed(document.text) == document.text
        self.tokens = len(starts) if exact else counter.count(document.text)
        costs = _word_costs(document, starts)
        self.costs = costs if counter.locates else _scaled(costs, self.tokens)

    @cached_property
    def statements(self) -> list[tuple[str, ...]]:
        """What each unit says, word by word, to find repetitions."""
        return unit_statements(self.document)

    @cached_property
    def asks(self) -> BoolArray:
        """Which units end in a question mark. Shape: `(units,)`."""
        text = self.document.text
        spans = zip(self.document.unit_starts.tolist(), self.document.unit_ends.tolist(), strict=True)
        return np.array([text[start:end].rstrip(_CLOSING)[-1:] in _ASKING for start, end in spans], bool)

    @cached_property
    def terms(self) -> list[dict[str, int]]:
        """How often each unit has which term, to match a question's."""
        # Plain dicts: unlike a `Counter`, Python's garbage collector need not look at each of them ever after.
        return [{term: times for term, times in Counter(terms).items()} for terms in unit_terms(self.document)]  # noqa: C416

    @cached_property
    def furniture(self) -> BoolArray:
        """Which units are parts of a page and not of what it says. Shape: `(units,)`."""
        return np.array(page_furniture(self.document), bool)

    @cached_property
    def needs_first(self) -> BoolArray:
        """Which units say nothing without the first unit of what they introduce: they end in ":" or "?".

        Shape: `(units,)`.
        """
        document = self.document
        flags = self.asks & (document.unit_leads_to >= 0)
        for unit in np.flatnonzero((document.unit_leads_to >= 0) & ~self.asks).tolist():
            end = document.text[int(document.unit_starts[unit]) : int(document.unit_ends[unit])].rstrip(_CLOSING)[-1:]
            prose = not document.unit_structured[unit] or document.unit_kinds[unit] in _SPOKEN
            flags[unit] = prose and end in _INTRODUCING
        return flags

    @cached_property
    def droppable(self) -> BoolArray:
        """Which words a thinned sentence may lose. Shape: `(words,)`."""
        return droppable_words(self.document)

    @cached_property
    def attached(self) -> BoolArray:
        """Marks that enter with the word that they are behind where a sentence is thinned. Shape: `(words,)`."""
        return follows_word(self.document)


class TextCache:
    """The texts of the last calls, prepared; the least recently used give way. Safe to share between threads."""

    def __init__(self, max_bytes: int) -> None:
        """Keep about `max_bytes`; 0 keeps none."""
        self._size = max_bytes // _BYTES_PER_CHARACTER
        self._texts = self._empty()
        self._lock = Lock()

    def _empty(self) -> LRUCache[str, PreparedText]:
        return LRUCache(self._size, getsizeof=_characters)

    def prepare(self, text: str, counter: TokenCounter) -> PreparedText:
        """The prepared text, known or new; all texts must come with the same counter."""
        with self._lock as intact:
            if not intact:
                self._texts = self._empty()
            known = self._texts.get(text)
        if known is not None:
            return known
        with without_collection(len(text)):
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


def _scaled(costs: IntArray, tokens: int) -> IntArray:
    """Costs in the same proportions that sum up to a number of tokens. Shape: `(words,)`."""
    upto = np.concatenate([[0], np.cumsum(costs)])
    return np.diff(np.rint(upto * (tokens / max(int(upto[-1]), 1)))).astype(np.int64)

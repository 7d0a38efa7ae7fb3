"""The documents of one request as output: rendered, joined and counted in the target LLM's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moos_integrations.core.prepared import PreparedText
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import (
    BoolArray,
    CompressedDocument,
    SegmentedText,
    Selection,
    Span,
)


class Output:
    """Renders and counts the documents of one request.

    Attributes:
        costs: Per document, about how many tokens each word costs. Shape of each: `(words,)`.
        original_tokens: Exact number of tokens of the sources, joined in their own order.
        whole_tokens: The same, in the order of the output.
        order: Indices of the documents as they are joined.
    """

    def __init__(
        self,
        texts: Sequence[PreparedText],
        counter: TokenCounter,
        separator: str,
        order: Sequence[int] | None = None,
    ) -> None:
        """Count the whole.

        Args:
            texts: The documents.
            counter: Of the target LLM.
            separator: What the prompt puts between documents.
            order: Indices of the documents as the prompt joins them; None for their own order.
        """
        self._texts, self._counter, self._separator = texts, counter, separator
        self.order = tuple(range(len(texts)) if order is None else order)
        self._last: list[tuple[bytes, list[Span], str]] = [(b"", [], "")] * len(texts)
        self.costs = [own.costs for own in texts]
        sources = [own.document.text for own in texts]
        self.original_tokens = self.whole_tokens = counter.count(joined(sources, separator))
        if self.order != tuple(range(len(texts))):
            self.whole_tokens = counter.count(joined([sources[index] for index in self.order], separator))

    def text(self, kept: Sequence[BoolArray]) -> str:
        """The joined output."""
        return joined([self._rendered(index, kept[index])[1] for index in self.order], self._separator)

    def _rendered(self, index: int, kept: BoolArray) -> tuple[list[Span], str]:
        """One document's spans and text. A search for the cut changes few documents from one try to the next."""
        key = kept.tobytes()
        if self._last[index][0] != key:
            renderer = self._texts[index].renderer
            spans = renderer.spans(kept)
            self._last[index] = key, spans, renderer.text(spans)
        return self._last[index][1:]

    def measure(self, kept: Sequence[BoolArray]) -> int:
        """Its tokens."""
        return self._counter.count(self.text(kept))

    def render(self, selection: Selection) -> tuple[tuple[CompressedDocument, ...], str]:
        """The compressed documents, and their texts joined."""
        documents = tuple(self._document(index, selection) for index in range(len(self._texts)))
        return documents, joined([documents[index].text for index in self.order], self._separator)

    def _document(self, index: int, selection: Selection) -> CompressedDocument:
        own, kept = self._texts[index], selection.kept[index]
        document, tokens = own.document, own.tokens
        if selection.whole:
            return CompressedDocument(index, document.text, whole(document.text), tokens, tokens, ())
        spans, text = self._rendered(index, kept)
        return CompressedDocument(
            index, text, tuple(spans), tokens, self._counter.count(text), _dropped_units(document, kept)
        )


def joined(texts: Sequence[str], separator: str) -> str:
    """The texts as the prompt joins them; empty ones leave no separator."""
    return separator.join([text for text in texts if text])


def whole(text: str) -> tuple[Span, ...]:
    """The one span of a text that is kept as it is."""
    return ((0, len(text)),) if text else ()


def _dropped_units(document: SegmentedText, kept: BoolArray) -> tuple[Span, ...]:
    first = document.unit_of_word
    # A word may straddle the end of a unit; kept, it saves the unit in which it ends as well.
    last = np.searchsorted(document.unit_starts, document.word_ends - 1, side="right") - 1
    empty = np.bincount(first, minlength=len(document.unit_starts)) > 0
    empty[first[kept]] = empty[last[kept]] = False
    dropped = np.flatnonzero(empty)
    return tuple(zip(document.unit_starts[dropped].tolist(), document.unit_ends[dropped].tolist(), strict=True))

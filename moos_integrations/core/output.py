"""The documents of one request as output: rendered, joined and counted in the target LLM's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from moos_integrations.core.gaps import Omissions
from moos_integrations.core.omission import MarkTemplate, OmissionMark
from moos_integrations.core.rendering import Gap
from moos_integrations.core.result import CompressedDocument
from moos_integrations.core.table import Table
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import BoolArray, SegmentedText, Selection, Span


class Rendered(NamedTuple):
    """One document as it is sent: its text, the spans of the source in it, and the omission marks between them."""

    text: str
    spans: tuple[Span, ...] = ()
    marks: tuple[OmissionMark, ...] = ()


class Output:
    """Renders and counts the documents of one request; the `Measure` of its selection.

    With a template for omission marks, all that is counted has its marks.

    Attributes:
        order: Indices of the documents as they are joined.
        original_tokens: Exact number of tokens of the sources, joined in source order.
        whole_tokens: The same, in the order of the output.
        separator_tokens: Tokens of the separator by itself.
        estimate_is_close: Whether the tokenizer has the offsets of its tokens.
        mark_tokens: About how many tokens an omission mark costs; 0 without marks.
    """

    def __init__(
        self,
        table: Table,
        counter: TokenCounter,
        separator: str,
        order: Sequence[int] | None = None,
        omission: str | None = None,
    ) -> None:
        """Count the sources.

        Args:
            table: The request.
            counter: Of the target LLM.
            separator: What the prompt puts between documents.
            order: Indices of the documents as the prompt joins them; None for source order.
            omission: Template of the marks for what is left out; None for no marks.
        """
        self._table, self._counter, self._separator = table, counter, separator
        self.order = tuple(range(table.documents) if order is None else order)
        self._last: list[tuple[bytes, Rendered]] = [(b"", Rendered(""))] * table.documents
        self._omissions = None if omission is None else Omissions(table, MarkTemplate(omission), counter)
        self.mark_tokens = self._omissions.tokens if self._omissions else 0
        sources = [text.document.text for text in table.texts]
        self.original_tokens = self.whole_tokens = counter.count(joined(sources, separator))
        if self.order != tuple(range(table.documents)):
            self.whole_tokens = counter.count(joined([sources[index] for index in self.order], separator))
        self.separator_tokens, self.estimate_is_close = counter.count(separator), counter.locates

    def text(self, kept: BoolArray) -> str:
        """The joined output.

        Args:
            kept: True for kept words. Shape: `(words,)`.
        """
        flags = self._table.by_document(self._closed(kept))
        return joined([self._rendered(index, flags[index]).text for index in self.order], self._separator)

    def tokens(self, kept: BoolArray) -> int:
        """Its exact number of tokens."""
        return self._counter.count(self.text(kept))

    def render(self, selection: Selection) -> tuple[tuple[CompressedDocument, ...], str]:
        """The compressed documents, and their texts joined."""
        flags = self._table.by_document(selection.kept)
        documents = tuple(
            self._whole(index) if selection.whole else self._part(index, kept) for index, kept in enumerate(flags)
        )
        return documents, joined([documents[index].text for index in self.order], self._separator)

    def completed(self, selection: Selection) -> Selection:
        """A selection with the gaps kept that cost no more than their marks, and earlier marks in the gaps beside them.

        Without marks it is the same.
        """
        if self._omissions is None or selection.whole:
            return selection
        kept = self._omissions.closed(selection.kept)
        return replace(selection, kept=kept, restored=kept & ~selection.kept, absorbed=selection.kept & ~kept)

    @property
    def has_earlier_marks(self) -> bool:
        """Whether a source has omission marks from an earlier pass."""
        return self._omissions is not None and self._omissions.has_earlier

    def _closed(self, kept: BoolArray) -> BoolArray:
        return kept if self._omissions is None else self._omissions.closed(kept)

    def _rendered(self, index: int, kept: BoolArray) -> Rendered:
        """One document. A search for the cut changes few documents from one try to the next."""
        key = kept.tobytes()
        if self._last[index][0] != key:
            renderer = self._table.texts[index].renderer
            if self._omissions is None:
                spans = renderer.spans(kept)
                rendered = Rendered(renderer.text(spans), tuple(spans))
            else:
                rendered = self._with_marks(index, renderer.pieces(kept), self._omissions)
            self._last[index] = key, rendered
        return self._last[index][1]

    def _with_marks(self, index: int, pieces: Sequence[Span | Gap], omissions: Omissions) -> Rendered:
        document = self._table.texts[index].document
        texts, spans, marks, length = [], [], [], 0
        for piece in pieces:
            if isinstance(piece, Gap):
                text, count, unit = omissions.mark(index, piece)
                omitted = int(document.word_starts[piece.first]), int(document.word_ends[piece.last])
                marks.append(OmissionMark(length, length + len(text), omitted, count, unit))
            else:
                text = document.text[slice(*piece)]
                spans.append(piece)
            texts.append(text)
            length += len(text)
        return Rendered("".join(texts), tuple(spans), tuple(marks))

    def _whole(self, index: int) -> CompressedDocument:
        text, tokens = self._table.texts[index].document.text, self._table.texts[index].tokens
        return CompressedDocument(index, text, whole(text), tokens, tokens, ())

    def _part(self, index: int, kept: BoolArray) -> CompressedDocument:
        source = self._table.texts[index]
        text, spans, marks = self._rendered(index, kept)
        dropped = _dropped_units(source.document, kept)
        return CompressedDocument(index, text, spans, source.tokens, self._counter.count(text), dropped, marks)


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

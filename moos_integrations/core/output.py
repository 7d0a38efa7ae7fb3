"""The documents of one request as output: rendered, joined and counted in the target LLM's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from moos_integrations.core.gaps import Omissions
from moos_integrations.core.omission import MarkTemplate, OmissionMark
from moos_integrations.core.prompt import PromptFormat
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

    With a template for omission marks, all that is counted has its marks; with a prompt's format, it is formatted.

    Attributes:
        order: Indices of the documents as they are joined.
        original_tokens: Exact number of tokens of the sources, joined in the order of the output.
        whole_tokens: The same, as the prompt shows them.
        empty_tokens: Exact number of tokens of an output of which nothing is kept.
        document_tokens: About how many tokens the first word of each document adds. Shape: `(documents,)`.
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
        prompt: PromptFormat | None = None,
        relevance: Sequence[float | None] | None = None,
    ) -> None:
        """Count the sources.

        Args:
            table: The request.
            counter: Of the target LLM.
            separator: What the prompt puts between documents.
            order: Indices of the documents as the prompt joins them; None for source order.
            omission: Template of the marks for what is left out; None for no marks.
            prompt: How the prompt shows the documents, if that is to be counted; None to count the texts.
            relevance: Of each document; None for none.
        """
        self._table, self._counter, self._separator = table, counter, separator
        self.order = tuple(range(table.documents) if order is None else order)
        self._prompt, self._relevance = prompt, relevance or (None,) * table.documents
        self._last: list[tuple[bytes, Rendered]] = [(b"", Rendered(""))] * table.documents
        self._shown: list[tuple[bytes | None, str | None]] = [(None, None)] * table.documents
        self._omissions = None if omission is None else Omissions(table, MarkTemplate(omission), counter)
        self.mark_tokens = self._omissions.tokens if self._omissions else 0
        sources = [text.document.text for text in table.texts]
        # In the order of the output: in another one tokens may merge elsewhere, and a rate of 1.0 would not keep all.
        self.original_tokens = counter.count(joined([sources[index] for index in self.order], separator))
        self.whole_tokens, self.empty_tokens, self.estimate_is_close = self.original_tokens, 0, counter.locates
        self.document_tokens = np.full(table.documents, counter.count(separator), np.int64)
        if prompt is not None:
            self._count_prompt(prompt)

    def _count_prompt(self, prompt: PromptFormat) -> None:
        """Count what the prompt adds to the texts."""
        everything = [self._whole(index) for index in range(self._table.documents)]
        self.whole_tokens = self._counter.count(prompt.joined([everything[index] for index in self.order]))
        self.empty_tokens = self.tokens(np.zeros(self._table.words, bool))
        self.document_tokens = np.array([self._added(prompt, document) for document in everything], np.int64)

    def _added(self, prompt: PromptFormat, document: CompressedDocument) -> int:
        """About how many tokens the prompt needs for a document besides its text, if something of it is kept."""
        added = self._counter.count(prompt.of(document)) - document.original_tokens
        if document.index in prompt.always:
            return max(added - self._counter.count(prompt.of(self._nothing_of(document.index))), 0)
        return max(added + self._counter.count(prompt.separator), 0)

    def text(self, kept: BoolArray) -> str:
        """The joined output, as it is counted.

        Args:
            kept: True for kept words. Shape: `(words,)`.
        """
        flags = self._table.by_document(self._closed(kept))
        if self._prompt is None:
            return joined([self._rendered(index, flags[index]).text for index in self.order], self._separator)
        found = [self._formatted(index, flags[index], self._prompt) for index in self.order]
        return self._prompt.separator.join([text for text in found if text is not None])

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
            elif renderer.is_json:
                rendered = self._with_json_marks(index, renderer.spans(kept), self._omissions)
            else:
                rendered = self._with_marks(index, renderer.pieces(kept), self._omissions)
            self._last[index] = key, rendered
        return self._last[index][1]

    def _formatted(self, index: int, kept: BoolArray, prompt: PromptFormat) -> str | None:
        """What the prompt shows of one document; None for nothing."""
        key = kept.tobytes()
        if self._shown[index][0] != key:
            document = self._part(index, kept)
            self._shown[index] = key, prompt.of(document) if prompt.shows(document) else None
        return self._shown[index][1]

    def _with_marks(self, index: int, pieces: Sequence[Span | Gap], omissions: Omissions) -> Rendered:
        document = self._table.texts[index].document
        texts, spans, marks, length = [], [], [], 0
        for piece in pieces:
            if isinstance(piece, Gap):
                text, count, unit, lines = omissions.mark(index, piece)
                omitted = int(document.word_starts[piece.first]), int(document.word_ends[piece.last])
                marks.append(OmissionMark(length, length + len(text), omitted, count, unit, lines))
            else:
                text = document.text[slice(*piece)]
                spans.append(piece)
            texts.append(text)
            length += len(text)
        return Rendered("".join(texts), tuple(spans), tuple(marks))

    def _with_json_marks(self, index: int, kept: Sequence[Span], omissions: Omissions) -> Rendered:
        source, waiting = self._table.texts[index].document.text, omissions.in_json(index, kept)[::-1]
        texts: list[str] = []
        spans: list[Span] = []
        marks, length = [], 0
        for start, end in kept:
            cuts = [start]
            while waiting and waiting[-1][0] <= end:
                place, text, mark = waiting.pop()
                texts += [source[cuts[-1] : place], text]
                spans.append((cuts[-1], place))
                length += place - cuts[-1]
                marks.append(replace(mark, start=length, end=length + len(text)))
                length += len(text)
                cuts.append(place)
            texts.append(source[cuts[-1] : end])
            spans.append((cuts[-1], end))
            length += end - cuts[-1]
        return Rendered("".join(texts), tuple(span for span in spans if span[0] < span[1]), tuple(marks))

    def _whole(self, index: int) -> CompressedDocument:
        text, tokens = self._table.texts[index].document.text, self._table.texts[index].tokens
        return CompressedDocument(index, text, whole(text), tokens, tokens, (), relevance=self._relevance[index])

    def _nothing_of(self, index: int) -> CompressedDocument:
        return self._part(index, np.zeros(len(self._table.texts[index].document), bool))

    def _part(self, index: int, kept: BoolArray) -> CompressedDocument:
        source = self._table.texts[index]
        text, spans, marks = self._rendered(index, kept)
        dropped = _dropped_units(source.document, kept)
        tokens = self._counter.count(text)
        return CompressedDocument(
            index, text, spans, source.tokens, tokens, dropped, marks, relevance=self._relevance[index]
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

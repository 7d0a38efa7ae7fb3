"""What the user gets back: compressed documents, citations, counts, and the way back into the sources."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from moos_integrations.core.citations import Place, places_in, places_of
from moos_integrations.core.explain import Explanation
from moos_integrations.core.omission import OmissionMark
from moos_integrations.core.provenance import Within
from moos_integrations.core.reasons import Header
from moos_integrations.core.terminal import plain_result
from moos_integrations.core.types import Span
from moos_integrations.core.views import marked_html, page, result_html
from moos_integrations.errors import CompressionError, InputError
from moos_integrations.messages import Notice

PASSED_THROUGH = "passed through"
"""Kind of the warning that documents are unchanged because compression failed."""
NOTHING_RELEVANT = "nothing relevant"
"""Kind of the warning that no document reaches `min_relevance`, so that nothing is kept."""


@dataclass(frozen=True, slots=True)
class Citation:
    """The place of a quote in a source document.

    Attributes:
        document: Index of the document.
        start: Offset in code points into the text that `within` names.
        end: Offset behind the last character.
        text: The compressed text of this place; words of the source may have been dropped in between, and omission
            marks may lie there.
        coverage: Share of the quote's words that are there, in (0, 1]; higher is better.
        id: The document's or node's id, set by the adapters; None without one.
        within: What `start` and `end` count in. "document": the source document; in the adapters, the one that the node
            or chunk was cut from. "node": the node or chunk before compression. "text": the text as it is now, because
            nothing is known of an earlier one.
    """

    document: int
    start: int
    end: int
    text: str
    coverage: float
    id: str | None = None
    within: Within = "document"


@dataclass(frozen=True, slots=True, repr=False)
class CompressedDocument:
    """One compressed document: a character subsequence of its source, omission marks apart.

    Attributes:
        index: Position of the source in the input.
        text: The kept text with its omission marks; empty if the document was dropped.
        spans: Source spans whose concatenation is `text` without its marks.
        original_tokens: Tokens of the source in the target LLM's tokenizer.
        kept_tokens: Tokens of `text`, marks included.
        dropped_units: Source spans of the sentences or lines of which no word was kept.
        marks: The omission marks in `text`, in order; none unless `omission` is set.
        relevance: How likely it answers the question, in log-odds: 0 is an even chance. Of a model without a
            calibration it is how much the question needs the best sentence or line. None without a question.
        passed_through: Compression failed on it, and it is unchanged (`on_error="passthrough"`).
    """

    index: int
    text: str
    spans: tuple[Span, ...]
    original_tokens: int
    kept_tokens: int
    dropped_units: tuple[Span, ...]
    marks: tuple[OmissionMark, ...] = ()
    relevance: float | None = None
    passed_through: bool = False

    def __repr__(self) -> str:
        """Short: the spans of a long document would fill the screen."""
        start = self.text if len(self.text) <= 60 else f"{self.text[:60]}..."
        return f"CompressedDocument({self.index}: {self.original_tokens} -> {self.kept_tokens} tokens, {start!r})"

    @property
    def dropped(self) -> bool:
        """True if nothing of the document was kept."""
        return not self.text

    def to_source(self, position: int) -> int:
        """Map a position of `text` to the source.

        Args:
            position: Offset into `text`, from 0 to `len(text)`; `len(text)` maps to the end of the last kept span.

        Returns:
            Offset into the source document, in code points.

        Raises:
            IndexError: If the position lies outside `text`.
            InputError: If it lies in an omission mark, which has no place in the source.
        """
        if not 0 <= position <= len(self.text):
            raise IndexError(f"Expected a position from 0 to {len(self.text)}, got {position}.")
        for mark in self.marks:
            if mark.start <= position < mark.end:
                raise InputError(
                    f"Position {position} lies in the omission mark {self.text[mark.start : mark.end]!r}, which has no "
                    "place in the source; `marks` has what it is for."
                )
        return self._in_source(position - sum(mark.end - mark.start for mark in self.marks if mark.end <= position))

    def cite(self, quote: str, *, min_coverage: float = 0.5) -> list[Citation]:
        """Find a quote in the kept text, and its place in the source; see `CompressionResult.cite`."""
        if not isinstance(quote, str):
            raise InputError(f"A quote must be a string, got {type(quote).__name__}.")
        places = places_of(quote, self._without_marks(), min_coverage)
        if self.marks and not any(coverage == 1 for _, _, coverage in places):
            places = places_of(self._words_without_marks(quote), self._without_marks(), min_coverage)
        return [self._citation(place) for place in places]

    def _citation(self, place: Place) -> Citation:
        """The citation of a place in the text without its marks."""
        start, end, coverage = place
        # The end is mapped from the last character: behind it, text may have been dropped.
        return Citation(
            self.index, self._in_source(start), self._in_source(end - 1) + 1, self._shown(start, end), coverage
        )

    def _in_source(self, position: int) -> int:
        """Map a position of the text without its marks to the source."""
        if not self.spans:
            return 0
        lengths = list(accumulate((end - start for start, end in self.spans), initial=0))
        span = min(bisect_right(lengths, position) - 1, len(self.spans) - 1)
        return self.spans[span][0] + position - lengths[span]

    def _without_marks(self) -> str:
        borders = [0, *(border for mark in self.marks for border in (mark.start, mark.end)), len(self.text)]
        return "".join(self.text[start:end] for start, end in zip(borders[::2], borders[1::2], strict=True))

    def _words_without_marks(self, quote: str) -> str:
        """A quote without the marks that an LLM has copied with it."""
        for text in sorted({self.text[mark.start : mark.end] for mark in self.marks}, key=len, reverse=True):
            quote = quote.replace(text, " ")
        return quote

    def _shown(self, start: int, end: int) -> str:
        """The part of the text, marks included, that positions without marks name."""
        first, last = start, end - 1
        for mark in self.marks:
            first += (mark.end - mark.start) * (mark.start <= first)
            last += (mark.end - mark.start) * (mark.start <= last)
        return self.text[first : last + 1]


@dataclass(frozen=True, slots=True, repr=False)
class CompressionResult:
    """What `ContextCompressor.compress` returns.

    Attributes:
        documents: One per input document, in input order, the dropped ones included (with empty text).
        text: The kept documents joined by the separator, as the prompt will join them.
        original_tokens: Tokens of the input, joined in the order of `text`.
        kept_tokens: Tokens of `text`: the number that the ceiling limits, unless there is a prompt's format.
        protected_tokens: Tokens of protected words that would have been dropped without `protect`.
        seconds: Wall time of the call.
        warnings: What could not be done as requested: strings with an attribute `kind`.
        order: Indices of the documents in their order in `text`.
        left_alone: True if the input was too small to compress (`min_tokens`), so that the documents are unchanged.
    """

    documents: tuple[CompressedDocument, ...]
    text: str
    original_tokens: int
    kept_tokens: int
    protected_tokens: int
    seconds: float
    warnings: tuple[Notice, ...] = ()
    order: tuple[int, ...] = ()
    left_alone: bool = False
    _explanation: Explanation | Callable[[], Explanation] | None = field(default=None, repr=False, compare=False)
    _formatted: tuple[str, int] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """The counts, and the number of warnings."""
        notes = ", left alone" if self.left_alone else ""
        notes += f", {len(self.warnings)} warning(s)" if self.warnings else ""
        return (
            f"CompressionResult({len(self.documents)} documents, {self.original_tokens} -> {self.kept_tokens} tokens, "
            f"{1000 * self.seconds:.0f} ms{notes})"
        )

    @property
    def rate(self) -> float:
        """Share of the tokens that was kept, in [0, 1]; 1.0 for empty input."""
        return self.kept_tokens / self.original_tokens if self.original_tokens else 1.0

    @property
    def context(self) -> str:
        """The documents as the prompt shows them (`PromptFormat`); without a format the same as `text`."""
        return self.text if self._formatted is None else self._formatted[0]

    @property
    def context_tokens(self) -> int:
        """Tokens of `context`: the number that `budget_tokens` limits."""
        return self.kept_tokens if self._formatted is None else self._formatted[1]

    @property
    def dropped_documents(self) -> tuple[int, ...]:
        """Indices of the documents of which nothing was kept; no omission mark is written for them."""
        return tuple(document.index for document in self.documents if document.dropped)

    def summary(self) -> dict[str, Any]:
        """The counts of the call, JSON-ready, for events and traces."""
        return {
            "documents": len(self.documents),
            "dropped_documents": list(self.dropped_documents),
            "original_tokens": self.original_tokens,
            "kept_tokens": self.kept_tokens,
            "context_tokens": self.context_tokens,
            "protected_tokens": self.protected_tokens,
            "rate": self.rate,
            "seconds": self.seconds,
            "left_alone": self.left_alone,
            "warnings": list(self.warnings),
        }

    @property
    def passed_through(self) -> bool:
        """True if compression failed and all documents are unchanged (`on_error="passthrough"`)."""
        failed = any(notice.kind == PASSED_THROUGH for notice in self.warnings)
        return failed and all(document.passed_through for document in self.documents)

    @property
    def nothing_relevant(self) -> bool:
        """True if no document reaches `min_relevance`, so that nothing is kept: probably, nothing here answers."""
        return any(notice.kind == NOTHING_RELEVANT for notice in self.warnings)

    def cite(self, quote: str, *, min_coverage: float = 0.5) -> list[Citation]:
        """Find the source of a quoted piece of an answer.

        Words are compared without case and punctuation. A quote that an LLM has rewrapped is found too, also across
        dropped words, with "..." for words that were left out, and over two documents.

        Args:
            quote: A piece of an answer.
            min_coverage: Smallest share of the quote's words that a place must have in a row.

        Returns:
            Per document the places of the whole quote, or else the place of the longest run of its words. Places with
            most of the quote come first, then in document order. Of a quote that begins in one document and ends in
            another, both parts. Empty for a quote without words.

        Raises:
            InputError: If the quote is not a string.
        """
        if not isinstance(quote, str):
            raise InputError(f"A quote must be a string, got {type(quote).__name__}.")
        texts = [document._without_marks() for document in self.documents]
        places = places_in(quote, texts, min_coverage)
        if not any(coverage == 1 for _, (_, _, coverage) in places):
            places = places_in(self._words_without_marks(quote), texts, min_coverage)
        return [self.documents[index]._citation(place) for index, place in places]

    def _words_without_marks(self, quote: str) -> str:
        for document in self.documents:
            quote = document._words_without_marks(quote)
        return quote

    def explain(self) -> Explanation:
        """Every word with its scores, whether it was kept and why; notebooks and rich terminals show it in colour.

        If the input was left alone, the model runs now.

        Raises:
            CompressionError: If the documents were passed through unchanged, so that there are no scores.
        """
        if self._explanation is None:
            raise CompressionError("There are no scores to explain: the documents were passed through unchanged.")
        explanation = self._explanation() if callable(self._explanation) else self._explanation
        return explanation.with_header(self._header(explanation.question))

    # --- views -------------------------------------------------------------------------------------------------------

    def _header(self, question: str | None) -> Header:
        return Header(
            original_tokens=self.original_tokens,
            kept_tokens=self.kept_tokens,
            seconds=self.seconds,
            documents=len(self.documents),
            dropped_documents=len(self.dropped_documents),
            target=self._explanation.target if isinstance(self._explanation, Explanation) else None,
            question=question,
            warnings=self.warnings,
            left_alone=self.left_alone,
        )

    @property
    def _known_question(self) -> str | None:
        return self._explanation.question if isinstance(self._explanation, Explanation) else None

    def _source_of(self, document: CompressedDocument) -> str:
        """A document before compression."""
        if isinstance(self._explanation, Explanation) and not document.passed_through:
            return self._explanation.source(document.index)
        return document.text

    def highlight(self, document: int) -> str:
        """A source with its kept text marked, as HTML for your application's users.

        Kept text is in `<mark>`, the other text in `<del>`; style both as you like. All text is escaped. White space
        counts: show it with `white-space: pre-wrap`.

        Args:
            document: Index of the document.

        Raises:
            IndexError: If there is no such document.
        """
        own = self.documents[document]
        return marked_html(self._source_of(own), own.spans)

    def _repr_html_(self) -> str:
        """The counts, and the sources with their kept text marked; `explain()` shows why.

        At most 100,000 characters of the sources; it says how many are left.
        """
        sources = [
            (f"[{own.index}] {own.original_tokens:,} -> {own.kept_tokens:,} tokens", self._source_of(own), own.spans)
            for own in self.documents
        ]
        return result_html(self._header(self._known_question), sources)

    def to_html(self) -> str:
        """The view as a page for a browser; it loads nothing from elsewhere."""
        return page("What was kept", self._repr_html_())

    def __str__(self) -> str:
        """The counts, the warnings and the kept text, for `print`; of a long text its first 100,000 characters."""
        return plain_result(self._header(self._known_question), self.text)

    def __iter__(self) -> Iterator[CompressedDocument]:
        """Iterate over the documents."""
        return iter(self.documents)

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.documents)

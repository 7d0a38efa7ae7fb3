"""What the user gets back: compressed documents, citations, counts, and the way back into the sources."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from moos_integrations.core.citations import places_of
from moos_integrations.core.explain import Explanation
from moos_integrations.core.types import Span
from moos_integrations.errors import CompressionError, InputError
from moos_integrations.messages import Notice

PASSED_THROUGH = "passed through"
"""Kind of the warning that documents are unchanged because compression failed."""


@dataclass(frozen=True, slots=True)
class Citation:
    """The place of a quote in a source document.

    Attributes:
        document: Index of the document.
        start: Offset into the source document, in code points.
        end: Offset behind the last character.
        text: The compressed text of this place; words of the source may have been dropped in between.
        coverage: Share of the quote's words that are there in a row, in (0, 1]; higher is better.
        id: The document's id, set by the adapters; None without one.
    """

    document: int
    start: int
    end: int
    text: str
    coverage: float
    id: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CompressedDocument:
    """One compressed document: a character subsequence of its source.

    Attributes:
        index: Position of the source in the input.
        text: The kept text; empty if the document was dropped.
        spans: Source spans whose concatenation is `text`.
        original_tokens: Tokens of the source in the target LLM's tokenizer.
        kept_tokens: Tokens of `text`.
        dropped_units: Source spans of the sentences or lines of which no word was kept.
        passed_through: Compression failed on it, and it is unchanged (`on_error="passthrough"`).
    """

    index: int
    text: str
    spans: tuple[Span, ...]
    original_tokens: int
    kept_tokens: int
    dropped_units: tuple[Span, ...]
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
        """
        if not 0 <= position <= len(self.text):
            raise IndexError(f"Expected a position from 0 to {len(self.text)}, got {position}.")
        if not self.spans:
            return 0
        lengths = list(accumulate((end - start for start, end in self.spans), initial=0))
        span = min(bisect_right(lengths, position) - 1, len(self.spans) - 1)
        return self.spans[span][0] + position - lengths[span]

    def cite(self, quote: str, *, min_coverage: float = 0.5) -> list[Citation]:
        """Find a quote in the kept text, and its place in the source; see `CompressionResult.cite`."""
        if not isinstance(quote, str):
            raise InputError(f"A quote must be a string, got {type(quote).__name__}.")
        return [
            # The end is mapped from the last character: behind it, text may have been dropped.
            Citation(self.index, self.to_source(start), self.to_source(end - 1) + 1, self.text[start:end], coverage)
            for start, end, coverage in places_of(quote, self.text, min_coverage)
        ]


@dataclass(frozen=True, slots=True, repr=False)
class CompressionResult:
    """What `ContextCompressor.compress` returns.

    Attributes:
        documents: One per input document, in input order, the dropped ones included (with empty text).
        text: The kept documents joined by the separator, as the prompt will join them.
        original_tokens: Tokens of the joined input.
        kept_tokens: Tokens of `text`: the number that the ceiling limits.
        protected_tokens: Tokens of protected words that would have been dropped without `protect`.
        seconds: Wall time of the call.
        warnings: What could not be done as requested: strings with an attribute `kind`.
        order: Indices of the documents in their order in `text`.
    """

    documents: tuple[CompressedDocument, ...]
    text: str
    original_tokens: int
    kept_tokens: int
    protected_tokens: int
    seconds: float
    warnings: tuple[Notice, ...] = ()
    order: tuple[int, ...] = ()
    _explanation: Explanation | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """The counts, and the number of warnings."""
        notes = f", {len(self.warnings)} warning(s)" if self.warnings else ""
        return (
            f"CompressionResult({len(self.documents)} documents, {self.original_tokens} -> {self.kept_tokens} tokens, "
            f"{1000 * self.seconds:.0f} ms{notes})"
        )

    @property
    def rate(self) -> float:
        """Share of the tokens that was kept, in [0, 1]; 1.0 for empty input."""
        return self.kept_tokens / self.original_tokens if self.original_tokens else 1.0

    def summary(self) -> dict[str, Any]:
        """The counts of the call, JSON-ready, for events and traces."""
        return {
            "documents": len(self.documents),
            "dropped_documents": [document.index for document in self.documents if document.dropped],
            "original_tokens": self.original_tokens,
            "kept_tokens": self.kept_tokens,
            "protected_tokens": self.protected_tokens,
            "rate": self.rate,
            "seconds": self.seconds,
            "warnings": list(self.warnings),
        }

    @property
    def passed_through(self) -> bool:
        """True if compression failed and all documents are unchanged (`on_error="passthrough"`)."""
        failed = any(notice.kind == PASSED_THROUGH for notice in self.warnings)
        return failed and all(document.passed_through for document in self.documents)

    def cite(self, quote: str, *, min_coverage: float = 0.5) -> list[Citation]:
        """Find the source of a quoted piece of an answer.

        Words are compared without case and punctuation. A quote that an LLM has rewrapped is found too, also across
        dropped words.

        Args:
            quote: A piece of an answer.
            min_coverage: Smallest share of the quote's words that a place must have in a row.

        Returns:
            Per document the places of the whole quote, or else the place of the longest run of its words. Places with
            most of the quote come first, then in document order. Empty for a quote without words.

        Raises:
            InputError: If the quote is not a string.
        """
        found = [place for document in self.documents for place in document.cite(quote, min_coverage=min_coverage)]
        return sorted(found, key=lambda place: -place.coverage)

    def explain(self) -> Explanation:
        """Every word with its scores, whether it was kept and why; notebooks and rich terminals show it in colour.

        Raises:
            CompressionError: If the documents were passed through unchanged, so that there are no scores.
        """
        if self._explanation is None:
            raise CompressionError("There are no scores to explain: the documents were passed through unchanged.")
        return self._explanation

    def __iter__(self) -> Iterator[CompressedDocument]:
        """Iterate over the documents."""
        return iter(self.documents)

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.documents)

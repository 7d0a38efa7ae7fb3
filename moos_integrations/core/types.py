"""The values that the stages hand to one another, and what the user gets back."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from moos_integrations.core.citations import places_of
from moos_integrations.errors import CompressionError, InputError

if TYPE_CHECKING:
    from moos_integrations.core.explain import Explanation

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Span = tuple[int, int]
"""Start and end in code points, end excluded."""
_UNKNOWN = np.empty(0, np.int64)


class Kind(IntEnum):
    """What a unit of text is.

    A unit may introduce what follows it, whatever its kind: `SegmentedText.unit_leads_to` has that.
    """

    SENTENCE = 0
    """A sentence of prose, over one or more lines."""
    BLANK = 1
    """White space before the first line of the text."""
    HEADING = 2
    """A heading or title, its underline included."""
    ITEM = 3
    """A list item with its continuation lines; of a long item, its first sentence."""
    QUESTION = 4
    """A question on a line of its own, or one that ends a turn of speech; its answer stands under it."""
    SPEAKER = 5
    """The first sentence behind a label: `Name: ...`, `A: ...`."""
    KEY_VALUE = 6
    """A line of settings: `key: value`, `key = value`, or a key alone."""
    HEADER_ROW = 7
    """The head of a table, its rule line included."""
    ROW = 8
    """A row of a table: pipes, a grid, CSV, tabs, columns of spaces."""
    CODE = 9
    """A line of code."""
    FENCE = 10
    """The opening or closing line of a fenced block."""
    LOG = 11
    """A line of a log, with its time or level."""
    TRACE = 12
    """A line of a stack trace."""
    DIFF = 13
    """A line of a diff, or the lines of its file header."""
    MARKUP = 14
    """A line or an element of HTML, XML or LaTeX."""
    JSON = 15
    """A member, item or bracket of JSON that was written in one line."""
    RULE = 16
    """A line that only separates, such as `---`."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedText:
    """A source text with the offsets of its words and units, and how the units hang together.

    The arrays on structure may be left out; the units are then plain sentences that do not hang together.

    Attributes:
        text: The source, never changed.
        word_starts: Shape: `(words,)`.
        word_ends: Shape: `(words,)`.
        unit_starts: Shape of this and all that follow: `(units,)`.
        unit_ends: Each is the start of the next unit; the last is the length of the text.
        unit_kinds: Values of `Kind`.
        unit_structured: Whether the unit is made of whole lines of structured text (code, tables, lists, settings),
            which only make sense whole.
        unit_parents: Index of the nearest unit that this one is under: heading, lead-in of its list, header row, key,
            opening line of its block, speaker, question. Always smaller than its own index; -1 for none.
        unit_leads_to: Index of the first unit of what this one introduces, always larger than its own; -1 if it
            introduces nothing.
        unit_leads_until: Index behind the last unit of what it introduces; -1 if it introduces nothing.
        unit_partners: Index of the other half of a pair (fences, brackets, tags, comment marks); -1 for none.
    """

    text: str
    word_starts: IntArray
    word_ends: IntArray
    unit_starts: IntArray
    unit_ends: IntArray
    unit_kinds: IntArray = field(default_factory=lambda: _UNKNOWN)
    unit_structured: BoolArray = field(default_factory=lambda: _UNKNOWN.astype(bool))
    unit_parents: IntArray = field(default_factory=lambda: _UNKNOWN)
    unit_leads_to: IntArray = field(default_factory=lambda: _UNKNOWN)
    unit_leads_until: IntArray = field(default_factory=lambda: _UNKNOWN)
    unit_partners: IntArray = field(default_factory=lambda: _UNKNOWN)

    def __post_init__(self) -> None:
        """Fill in the structure of units that came without."""
        units = len(self.unit_starts)
        for name in ("unit_kinds", "unit_structured"):
            if len(getattr(self, name)) != units:
                object.__setattr__(self, name, np.zeros(units, getattr(self, name).dtype))
        for name in ("unit_parents", "unit_leads_to", "unit_leads_until", "unit_partners"):
            if len(getattr(self, name)) != units:
                object.__setattr__(self, name, np.full(units, -1))

    def __len__(self) -> int:
        """Number of words."""
        return len(self.word_starts)

    @property
    def unit_of_word(self) -> IntArray:
        """Index of the unit in which each word starts. Shape: `(words,)`."""
        return np.searchsorted(self.unit_starts, self.word_starts, side="right") - 1

    def words(self) -> list[str]:
        """The words as strings."""
        text = self.text
        return [text[start:end] for start, end in zip(self.word_starts.tolist(), self.word_ends.tolist(), strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class WordScores:
    """Scores of one document's words, and of its units and itself for the query.

    Shape of each array, unless it says otherwise: `(words,)`; of `unit_similarity`: `(units,)`.

    Attributes:
        preserve: Preserve probability `p_k` in [0, 1].
        outlier: Normalised outlier score `s_k^norm` in [0, 1]; NaN where it was not computed (`alpha = 1`).
        metric: The compression metric `m_k = alpha * p_k + (1 - alpha) * s_k^norm` (MOOSComp).
        relevance: How likely the document answers the query, in [0, 1]; NaN where nothing tells, as without a query.
        unit_similarity: How near each unit is to the query, as log-odds that add to those of `preserve` and
            `relevance`; None where nothing tells.
        unit_vectors: What each unit says, as a vector to be compared with those of other units; None where nothing
            tells. Shape: `(units, width)`.
    """

    preserve: FloatArray
    outlier: FloatArray
    metric: FloatArray
    relevance: float = math.nan
    unit_similarity: FloatArray | None = None
    unit_vectors: npt.NDArray[np.float32] | None = None

    @property
    def tells_of_question(self) -> bool:
        """Whether a question was read: something is known of the document or its units for it."""
        return self.unit_similarity is not None or not math.isnan(self.relevance)

    @classmethod
    def from_preserve(cls, preserve: npt.ArrayLike) -> WordScores:
        """Scores of a plain classifier (`alpha = 1`); also the three-line way to write a `Scorer` of one's own."""
        values = np.asarray(preserve, np.float64)
        return cls(values, np.full(len(values), np.nan), values)


class Scorer(Protocol):
    """Anything that scores words. Everything behind it (selection, rendering, adapters) works without torch."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Score the words of each document, in order, one score per word.

        The scores of a document must not depend on the other documents.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What selection decided.

    Attributes:
        kept: Per document, True for kept words. Shape of each: `(words,)`.
        protected: Per document, True for words that `protect` names. Shape of each: `(words,)`.
        whole: Every word of every document is kept, so the sources are returned as they are.
        cutoff: Value of the worst word kept by its value; `-inf` if all are, `inf` if none is.
        value: What the words were ordered by: their metric, or what marginal gain makes of it. Shape of each:
            `(words,)`.
        warnings: Why the target could not be met, in words.
    """

    kept: list[BoolArray]
    protected: list[BoolArray]
    whole: bool
    cutoff: float
    value: list[FloatArray]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a quote stands in a source document.

    Attributes:
        document: Index of the document.
        start: Offset into the source document, in code points.
        end: Offset behind the last character.
        text: What stands there in the compressed text; words of the source may have been dropped in between.
        coverage: Share of the quote's words that stand there in a row, in (0, 1].
        id: The document's id, where it has one (the adapters').
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
    """

    index: int
    text: str
    spans: tuple[Span, ...]
    original_tokens: int
    kept_tokens: int
    dropped_units: tuple[Span, ...]

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
            position: Offset into `text`, from 0 to `len(text)`; the latter gives the end of the last kept span.

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
        """Find a quote in the kept text, and with it its place in the source; see `CompressionResult.cite`."""
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
        kept_tokens: Tokens of `text`: the number that the ceiling holds for.
        protected_tokens: Tokens spent on protected words that their metric alone would not have kept.
        seconds: Wall time of the call.
        warnings: What could not be done as asked, in words.
        order: Indices of the documents in the order in which `text` holds them.
    """

    documents: tuple[CompressedDocument, ...]
    text: str
    original_tokens: int
    kept_tokens: int
    protected_tokens: int
    seconds: float
    warnings: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    _explanation: Explanation | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """The counts, and how many warnings to look at."""
        notes = f", {len(self.warnings)} warning(s)" if self.warnings else ""
        return (
            f"CompressionResult({len(self.documents)} documents, {self.original_tokens} -> {self.kept_tokens} tokens, "
            f"{1000 * self.seconds:.0f} ms{notes})"
        )

    @property
    def rate(self) -> float:
        """Achieved share of the tokens that was kept; 1.0 for empty input."""
        return self.kept_tokens / self.original_tokens if self.original_tokens else 1.0

    def summary(self) -> dict[str, Any]:
        """The counts of the call, JSON-ready: what events and traces carry."""
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
        """True if compression failed and the documents are unchanged (`on_error="passthrough"`)."""
        return self._explanation is None

    def cite(self, quote: str, *, min_coverage: float = 0.5) -> list[Citation]:
        """Find where a quoted piece of an answer comes from.

        Words are compared without case and punctuation, so that a quote which an LLM has rewrapped is found, also
        across words that were dropped.

        Args:
            quote: A piece of an answer.
            min_coverage: Leave places out that hold less than this share of the quote's words in a row.

        Returns:
            Of each document the places that hold the whole quote, or else the one that holds the longest run of its
            words. Those that hold most of it come first, then in document order; none for a quote without words.

        Raises:
            InputError: If the quote is no string.
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

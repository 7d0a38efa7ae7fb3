"""The values between the stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from moos_integrations.messages import Notice

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Span = tuple[int, int]
"""Start and end in code points, end excluded."""
_UNKNOWN = np.empty(0, np.int64)
_UNITS = -1  # in a shape: as many as there are units


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
    """Scores of one document: of its words, and for the query of its units and of the whole.

    Shape of arrays over words: `(words,)`; of `unit_similarity`: `(units,)`.

    Attributes:
        preserve: Preserve probability `p_k` in [0, 1]; higher is kept first.
        outlier: Normalised outlier score `s_k^norm` in [0, 1]; NaN if not computed (`alpha = 1`).
        metric: The compression metric `m_k = alpha * p_k + (1 - alpha) * s_k^norm` (MOOSComp); higher is kept first.
        passage_probability: Probability that the document answers the query, in [0, 1]; NaN without a query or if
            unknown.
        unit_similarity: Similarity of each unit to the query, in log-odds that add to those of `preserve` and
            `passage_probability`; higher is nearer. None if unknown.
        unit_vectors: A vector per unit, to compare units with one another; None if unknown. Shape: `(units, width)`.
        passage_vectors: A vector per passage of the document, by a sentence encoder (`core.passages`); None if unknown.
            Shape: `(passages, width)`.
        cosines: Of the question with each unit's passage, and with the unit, by that encoder; None if unknown. Shape:
            `(units, 2)`.
        gates: Learnt weights of these cosines, in log-odds; None if the model has none. Shape: `(units, 2)`.
    """

    preserve: FloatArray
    outlier: FloatArray
    metric: FloatArray
    passage_probability: float = math.nan
    unit_similarity: FloatArray | None = None
    unit_vectors: npt.NDArray[np.float32] | None = None
    passage_vectors: npt.NDArray[np.float32] | None = None
    cosines: FloatArray | None = None
    gates: FloatArray | None = None

    @property
    def reads_question(self) -> bool:
        """Whether a question was read: there is a score of the document or of its units for it."""
        known = self.unit_similarity is not None or self.cosines is not None
        return known or not math.isnan(self.passage_probability)

    def misfit(self, document: SegmentedText) -> str:
        """The first field that cannot be of this document, by length or by a number that is not finite; "" for none.

        Outlier scores may be NaN: not computed.
        """
        words, units = len(document), len(document.unit_starts)
        for name in ("metric", "preserve", "outlier"):
            values = np.asarray(getattr(self, name))
            wrong = np.isinf(values) if name == "outlier" else ~np.isfinite(values)
            if values.shape != (words,) or wrong.any():
                return name
        if math.isinf(self.passage_probability):
            return "passage_probability"
        for name, shape in _SHAPES.items():
            values = getattr(self, name)
            if values is not None and not _fits(values, shape, units):
                return name
        return ""

    @classmethod
    def from_preserve(cls, preserve: npt.ArrayLike) -> WordScores:
        """Scores of a plain classifier (`alpha = 1`); also the short way to write a custom `Scorer`."""
        values = np.asarray(preserve, np.float64)
        return cls(values, np.full(len(values), np.nan), values)


_SHAPES: dict[str, tuple[int | None, ...]] = {
    "unit_similarity": (_UNITS,),
    "unit_vectors": (_UNITS, None),
    "passage_vectors": (None, None),
    "cosines": (_UNITS, 2),
    "gates": (_UNITS, 2),
}


def _fits(values: npt.ArrayLike, shape: tuple[int | None, ...], units: int) -> bool:
    """Whether an array has a shape, of which None is any length, and finite numbers only."""
    array = np.asarray(values)
    if array.ndim != len(shape) or not np.isfinite(array).all():
        return False
    wanted = [units if length == _UNITS else length for length in shape]
    return all(length in (None, found) for length, found in zip(wanted, array.shape, strict=True))


class Scorer(Protocol):
    """Anything that scores words. The stages after it (selection, rendering, adapters) work without torch."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Score the words of each document, in order, one score per word.

        The scores of a document must not depend on the other documents.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What selection decided about the words of a request.

    Attributes:
        kept: True for kept words. Shape: `(words,)`.
        whole: Every word of every document is kept, so the sources are returned as they are.
        cutoff: Value of the worst word kept by its value; `-inf` if all are, `inf` if none is.
        needed: Words that are kept because others need them; None for none. Shape: `(words,)`.
        filled: Words below the cut that fill what larger ones left of the budget; None for none. Shape: `(words,)`.
        restored: Words that are kept because an omission mark would cost more; None for none. Shape: `(words,)`.
        absorbed: Words of an earlier omission mark that are part of a new one; None for none. Shape: `(words,)`.
        warnings: Why the target could not be met.
    """

    kept: BoolArray
    whole: bool
    cutoff: float
    needed: BoolArray | None = None
    filled: BoolArray | None = None
    restored: BoolArray | None = None
    absorbed: BoolArray | None = None
    warnings: tuple[Notice, ...] = ()

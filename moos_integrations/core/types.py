"""The values between the stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from moos_integrations.messages import Notice

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Span = tuple[int, int]
"""Start and end in code points, end excluded."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedText:
    """A source text with the offsets of its words and units.

    Attributes:
        text: The source, never changed.
        word_starts: Shape: `(words,)`.
        word_ends: Shape: `(words,)`.
        unit_starts: Shape: `(units,)`.
        unit_ends: Shape: `(units,)`.
    """

    text: str
    word_starts: IntArray
    word_ends: IntArray
    unit_starts: IntArray
    unit_ends: IntArray

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
    """

    preserve: FloatArray
    outlier: FloatArray
    metric: FloatArray
    passage_probability: float = math.nan
    unit_similarity: FloatArray | None = None
    unit_vectors: npt.NDArray[np.float32] | None = None

    @property
    def reads_question(self) -> bool:
        """Whether a question was read: there is a score of the document or of its units for it."""
        return self.unit_similarity is not None or not math.isnan(self.passage_probability)

    @classmethod
    def from_preserve(cls, preserve: npt.ArrayLike) -> WordScores:
        """Scores of a plain classifier (`alpha = 1`); also the short way to write a custom `Scorer`."""
        values = np.asarray(preserve, np.float64)
        return cls(values, np.full(len(values), np.nan), values)


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
        warnings: Why the target could not be met.
    """

    kept: BoolArray
    whole: bool
    cutoff: float
    warnings: tuple[Notice, ...] = ()

"""The words and units of one request in flat arrays, built once: what gains, order and selection work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from moos_integrations.core.lexical import term_match
from moos_integrations.core.prepared import PreparedText
from moos_integrations.core.protection import protected_words
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, WordScores

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Table:
    """The documents of a request side by side; words and units are counted through all of them, in source order.

    Attributes:
        texts: The documents, prepared.
        scores: What the scorer says of each.
        word_borders: Index of each document's first word, and behind the last. Shape: `(documents + 1,)`.
        unit_borders: Index of each document's first unit, and behind the last. Shape: `(documents + 1,)`.
        document_of_word: Shape: `(words,)`.
        unit_of_word: Index among the units of all documents. Shape: `(words,)`.
        document_of_unit: Shape: `(units,)`.
        metric: The compression metric `m_k`. Shape: `(words,)`.
        cost: About how many tokens each word costs. Shape: `(words,)`.
        protected: True for words that `protect` names. Shape: `(words,)`.
    """

    texts: tuple[PreparedText, ...]
    scores: tuple[WordScores, ...]
    word_borders: IntArray
    unit_borders: IntArray
    document_of_word: IntArray
    unit_of_word: IntArray
    document_of_unit: IntArray
    metric: FloatArray
    cost: IntArray
    protected: BoolArray

    @classmethod
    def of(cls, texts: Sequence[PreparedText], scores: Sequence[WordScores], protect: Sequence[Any] = ()) -> Table:
        """Put documents and their scores side by side.

        Args:
            texts: The documents of a request.
            scores: One per document.
            protect: What must not be dropped; see `CompressorConfig.protect`.
        """
        documents = [text.document for text in texts]
        words = np.array([len(document) for document in documents], np.int64)
        units = np.array([len(document.unit_starts) for document in documents], np.int64)
        unit_borders = _borders(units)
        of_word = [document.unit_of_word + first for document, first in zip(documents, unit_borders, strict=False)]
        return cls(
            texts=tuple(texts),
            scores=tuple(scores),
            word_borders=_borders(words),
            unit_borders=unit_borders,
            document_of_word=np.repeat(np.arange(len(texts)), words),
            unit_of_word=_joined(of_word, np.int64),
            document_of_unit=np.repeat(np.arange(len(texts)), units),
            metric=_joined([score.metric for score in scores], np.float64),
            cost=_joined([text.costs for text in texts], np.int64),
            protected=_joined([protected_words(document, protect) for document in documents], np.bool_),
        )

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.texts)

    @property
    def words(self) -> int:
        """Number of words of all documents."""
        return len(self.metric)

    @property
    def units(self) -> int:
        """Number of units of all documents."""
        return len(self.document_of_unit)

    @property
    def reads_question(self) -> bool:
        """Whether the scorer read a question with any of the documents."""
        return any(score.reads_question for score in self.scores)

    @cached_property
    def preserve(self) -> FloatArray:
        """Preserve probability of each word. Shape: `(words,)`."""
        return _joined([score.preserve for score in self.scores], np.float64)

    @cached_property
    def passage_probability(self) -> FloatArray:
        """How likely each document answers the question; NaN if unknown. Shape: `(documents,)`."""
        return np.array([score.passage_probability for score in self.scores], np.float64)

    @cached_property
    def unit_similarity(self) -> FloatArray:
        """How near each unit is to the question, in log-odds; 0 if unknown. Shape: `(units,)`."""
        sizes = np.diff(self.unit_borders).tolist()
        columns = [
            np.zeros(size) if score.unit_similarity is None else score.unit_similarity
            for score, size in zip(self.scores, sizes, strict=True)
        ]
        return _joined(columns, np.float64)

    @cached_property
    def unit_vectors(self) -> FloatArray | None:
        """A vector per unit; None unless every document has them. Shape: `(units, width)`."""
        known = [np.asarray(score.unit_vectors, np.float64) for score in self.scores if score.unit_vectors is not None]
        return np.concatenate(known) if known and len(known) == len(self.scores) else None

    @cached_property
    def structured(self) -> BoolArray:
        """Which units are lines of code, rows of tables and the like. Shape: `(units,)`."""
        return _joined([text.structured for text in self.texts], np.bool_)

    @cached_property
    def enclosing(self) -> IntArray:
        """The unit that each unit stands under by its indentation, -1 for none. Shape: `(units,)`."""
        shifted = [
            np.where(text.enclosing < 0, -1, text.enclosing + first)
            for text, first in zip(self.texts, self.unit_borders, strict=False)
        ]
        return _joined(shifted, np.int64)

    @property
    def shingles(self) -> list[list[int]]:
        """Runs of words of each unit, to find repetitions."""
        return list(chain.from_iterable(text.shingles for text in self.texts))

    def term_match(self, question: str) -> FloatArray:
        """How well each unit's terms match the question's, in [0, 1]. Shape: `(units,)`."""
        return term_match(question, list(chain.from_iterable(text.terms for text in self.texts)))

    def by_document(self, words: npt.NDArray[_Number]) -> list[npt.NDArray[_Number]]:
        """An array over all words as one array per document."""
        return np.split(words, self.word_borders[1:-1]) if self.texts else []


def _borders(sizes: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _joined(columns: Sequence[npt.NDArray[_Number]], dtype: type[_Number]) -> npt.NDArray[_Number]:
    return np.concatenate(columns).astype(dtype, copy=False) if columns else np.empty(0, dtype)

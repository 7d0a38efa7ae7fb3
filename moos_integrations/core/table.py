"""The words and units of one request in flat arrays, built once: what gains, order and selection work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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

    @property
    def reader_reads_question(self) -> bool:
        """Whether the model that scores words read a question with any of the documents."""
        return any(replace(score, cosines=None).reads_question for score in self.scores)

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
    def cosines(self) -> FloatArray | None:
        """Cosines of the question with each unit's passage and with the unit; None if unknown. Shape: `(units, 2)`."""
        return self._of_pairs([score.cosines for score in self.scores])

    @cached_property
    def gates(self) -> FloatArray | None:
        """Learnt weights of the cosines, in log-odds; None if unknown. Shape: `(units, 2)`."""
        return self._of_pairs([score.gates for score in self.scores])

    def _of_pairs(self, columns: Sequence[FloatArray | None]) -> FloatArray | None:
        """Two numbers per unit; 0 for the units of documents without them, None if no document has them."""
        if all(column is None for column in columns):
            return None
        sizes = np.diff(self.unit_borders).tolist()
        return np.concatenate(
            [np.zeros((size, 2)) if own is None else own for own, size in zip(columns, sizes, strict=True)]
        )

    @cached_property
    def structured(self) -> BoolArray:
        """Which units are lines of code, rows of tables and the like. Shape: `(units,)`."""
        return _joined([text.document.unit_structured for text in self.texts], np.bool_)

    @cached_property
    def kinds(self) -> IntArray:
        """What each unit is: values of `Kind`. Shape: `(units,)`."""
        return _joined([text.document.unit_kinds for text in self.texts], np.int64)

    @cached_property
    def parents(self) -> IntArray:
        """The unit that each unit is under, -1 for none. Shape: `(units,)`."""
        return self._shifted([text.document.unit_parents for text in self.texts])

    @cached_property
    def leads_to(self) -> IntArray:
        """The first unit of what each unit introduces, -1 for nothing. Shape: `(units,)`."""
        return self._shifted([text.document.unit_leads_to for text in self.texts])

    @cached_property
    def leads_until(self) -> IntArray:
        """Behind the last unit of what each unit introduces, -1 for nothing. Shape: `(units,)`."""
        return self._shifted([text.document.unit_leads_until for text in self.texts])

    @cached_property
    def partners(self) -> IntArray:
        """The other half of a pair, such as a closing fence, -1 for none. Shape: `(units,)`."""
        return self._shifted([text.document.unit_partners for text in self.texts])

    @cached_property
    def needs_first(self) -> BoolArray:
        """Which units say nothing without the first unit of what they introduce. Shape: `(units,)`."""
        return _joined([text.needs_first for text in self.texts], np.bool_)

    @cached_property
    def droppable(self) -> BoolArray:
        """Which words a thinned sentence may lose. Shape: `(words,)`."""
        return _joined([text.droppable for text in self.texts], np.bool_)

    @cached_property
    def attached(self) -> BoolArray:
        """Marks that enter with the word that they are behind where a sentence is thinned. Shape: `(words,)`."""
        return _joined([text.attached for text in self.texts], np.bool_)

    @cached_property
    def unit_cost(self) -> IntArray:
        """About how many tokens each unit costs. Shape: `(units,)`."""
        return np.bincount(self.unit_of_word, weights=self.cost, minlength=self.units).astype(np.int64)

    def unit_has(self, words: BoolArray) -> BoolArray:
        """For each word, whether its unit has any of these words. Shape: `(words,)`."""
        return (np.bincount(self.unit_of_word, weights=words, minlength=self.units) > 0)[self.unit_of_word]

    @cached_property
    def path_cost(self) -> IntArray:
        """Tokens of each unit and of all that it is under. Shape: `(units,)`."""
        costs, parents = self.unit_cost.tolist(), self.parents.tolist()
        for unit, parent in enumerate(parents):  # a parent comes before what is under it
            if parent >= 0:
                costs[unit] += costs[parent]
        return np.array(costs, np.int64)

    def _shifted(self, columns: Sequence[IntArray]) -> IntArray:
        """Indices of units within their documents as indices among all units; -1 stays."""
        shifted = [
            np.where(column < 0, -1, column + first) for column, first in zip(columns, self.unit_borders, strict=False)
        ]
        return _joined(shifted, np.int64)

    @cached_property
    def asks(self) -> BoolArray:
        """Which units end in a question mark. Shape: `(units,)`."""
        return _joined([text.asks for text in self.texts], np.bool_)

    @cached_property
    def furniture(self) -> BoolArray:
        """Which units are menus of links and the like. Shape: `(units,)`."""
        return _joined([text.furniture for text in self.texts], np.bool_)

    @property
    def unit_terms(self) -> list[Mapping[str, int]]:
        """How often each unit has which term."""
        return list(chain.from_iterable(text.terms for text in self.texts))

    @property
    def statements(self) -> list[tuple[str, ...]]:
        """What each unit says, word by word, to find repetitions."""
        return list(chain.from_iterable(text.statements for text in self.texts))

    def term_match(self, question: str) -> FloatArray:
        """How well each unit's terms match the question's, in [0, 1]. Shape: `(units,)`."""
        return term_match(question, self.unit_terms)

    def by_document(self, words: npt.NDArray[_Number]) -> list[npt.NDArray[_Number]]:
        """An array over all words as one array per document."""
        return np.split(words, self.word_borders[1:-1]) if self.texts else []


def _borders(sizes: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _joined(columns: Sequence[npt.NDArray[_Number]], dtype: type[_Number]) -> npt.NDArray[_Number]:
    return np.concatenate(columns).astype(dtype, copy=False) if columns else np.empty(0, dtype)

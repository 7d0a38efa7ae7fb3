"""Two stages of scoring: an encoder that reads passages without the question, and a reader that reads both.

The encoder's vectors of a text depend on the text alone: they are made once, at ingestion if `precompute` is called,
and kept in the caches of scores. A question then costs one short pass of the encoder, beside the reader's passes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from moos_integrations.core.answering import Answering
from moos_integrations.core.encoder import SCORES_VERSION
from moos_integrations.core.types import FloatArray, IntArray, Scorer, SegmentedText, WordScores
from moos_integrations.core.windows import Pieces, tokenize

if TYPE_CHECKING:
    from moos_integrations.core.passages import PassageEncoder, PassageVectors

Vectors = npt.NDArray[np.float32]
MOST_WORDS = 200
"""Words of a passage: a longer text is cut into passages of about equal length, at unit borders. Sentence encoders are
trained on about so much; their vector of a long text says what it is about, not what is in it."""
_VECTORS = 1  # goes up whenever the same encoder gives a text other vectors: passages, pooling


def passage_of_unit(document: SegmentedText) -> IntArray:
    """The passage of each unit: runs of whole units of about equal numbers of words, at most about `MOST_WORDS`.

    They depend on the text alone. A unit that is longer than a passage is one. Shape: `(units,)`.
    """
    words = np.bincount(document.unit_of_word, minlength=len(document.unit_starts))
    if not len(words):
        return np.zeros(0, np.int64)
    length = words.sum() / max(math.ceil(words.sum() / MOST_WORDS), 1)
    middle = np.cumsum(words) - words / 2
    wanted = np.minimum(middle // max(length, 1), np.ceil(words.sum() / max(length, 1)) - 1).astype(np.int64)
    return np.unique(np.maximum(wanted, 0), return_inverse=True)[1].astype(np.int64)


class _Part(NamedTuple):
    """A run of pieces of one passage that the encoder reads in one pass.

    Attributes:
        document: Index of the document.
        passage: Index of the passage in it.
        unit: Its first unit.
        ids: The pieces.
        units: Unit of each piece, counted from the first.
    """

    document: int
    passage: int
    unit: int
    ids: list[int]
    units: list[int]


class PassageScorer:
    """The vectors of texts by a sentence encoder: a `Scorer` for `unit_vectors` and `passage_vectors` alone."""

    def __init__(self, encoder: PassageEncoder) -> None:
        """Wrap an encoder."""
        self._encoder = encoder

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text could get other vectors: weights, tokenizer, precision, this code."""
        tokenizer = hashlib.sha256(self._encoder.tokenizer.to_str().encode("utf-8", "surrogatepass")).hexdigest()[:16]
        settings = ("passages", _VECTORS, SCORES_VERSION, MOST_WORDS, self._encoder.fingerprint, tokenizer)
        return " ".join(map(str, settings))

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """The vectors of each document; the words' scores are 0, and the question is not read.

        A passage that is longer than the encoder's input is read in parts, and its vector is their weighted mean.
        """
        pieces = tokenize(self._encoder.tokenizer, [document.text for document in documents])
        parts = [
            part
            for index, (document, own) in enumerate(zip(documents, pieces, strict=True))
            for part in _parts(index, document, own, self._encoder.room)
        ]
        read = self._encoder.passages([part.ids for part in parts], [part.units for part in parts])
        found = [_Vectors(document, self._encoder.width) for document in documents]
        for part, own in zip(parts, read, strict=True):
            found[part.document].add(part, own)
        return [own.scores() for own in found]


def _parts(index: int, document: SegmentedText, pieces: Pieces, room: int) -> list[_Part]:
    """The pieces of a document, passage by passage, in runs of at most `room`."""
    unit = np.maximum(np.searchsorted(document.unit_starts, pieces.starts, side="right") - 1, 0)
    passages, parts = passage_of_unit(document), []
    if not len(passages):
        return []
    borders = np.searchsorted(passages[unit], np.arange(passages[-1] + 2), side="left").tolist()
    for passage, (start, end) in enumerate(pairwise(borders)):
        for first in range(start, end, room):
            own = unit[first : min(first + room, end)]
            ids = pieces.ids[first : first + len(own)].tolist()
            parts.append(_Part(index, passage, int(own[0]), ids, (own - own[0]).tolist()))
    return parts


class _Vectors:
    """The vectors of one document so far."""

    def __init__(self, document: SegmentedText, width: int) -> None:
        self._document = document
        passages = passage_of_unit(document)
        self._passages = np.zeros((passages[-1] + 1 if len(passages) else 0, width), np.float32)
        self._units = np.zeros((len(passages), width), np.float32)

    def add(self, part: _Part, read: PassageVectors) -> None:
        """Take over what the encoder says of a part, by its number of pieces."""
        self._passages[part.passage] += len(part.ids) * read.passage
        sizes = np.bincount(part.units, minlength=len(read.units))
        self._units[part.unit : part.unit + len(read.units)] += sizes[:, None] * read.units

    def scores(self) -> WordScores:
        """The vectors, of length 1, or 0 where there are no pieces."""
        blank = WordScores.from_preserve(np.zeros(len(self._document)))
        return replace(blank, unit_vectors=_directions(self._units), passage_vectors=_directions(self._passages))


def _directions(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0))


class TwoStageScorer:
    """What a reader says of question and text, and the cosines of an encoder that read them apart."""

    def __init__(self, reader: Scorer, vectors: Scorer, encoder: PassageEncoder, *, calibrated: bool = True) -> None:
        """Combine.

        Args:
            reader: Scores words, for the question if it can; usually behind a cache.
            vectors: Computes `unit_vectors` and `passage_vectors`: a `PassageScorer`, or a cache around one.
            encoder: Reads the question.
            calibrated: Whether the reader's calibration is for the cosines of this encoder.
        """
        self._reader, self._vectors, self._encoder = reader, vectors, encoder
        self.languages = getattr(reader, "languages", None)
        self.answering: Mapping[str, Answering] = getattr(reader, "answering", {}) if calibrated else {}
        self.query_aware = True

    @property
    def computed(self) -> int:
        """Texts that a model had to read; see `CachedScorer`."""
        return max(int(getattr(scorer, "computed", 0)) for scorer in (self._reader, self._vectors))

    def precompute(self, documents: Sequence[SegmentedText]) -> list[WordScores]:
        """The reader's scores without a question; the encoder's vectors are then known too."""
        self._vectors.score(documents, None)
        return self._reader.score(documents, None)

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """The reader's scores, with `cosines` if there is a question.

        Without a question, or with one of which no piece is read, the encoder does nothing.
        """
        scores = self._reader.score(documents, query)
        question = self._encoder.question(query) if query and query.strip() else np.zeros(0, np.float32)
        if not question.any():
            return scores
        vectors = self._vectors.score(documents, None)
        return [
            replace(own, cosines=_cosines(document, found, question))
            for document, own, found in zip(documents, scores, vectors, strict=True)
        ]


def _cosines(document: SegmentedText, found: WordScores, question: Vectors) -> FloatArray:
    """Cosine of the question with each unit's passage, and with the unit. Shape: `(units, 2)`."""
    passages, units = found.passage_vectors, found.unit_vectors
    if passages is None or units is None:
        return np.zeros((len(document.unit_starts), 2))
    of_passages = passages @ question
    return np.stack([of_passages[passage_of_unit(document)], units @ question], 1).astype(np.float64)

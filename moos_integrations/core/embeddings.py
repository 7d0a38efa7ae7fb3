"""Relevance and redundancy from the user's embeddings: a new question costs only its embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moos_integrations.core.types import Scorer, SegmentedText, WordScores
from moos_integrations.errors import CompressionError, ConfigError


class Embeddings:
    """One interface for the embedding models of both frameworks."""

    def __init__(self, model: Any) -> None:
        """Wrap a model.

        Args:
            model: A LangChain `Embeddings` (`embed_documents`, `embed_query`) or a LlamaIndex `BaseEmbedding`
                (`get_text_embedding_batch`, `get_query_embedding`).

        Raises:
            ConfigError: If it is neither.
        """
        if hasattr(model, "embed_documents") and hasattr(model, "embed_query"):
            self._texts, self._query = model.embed_documents, model.embed_query
        elif hasattr(model, "get_text_embedding_batch") and hasattr(model, "get_query_embedding"):
            self._texts, self._query = model.get_text_embedding_batch, model.get_query_embedding
        else:
            raise ConfigError(
                "`embeddings` must be a LangChain `Embeddings` or a LlamaIndex `BaseEmbedding`, got "
                f"{type(model).__name__}."
            )

    def of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """A unit vector per text. Shape: `(texts, width)`.

        Raises:
            CompressionError: Unless the model returns one vector of finite numbers per text, all of one length.
        """
        if not texts:
            return np.zeros((0, 0), np.float32)
        return _checked(self._texts(list(texts)), len(texts))

    @property
    def fingerprint(self) -> str:
        """Hash of the embedding of a fixed sentence: it differs for other weights or another prefix."""
        probe = self.of_texts(["The quick brown fox jumps over 13 lazy dogs."])
        return hashlib.sha256(probe.tobytes()).hexdigest()[:16]

    def of_query(self, query: str) -> npt.NDArray[np.float32]:
        """The question's unit vector. Shape: `(width,)`."""
        return np.asarray(_checked([self._query(query)], 1)[0])


def _checked(vectors: Any, count: int) -> npt.NDArray[np.float32]:
    try:
        table = np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise CompressionError(f"`embeddings` must return vectors of one length: {error}.") from error
    if table.ndim != 2 or len(table) != count or not table.shape[1]:
        raise CompressionError(
            f"`embeddings` must return {count} vectors of one length, got an array of shape {table.shape}."
        )
    if not np.isfinite(table).all():
        raise CompressionError("`embeddings` must return finite numbers; some are NaN or infinite.")
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0))


class EmbeddingScorer:
    """Words scored without the question, units by the cosine of their embedding with the question's.

    The word scores and the units' embeddings do not depend on the question. Behind a `CachedScorer`, a new question
    over cached documents needs no forward pass of the classifier.
    """

    def __init__(self, words: Scorer, units: Scorer, embeddings: Embeddings, scale: float) -> None:
        """Combine.

        Args:
            words: Scores words; called without the question.
            units: Computes `unit_vectors`; usually a `UnitEmbedder`, or a cache around one.
            embeddings: Embeds the question.
            scale: Weight, in log-odds, of the cosine.
        """
        self._words, self._units, self._embeddings, self._scale = words, units, embeddings, scale

    @property
    def computed(self) -> int:
        """Texts whose words, or whose units, were in no store."""
        return max(int(getattr(own, "computed", 0)) for own in (self._words, self._units))

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Scores of the words, with `unit_vectors` and, if there is a question, `unit_similarity`."""
        scores, units = self._words.score(documents, None), self._units.score(documents, None)
        asked = self._embeddings.of_query(query) if query and query.strip() else None
        known = _of_one_width([own.unit_vectors for own in units])
        return [replace(own, **self._for_question(unit, asked)) for own, unit in zip(scores, known, strict=True)]

    def _for_question(self, vectors: npt.NDArray[np.float32], asked: npt.NDArray[np.float32] | None) -> dict[str, Any]:
        if asked is None or not vectors.size:
            return {"unit_vectors": vectors, "unit_similarity": None if asked is None else np.zeros(len(vectors))}
        if vectors.shape[1] != len(asked):
            raise CompressionError(
                f"`embeddings` returns {vectors.shape[1]} numbers for texts and {len(asked)} for questions; both must "
                "be of one length to be compared."
            )
        return {"unit_vectors": vectors, "unit_similarity": self._scale * (vectors @ asked).astype(np.float64)}


def _of_one_width(vectors: Sequence[npt.NDArray[np.float32] | None]) -> list[npt.NDArray[np.float32]]:
    """Vectors per document; a document of blank units alone, which were not embedded, gets zeros."""
    known = [np.zeros((0, 0), np.float32) if own is None else own for own in vectors]
    width = max((own.shape[1] for own in known), default=0)
    return [own if own.shape[1] else np.zeros((len(own), width), np.float32) for own in known]


class UnitEmbedder:
    """Embeds the units of documents: a `Scorer` for `unit_vectors` alone."""

    def __init__(self, embeddings: Embeddings) -> None:
        """Wrap an embedding model."""
        self._embeddings = embeddings

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """`unit_vectors` of each document; the words' scores are 0."""
        texts = [
            document.text[start:end].strip()
            for document in documents
            for start, end in zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
        ]
        written = [index for index, text in enumerate(texts) if text]  # models refuse empty texts, or charge for them
        found = self._embeddings.of_texts([texts[index] for index in written])
        vectors = np.zeros((len(texts), found.shape[1]), np.float32)
        vectors[written] = found
        borders = np.cumsum([len(document.unit_starts) for document in documents])[:-1]
        return [
            replace(WordScores.from_preserve(np.zeros(len(document))), unit_vectors=own)
            for document, own in zip(documents, np.split(vectors, borders), strict=True)
        ]

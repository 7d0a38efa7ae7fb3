"""Ways to shorten a context without a model: the best sentences by BM25, and the beginning.

Each is a `Scorer`: a compressor built on it cuts, renders and counts exactly as any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.types import FloatArray, Scorer, SegmentedText, WordScores
from moos_integrations.errors import MissingExtraError

_TOKEN = re.compile(r"\w+")


def bm25(sentences: Sequence[str], question: str) -> FloatArray:
    """BM25 of each sentence for a question (Lucene's variant, k1 1.5, b 0.75), the sentences being the collection.

    Tokens are lower-cased runs of letters and digits without bm25s' English stop words; nothing is stemmed.

    Args:
        sentences: Any strings.
        question: Any string.

    Returns:
        Higher is better; all 0 if no word of the question is left. Shape: `(sentences,)`.

    Raises:
        MissingExtraError: If bm25s is not installed.
    """
    try:
        import bm25s
        from bm25s.stopwords import STOPWORDS_EN
    except ImportError as error:
        raise MissingExtraError("bm25s", extra="eval") from error

    def tokens(text: str) -> list[str]:
        return [token for token in _TOKEN.findall(text.lower()) if token not in STOPWORDS_EN]

    corpus, query = [tokens(text) for text in sentences], tokens(question)
    if not query or not any(corpus):
        return np.zeros(len(sentences))
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    return np.asarray(index.get_scores(query), np.float64)


class LeadScorer:
    """Words of all documents in the order of the text: the first ones are kept."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Falling scores, one per word."""
        del query
        return _falling(documents, [np.zeros(len(document)) for document in documents])


class Bm25Scorer:
    """Whole sentences or lines, the best first by BM25; the last one is cut from the right."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Scores that put the words of better sentences first."""
        texts = [text for document in documents for text in _units(document)]
        scores = bm25(texts, query or "")
        borders = np.cumsum([len(document.unit_starts) for document in documents])[:-1]
        pairs = zip(documents, np.split(scores, borders), strict=True)
        return _falling(documents, [own[document.unit_of_word] for document, own in pairs])


BASELINES: Mapping[str, Callable[[], Scorer]] = {"bm25": Bm25Scorer, "lead": LeadScorer}
"""By the name that reports show."""


def baseline(name: str, like: CompressorConfig) -> ContextCompressor:
    """A compressor that uses a baseline, with the tokenizer and the separator of another.

    Args:
        name: One of `BASELINES`.
        like: The settings of the other.
    """
    # All documents of a question are scored in one call, which a cache would take apart.
    config = CompressorConfig(
        tokenizer=like.tokenizer, separator=like.separator, gains={"budgets": "words"}, cache_bytes=0
    )
    return ContextCompressor(BASELINES[name](), config)


def _units(document: SegmentedText) -> list[str]:
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return [document.text[start:end] for start, end in spans]


def _falling(documents: Sequence[SegmentedText], scores: Sequence[FloatArray]) -> list[WordScores]:
    """Words by score and, where scores are equal, by place: evenly spread over (0, 1)."""
    every = np.concatenate([*scores, np.zeros(0)])
    places = np.empty(len(every))
    places[np.argsort(-every, kind="stable")] = np.arange(len(every))
    preserve = 1 - (places + 1) / (len(every) + 1)
    borders = np.cumsum([len(document) for document in documents])[:-1]
    return [WordScores.from_preserve(own) for own in np.split(preserve, borders)] if documents else []

"""Hard negatives: for each question, passages that look relevant and do not hold its answer.

Retrieved distractors are what a query-aware compressor meets at run time. Two retrievers find them over all training
passages, because their mistakes differ: BM25 (words) and embeddings of the backbone itself (meaning).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import bm25s
import numpy as np
import torch

from moos_benchmarks.ranking import SentenceEmbedder
from moos_integrations.core.types import FloatArray, IntArray


def nearest_by_words(questions: Sequence[str], passages: Sequence[str], count: int) -> IntArray:
    """The `count` best passages per question by BM25, best first. Shape: `(questions, count)`."""
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(list(passages), stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(questions), stopwords="en", show_progress=False)
    found, _ = retriever.retrieve(tokens, k=min(count, len(passages)), show_progress=False)
    return np.asarray(found, np.int64)


def nearest_by_embedding(
    backbone: str, questions: Sequence[str], passages: Sequence[str], count: int, chunk: int = 1024
) -> IntArray:
    """The `count` nearest passages per question by cosine of mean-pooled states, best first.

    Args:
        backbone: Folder or hub id of a sentence encoder with mean pooling.
        questions: The questions.
        passages: The passages; their first 256 pieces are read.
        count: How many to return.
        chunk: Questions compared at once; bounds the memory.

    Returns:
        Shape: `(questions, count)`.
    """
    embed = SentenceEmbedder(backbone, dtype="bfloat16")
    asked, known = (torch.from_numpy(embed(texts)).float() for texts in (questions, passages))
    parts = (asked[start : start + chunk] for start in range(0, len(asked), chunk))
    found = [(part @ known.T).topk(min(count, len(passages))).indices for part in parts]
    return np.asarray(torch.cat(found).numpy(), np.int64)


def sentence_similarities(
    backbone: str, questions: Sequence[str], sentences: Sequence[Sequence[str]], chunk: int = 4096
) -> list[FloatArray]:
    """Cosine of each question with each of its sentences, every text read alone by a sentence encoder.

    Args:
        backbone: Folder or hub id of a sentence encoder with mean pooling.
        questions: The questions.
        sentences: Per question, its sentences; each distinct one is read once.
        chunk: Texts encoded at once.

    Returns:
        Per question. Shape of each: `(sentences,)`.
    """
    embed = SentenceEmbedder(backbone, dtype="bfloat16")
    texts = list(dict.fromkeys([*questions, *(text for own in sentences for text in own)]))
    parts = [embed(texts[start : start + chunk]).astype(np.float32) for start in range(0, len(texts), chunk)]
    vector_of = dict(zip(texts, itertools.chain.from_iterable(parts), strict=True))
    return [
        np.array([vector_of[text] @ vector_of[question] for text in own], np.float64)
        for question, own in zip(questions, sentences, strict=True)
    ]

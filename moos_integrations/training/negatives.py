"""Hard negatives: for each question, passages that look relevant and do not hold its answer.

Retrieved distractors are what a query-aware compressor meets at run time. Two retrievers find them over all training
passages, because their mistakes differ: BM25 (words) and embeddings of the backbone itself (meaning).
"""

from __future__ import annotations

from collections.abc import Sequence

import bm25s
import numpy as np
import torch

from moos_integrations.core.types import IntArray
from moos_integrations.evaluation.ranking import SentenceEmbedder


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

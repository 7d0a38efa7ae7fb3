"""Relevance from the user's embeddings: what is embedded, and what the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import HashScorer

from moos_integrations.core.embeddings import Embeddings, EmbeddingScorer, UnitEmbedder
from moos_integrations.core.text import segment

VECTORS = {"One two.": [3.0, 4.0], "Three.": [0.0, 0.25], "": [0.0, 0.0], "three?": [0.0, 7.0]}


class Listed:
    """LangChain's interface, with a vector per known text."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [VECTORS[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return VECTORS[text]


def test_units_are_embedded_without_outer_white_space_as_unit_vectors() -> None:
    documents = [segment("One two. Three.\n"), segment("Three."), segment(" ")]
    first, second, blank = UnitEmbedder(Embeddings(Listed())).score(documents, None)
    for scores, expected in ((first, [[0.6, 0.8], [0.0, 1.0]]), (second, [[0.0, 1.0]]), (blank, [[0.0, 0.0]])):
        np.testing.assert_allclose(scores.unit_vectors, expected, atol=1e-6)
    assert [len(scores.preserve) for scores in (first, second, blank)] == [len(document) for document in documents]


def test_similarity_is_the_scaled_cosine_with_the_question() -> None:
    known = Embeddings(Listed())
    scorer = EmbeddingScorer(HashScorer(), UnitEmbedder(known), known, 5.0)
    document = segment("One two. Three.")
    (asked,), (free,) = scorer.score([document], "three?"), scorer.score([document], None)
    assert asked.unit_similarity.tolist() == pytest.approx([4.0, 5.0], abs=1e-5)
    assert free.unit_similarity is None
    assert (
        asked.preserve.tolist() == free.preserve.tolist() == HashScorer().score([document], None)[0].preserve.tolist()
    )

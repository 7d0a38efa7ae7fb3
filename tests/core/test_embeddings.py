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


class Noisy:
    """LangChain's interface: random directions per weights and text, with noise that differs from call to call."""

    def __init__(self, weights: int, noise: float, run: int = 0, width: int = 384) -> None:
        self._weights, self._noise, self._run, self._width = weights, noise, np.random.default_rng(run), width

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = np.random.default_rng([self._weights, *text.encode()]).standard_normal(self._width)
        vector /= np.linalg.norm(vector)
        return list(vector + self._noise * self._run.standard_normal(self._width))


def test_embeddings_that_vary_in_their_last_decimals_are_the_same() -> None:
    """A hundred models, each in two processes: nearly all keep their fingerprint, and no two share one."""
    first, again = ([Embeddings(Noisy(n, 1e-6, run)).fingerprint for n in range(100)] for run in (1, 2))
    assert sum(map(str.__eq__, first, again)) >= 98
    assert len(set(first)) == 100


def test_a_prefix_or_another_width_is_another_model() -> None:
    class Prefixed(Noisy):
        def embed_query(self, text: str) -> list[float]:
            plain, other = np.array(super().embed_query(text)), np.array(super().embed_query(f"query: {text}"))
            return list(plain + 0.3 * other)  # a cosine of 0.96

    assert Embeddings(Prefixed(1, 0)).fingerprint != Embeddings(Noisy(1, 0)).fingerprint
    assert Embeddings(Noisy(1, 0, width=8)).fingerprint != Embeddings(Noisy(1, 0)).fingerprint

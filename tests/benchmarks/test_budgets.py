from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from moos_benchmarks import budgets
from moos_benchmarks.budgets import Case, compare, measurable, mmr
from tiny import UnitScorer

from moos_integrations import CompressorConfig, ContextCompressor
from moos_integrations.core.tokens import token_counter
from moos_integrations.records import Document, Question

TEXTS = (
    "The bridge was built by Ada Byron. It is long. Nobody knows how long it is today.",
    "Bread is baked from flour and water. The baker of the town sells it warm in the morning.",
    "",
)
COUNTER = token_counter("o200k_base")


def question(texts: Sequence[str] = TEXTS, answer: str = "Ada Byron", source: str = "") -> Question:
    documents = tuple(Document(text, "title", is_gold=index == 0) for index, text in enumerate(texts))
    return Question("Who built the bridge?", (answer,), documents, "q", source)


def case(own: Question | None = None) -> Case:
    return Case.of(own or question(), UnitScorer(), COUNTER)


def kept_text(own: Case, priority: budgets.Priority, budget: int) -> str:
    return own.output.text(own.kept(priority, budget))


@pytest.mark.parametrize("settings", [{}, {"whole_from": 1.0, "temperature": 3.0}, {"redundancy": "symmetric"}])
@pytest.mark.parametrize("budget", [0, 7, 15, 30, 99])
def test_what_is_measured_is_what_the_compressor_does(settings: dict[str, object], budget: int) -> None:
    texts = (*TEXTS, "def built(by):\n    if by:\n        return 1843\n    raise ValueError")
    own = case(question(texts))
    config = CompressorConfig(budget_tokens=budget, gains=settings)  # type: ignore[arg-type]
    expected = ContextCompressor(UnitScorer(), config).compress(texts, "Who built the bridge?").text
    same = budgets._with(**settings)
    assert kept_text(own, same.order(own).priority.lifted, budget) == expected


def test_what_the_ablation_takes_away_changes_the_order() -> None:
    texts = (*TEXTS, "def built(by):\n    if by:\n        return 1843\n    raise ValueError")
    own = case(question(texts))
    defaults = budgets._with(whole_from=1.0)
    orders = [
        replace(defaults, **changed).order(own).priority.lifted.tolist()  # type: ignore[arg-type]
        for changed in (
            {},
            {"relevance": ("words",)},
            {"relevance": ("document", "similarity")},
            {"passage_factor": 2.0},
            {"texts": budgets.Thinned},
            {"texts": budgets.Flat},
        )
    ]
    assert len(set(map(tuple, orders))) == len(orders)


def test_sentences_and_documents_enter_whole_and_the_best_first() -> None:
    own = case()
    by_sentence = budgets.by_sentence(own.pool, np.array([0.0, 2.0, 1.0, 3.0, -1.0]))
    seen = {kept_text(own, by_sentence, budget) for budget in range(60)}
    assert "Bread is baked from flour and water." in seen
    assert "It is long.\n\nBread is baked from flour and water." in seen
    assert not any("Byron" in text for text in seen if "Nobody knows how long it is today." not in text)
    documents = budgets.by_document(own.pool, np.array([0.1, 0.9, 0.5]))
    assert TEXTS[1] in {kept_text(own, documents, budget) for budget in range(60)}


def test_every_document_keeps_the_same_share() -> None:
    own = case()
    kept = own.kept(budgets.uniform_rate(own), COUNTER.count("\n\n".join(TEXTS[:2])) // 2)
    shares = [words.mean() for words in own.table.by_document(kept)[:2]]
    assert shares == pytest.approx([0.5, 0.5], abs=0.15)


def test_maximal_marginal_relevance_by_hand() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    order = np.argsort(-mmr(np.array([0.9, 0.8, 0.3]), vectors, balance=0.5), kind="stable")
    assert order.tolist() == [0, 2, 1]  # the copy comes last
    assert np.argsort(-mmr(np.array([0.9, 0.8, 0.3]), vectors, balance=1.0), kind="stable").tolist() == [0, 1, 2]


def test_an_answer_survives_or_the_evidence_is_shared_out() -> None:
    own = case()
    first = np.concatenate([np.arange(len(document), 0, -1.0) for document in own.pool.documents])
    assert own.outcome(first, 60) == 1.0
    assert own.outcome(first, 1) == 0.0
    told = question(answer="nobody knows this")
    evidence = replace(told.documents[0], evidence=((0, len("The bridge was built")),))
    summary = case(replace(told, documents=(evidence, *told.documents[1:])))
    assert not summary.answerable
    shares = [summary.outcome(first, budget) for budget in (0, 2, 60)]
    assert shares[0] == 0.0 < shares[1] < shares[2] == 1.0
    assert measurable([case(told), own, summary]) == [own, summary]


def favouring(own: Case, best: int) -> budgets.Priority:
    """From left to right, one document before all others."""
    parts = [np.arange(len(d), 0, -1.0) + 100 * (index == best) for index, d in enumerate(own.pool.documents)]
    return np.concatenate(parts)


def test_the_table_by_hand() -> None:
    cases = [case(question(source="a")), case(question(answer="flour", source="b"))]
    orders = {name: [favouring(own, index) for own in cases] for index, name in enumerate(("first", "second"))}
    table = compare(cases, orders, budgets=(0.5, 1.0), against="first", by_source=True)
    assert table["questions"] == 2
    assert table["methods"]["first"]["0.5"]["value"] == 0.5
    assert table["methods"]["second"]["0.5"]["value"] == 0.5
    assert table["sources"]["a"]["methods"]["first"]["0.5"]["value"] == 1.0
    assert table["sources"]["a"]["differences"]["first - second"]["0.5"]["difference"] == 1.0
    assert table["mean"] == {"first": 0.75, "second": 0.75}
    tight = compare(cases, orders, budgets=(0.5,), tokens=[2, 2])
    assert tight["methods"]["first"]["0.5"]["value"] == 0.0


def test_repeated_documents() -> None:
    twice = budgets.duplicated(question())
    assert [document.text for document in twice.documents] == [text for text in TEXTS for _ in range(2)]
    words = " ".join(f"w{index}" for index in range(100))
    plain, more = (cut(question((words,))).documents for cut in (budgets.chunked, budgets.overlapping))
    assert " ".join(document.text for document in plain) == words
    assert all(left.text.split()[30:] == right.text.split()[:30] for left, right in itertools.pairwise(more))
    assert {word for document in more for word in document.text.split()} == set(words.split())

"""The laws where units share one budget; order, documents left out, embeddings of the user, explanations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compressor import DOCUMENTS, check_laws, kept_words
from tiny import HashScorer, UnitScorer, hash_share

from moos_integrations import (
    CompressionError,
    CompressionResult,
    CompressorConfig,
    ConfigError,
    ContextCompressor,
    InputError,
    SegmentedText,
    WordScores,
)
from moos_integrations.core.cache import CachedScorer, MemoryStore
from moos_integrations.core.embeddings import Embeddings, EmbeddingScorer, UnitEmbedder
from moos_integrations.core.tokens import token_counter
from moos_integrations.messages import forget_call_sites

SENTENCES = st.sampled_from(
    [
        "The bridge was built by Ada Byron.",
        "It rained a lot in that very year.",
        "The baker slept well all night long.",
        "Nobody knows who paid for it.",
        "x = 3\ny = 4\n",
        "if x:\n    y = 4\n  z = 5\n",
        "1889!",
    ]
)
TEXTS = st.one_of(DOCUMENTS, st.lists(st.lists(SENTENCES, max_size=4).map(" ".join), max_size=6))
SETTINGS = st.fixed_dictionaries(
    {
        "gains": st.fixed_dictionaries(
            {
                "whole_from": st.sampled_from([0.0, 0.3, 1.0]),
                "temperature": st.sampled_from([0.1, 1.0, 8.0]),
                "redundancy": st.sampled_from(["greedy", "symmetric"]),
                "redundancy_weight": st.sampled_from([0.0, 4.0]),
            }
        ),
        "order": st.sampled_from(["source", "relevance", "ends"]),
        "top_n": st.sampled_from([None, 1, 3]),
    }
)


def compressor(scorer: Any = None, **settings: Any) -> ContextCompressor:
    return ContextCompressor(scorer or UnitScorer(), CompressorConfig(**{"min_tokens": 0, **settings}))


@given(texts=TEXTS, settings=SETTINGS, budget=st.integers(0, 60))
def test_laws_under_a_budget(texts: list[str], settings: dict[str, Any], budget: int) -> None:
    check_laws(compressor(**settings).compress(texts, "Who?", budget_tokens=budget), texts, budget)


@given(texts=TEXTS, settings=SETTINGS, threshold=st.floats(0, 1))
def test_laws_under_a_threshold(texts: list[str], settings: dict[str, Any], threshold: float) -> None:
    check_laws(compressor(**settings).compress(texts, "Who?", threshold=threshold), texts, None)


@given(texts=TEXTS, settings=SETTINGS, budgets=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_a_larger_budget_keeps_a_superset(texts: list[str], settings: dict[str, Any], budgets: tuple[int, int]) -> None:
    own = compressor(**{**settings, "gains": {**settings["gains"], "fill": False}})
    small, large = (own.compress(texts, "Who?", budget_tokens=budget) for budget in sorted(budgets))
    assert kept_words(small) <= kept_words(large)


BLOCKS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["if x:", "y = 4;", "Nobody knows. Who paid?", ")", "- 1889"])),
    max_size=9,
).map(lambda lines: "".join(f"{'  ' * depth}{line}\n" for depth, line in lines))


@given(
    texts=st.lists(BLOCKS, max_size=3),
    settings=SETTINGS,
    target=st.one_of(
        st.fixed_dictionaries({"budget_tokens": st.integers(0, 60)}),
        st.fixed_dictionaries({"threshold": st.floats(0, 1)}),
    ),
)
def test_no_line_stays_without_those_that_it_stands_under(
    texts: list[str], settings: dict[str, Any], target: dict[str, Any]
) -> None:
    units = list(compressor(**settings).compress(texts, "Who?", **target).explain().units)
    for unit in units:
        if unit.kept_words and unit.under is not None:
            over = units[unit.under]
            assert over.document == unit.document
            assert over.start < unit.start
            assert over.kept_words == over.words


@given(texts=TEXTS, settings=SETTINGS)
def test_batch_is_single_and_async_is_sync(texts: list[str], settings: dict[str, Any]) -> None:
    own = compressor(**settings, rate=0.4)
    alone = own.compress(texts, "Who?")
    many = own.compress_many([["Another text. With two sentences."], texts], ["Who?", "Who?"])[1]
    later = asyncio.run(own.acompress(texts, "Who?"))
    assert shown(alone) == shown(many) == shown(later)


def shown(result: CompressionResult) -> tuple[Any, ...]:
    return result.documents, result.text, result.kept_tokens, result.order, result.warnings


@given(texts=TEXTS, settings=SETTINGS)
def test_scores_are_not_changed(texts: list[str], settings: dict[str, Any]) -> None:
    """Scores in a cache are read-only: writing to them would fail."""
    store = MemoryStore()
    own = compressor(CachedScorer(UnitScorer(), "f", store), **settings, rate=0.4)
    first, second = own.compress(texts, "Who?"), own.compress(texts, "Who?")
    assert shown(first) == shown(second) == shown(compressor(**settings, rate=0.4).compress(texts, "Who?"))


# --- where the budget goes ------------------------------------------------------------------------------------------


class Judge:
    """Finds the sentences that share a word with the question."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        found = []
        for document in documents:
            words = np.full(len(document), 0.5)
            units = [
                document.text[start:end] for start, end in zip(document.unit_starts, document.unit_ends, strict=True)
            ]
            wanted = set((query or "").lower().split())
            near = np.array([5.0 * bool(wanted & set(unit.lower().strip(". ").split())) for unit in units])
            found.append(WordScores(words, words, words, 0.5, near))
        return found


BRIDGE = "It rained. The bridge was built by Ada Byron. The baker slept well."
RIVER = "The river is long. Nobody swims there in the cold winter."
GRAIN = "Grain was cheap. The bridge was closed to all carts."


def test_the_budget_goes_to_the_units_that_answer() -> None:
    result = compressor(Judge(), budget_tokens=9).compress([RIVER, BRIDGE], "bridge")
    assert result.text == "The bridge was built by Ada Byron."
    assert result.documents[0].dropped


def test_a_line_brings_the_lines_that_open_its_block() -> None:
    tunnel = "def tunnel(year):\n    if year:\n        dig = 1\n\n"
    crossing = "def crossing(year):\n    if year:\n        bridge = 1"
    budget = token_counter("o200k_base").count(crossing)
    result = compressor(Judge(), gains={"temperature": 0.1}).compress(
        f"{tunnel}{crossing}", "bridge", budget_tokens=budget
    )
    assert result.text == crossing
    assert [unit.under for unit in result.explain().units] == [None, 0, 1, None, 3, 4]


def test_an_easy_question_takes_fewer_tokens_under_a_threshold() -> None:
    own = compressor(Judge(), threshold=0.5)
    assert own.compress([RIVER, BRIDGE], "bridge").text == "The bridge was built by Ada Byron."
    assert own.compress([RIVER, BRIDGE], "unicorns").text == f"{RIVER}\n\n{BRIDGE}"  # nothing is better than the rest


def test_the_same_passage_twice_costs_its_tokens_once() -> None:
    own = compressor(Judge(), budget_tokens=20)
    once, twice = own.compress([RIVER, BRIDGE, GRAIN], "bridge"), own.compress([RIVER, BRIDGE, BRIDGE, GRAIN], "bridge")
    assert once.text == twice.text
    assert once.text.count("Ada Byron") == 1


def test_documents_in_another_order() -> None:
    texts = [RIVER, "The old bridge. The bridge. A bridge, bridge.", BRIDGE, GRAIN]
    settings: dict[str, Any] = {"gains": {"redundancy_weight": 0.0, "budgets": "gain"}}
    assert compressor(Judge(), **settings).compress(texts, "bridge").order == (0, 1, 2, 3)
    best_first = compressor(Judge(), order="relevance", **settings).compress(texts, "bridge").order
    assert best_first == (1, 2, 3, 0)  # ties in source order
    assert compressor(Judge(), order="ends", **settings).compress(texts, "bridge").order == (1, 3, 0, 2)
    result = compressor(Judge(), order="relevance", rate=1.0, **settings).compress(texts, "bridge")
    assert result.text == "\n\n".join(texts[index] for index in best_first)
    assert compressor(order="relevance").compress([]).order == ()


def test_only_the_best_documents_are_kept() -> None:
    texts = [RIVER, BRIDGE, "", BRIDGE, GRAIN]
    result = compressor(Judge(), top_n=2, rate=1.0, protect=["numbers"]).compress(texts, "bridge")
    assert [document.index for document in result if not document.dropped] == [1, 4]  # a copy is not the second best
    assert compressor(Judge(), top_n=9, rate=1.0).compress(texts, "bridge").text == "\n\n".join(filter(None, texts))
    ranked = compressor(top_n=1, rate=1.0).compress(texts)  # without a question: by preserve probability
    assert sum(not document.dropped for document in ranked) == 1


def test_what_the_retriever_scored_counts_as_much_as_it_is_told_to() -> None:
    texts = ["The bridge was built by Ada Byron.", "The baker slept well all night long.", "Grain was cheap."]
    for best in range(3):
        scores = [float(index == best) for index in range(3)]
        kept = compressor(top_n=1, gains={"retriever_weight": 50.0}).compress(
            texts, "Who?", rate=1.0, document_scores=scores
        )
        assert [not document.dropped for document in kept.documents] == [index == best for index in range(3)]
    plain = compressor().compress(texts, "Who?", budget_tokens=9)
    for scores in ([0.3, 0.3, 0.3], [None, None, None], [float("nan"), 2.0, None]):
        assert compressor(gains={"retriever_weight": 50.0}).compress(
            texts, "Who?", budget_tokens=9, document_scores=scores
        ).text == (plain.text)
    ignored = compressor(gains={"retriever_weight": 0.0}).compress(
        texts, "Who?", budget_tokens=9, document_scores=[1.0, 2.0, 3.0]
    )
    assert ignored.text == plain.text
    both = compressor(gains={"retriever_weight": 50.0}).compress_many(
        [texts, texts], ["Who?"] * 2, budget_tokens=9, document_scores=[None, [3.0, 1.0, 2.0]]
    )
    assert both[0].text == plain.text
    alone = compressor(gains={"retriever_weight": 50.0}).compress(
        texts, "Who?", budget_tokens=9, document_scores=[3.0, 1.0, 2.0]
    )
    assert both[1].text == alone.text


def test_four_scores_that_rise_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    texts = [f"This is the text number {number}, which is not long." for number in range(4)]
    settings = CompressorConfig(gains={"retriever_weight": 50.0})
    made = ContextCompressor(UnitScorer(), settings)

    def kept(scores: list[float] | None) -> str:
        return made.compress(texts, "Who?", budget_tokens=14, document_scores=scores).text

    forget_call_sites()
    assert kept([0.1, 0.2, 0.3, 0.9]) == kept(None)
    assert "look like distances" in caplog.text
    assert kept([0.1, 0.2, 0.9, 0.3]) == texts[2]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0], r"one number or None per document: expected 2, got \[1.0\]"),
        ([1.0, "high"], "must hold numbers or None, got 'high'"),
        ("ab", "one number or None per document: expected 2, got 'ab'"),
    ],
)
def test_wrong_document_scores_are_clear_errors(scores: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compressor().compress(["One.", "Two."], "Who?", document_scores=scores)
    with pytest.raises(InputError, match="a list or None per request: expected 1 of them"):
        compressor().compress_many([["One.", "Two."]], ["Who?"], document_scores=[None, None])


def test_without_a_question_units_share_the_budget_too_and_words_can_be_ranked() -> None:
    texts = [RIVER, BRIDGE]
    plain, gain = (compressor(rate=0.5, gains=gains).compress(texts) for gains in ({}, {"budgets": "gain"}))
    assert shown(plain) == shown(gain)
    assert plain.explain().units
    words = compressor(rate=0.5, gains={"budgets": "words"}).compress(texts).explain()
    assert not words.units
    assert {word.reason for word in words} <= {"metric", "fills the rest", "below the cut", "does not fit"}
    own = [word for word in words if word.document == 0 and word.start < RIVER.index("Nobody")]
    mean = np.mean([word.metric for word in own])  # a sentence competes by the mean of its words
    assert [word.value for word in own] == pytest.approx([mean] * len(own))


@pytest.mark.parametrize("query", ["", "   ", "the of and", "?" * 4000, "wer baute die Brücke", "\ud800"])
@pytest.mark.parametrize("budget", [0, 1, 10**9])
def test_strange_questions_and_budgets(query: str, budget: int) -> None:
    for texts in ([BRIDGE], [BRIDGE] * 3, [""], [], [RIVER, "", BRIDGE]):
        check_laws(compressor().compress(texts, query, budget_tokens=budget), texts, budget)
    everything = compressor().compress([RIVER, BRIDGE], query, budget_tokens=10**9)
    assert everything.text == f"{RIVER}\n\n{BRIDGE}"


def test_wrong_settings_are_clear_errors() -> None:
    for settings, message in (
        ({"top_n": 0}, "`top_n` must be a whole number from 1 on, got 0"),
        ({"order": "best"}, "`order` must be one of"),
        ({"gains": {"budgets": "units"}}, "`gains.budgets` must be one of"),
        ({"gains": {"temperature": 0}}, "`gains.temperature` must be a finite number above 0, got 0"),
        (
            {"gains": {"redundancy_weight": float("nan")}},
            "`gains.redundancy_weight` must be a finite number from 0 on, got nan",
        ),
        ({"gains": {"whole_from": 2}}, r"`gains.whole_from` must be a number in \[0, 1\], got 2"),
        ({"cache_bytes": -1}, "`cache_bytes` must be a whole number from 0 on, got -1"),
        ({"cache_dir": 7}, "`cache_dir` must be a path or None, got 7"),
    ):
        with pytest.raises(ConfigError, match=message):
            CompressorConfig(**settings)


# --- embeddings of the user's own -----------------------------------------------------------------------------------


class WordEmbeddings:
    """LangChain's interface: a text is what words it holds."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.texts += texts
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = np.zeros(512)
        for word in text.lower().strip(". ").split():
            vector[int(512 * hash_share(word))] += 1
        return [float(value) for value in vector]


class CountingScorer(HashScorer):
    """Knows how often it was asked."""

    calls = 0

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        assert query is None
        self.calls += 1
        return super().score(documents, query)


def test_a_new_question_over_known_texts_needs_no_forward_pass() -> None:
    words, model, store = CountingScorer(), WordEmbeddings(), MemoryStore()
    known = Embeddings(model)
    units = CachedScorer(UnitEmbedder(known), "units", store)
    scorer = EmbeddingScorer(CachedScorer(words, "words", store), units, known, 10.0)
    own = compressor(scorer, budget_tokens=9)
    own.precompute([RIVER, BRIDGE])
    assert words.calls == 1
    embedded = len(model.texts)
    assert own.compress([RIVER, BRIDGE], "who built the bridge").text == "The bridge was built by Ada Byron."
    assert "river" in own.compress([RIVER, BRIDGE], "how long is the river").text
    assert own.compress([BRIDGE, RIVER]).kept_tokens <= 9  # and none without a question
    assert words.calls == 1
    assert len(model.texts) == embedded


def test_embeddings_of_both_frameworks_and_of_neither() -> None:
    class OfLlamaIndex:
        def get_text_embedding_batch(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 2.0]] * len(texts)

        def get_query_embedding(self, query: str) -> list[float]:
            return [2.0, 1.0]

    found = Embeddings(OfLlamaIndex())
    assert np.linalg.norm(found.of_texts(["a", "b"]), axis=1) == pytest.approx([1, 1])
    assert found.of_query("a") == pytest.approx(np.array([2, 1]) / 5**0.5)
    assert found.of_texts([]).shape == (0, 0)
    with pytest.raises(ConfigError, match="must be a LangChain `Embeddings` or a LlamaIndex `BaseEmbedding`, got str"):
        Embeddings("all-MiniLM")


@pytest.mark.parametrize(
    ("texts", "query", "message"),
    [
        ([[1.0, float("nan")]], [1.0, 0.0], "must return finite numbers"),
        ([[1.0], [1.0, 2.0]], [1.0, 0.0], "vectors of one length"),
        ([], [1.0, 0.0], "must return 3 vectors of one length, got an array of shape"),
        ([[1.0, 0.0, 0.0]], [1.0, 0.0], "returns 3 numbers for texts and 2 for questions"),
        ([[1.0, 0.0]], [float("inf"), 0.0], "must return finite numbers"),
    ],
)
def test_wrong_embeddings_are_clear_errors(texts: list[list[float]], query: list[float], message: str) -> None:
    class Wrong:
        def embed_documents(self, given: list[str]) -> list[list[float]]:
            return texts * 3 if len(texts) == 1 else texts

        def embed_query(self, given: str) -> list[float]:
            return query

    known = Embeddings(Wrong())
    own = compressor(EmbeddingScorer(HashScorer(), UnitEmbedder(known), known, 10.0))
    with pytest.raises(CompressionError, match=message):
        own.compress([BRIDGE], "who")


def test_nothing_to_precompute_into() -> None:
    with pytest.raises(ConfigError, match="nowhere to keep scores: set `cache_bytes`, `cache_dir` or `cache_store`"):
        compressor(cache_bytes=0).precompute([BRIDGE])


# --- explanations ---------------------------------------------------------------------------------------------------


def test_units_say_why_they_went() -> None:
    result = compressor(Judge(), budget_tokens=20).compress([RIVER, BRIDGE, BRIDGE], "bridge")
    units = result.explain().units
    assert [unit.text.strip() for unit in units[2:5]] == [
        "It rained.",
        "The bridge was built by Ada Byron.",
        "The baker slept well.",
    ]
    best, copy = units[3], units[6]
    assert best.kept_words == best.words == 7 + 1  # the full stop is a word
    assert copy.repetition
    assert copy.against == 3
    assert copy.kept_words == 0
    assert copy.share == 0
    assert best.gain == best.relevance - 4.0 * max(best.redundancy, 0)
    assert sum(unit.share for unit in units) == pytest.approx(1)
    assert best.share == max(unit.share for unit in units)
    shown_in_html = result.explain()._repr_html_()
    assert "<details><summary>Units</summary>" in shown_in_html
    assert "repeated" in shown_in_html


def reasons(result: CompressionResult) -> dict[str, set[str]]:
    """What each reason was said of, words of more than two letters."""
    found: dict[str, set[str]] = {}
    for word in result.explain():
        if len(word.text) > 2:
            found.setdefault(word.reason, set()).add(word.text)
    return found


def test_every_word_says_the_true_reason() -> None:
    texts = [RIVER, BRIDGE, BRIDGE, f"The bridge is {'x' * 400}."]
    everything = compressor(Judge(), rate=1.0).compress(texts, "bridge")
    assert set(reasons(everything)) == {"whole input fits"}
    found = reasons(compressor(Judge(), budget_tokens=18, protect=["cold"]).compress(texts, "bridge"))
    assert "Byron" in found["share of the budget"]
    assert "cold" in found["protected"]
    assert "slept" in found["below the cut"] & found["repetition"]
    explanation = compressor(Judge(), budget_tokens=22).compress(texts, "bridge").explain()
    assert explanation.quantity == "priority"
    for word in explanation:
        if word.kept:
            assert (word.value >= explanation.cutoff) == (word.reason == "share of the budget")
            assert word.value >= explanation.cutoff or word.reason == "fills the rest"


def test_reasons_under_a_threshold_are_odds_or_the_metric() -> None:
    explanation = compressor(Judge(), threshold=0.5).compress([RIVER, BRIDGE], "bridge").explain()
    assert explanation.quantity == "odds"
    assert {word.reason for word in explanation if word.kept} == {"odds"}
    assert explanation.cutoff == 1.0  # the best unit's share of itself
    explanation = compressor(threshold=0.5).compress([RIVER, BRIDGE]).explain()
    assert explanation.quantity == "odds"
    explanation = compressor(threshold=0.5, gains={"budgets": "words"}).compress([RIVER, BRIDGE]).explain()
    assert explanation.quantity == "metric"
    assert {word.reason for word in explanation} == {"metric", "below the cut"}


def test_a_line_that_a_kept_line_needs_says_so() -> None:
    code = "def crossing(year):\n    dig = 1\n    bridge = 2"
    result = compressor(Judge(), gains={"temperature": 0.1}, budget_tokens=10).compress([RIVER, code], "bridge")
    assert result.text == "def crossing(year):\n    bridge = 2"
    assert "def" in reasons(result)["kept text needs it"]
    assert "bridge" in reasons(result)["share of the budget"]


def test_what_is_beyond_the_best_documents_or_does_not_fit_says_so() -> None:
    result = compressor(Judge(), top_n=1, rate=1.0).compress([RIVER, BRIDGE], "bridge")
    assert "river" in reasons(result)["beyond `top_n`"]
    long = "x" * 700
    result = compressor(Judge(), budget_tokens=25).compress([RIVER, f"bridge {long}"], "bridge")
    assert reasons(result)["does not fit"] == {"bridge", long}
    assert "river" in reasons(result)["fills the rest"]


def test_terminals_show_the_units() -> None:
    console = pytest.importorskip("rich.console").Console(width=160, record=True)
    console.print(compressor(Judge(), rate=0.5).compress([RIVER, BRIDGE], "bridge").explain())
    text = console.export_text()
    assert "relevance" in text
    assert "The bridge was built by Ada Byron." in text


# --- texts that are known already -----------------------------------------------------------------------------------


@given(texts=TEXTS, settings=SETTINGS)
def test_known_texts_give_the_same(texts: list[str], settings: dict[str, Any]) -> None:
    own, forgetful = compressor(**settings, rate=0.4), compressor(**settings, rate=0.4, cache_bytes=0)
    first, again = own.compress(texts, "Who?"), own.compress(texts, "Who?")
    assert shown(first) == shown(again) == shown(forgetful.compress(texts, "Who?"))

"""The laws of compression, and what bad input gets."""

from __future__ import annotations

import asyncio
import copy
import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import HARD
from rich.console import Console
from tiny import HashScorer, byte_bpe

from moos_integrations import (
    CompressionError,
    CompressionResult,
    CompressorConfig,
    ConfigError,
    ContextCompressor,
    InputError,
    ModelError,
    PassthroughWarning,
    SegmentedText,
    WordScores,
)
from moos_integrations.core.explain import Explanation
from moos_integrations.core.protection import protected_words
from moos_integrations.core.text import segment

COMPRESSOR = ContextCompressor(HashScorer())
DOCUMENTS = st.lists(
    st.one_of(
        HARD, st.lists(st.sampled_from(["alpha", "3.5 GB", "not", "don't", ",", "(x)", "\n\n", "。"])).map(" ".join)
    ),
    max_size=5,
)
STRANGE = {
    "empty": "",
    "blank": " \t\r\n\u3000 ",
    "one character": "x",
    "controls": "".join(map(chr, range(32))) + "\x7f\x80\u200b\u2028",
    "lone surrogate": "a \ud800 b \udfff",
    "emoji": "👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 1️⃣",
    "right to left": "שלום עולם! مرحبا بالعالم 123",
    "mixed scripts": "Straße 東京タワー กรุงเทพ हिन्दी Ελλάδα 서울 кириллица",
    "one giant word": "A" * 5000,
    "zalgo": "a" + "\u0301" * 500,
    "null bytes": "\x00" * 100,
}


def is_subsequence(part: str, whole: str) -> bool:
    characters = iter(whole)
    return all(character in characters for character in part)


def check_laws(result: CompressionResult, texts: Sequence[str], budget: int | None) -> None:
    """What holds for every result."""
    counter = COMPRESSOR.counter
    assert [document.index for document in result.documents] == list(range(len(texts)))
    for document, source in zip(result.documents, texts, strict=True):
        assert is_subsequence(document.text, source)
        assert document.text == "".join(source[start:end] for start, end in document.spans)
        assert document.kept_tokens == counter.count(document.text)
        assert document.original_tokens == counter.count(source)
        for position in range(len(document.text)):
            assert source[document.to_source(position)] == document.text[position]
        for start, end in document.dropped_units:
            pieces = [source[max(start, left) : min(end, right)] for left, right in document.spans]
            assert not "".join(pieces).strip()
    assert sorted(result.order) == list(range(len(texts)))
    assert result.text == "\n\n".join(text for index in result.order if (text := result.documents[index].text))
    assert result.kept_tokens == counter.count(result.text)
    assert len(result.text) <= len("\n\n".join(texts))
    if budget is not None:
        assert result.kept_tokens <= budget


@given(texts=DOCUMENTS, budget=st.integers(0, 60))
def test_laws_under_a_budget(texts: list[str], budget: int) -> None:
    check_laws(COMPRESSOR.compress(texts, budget_tokens=budget), texts, budget)


@given(texts=DOCUMENTS, rate=st.floats(0, 1))
def test_laws_under_a_rate(texts: list[str], rate: float) -> None:
    result = COMPRESSOR.compress(texts, rate=rate)
    check_laws(result, texts, int(rate * result.original_tokens + 1e-6))
    assert result.rate <= rate + 1e-9 or result.original_tokens == 0


@given(texts=DOCUMENTS, threshold=st.floats(0, 1))
def test_laws_under_a_threshold(texts: list[str], threshold: float) -> None:
    result = COMPRESSOR.compress(texts, threshold=threshold)
    check_laws(result, texts, None)
    for word in result.explain():
        assert (
            word.kept
            if word.value >= threshold
            else word.reason in ("below the cut", "repetition", "kept text needs it")
        )


@given(DOCUMENTS)
def test_rate_one_returns_the_sources(texts: list[str]) -> None:
    result = COMPRESSOR.compress(texts, rate=1.0)
    assert [document.text for document in result] == texts
    assert result.rate == 1.0


@given(texts=DOCUMENTS, budgets=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_a_larger_budget_keeps_a_superset(texts: list[str], budgets: tuple[int, int]) -> None:
    plain = ContextCompressor(HashScorer(), CompressorConfig(gains={"fill": False}))
    small, large = (kept_words(plain.compress(texts, budget_tokens=budget)) for budget in sorted(budgets))
    assert small <= large


def kept_words(result: CompressionResult) -> set[tuple[int, int]]:
    return {(word.document, word.start) for word in result.explain() if word.kept}


@given(texts=DOCUMENTS, budget=st.integers(0, 40))
def test_sentences_with_protected_words_come_first(texts: list[str], budget: int) -> None:
    config = CompressorConfig(protect=["numbers"], gains={"fill": False})
    result = ContextCompressor(HashScorer(), config).compress(texts, budget_tokens=budget)
    check_laws(result, texts, budget)
    lost, words = False, iter(result.explain())
    for text in texts:
        flags = protected_words(segment(text), ("numbers",))
        lost |= any(not word.kept for flag, word in zip(flags.tolist(), words, strict=False) if flag)
    assert lost == any("protected words were dropped" in notice for notice in result.warnings)
    if lost:
        kept = {word.reason for word in result.explain() if word.kept}
        assert kept <= {"protected", "kept text needs it"}


@given(DOCUMENTS)
def test_same_input_same_output_and_inputs_are_not_changed(texts: list[str]) -> None:
    before = copy.deepcopy(texts)
    results = [COMPRESSOR.compress(texts, rate=0.4) for _ in range(2)]
    assert texts == before
    assert results[0].documents == results[1].documents


@given(st.lists(DOCUMENTS, max_size=4))
def test_many_equals_one_by_one(requests: list[list[str]]) -> None:
    queries = [None if index % 2 else "which?" for index in range(len(requests))]
    together = COMPRESSOR.compress_many(requests, queries, rate=0.5)
    alone = [COMPRESSOR.compress(request, query, rate=0.5) for request, query in zip(requests, queries, strict=True)]
    assert [result.documents for result in together] == [result.documents for result in alone]


@given(DOCUMENTS)
def test_sync_equals_async(texts: list[str]) -> None:
    result = asyncio.run(COMPRESSOR.acompress(texts, rate=0.5))
    assert result.documents == COMPRESSOR.compress(texts, rate=0.5).documents


@given(
    texts=DOCUMENTS,
    budget=st.integers(0, 60),
    tokenizer=st.sampled_from([byte_bpe(), len, lambda text: len(text.split()), "cl100k_base"]),
)
def test_the_ceiling_holds_for_every_kind_of_tokenizer(texts: list[str], budget: int, tokenizer: Any) -> None:
    compressor = ContextCompressor(HashScorer(), CompressorConfig(tokenizer=tokenizer, separator="\n---\n"))
    result = compressor.compress(texts, budget_tokens=budget)
    assert compressor.counter.count(result.text) == result.kept_tokens <= budget


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE.keys())
@pytest.mark.parametrize("target", [{"rate": 0.5}, {"rate": 0.0}, {"budget_tokens": 3}, {"threshold": 0.5}])
def test_strange_input_with_the_real_model(bundled: ContextCompressor, text: str, target: dict[str, Any]) -> None:
    texts = [text, "An ordinary sentence stands beside it."]
    check_laws(bundled.compress(texts, **target), texts, target.get("budget_tokens"))


@pytest.mark.slow
def test_a_million_characters() -> None:
    text = "The meeting on 3 May ended at 17:30, nobody knows why. " * 18_200
    result = COMPRESSOR.compress(text, rate=0.3)
    assert 0.29 < result.rate <= 0.3
    assert is_subsequence(result.text, text)


def test_a_giant_word_does_not_block_the_budget() -> None:
    class GiantFirst:
        def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
            return [WordScores.from_preserve([len(word) / 1e6 for word in document.words()]) for document in documents]

    text = "One two three. " + "Zx9Q" * 500
    result = ContextCompressor(GiantFirst()).compress(text, budget_tokens=10)
    assert result.text == "One two three."
    assert {word.reason for word in result.explain()} == {"fills the rest", "does not fit"}


# --- the real model --------------------------------------------------------------------------------------------------

PASSAGES = [
    "The Gilmer City Council plans to consider canceling its May 10 council election, since no incumbent drew a "
    "challenger. The fee is $1,499.00 for order ORD-99172.",
    "Marie Curie, who was born in Warsaw in 1867, won the Nobel Prize twice; she did not accept the money at first.",
    "| item | price |\n| tea | 3.50 |\n| coffee | 4.20 |",
]


def test_real_model_batch_equals_single_and_order_does_not_matter(bundled: ContextCompressor) -> None:
    # By the metric: odds are a share of the best unit's of a request.
    own = ContextCompressor(bundled.scorer, CompressorConfig(gains={"budgets": "words"}))
    together = own.compress(PASSAGES, threshold=0.4)
    alone = [own.compress(text, threshold=0.4).text for text in PASSAGES]
    backward = own.compress(PASSAGES[::-1], threshold=0.4)
    assert any(alone)
    assert [document.text for document in together] == alone
    assert [document.text for document in backward] == alone[::-1]


def test_real_model_prefers_content_over_function_words(bundled: ContextCompressor) -> None:
    words = {word.text: word.preserve_probability for word in bundled.compress(PASSAGES[1]).explain()}
    assert min(words["Warsaw"], words["1867"], words["Nobel"]) > max(words["the"], words["at"], words[";"])


def test_real_model_in_threads(bundled: ContextCompressor) -> None:
    expected = bundled.compress(PASSAGES).documents
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: bundled.compress(PASSAGES).documents, range(8)))
    assert all(documents == expected for documents in results)


# --- results ---------------------------------------------------------------------------------------------------------


def test_to_source_ends_and_refusals() -> None:
    result = COMPRESSOR.compress("One two three. Four five six seven.", budget_tokens=6)
    document = result.documents[0]
    assert document.to_source(len(document.text)) == document.spans[-1][1]
    for position in (-1, len(document.text) + 1):
        with pytest.raises(IndexError, match=f"Expected a position from 0 to {len(document.text)}, got {position}"):
            document.to_source(position)
    assert COMPRESSOR.compress("", rate=0.5).documents[0].to_source(0) == 0


def test_dropped_units_and_documents_are_reported() -> None:
    class FirstSentence:
        def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
            return [WordScores.from_preserve(np.where(doc.unit_of_word == 0, 0.9, 0.1)) for doc in documents]

    text = "Keep this one. Drop that one. And this."
    result = ContextCompressor(FirstSentence()).compress([text, "Other one. Gone too."], threshold=0.5)
    assert result.documents[0].text == "Keep this one."
    assert [text[start:end] for start, end in result.documents[0].dropped_units] == ["Drop that one. ", "And this."]
    result = ContextCompressor(FirstSentence()).compress([text, ""], budget_tokens=0)
    assert all(document.dropped for document in result)
    assert result.text == ""


def test_protection_is_priced() -> None:
    compressor = ContextCompressor(HashScorer(), CompressorConfig(protect=["numbers"]))
    costly = "It cost 17 and then 2,345.67 in the end of 1999."
    text = f"It rained all day. {costly} Nobody slept after those long years of waiting. Grain was cheap."
    protected, plain = compressor.compress(text, rate=0.6), COMPRESSOR.compress(text, rate=0.6)
    assert costly in protected.text
    assert plain.protected_tokens == 0
    reasons = [word for word in protected.explain() if word.reason == "protected"]
    assert bool(reasons) == (protected.protected_tokens > 0)


def test_explanation_as_data_html_and_terminal_text() -> None:
    explanation = COMPRESSOR.compress(["<b>bold</b> & 'quoted' words", "second"], rate=0.5).explain()
    assert len(explanation) == len(explanation.words) == len(explanation.to_dicts())
    assert {word.reason for word in explanation} == {"share of the budget", "below the cut"}
    assert explanation.words[0].outlier_score is None
    markup = explanation._repr_html_()
    assert "&lt;" in markup
    assert "<b>bold" not in markup
    assert "bold" in on_terminal(explanation)
    whole = COMPRESSOR.compress("a b", rate=1.0).explain()
    assert {word.reason for word in whole} == {"whole input fits"}


def test_explanation_shows_how_likely_each_document_answers(aware_model: Path) -> None:
    compressor = ContextCompressor.from_pretrained(str(aware_model), device="cpu", dtype="float32")
    explanation = compressor.compress(["Numbers like 42", "", "matter"], "What?", rate=0.5).explain()
    first, last = explanation.words[0].passage_probability, explanation.words[-1].passage_probability
    assert first is not None
    assert last is not None
    for shown in (explanation._repr_html_(), on_terminal(explanation)):
        assert f"[0] answers with probability {first:.2f}" in shown
        assert f"[2] answers with probability {last:.2f}" in shown
        assert "[1] relevance" not in shown  # nothing to read in it
    free = compressor.compress(["Numbers like 42"], rate=0.5).explain()
    assert free.to_dicts()[0]["passage_probability"] is None
    assert "answers with probability" not in free._repr_html_() + on_terminal(free)


def on_terminal(explanation: Explanation) -> str:
    output = io.StringIO()
    Console(width=200, file=output).print(explanation)
    return output.getvalue()


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (None, "`documents` must be a string or a sequence of strings, got NoneType"),
        (7, "got int"),
        (b"bytes", "got bytes"),
        ({"a": 1}, "got dict"),
        (["a", None], "item 1 is a NoneType"),
        (["a", 3], "item 1 is a int.*MOOSCompressor"),
    ],
)
def test_documents_of_the_wrong_type(documents: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        COMPRESSOR.compress(documents)


def test_queries_of_the_wrong_type_or_number() -> None:
    with pytest.raises(InputError, match="`query` must be a string or None, got int"):
        COMPRESSOR.compress("a", 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected 2"):
        COMPRESSOR.compress_many(["a", "b"], ["q"])


def test_two_targets() -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        COMPRESSOR.compress("a", rate=0.5, threshold=0.5)


def test_settings_as_config_and_keywords() -> None:
    with pytest.raises(ConfigError, match="not both; got rate"):
        ContextCompressor.from_pretrained(config=CompressorConfig(), rate=0.5)


class Broken:
    """A scorer that fails."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    "metric", [lambda n: [0.5] * (n + 1), lambda n: [float("nan")] * n], ids=["wrong length", "not finite"]
)
def test_scorers_are_checked(metric: Any) -> None:
    class Wrong:
        def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
            return [WordScores.from_preserve(metric(len(document))) for document in documents]

    with pytest.raises(CompressionError, match="must return 2 finite metrics for document 0"):
        ContextCompressor(Wrong(), CompressorConfig(min_tokens=0)).compress("a b")


def test_failures_raise_by_default_with_their_cause() -> None:
    with pytest.raises(CompressionError, match="RuntimeError: out of memory") as caught:
        ContextCompressor(Broken(), CompressorConfig(min_tokens=0)).compress("a")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_failures_pass_the_documents_through_if_asked() -> None:
    compressor = ContextCompressor(Broken(), CompressorConfig(on_error="passthrough", min_tokens=0))
    with pytest.warns(PassthroughWarning, match="out of memory") as caught:
        result = compressor.compress(["a b", "", "c"])
    assert len(caught) == len(result.warnings) == 1
    assert [document.text for document in result] == ["a b", "", "c"]
    assert result.text == "a b\n\nc"
    assert result.kept_tokens == result.original_tokens > 0
    assert result.passed_through
    with pytest.raises(CompressionError, match="no scores to explain"):
        result.explain()


def test_a_damaged_model_passes_through_too(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    compressor = ContextCompressor.from_pretrained(str(tmp_path), lazy=True, on_error="passthrough", min_tokens=0)
    with pytest.warns(PassthroughWarning, match="could not be loaded"):
        assert compressor.compress("a b").text == "a b"
    with pytest.raises(ModelError):
        ContextCompressor.from_pretrained(str(tmp_path), lazy=True, min_tokens=0).compress("a")


def test_mistakes_of_the_caller_are_never_passed_through() -> None:
    compressor = ContextCompressor(HashScorer(), CompressorConfig(on_error="passthrough", min_tokens=0))
    with pytest.raises(InputError):
        compressor.compress([1])  # type: ignore[list-item]
    with pytest.raises(ConfigError):
        compressor.compress("a", rate=3)


def test_lazy_scorers_are_made_once() -> None:
    made: list[int] = []

    def make() -> HashScorer:
        made.append(1)
        return HashScorer()

    compressor = ContextCompressor(make, CompressorConfig(min_tokens=0))
    assert not made
    threads = [threading.Thread(target=compressor.compress, args=("a b",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert copy.deepcopy(compressor) is compressor


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.compress_many("abc"), "`requests` must be a list .* got str. For one request use `compress`"),
        (lambda c: c.compress_many(None), "`requests` must be a list .* got NoneType"),
        (lambda c: c.compress_many({"a": ["b"]}), "`requests` must be a list .* got dict"),
        (lambda c: c.compress_many(["a"], 5), "`queries` must be a list .* expected 1, got 5"),
        (lambda c: c.compress_many(["a"], {"q"}), "`queries` must be a list"),
        (lambda c: c.compress(["a"], document_scores=[10**400]), "`document_scores` must hold numbers of usual size"),
        (lambda c: c.compress(["a"], document_scores=np.array(["x"])), "`document_scores` must hold numbers or None"),
    ],
)
def test_input_of_another_kind_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(ContextCompressor(HashScorer()))


@pytest.mark.parametrize("scores", [np.array([0.5, 0.25]), np.float32([0.5, 0.25]), [np.float64(0.5), 0.25]])
def test_scores_may_be_those_of_numpy(scores: Any) -> None:
    compressor, texts = (
        ContextCompressor(HashScorer(), CompressorConfig(min_tokens=0)),
        ["One two three.", "Four five."],
    )
    plain = compressor.compress(texts, "What?", document_scores=[0.5, 0.25], rate=0.5)
    assert compressor.compress(texts, "What?", document_scores=scores, rate=0.5) == replace(plain, seconds=ANY)


def test_a_scorer_is_an_object_or_makes_one() -> None:
    text, config = "One two three. Four five.", CompressorConfig(min_tokens=0)
    expected = ContextCompressor(HashScorer(), config).compress(text, rate=0.5).text
    assert ContextCompressor(HashScorer, config).compress(text, rate=0.5).text == expected
    for wrong in (None, 5, "moos-minilm-en"):
        with pytest.raises(ConfigError, match=r"`scorer` must have the method .* `ContextCompressor.from_pretrained`"):
            ContextCompressor(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a function that made int"):
        ContextCompressor(lambda: 5, config).compress(text)  # type: ignore[arg-type,return-value]
    for make in (
        lambda: ContextCompressor(HashScorer(), {"rate": 0.5}),
        lambda: ContextCompressor.from_pretrained(config="x"),
    ):
        with pytest.raises(ConfigError, match="`config` must be a `CompressorConfig`, got"):
            make()

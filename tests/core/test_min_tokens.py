"""Requests that are too small to compress."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import HashScorer, UnitScorer

from moos_integrations import CompressorConfig, ContextCompressor, InputError, ModelError

SMALL = ["The fee is 40 euros. It rained.", "", "Nobody slept."]
LARGE = ["The old bridge was closed. Nobody had asked for it. It rained in that year. " * 4]


def no_model() -> Any:
    raise ModelError("the model was loaded")


def without_model(**own: Any) -> ContextCompressor:
    return ContextCompressor(no_model, CompressorConfig(**{"min_tokens": 30, **own}))


@pytest.mark.parametrize("query", [None, "What is the fee?"])
def test_a_small_request_comes_back_as_it_is_without_the_model(query: str | None) -> None:
    result = without_model(protect=["numbers"], omission="[...]").compress(SMALL, query)
    assert [document.text for document in result] == SMALL
    assert [document.spans for document in result] == [((0, len(text)),) if text else () for text in SMALL]
    assert result.text == f"{SMALL[0]}\n\n{SMALL[2]}"
    assert result.left_alone
    assert result.summary()["left_alone"]
    assert "left alone" in repr(result)
    assert not result.warnings
    assert not result.passed_through
    assert result.rate == 1.0
    assert [(place.document, place.start) for place in result.cite("40 euros")] == [(0, 11)]


def test_the_size_is_that_of_all_documents_together() -> None:
    made = ContextCompressor(HashScorer(), CompressorConfig(min_tokens=16))
    tokens = sum(map(made.counter.count, SMALL))
    assert tokens < 16 < sum(map(made.counter.count, SMALL * 2))
    assert made.compress(SMALL).left_alone
    assert not made.compress(SMALL * 2).left_alone
    border = ContextCompressor(HashScorer(), CompressorConfig(min_tokens=tokens))
    assert not border.compress(SMALL).left_alone


@pytest.mark.parametrize("target", [{"rate": 0.5}, {"budget_tokens": 6}, {"threshold": 0.9}, {"rate": 1.0}])
def test_a_target_in_settings_or_call_is_honoured(target: dict[str, Any]) -> None:
    plain = ContextCompressor(HashScorer(), CompressorConfig(min_tokens=0)).compress(SMALL, **target)
    in_call = ContextCompressor(HashScorer(), CompressorConfig(min_tokens=30)).compress(SMALL, **target)
    in_settings = ContextCompressor(HashScorer(), CompressorConfig(min_tokens=30, **target)).compress(SMALL)
    assert plain.documents == in_call.documents == in_settings.documents
    assert not in_call.left_alone
    assert not in_settings.left_alone


@pytest.mark.parametrize("own", [{"top_n": 1}, {"order": "relevance"}, {"order": "ends"}])
def test_settings_that_pick_documents_need_the_model(own: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="was loaded"):
        without_model(**own).compress(SMALL)
    assert without_model(**own).compress(SMALL[:1]).left_alone
    result = ContextCompressor(UnitScorer(), CompressorConfig(min_tokens=30, top_n=1)).compress(SMALL, "Who?")
    assert len(result.dropped_documents) >= 2
    assert without_model(top_n=3).compress(SMALL).left_alone


def test_small_and_large_requests_in_one_batch() -> None:
    made = ContextCompressor(HashScorer(), CompressorConfig(min_tokens=30))
    requests: list[list[str]] = [SMALL, LARGE, [], SMALL[:1]]
    queries = ["Who?", None, None, "What?"]
    together = made.compress_many(requests, queries)
    alone = [made.compress(request, query) for request, query in zip(requests, queries, strict=True)]
    assert [result.documents for result in together] == [result.documents for result in alone]
    assert [result.left_alone for result in together] == [True, False, True, True]


def test_scores_can_still_be_explained() -> None:
    made = ContextCompressor(UnitScorer(), CompressorConfig(min_tokens=30))
    result = made.compress(SMALL, "What is the fee?", document_scores=[3.0, None, 1.0])
    words = result.explain().words
    assert {word.reason for word in words} == {"whole input fits"}
    assert words[0].passage_probability is not None
    with pytest.raises(ModelError, match="was loaded"):
        without_model().compress(SMALL).explain()


def test_wrong_input_is_refused_as_ever() -> None:
    with pytest.raises(InputError):
        without_model().compress([1])  # type: ignore[list-item]
    with pytest.raises(InputError):
        without_model().compress(SMALL, document_scores=[1.0])

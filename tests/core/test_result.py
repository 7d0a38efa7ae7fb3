"""What users get back, by itself; `test_citations.py` has its citations."""

from __future__ import annotations

import pytest

from moos_integrations.core.result import CompressedDocument, CompressionResult
from moos_integrations.errors import CompressionError
from moos_integrations.messages import Notice

DOCUMENT = CompressedDocument(1, "abfg", ((0, 2), (5, 7)), 9, 3, ())
EMPTY = CompressedDocument(0, "", (), 4, 0, ())


def test_positions_lead_back_to_the_source() -> None:
    assert [DOCUMENT.to_source(position) for position in range(5)] == [0, 1, 5, 6, 7]
    assert EMPTY.to_source(0) == 0
    for document, position in ((DOCUMENT, 5), (DOCUMENT, -1), (EMPTY, 1)):
        with pytest.raises(IndexError, match=f"got {position}"):
            document.to_source(position)


def test_a_quote_ends_where_its_last_word_ends_in_the_source() -> None:
    document = CompressedDocument(0, "one three", ((0, 3), (7, 13)), 3, 2, ())  # of "one two three"
    assert [(place.start, place.end, place.text) for place in document.cite("one")] == [(0, 3, "one")]


def test_the_rate_is_the_share_that_was_kept() -> None:
    assert CompressionResult((DOCUMENT,), "abfg", 12, 3, 0, 0.0).rate == 0.25
    assert CompressionResult((), "", 0, 0, 0, 0.0).rate == 1.0


def test_without_scores_there_is_nothing_to_explain() -> None:
    result = CompressionResult((DOCUMENT,), "abfg", 12, 12, 0, 0.0)
    with pytest.raises(CompressionError, match="no scores to explain"):
        result.explain()


def test_the_summary_holds_the_counts() -> None:
    warnings = (Notice("budget not filled", "2 of 5 tokens are unused."),)
    result = CompressionResult((EMPTY, DOCUMENT), "abfg", 13, 3, 1, 0.5, warnings)
    assert result.summary() == {
        "documents": 2,
        "dropped_documents": [0],
        "original_tokens": 13,
        "kept_tokens": 3,
        "protected_tokens": 1,
        "rate": 3 / 13,
        "seconds": 0.5,
        "context_tokens": 3,
        "left_alone": False,
        "warnings": ["2 of 5 tokens are unused."],
    }
    assert "2 documents, 13 -> 3 tokens, 500 ms, 1 warning(s)" in repr(result)
    assert list(result) == [EMPTY, DOCUMENT]
    assert len(result) == 2

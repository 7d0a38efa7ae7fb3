from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from moos_benchmarks import pairs
from moos_benchmarks.data import Pair

from moos_integrations import SegmentedText, WordScores


def pair(text: str, tokens: str, mask: str | None) -> Pair:
    keep = None if mask is None else tuple(bit == "1" for bit in mask)
    return Pair("x", text, tuple(tokens.split()), keep)


def test_labels_follow_the_tokens() -> None:
    found = pairs.kept_by_people(pair("It wasn't Ada, then.", "It was n't Ada , then .", "1011001"))
    assert found is not None
    document, kept = found
    # "wasn't" is one word: a part of it was kept.
    assert dict(zip(document.words(), kept.tolist(), strict=True)) == {
        "It": True, "wasn't": True, "Ada": True, ",": False, "then": False, ".": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "unusable",
    [pair("It is.", "It is .", None), pair("It is.", "It was .", "111"), pair("It really is.", "It is .", "111")],
)
def test_pairs_without_word_labels(unusable: Pair) -> None:
    assert pairs.kept_by_people(unusable) is None


def test_agreement_by_hand() -> None:
    labels = [np.array([True, True, False, False]), np.array([True, False])]
    preserve = [np.array([0.9, 0.4, 0.6, 0.1]), np.array([0.7, 0.8])]
    found = pairs.agreement(labels, preserve)
    # Kept at 0.5: words 0 and 2, and both of the second sentence; two of the four are right, one of three is missed.
    assert (found["precision"], found["recall"], found["keep_rate"]) == (0.5, 0.6667, 0.6667)
    assert found["f1"]["value"] == 0.5714  # 2 * 2 / (4 + 3)
    # The three best words are 0.9, 0.8, 0.7: two of them are right.
    assert found["f1_at_matched_keep_rate"]["value"] == 0.6667


class Oracle:
    """Knows which words people kept."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        return [WordScores.from_preserve([word != "then" for word in document.words()]) for document in documents]


def test_measuring_counts_what_has_no_labels() -> None:
    good = pair("It was Ada then", "It was Ada then", "1110")
    table = pairs.measure_pairs([good, pair("It is.", "It was .", "111"), good], {"oracle": Oracle()})
    assert (table["sentences"], table["unlabelled"], table["words"]) == (2, 1, 8)
    assert table["keep_rate_of_people"] == table["methods"]["oracle"]["keep_rate"] == 0.75
    assert table["methods"]["oracle"]["f1"] == {"value": 1.0, "interval": [1.0, 1.0]}
    assert pairs.measure_pairs([], {"oracle": Oracle()})["methods"]["oracle"]["f1"]["value"] is None

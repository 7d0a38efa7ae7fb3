"""Match of terms, against a transcription of BM25 by its textbook formula."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moos_integrations.core.lexical import term_match, terms_of, unit_terms
from moos_integrations.core.text import segment

WORDS = st.lists(st.sampled_from(["bridge", "river", "E4711", "the", "of"]), max_size=8)


def naive(question: list[str], units: list[list[str]]) -> list[float]:
    mean = sum(map(len, units)) / len(units)
    scores = []
    for unit in units:
        score = 0.0
        for term in set(question):
            holders = sum(term in other for other in units)
            if holders:
                rarity = math.log(1 + (len(units) - holders + 0.5) / (holders + 0.5))
                times = unit.count(term)
                score += rarity * times / (times + 1.5 * (1 - 0.75 + 0.75 * len(unit) / mean))
        scores.append(score)
    best = max(scores)
    return [score / best if best else 0.0 for score in scores]


@given(question=WORDS, units=st.lists(WORDS, min_size=1, max_size=5))
def test_it_is_bm25_as_a_share_of_the_best(question: list[str], units: list[list[str]]) -> None:
    lower = [[term.lower() for term in unit] for unit in units]
    found = term_match(" ".join(question), list(map(Counter, lower)))
    if any(units):
        assert found.tolist() == pytest.approx(naive([term.lower() for term in question], lower))
    assert ((found >= 0) & (found <= 1)).all()


def test_terms_are_runs_of_letters_and_digits_in_any_script() -> None:
    assert terms_of("Error E-4711: Größe, naïve don't") == ["error", "e", "4711", "größe", "naïve", "don", "t"]
    assert terms_of("") == terms_of("?!") == []
    assert terms_of("\ud800x") == ["x"]
    document = segment("The river is long. Nobody swims in the river.")
    assert list(unit_terms(document)) == [["the", "river", "is", "long"], ["nobody", "swims", "in", "the", "river"]]


@pytest.mark.parametrize("question", ["", "?", "zebra"])
def test_nothing_matches(question: str) -> None:
    assert term_match(question, [Counter(["a"]), Counter()]).tolist() == [0.0, 0.0]
    assert term_match(question, []).tolist() == []
    assert not np.isnan(term_match("a", [Counter(), Counter()])).any()

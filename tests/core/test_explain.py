"""Explanations of made-up decisions: what each word, unit and view says."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from tiny import table_of

from moos_integrations.core.explain import Explanation
from moos_integrations.core.marginal_gain import UnitGains
from moos_integrations.core.ordering import Order
from moos_integrations.core.text import segment
from moos_integrations.core.types import Selection


def explained(
    *texts: str,
    alone: Sequence[float],
    kept: Sequence[int],
    cutoff: float,
    needed: Sequence[int] = (),
    filled: Sequence[int] = (),
    gains: UnitGains | None = None,
    temperature: float = 1.0,
    protected: Sequence[int] = (),
) -> Explanation:
    table = table_of([segment(text) for text in texts])
    table = replace(table, protected=np.isin(np.arange(table.words), protected))
    order = replace(Order.by(table, np.array(alone)), gains=gains)
    places = np.arange(table.words)
    selection = Selection(
        np.isin(places, kept), False, cutoff, needed=np.isin(places, needed), filled=np.isin(places, filled)
    )
    return Explanation(table, order, selection, threshold=False, temperature=temperature)


def reasons(explanation: Explanation) -> list[str]:
    return [word.reason for word in explanation]


def test_a_kept_word_names_what_kept_it() -> None:
    found = explained(
        "a b c d e",
        alone=[0.5, 0.4, 0.2, 0.3, 0.1],
        kept=[0, 1, 2, 3],
        needed=[1],
        filled=[3],
        cutoff=0.5,
        protected=[2],
    )
    assert reasons(found) == ["metric", "kept text needs it", "protected", "fills the rest", "below the cut"]
    by_gain = explained("One two. Three.", alone=[0.5] * 5, kept=[0, 1, 2], cutoff=0.5, gains=two_units())
    assert reasons(by_gain)[:3] == ["share of the budget"] * 3


def test_where_nothing_is_kept_by_its_value_protection_kept_it() -> None:
    found = explained("a b", alone=[0.5, 0.4], kept=[0], cutoff=math.inf, protected=[0])
    assert reasons(found) == ["protected", "below the cut"]
    assert reasons(explained("a b", alone=[0.5, 0.4], kept=[0, 1], cutoff=-math.inf)) == ["whole input fits"] * 2


def test_a_word_that_a_thinned_sentence_needs_is_not_called_protected() -> None:
    found = explained("One two. Three.", alone=[0.5, 0.4, 0.3, 0.1, 0.1], kept=[0, 1], cutoff=0.5, protected=[3])
    assert reasons(found)[:3] == ["metric", "its sentence needs it", "below the cut"]


def test_a_dropped_word_that_reaches_the_cut_did_not_fit() -> None:
    found = explained("a b c d", alone=[0.5, 0.6, 0.4, 0.3], kept=[0, 3], needed=[3], cutoff=0.5)
    assert reasons(found) == ["metric", "does not fit", "below the cut", "kept text needs it"]


def test_a_word_better_than_what_fills_the_rest_did_not_fit() -> None:
    found = explained("a b c d", alone=[0.9, 0.5, 0.3, 0.2], kept=[0, 2], filled=[2], cutoff=0.9)
    assert reasons(found) == ["metric", "does not fit", "fills the rest", "below the cut"]
    equal = explained("a b", alone=[0.9, 0.9], kept=[0], cutoff=0.9)
    assert reasons(equal) == ["metric", "does not fit"]


def test_words_of_documents_beyond_the_best_say_so() -> None:
    table = table_of([segment("a b"), segment("c d")])
    order = replace(Order.by(table, np.array([0.9, 0.1, 0.2, 0.3])), eligible=np.array([True, False]))
    selection = Selection(np.array([True, False, False, False]), False, 0.9)
    found = Explanation(table, order, selection, threshold=False, temperature=1.0)
    assert reasons(found) == ["metric", "below the cut", "beyond `top_n`", "beyond `top_n`"]


def test_a_dropped_word_of_a_repetition_says_so() -> None:
    gains = replace(two_units(), repeated=np.array([False, True]))
    found = explained("One two. Three.", alone=[0.5] * 3 + [0.1] * 2, kept=[0, 1, 2], cutoff=0.5, gains=gains)
    assert reasons(found) == ["share of the budget"] * 3 + ["repetition"] * 2


def test_words_of_each_document_have_their_own_values() -> None:
    found = explained("a b", "", "c d", alone=[0.1, 0.2, 0.3, 0.4], kept=[1, 2], cutoff=0.2)
    assert [(word.text, word.document, word.value, word.kept) for word in found] == [
        ("a", 0, 0.1, False),
        ("b", 0, 0.2, True),
        ("c", 2, 0.3, True),
        ("d", 2, 0.4, False),
    ]
    assert (len(found), found.cutoff, found.quantity) == (4, 0.2, "metric")


def two_units() -> UnitGains:
    return UnitGains(
        relevance=np.array([2.0, 1.0]),
        redundancy=np.array([0.5, 0.5]),
        against=np.array([1, -1]),
        repeated=np.zeros(2, bool),
        gain=np.array([2.0, 0.0]),
    )


def test_units_count_their_kept_words_and_share_the_budget_at_the_temperature() -> None:
    found = explained(
        "One two. Three.", alone=[0.5] * 5, kept=[0, 1, 3], cutoff=0.1, gains=two_units(), temperature=2.0
    )
    first, second = found.units
    assert [(unit.text, unit.words, unit.kept_words) for unit in (first, second)] == [
        ("One two. ", 3, 2),
        ("Three.", 2, 1),
    ]
    assert first.share == pytest.approx(math.e / (1 + math.e))
    assert (first.against, second.against) == (1, None)
    assert explained("One.", alone=[0.5] * 2, kept=[0], cutoff=0.1).units == []


def test_views_colour_protected_words() -> None:
    found = explained("kept it dropped", alone=[0.9, 0.1, 0.2], kept=[0, 1], cutoff=0.9, protected=[1])
    assert reasons(found) == ["metric", "protected", "below the cut"]
    markup = found._repr_html_()
    assert re.search(r"<mark title=[^>]*>kept</mark> <mark class='moos-protected' title=[^>]*>it</mark> <del", markup)
    console = Console(width=200, file=io.StringIO(), force_terminal=True, record=True)
    console.print(found)
    styled = console.export_text(styles=True)
    for code, word in (("32", "kept"), ("1;33", "it"), ("2;9", "dropped")):
        assert f"\x1b[{code}m{word}" in styled


def test_views_have_no_numbers_of_units_where_words_were_ranked_alone() -> None:
    alone = explained("One two. Three.", alone=[0.5] * 5, kept=[0], cutoff=0.1)
    by_unit = explained("One two. Three.", alone=[0.5] * 5, kept=[0], cutoff=0.1, gains=two_units())
    for shown, expected in ((alone, False), (by_unit, True)):
        assert ("<details><summary>Units</summary>" in shown._repr_html_()) == expected
        assert ('class="moos-bar"' in shown._repr_html_()) == expected
        console = Console(width=200, file=io.StringIO(), record=True)
        console.print(shown)
        assert ("redundancy" in console.export_text()) == expected

"""Explanations of made-up decisions: what each word, unit and view says."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text
from tiny import table_of

from moos_integrations.core import explain
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
) -> Explanation:
    table = table_of([segment(text) for text in texts])
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
        "a b c d e", alone=[0.5, 0.4, 0.2, 0.3, 0.1], kept=[0, 1, 2, 3], needed=[1], filled=[3], cutoff=0.5
    )
    assert reasons(found) == ["metric", "kept text needs it", "protected", "fills the rest", "below the cut"]
    by_gain = explained("One two. Three.", alone=[0.5] * 5, kept=[0, 1, 2], cutoff=0.5, gains=two_units())
    assert reasons(by_gain)[:3] == ["share of the budget"] * 3


def test_where_nothing_is_kept_by_its_value_protection_kept_it() -> None:
    assert reasons(explained("a b", alone=[0.5, 0.4], kept=[0], cutoff=math.inf)) == ["protected", "below the cut"]
    assert reasons(explained("a b", alone=[0.5, 0.4], kept=[0, 1], cutoff=-math.inf)) == ["whole input fits"] * 2


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


def test_views_show_all_of_the_source_and_colour_protected_words() -> None:
    source = "  <b> kept protected dropped \n"
    words = segment(source).words()
    values = {"protected": 0.1, "dropped": 0.2}
    found = explained(
        source,
        alone=[values.get(word, 0.9) for word in words],
        kept=[index for index, word in enumerate(words) if word != "dropped"],
        cutoff=0.9,
    )
    markup = found._repr_html_()
    assert "<b> kept" not in markup
    styles = {word: markup[: markup.index(f">{word}<")].rsplit('style="', 1)[1] for word in ("kept", *values)}
    assert "rgba(46,160,67" in styles["kept"]
    assert "rgba(255,214,102" in styles["protected"]
    assert "line-through" in styles["dropped"]
    assert markup.endswith(" \n</div>")
    shown = found.__rich__()
    assert isinstance(shown, Text)
    assert shown.plain == f"[0] {source}\n"
    coloured = {shown.plain[span.start : span.end]: str(span.style) for span in shown.spans}
    assert (coloured["kept"], coloured["protected"], coloured["dropped"]) == ("bold green", "bold yellow", "dim strike")


def test_long_lists_of_units_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "_MAX_UNITS", 1)
    found = explained("One two. Three.", alone=[0.5] * 5, kept=[0], cutoff=0.1, gains=two_units())
    markup = found._repr_html_()
    assert "One two." in markup[markup.index("<table>") :]
    assert "Three." not in markup[markup.index("<table>") :]
    output = io.StringIO()
    Console(width=200, file=output).print(found)
    assert output.getvalue().count("One two.") == 2  # the text, and its unit

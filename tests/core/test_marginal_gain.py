"""Relevance of units, and marginal gains: relevance minus redundancy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import table_of

from moos_integrations.core import redundancy
from moos_integrations.core.marginal_gain import (
    PASSAGE_WEIGHT,
    UnitGains,
    echoes,
    log_odds,
    marginal_gains,
    standardised,
    unit_relevance,
    with_introductions,
)
from moos_integrations.core.table import Table
from moos_integrations.core.text import segment
from moos_integrations.core.types import FloatArray, SegmentedText, WordScores

BRIDGE = segment("The bridge was built by Ada Byron. It rained a lot that year. The baker slept well all night.")
COPY = segment("A new start is here now. The bridge was built by Ada Byron.")


def relevance(scores: WordScores, **settings: float) -> FloatArray:
    return unit_relevance(table_of([BRIDGE], [scores]), **settings)


def gains(
    documents: Sequence[SegmentedText], relevance: Sequence[Sequence[float]], vectors: object = None, **settings: object
) -> UnitGains:
    scores = [WordScores.from_preserve(np.full(len(document), 0.5)) for document in documents]
    if vectors is not None:
        scores = [
            replace(score, unit_vectors=np.array(rows, float)) for score, rows in zip(scores, vectors, strict=True)
        ]  # type: ignore[call-overload]
    flat = np.concatenate([np.array(values, float) for values in relevance])
    return marginal_gains(table_of(documents, scores), flat, **{"weight": 4.0, **settings})  # type: ignore[arg-type]


# --- relevance -----------------------------------------------------------------------------------------------------


def test_a_line_with_the_question_in_it_is_an_echo_and_a_statement_with_its_words_is_none() -> None:
    question = "is the shop open on sunday"
    lines = "Here is the shop.\n\nis the shop open on sunday\n\nThe shop is open on Sunday.\n\nIt is old.\n"
    table = table_of([segment(lines)])
    texts = [" ".join(words) for words in table.statements]
    found = dict(zip(texts, echoes(table, question).tolist(), strict=True))
    assert found["is the shop open on sunday"]
    assert not found["the shop is open on sunday"]
    assert not found["here is the shop"]


def test_relevance_reads_the_metric_so_that_alpha_has_an_effect() -> None:
    owner = BRIDGE.unit_of_word
    scores = WordScores.from_preserve(np.full(len(BRIDGE), 0.5))
    mixed = replace(scores, metric=np.where(owner == 1, 0.8, 0.5))
    assert relevance(mixed).tolist() == pytest.approx([0.0, math.log(4), 0.0])


def test_relevance_adds_log_odds_of_words_and_of_what_is_known_of_the_question() -> None:
    owner = BRIDGE.unit_of_word
    scores = WordScores.from_preserve(np.where(owner == 0, 0.8, 0.2))
    assert relevance(scores).tolist() == pytest.approx([math.log(4), -math.log(4), -math.log(4)])
    near = np.array([1.0, 2.0, 3.0])
    told = replace(scores, passage_probability=0.9)
    words = np.array([math.log(4), -math.log(4), -math.log(4)])
    assert relevance(told).tolist() == pytest.approx(words + PASSAGE_WEIGHT * math.log(9))
    told = replace(told, unit_similarity=near)
    assert relevance(told, passage_weight=0.0).tolist() == pytest.approx(words + near)
    assert relevance(told, passage_weight=2.0).tolist() == pytest.approx(words + near + 2 * math.log(9))


def test_certain_probabilities_stay_finite() -> None:
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    empty = segment("")
    assert len(unit_relevance(table_of([empty]))) == len(empty.unit_starts)


# --- redundancy ----------------------------------------------------------------------------------------------------


def test_the_same_text_in_another_document_is_a_repetition() -> None:
    found = gains([BRIDGE, COPY], [[3.0, 1.0, 0.0], [0.0, 3.0]])
    assert found.repeated.tolist() == [False, False, False, False, True]  # equal relevance: the earlier one stays
    assert found.against[4] == 0
    assert found.redundancy[4] == 1.0
    assert found.gain[4] == 3.0 - 4.0
    found = gains([BRIDGE, COPY], [[2.0, 1.0, 0.0], [0.0, 3.0]])
    assert found.repeated.tolist() == [True, False, False, False, False]  # the better one stays


def test_a_sentence_cut_by_its_chunk_is_a_repetition() -> None:
    cut = segment("built by Ada Byron. Then the river rose again and again.")
    found = gains([BRIDGE, cut], [[3.0, 1.0, 0.0], [2.0, 0.0]])
    assert found.repeated.tolist() == [False, False, False, True, False]


def test_a_document_may_repeat_itself() -> None:
    lines = segment("total = total + value[i]\nother(x, y)\ntotal = total + value[i]\n")
    assert not gains([lines], [[1.0, 1.0, 1.0]]).repeated.any()


def test_redundancy_is_the_largest_cosine_around_the_mean() -> None:
    vectors = [[[2.0, 1.0], [2.0, 1.1], [-4.0, -2.1]], [[0.0, 5.0], [0.0, -5.0]]]
    found = gains([BRIDGE, COPY], [[3.0, 2.0, 1.0], [0.0, -9.0]], vectors, redundancy="symmetric")
    units = np.concatenate([np.array(own) for own in vectors])
    units = (units - units.mean(0)) / np.linalg.norm(units - units.mean(0), axis=1, keepdims=True)
    cosine = units @ units.T - 3 * np.eye(5)
    cosine[:, 4] = -3  # the copied sentence is a repetition, which nothing is compared with
    assert found.redundancy[:4].tolist() == pytest.approx(cosine.max(1)[:4].tolist(), abs=1e-5)
    assert found.against[0] == 1
    assert found.against[1] == 0
    assert found.gain[0] == pytest.approx(3.0 - 4.0 * max(cosine[0].max(), 0), abs=1e-4)


def test_greedy_redundancy_spares_the_better_of_two_alike() -> None:
    vectors = [[[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]]]
    found = gains([BRIDGE], [[3.0, 2.9, 0.0]], vectors)
    assert found.gain[0] == 3.0
    assert found.gain[1] == pytest.approx(2.9 - 4.0, abs=0.01)
    assert (found.against[0], found.against[1]) == (-1, 0)
    both = gains([BRIDGE], [[3.0, 2.9, 0.0]], vectors, redundancy="symmetric")
    assert both.gain[0] < 0  # as published, each takes the other's place


def naive_greedy(units: FloatArray, relevance: FloatArray, weight: float) -> list[float]:
    chosen: list[int] = []
    gain = np.zeros(len(units))
    while len(chosen) < len(units):
        best, value = -1, -np.inf
        for unit in range(len(units)):
            if unit not in chosen:
                most = max([float(units[unit] @ units[other]) for other in chosen], default=0.0)
                if relevance[unit] - weight * max(most, 0.0) > value:
                    best, value = unit, relevance[unit] - weight * max(most, 0.0)
        gain[best] = value
        chosen.append(best)
    return gain.tolist()


@given(st.integers(1, 12), st.integers(0, 10_000), st.floats(0.1, 5))
def test_greedy_selection_is_that_of_the_definition(count: int, seed: int, weight: float) -> None:
    rng = np.random.default_rng(seed)
    document = segment(" ".join(f"Word{index} is number {rng.integers(10**9)} here." for index in range(count)))
    assert len(document.unit_starts) == count
    relevance, vectors = rng.normal(size=count), rng.normal(size=(count, 3))
    found = gains([document], [relevance], [vectors], weight=weight)
    expected = naive_greedy(redundancy.centred(vectors).astype(float), relevance, weight)
    assert found.gain.tolist() == pytest.approx(expected, abs=1e-4)


def test_many_units_are_compared_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redundancy, "_COMPARED_UNITS", 2)
    monkeypatch.setattr(redundancy, "_BLOCK", 1)
    vectors = [[[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]]]
    found = gains([BRIDGE], [[3.0, 0.0, 2.9]], vectors)
    assert found.gain[0] == 3.0
    assert found.redundancy[1] == pytest.approx(1.0, abs=1e-3)  # the far unit is compared with the chosen ones
    assert found.against[1] == 0
    both = gains([BRIDGE], [[3.0, 0.0, 2.9]], vectors, redundancy="symmetric")
    assert both.against.tolist() == [2, 0, 0]  # unit 1, the least relevant, is nobody's match, though it is the nearest


# --- details of relevance and repetition -----------------------------------------------------------------------------


def test_what_is_certain_counts_a_million_to_one() -> None:
    assert log_odds(np.array([0.0, 0.5, 1.0])).tolist() == pytest.approx([-math.log(999_999), 0.0, math.log(999_999)])


def test_a_unit_without_words_gets_the_least_relevance() -> None:
    blank = segment("\u3000\n")
    assert (len(blank), len(blank.unit_starts)) == (0, 1)
    assert unit_relevance(table_of([blank])).tolist() == pytest.approx([-math.log(999_999)])


def test_only_documents_that_are_judged_get_a_part_of_their_own_odds() -> None:
    scores = [WordScores.from_preserve(np.full(len(document), 0.5)) for document in (BRIDGE, COPY)]
    scores[1] = replace(scores[1], passage_probability=0.9)
    found = unit_relevance(table_of([BRIDGE, COPY], scores))
    assert found.tolist() == pytest.approx([0.0] * 3 + [math.log(9) / 2] * 2)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 10.0], [-1.0, 1.0]),
        ([None, 1.0, 3.0], [0.0, -1.0, 1.0]),
        ([float("nan"), float("inf"), 1.0, 3.0], [0.0, 0.0, -1.0, 1.0]),
        ([2.0, 2.0], [0.0, 0.0]),
        ([None, 2.0], [0.0, 0.0]),
        ([], []),
    ],
)
def test_scores_of_retrievers_count_in_standard_deviations(scores: list[float | None], expected: list[float]) -> None:
    assert standardised(scores).tolist() == pytest.approx(expected)


def test_being_unlike_all_others_is_no_merit() -> None:
    found = gains([COPY], [[1.0, 2.0]], [[[1.0, 0.0], [-1.0, 0.0]]], redundancy="symmetric")
    assert found.redundancy.tolist() == pytest.approx([-1.0, -1.0])
    assert found.gain.tolist() == [1.0, 2.0]


def test_shares_are_a_softmax_at_the_temperature_without_repetitions() -> None:
    gain = np.array([0.0, 2.0, 9.0])
    found = UnitGains(gain, np.zeros(3), np.full(3, -1), np.array([False, False, True]), gain)
    assert found.shares(2.0).tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e), 0.0])
    assert replace(found, repeated=np.ones(3, bool)).shares(2.0).tolist() == [0.0] * 3


def test_three_words_in_common_and_half_a_sentence_in_common_are_no_repetition() -> None:
    short = segment("Ada Byron slept.")
    assert not gains([short, short], [[1.0], [0.0]]).repeated.any()
    whole = segment("The bridge was built by Ada Byron in spring.")
    half = segment("The bridge was built by Ada Byron or maybe her sister.")
    assert not gains([whole, half], [[1.0], [0.0]]).repeated.any()
    more = segment("The bridge was built by Ada Byron in spring, then.")
    assert not gains([whole, more], [[1.0], [0.0]]).repeated.any()  # it says a word more
    assert gains([whole, more], [[0.0], [1.0]]).repeated.tolist() == [True, False]


def test_a_repetition_names_the_unit_that_it_shares_most_with() -> None:
    little, much = segment("one two three four nine"), segment("two three four five six seven eight")
    copy = segment("two three four five six seven")
    found = gains([little, much, copy], [[3.0], [2.0], [1.0]])
    assert found.repeated.tolist() == [False, False, True]
    assert found.against[2] == 1


def test_text_belongs_to_the_most_relevant_unit_that_has_it() -> None:
    source = segment("one two three four five six seven eight")
    longer = segment(f"zero {' '.join(f'w{number}' for number in range(20))} two three four five six seven eight")
    found = gains([source, longer, source], [[3.0], [2.0], [1.0]])
    assert found.repeated.tolist() == [False, False, True]
    assert found.against[2] == 0


def test_of_a_few_units_all_are_compared() -> None:
    document = segment(" ".join(f"Word{index} is here." for index in range(8)))
    angles = np.arange(8) // 2 * np.pi / 2 + np.arange(8) % 2 * 0.01  # four pairs, far apart
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    for kind in ("symmetric", "greedy"):
        found = gains([document], [np.arange(8.0, 0.0, -1.0)], [vectors], redundancy=kind, weight=0.1)
        assert found.against[7] == 6
        assert found.redundancy[7] > 0.9


@pytest.mark.parametrize("kind", ["symmetric", "greedy"])
def test_what_all_vectors_have_in_common_does_not_count(kind: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 4))
    near, far = (
        gains([BRIDGE], [[3.0, 2.0, 1.0]], [vectors + shift], redundancy=kind, weight=1.0) for shift in (0, 100)
    )
    assert near.gain.tolist() == pytest.approx(far.gain.tolist(), abs=1e-5)
    assert (near.redundancy < 0.99).all()


# --- echoes and what is introduced -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("# The old bridge\n\nAda built it.\n", [True, False]),
        ("Who built the old bridge? Ada did.", [True, False]),
        ("They built the old bridge. Ada did.", [False, False]),  # it does not ask
        ("# The bridge\n\nAda built it.\n", [False, False]),  # too little of the question
        ("# The old bridge at Tay by Ada and others\n\nHere.\n", [False, False]),  # too much else
        ("# The old bridge of Ada\n\nHere.\n", [False, False]),  # three of five terms
    ],
)
def test_an_echo_is_a_heading_or_question_with_the_terms_of_the_question(text: str, flags: list[bool]) -> None:
    assert echoes(table_of([segment(text)]), "Who built the old bridge?").tolist() == flags


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("He asked who built the old bridge.\nAda did.\n", [True, False]),
        ("1. Who built the old bridge?\n2. Nobody knows.\n", [True, False]),
        ("This is about it, part 7: who built the old bridge.", [True]),
        ("The old bridge was built by Ada, who lived there.", [False]),  # the words, but not in a row
        ("Who built the old bridge of Varn over the river Tay was Ada.", [False]),  # much else
    ],
)
def test_whatever_has_the_question_word_by_word_and_little_else_is_an_echo(text: str, flags: list[bool]) -> None:
    assert echoes(table_of([segment(text)]), "who built the old bridge").tolist() == flags


def test_the_statements_of_a_request_are_listed_once_however_often_it_has_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, lists = table_of([segment("Who built the old bridge.\n\n" * 50)]), []
    monkeypatch.setattr(Table, "statements", property(lambda table: lists.append(1) or table.texts[0].statements))
    assert echoes(table, "Who built the old bridge?").sum() == table.units >= 50
    assert len(lists) == 1


def test_a_question_in_two_words_is_no_echo() -> None:
    assert not echoes(table_of([segment("The old bridge.")]), "old bridge").any()


def test_an_echo_that_introduces_only_echoes_introduces_nothing() -> None:
    text = "It rained.\n\n1. Who built it?\n2. Who built it?\n3. Who built it?\n"
    assert introduced(text, [1.0, 9.0, 9.0, 9.0], [1, 2, 3]) == [1.0, -3.0, -3.0, -3.0]


def introduced(text: str, relevance: Sequence[float], echo: Sequence[int] = ()) -> list[float]:
    table = table_of([segment(text)])
    assert table.units == len(relevance)
    return with_introductions(table, np.array(relevance), np.isin(np.arange(table.units), echo)).tolist()


def test_an_echo_is_at_most_as_relevant_as_the_best_other_and_less_where_it_introduces_nothing() -> None:
    assert introduced("# Who\n\nAda did.\n", [5.0, 1.0], echo=[0]) == [1.0, 1.0]
    assert introduced("Ada did. Who?", [1.0, 5.0], echo=[1]) == [1.0, -3.0]
    assert introduced("Who?", [5.0], echo=[0]) == [1.0]  # no other one sets a bound


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        # A heading to its first unit, and to the items of a list.
        ("# Who\n\nAda did. It is old.\n", [5.0, 0.0, 0.0], [5.0, 3.0, 0.0]),
        ("# Who\n\nAda did. It is old.\n", [5.0, 4.0, 0.0], [5.0, 4.0, 0.0]),
        ("# Who\n\n- a b\n- c d\n", [5.0, 0.0, 0.0], [5.0, 3.0, 3.0]),
        ("# Who\n\n- a b\n  - dark red\n- c d\n", [5.0, 0.0, -9.0, 0.0], [5.0, 3.0, 1.0, 3.0]),
        ("# Who\n\n- a b\n  - dark red\n  - red\n", [5.0, 0.0, -9.0, -9.0], [5.0, 3.0, 1.0, 1.0]),
        # A question to its answer, each sentence of it a bit less.
        ("# Who?\n\nAda did. It is old.\n", [5.0, 0.0, 0.0], [5.0, 4.5, 4.0]),
        ("# Who?\n\nAda did. It is old.\n", [5.0, 6.0, 0.0], [5.0, 6.0, 4.0]),
        # A lead-in to all items of its list alike, a dozen at most.
        ("It was. The colours are:\n- a b\n- c d\n", [0.0, 5.0, 0.0, 0.0], [0.0, 5.0, 4.5, 4.5]),
        (
            "It was. The colours are:\n" + "- a b\n" * 14,
            [0.0, 5.0, *[0.0] * 14],
            [0.0, 5.0, *[4.5] * 12, 0.0, 0.0],
        ),
        # An opening fence to nothing if what it leads to is the closing one.
        ("```py\n```\n", [5.0, 0.0], [5.0, 0.0]),
        # The rule under a table's head comes after the best row; one between paragraphs is left alone.
        ("| a | b |\n| --- | --- |\n| c | d |\n| e | f |\n", [1.0, 9.0, 4.0, 6.0], [1.0, 8.0, 4.0, 6.0]),
        ("One is.\n\n---\n\nMore is.\n", [1.0, 9.0, 4.0], [1.0, 9.0, 4.0]),
    ],
)
def test_what_is_introduced_is_hardly_less_relevant(text: str, before: list[float], after: list[float]) -> None:
    assert introduced(text, before) == after


# --- parts of pages --------------------------------------------------------------------------------------------------

_MENU = (
    '<div class="nav"><a href="index.html">Home</a> | <a href="a.html">About</a> | <a href="d.html">Download</a></div>'
)


@pytest.mark.parametrize(
    ("text", "furniture"),
    [
        (_MENU, True),
        ("[Home](/) | [Docs](/docs) | [Blog](/blog)", True),
        ("Page 3 of 12", True),
        ("© 2024 Example Ltd. All rights reserved.", True),
        ("Skip to main content", True),
        ("<p>See <a href='a'>A</a>, <a href='b'>B</a> and <a href='c'>C</a> for the dose.</p>", False),
        ("![One](a.png) ![Two](b.png) ![Three](c.png)", False),
        ("[Home](/) and [Docs](/docs)", False),
        ("Page 3 of 12 lists the doses.", False),
        ("All rights of the tenant are reserved.", False),
    ],
)
def test_menus_and_edges_of_pages_are_furniture(text: str, furniture: bool) -> None:
    assert set(table_of([segment(text)]).furniture.tolist()) == {furniture}


@pytest.mark.parametrize(("query", "loss"), [(None, 6.0), ("What is the dose?", 6.0), ("Where is the download?", 0.0)])
def test_a_menu_loses_unless_the_question_names_it(query: str | None, loss: float) -> None:
    table = table_of([segment(_MENU), segment("The dose is small.")])
    gains = marginal_gains(table, np.array([5.0, 4.0]), query, weight=0.0)
    assert gains.gain.tolist() == [5.0 - loss, 4.0]

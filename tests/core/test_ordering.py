"""The order in which words and documents are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_marginal_gain import BRIDGE, COPY, gains
from tiny import table_of

from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.lexical import term_match
from moos_integrations.core.marginal_gain import UnitGains, marginal_gains, unit_relevance
from moos_integrations.core.ordering import (
    HIGHEST_LEVEL,
    Order,
    arranged,
    document_ranks,
    extra_words,
    order,
    relative_odds,
    word_metric,
    word_priority,
)
from moos_integrations.core.table import Table
from moos_integrations.core.text import segment
from moos_integrations.core.types import Kind, SegmentedText, WordScores


def order_of(
    documents: Sequence[SegmentedText], metric: Sequence[Sequence[float]], found: UnitGains, **settings: float
) -> list[tuple[int, int]]:
    table = table_of(documents, [WordScores.from_preserve(values) for values in metric])
    chosen = {"temperature": 1.0, "whole_from": 1.0, **settings}
    extra = np.full(table.words, chosen["whole_from"] > 0)
    values = word_priority(table, found, extra, **chosen)
    return [
        (int(table.document_of_word[word]), int(word - table.word_borders[table.document_of_word[word]]))
        for word in np.argsort(-values, kind="stable")
    ]


@given(st.integers(0, 10_000), st.floats(0.05, 20), st.floats(0.0, 1.0), st.integers(1, 60))
def test_a_prefix_of_the_order_gives_every_unit_its_share(seed: int, heat: float, whole: float, count: int) -> None:
    """The definition of the budget: `min(length, level * exp(gain / T))`, for one level common to all units."""
    rng = np.random.default_rng(seed)
    documents = [BRIDGE, COPY]
    found = gains(documents, [rng.normal(size=3), rng.normal(size=2)])
    found = replace(found, repeated=np.zeros(5, bool))
    metric = [rng.random(len(document)) for document in documents]
    order = order_of(documents, metric, found, temperature=heat, whole_from=whole)[:count]
    owner = [document.unit_of_word for document in documents]
    kept, sizes = np.zeros(5), np.bincount(np.concatenate([owner[0], owner[1] + 3]))
    for index, word in order:
        kept[owner[index][word] + 3 * index] += 1
    weight = np.exp((found.gain - found.gain.max()) / heat)
    threshold = np.maximum(whole * sizes, 1.0) if whole else sizes
    # The level at which the last word of each unit came in, and at which its next one would: one level parts them.
    last = np.max([min(k, t) / w for k, t, w in zip(kept, threshold, weight, strict=True) if k], initial=0)
    following = np.min(
        [min(k + 1, t) / w for k, t, n, w in zip(kept, threshold, sizes, weight, strict=True) if k < n], initial=np.inf
    )
    if whole:
        assert last <= following * (1 + 1e-9)


def test_inside_a_unit_words_come_by_their_metric() -> None:
    found = gains([BRIDGE], [[0.0, 0.0, 0.0]])
    metric = np.linspace(0, 1, len(BRIDGE))
    order = [word for _, word in order_of([BRIDGE], [metric], found)]
    owner = BRIDGE.unit_of_word
    for unit in range(3):
        own = [word for word in order if owner[word] == unit]
        assert own == sorted(own, reverse=True)


def test_a_low_temperature_takes_unit_after_unit() -> None:
    found = gains([BRIDGE, COPY], [[0.0, 2.0, 1.0], [3.0, -1.0]])
    metric = [np.full(len(document), 0.5) for document in (BRIDGE, COPY)]
    for whole in (0.0, 0.5, 1.0):
        order = order_of([BRIDGE, COPY], metric, found, temperature=0.001, whole_from=whole)
        units = [(index, int((BRIDGE, COPY)[index].unit_of_word[word])) for index, word in order]
        assert list(dict.fromkeys(units)) == [(1, 0), (0, 1), (0, 2), (0, 0), (1, 1)]


def test_repetitions_come_last() -> None:
    found = gains([BRIDGE, COPY], [[9.0, 0.0, -20.0], [0.0, 9.0]])
    order = order_of([BRIDGE, COPY], [np.ones(len(BRIDGE)), np.ones(len(COPY))], found)
    again = [place for place, (index, word) in enumerate(order) if index == 1 and COPY.unit_of_word[word] == 1]
    assert again == list(range(len(order) - len(again), len(order)))


def test_only_sentences_lose_words_and_only_where_thinning_is_on() -> None:
    text = "The bridge was not closed to the 40 carts of the town.\n- the list of the town\nThe end of it is known."
    table = table_of([segment(text)])
    assert not extra_words(table, 0.0).any()
    extra = extra_words(table, 0.5)
    words = np.array([word for text in table.texts for word in text.document.words()])
    assert {"The", "the"} >= set(words[extra & (table.unit_of_word == 0)][:2])
    assert not set(words[extra]) & {"was", "not", "closed", "40", "is", "known"}
    assert not extra[table.structured[table.unit_of_word]].any()


def test_without_thinning_a_unit_is_one_number() -> None:
    table = table_of([BRIDGE], [WordScores.from_preserve(np.linspace(0, 1, len(BRIDGE)))])
    priority = word_priority(
        table, gains([BRIDGE], [[0.0, 1.0, 2.0]]), np.zeros(table.words, bool), temperature=1.0, whole_from=0.0
    )
    assert all(len(np.unique(priority[table.unit_of_word == unit])) == 1 for unit in range(3))


# --- numbers ---------------------------------------------------------------------------------------------------------


def one_unit(metric: Sequence[float], costs: Sequence[int]) -> Table:
    document = segment("word " * len(metric))
    table = replace(table_of([document], [WordScores.from_preserve(metric)]), cost=np.array(costs, np.int64))
    assert table.units == 1
    return table


def test_a_word_enters_when_its_unit_has_the_tokens_of_all_better_ones() -> None:
    table = one_unit([0.2, 0.9, 0.5], [1, 4, 2])
    found = marginal_gains(table, np.array([3.0]), weight=0.0)
    extra, none = np.ones(3, bool), np.zeros(3, bool)
    thin = word_priority(table, found, extra, temperature=2.0, whole_from=1.0)
    assert thin.tolist() == pytest.approx((1.5 - np.log([7, 4, 6])).tolist())
    half = word_priority(
        table, found, extra, temperature=2.0, whole_from=0.6
    )  # from 4.2 of its 7 tokens on it is whole
    assert half.tolist() == pytest.approx((1.5 - np.log([4.2, 4, 4.2])).tolist())
    short = word_priority(
        table, found, extra, temperature=2.0, whole_from=0.1
    )  # a share of less than a token is a token
    assert short.tolist() == pytest.approx([1.5] * 3)
    whole = word_priority(table, found, none, temperature=2.0, whole_from=0.0)
    assert whole.tolist() == pytest.approx([1.5 - np.log(7)] * 3)
    first = word_priority(table, found, np.array([True, False, True]), temperature=2.0, whole_from=1.0)
    assert first.tolist() == pytest.approx((1.5 - np.log([7, 4, 6])).tolist())
    must = word_priority(table, found, np.array([True, True, False]), temperature=2.0, whole_from=1.0)
    assert must.tolist() == pytest.approx((1.5 - np.log([7, 6, 2])).tolist())  # what it must not lose comes first


def test_a_word_without_tokens_costs_one() -> None:
    table = one_unit([0.9, 0.5], [0, 1])
    found = marginal_gains(table, np.array([0.0]), weight=0.0)
    priority = word_priority(table, found, np.ones(2, bool), temperature=1.0, whole_from=1.0)
    assert priority.tolist() == pytest.approx([0.0, -np.log(2)])


def test_words_that_are_kept_together_have_the_mean_of_their_metrics() -> None:
    table = one_unit([0.2, 0.9, 0.5], [1, 4, 2])
    assert word_metric(table, np.zeros(3, bool)).tolist() == pytest.approx([1.6 / 3] * 3)
    assert word_metric(table, np.array([False, True, False])).tolist() == pytest.approx([0.35, 0.9, 0.35])


def test_what_a_sentence_must_not_lose_enters_at_once() -> None:
    table = one_unit([0.2, 0.9, 0.5, 0.1], [1, 4, 2, 3])
    found = marginal_gains(table, np.array([0.0]), weight=0.0)
    extra = np.array([False, True, False, True])
    thin = word_priority(table, found, extra, temperature=1.0, whole_from=1.0)
    assert thin.tolist() == pytest.approx((-np.log([3, 7, 3, 10])).tolist())
    little = word_priority(table, found, extra, temperature=1.0, whole_from=0.1)
    assert little.tolist() == pytest.approx((-np.log([3, 3, 3, 3])).tolist())  # with less than that it has nothing


def test_only_units_that_are_thinned_count_their_tokens_without_what_they_are_under() -> None:
    table = table_of([segment("# Of the town\n\nIt is the bridge of the town. It fell.\n")])
    found = marginal_gains(table, np.zeros(3), weight=0.0)
    extra = np.zeros(table.words, bool)
    extra[np.flatnonzero(table.unit_of_word == 1)[0]] = True
    priority = word_priority(table, found, extra, temperature=1.0, whole_from=1.0)
    assert priority[table.unit_of_word == 2].tolist() == pytest.approx(
        [found.gain[2] - np.log(table.unit_cost[0])] * int(table.unit_cost[2])
    )


def test_what_several_units_are_under_is_paid_for_by_the_first_of_them() -> None:
    table = table_of([segment("| name | price |\n| --- | --- |\n| bread | 2 |\n| milk and cream | 1 |\n")])
    rows = np.flatnonzero(table.kinds == Kind.ROW)[-2:]
    relevance = np.full(table.units, -9.0)
    relevance[rows] = 3.0, 2.9
    found = marginal_gains(table, relevance, weight=0.0)
    priority = word_priority(table, found, np.zeros(table.words, bool), temperature=1.0, whole_from=0.0)
    first, second = (priority[table.unit_of_word == row][0] for row in rows)
    assert first == pytest.approx(found.gain[rows[0]] - np.log(table.path_cost[rows[0]]))
    alone = found.gain[rows[1]] - np.log(table.path_cost[rows[1]])
    assert alone < second <= first


def test_the_rule_under_the_head_of_a_table_comes_after_its_best_row() -> None:
    long = " ".join(["word"] * 40)
    table = table_of([segment(f"| name | text |\n| --- | --- |\n| bread | {long} |\n| milk | white |\n")])
    relevance = np.full(table.units, -9.0)
    relevance[2] = 3.0
    found = marginal_gains(table, relevance, weight=0.0)
    priority = word_priority(table, found, np.zeros(table.words, bool), temperature=1.0, whole_from=0.0)
    of_unit = [priority[table.unit_of_word == unit][0] for unit in range(table.units)]
    assert found.gain[1] - np.log(table.path_cost[1]) > of_unit[2] > of_unit[1]


def test_a_repeated_question_does_not_set_the_level_and_the_level_is_bounded() -> None:
    table = table_of([segment("Who built the old bridge. Anna Meier built it. It rained.")])
    found = marginal_gains(table, np.array([20.0, 5.0, 1.0]), weight=0.0)
    level = relative_odds(table, found, "Who built the old bridge?")
    assert level.tolist() == pytest.approx([1.0, 1.0, np.exp(-4)])
    assert relative_odds(table, found).tolist() == pytest.approx(
        [1.0, np.exp(5 - HIGHEST_LEVEL), np.exp(1 - HIGHEST_LEVEL)]
    )


def test_odds_are_a_share_of_the_best_unit_that_is_no_repetition() -> None:
    repeated = np.array([True, False, False])
    gain = np.array([2000.0, 1.0, 0.0])
    found = UnitGains(gain, np.zeros(3), np.full(3, -1), repeated, gain)
    table = table_of([segment("One. Two. Three.")])
    assert relative_odds(table, found).tolist() == pytest.approx([0.0, 1.0, np.exp(-1)])
    nothing = replace(found, repeated=np.ones(3, bool))
    assert relative_odds(table, nothing).tolist() == [0.0] * 3


def test_a_line_is_charged_for_what_it_is_under() -> None:
    table = table_of([segment("if a:\n    if b:\n        c = d()\n    e = f()\nif g:\n    h = i()\n")])
    assert table.parents.tolist() == [-1, 0, 1, 0, -1, 4]
    cost = table.unit_cost
    assert table.path_cost.tolist() == [
        cost[0],
        cost[0] + cost[1],
        cost[0] + cost[1] + cost[2],
        cost[0] + cost[3],
        cost[4],
        cost[4] + cost[5],
    ]
    found = marginal_gains(table, np.zeros(6), weight=0.0)
    priority = word_priority(table, found, np.zeros(table.words, bool), temperature=1.0, whole_from=0.0)
    expected = found.gain - np.log(table.path_cost)
    assert priority.tolist() == pytest.approx(expected[table.unit_of_word].tolist())


# --- documents -------------------------------------------------------------------------------------------------------


def test_documents_are_ranked_by_their_best_unit_and_repetitions_come_after() -> None:
    texts = ["One. Two.", "", "Three. Four.", "Five.", "Six."]
    table = table_of([segment(text) for text in texts])
    gain = np.array([1.0, 2.0, 2.0, 0.0, 9.0, 3.0])
    repeated = np.array([False, False, False, False, True, False])
    found = UnitGains(gain, np.zeros(6), np.full(6, -1), repeated, gain)
    assert document_ranks(table, found).tolist() == [1, 4, 2, 3, 0]


def test_documents_are_arranged_by_rank() -> None:
    ranks = [2, 0, 4, 1, 3]
    assert arranged(ranks, "source") == [0, 1, 2, 3, 4]
    assert arranged(ranks, "relevance") == [1, 3, 0, 4, 2]
    assert arranged(ranks, "ends") == [1, 0, 2, 4, 3]


# --- what the settings do --------------------------------------------------------------------------------------------

TEXTS = ("The river is long. Nobody swims there.", "The bridge was built by Ada Byron.", "A bridge. Grain is cheap.")
RETRIEVED = np.array([1.0, -1.0, 0.0])


def asked(**gains: object) -> tuple[Table, Order]:
    """The order of three texts for a question that the scorer has read."""
    documents = [segment(text) for text in TEXTS]
    rng = np.random.default_rng(0)
    scores = [
        replace(
            WordScores.from_preserve(rng.uniform(0.1, 0.9, len(document))),
            passage_probability=0.5,
            unit_vectors=rng.normal(size=(len(document.unit_starts), 3)).astype(np.float32),
        )
        for document in documents
    ]
    table = table_of(documents, scores)
    return table, order(table, CompressorConfig(gains=gains), "Who built the bridge?", RETRIEVED)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_weights_of_terms_and_retriever_add_to_the_relevance(weight: float) -> None:
    table, found = asked(lexical_weight=weight, retriever_weight=0.0)
    assert found.gains is not None
    match = term_match("Who built the bridge?", [term for text in table.texts for term in text.terms])
    assert found.gains.relevance.tolist() == pytest.approx((unit_relevance(table) + weight * match).tolist())
    table, found = asked(lexical_weight=0.0, retriever_weight=weight)
    assert found.gains is not None
    expected = unit_relevance(table) + weight * np.array([1.0, 1.0, -1.0, 0.0, 0.0])
    assert found.gains.relevance.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("kind", "weight"), [("greedy", 1.5), ("symmetric", 1.5), ("symmetric", 6.0)])
def test_redundancy_is_weighed_and_compared_as_set(kind: str, weight: float) -> None:
    table, found = asked(redundancy=kind, redundancy_weight=weight)
    assert found.gains is not None
    expected = marginal_gains(table, found.gains.relevance, weight=weight, redundancy=kind)  # type: ignore[arg-type]
    assert found.gains.gain.tolist() == expected.gain.tolist()
    assert (expected.redundancy > 0.1).any()


@pytest.mark.parametrize(("heat", "whole"), [(0.7, 0.7), (3.0, 0.7), (0.7, 0.1), (0.7, 0.0)])
def test_words_compete_by_priority_and_by_odds(heat: float, whole: float) -> None:
    table, found = asked(temperature=heat, whole_from=whole)
    assert found.gains is not None
    assert found.extra.tolist() == extra_words(table, whole).tolist()
    priority = word_priority(table, found.gains, found.extra, temperature=heat, whole_from=whole)
    assert (found.quantity(threshold=False), found.quantity(threshold=True)) == ("priority", "odds")
    assert found.priority.tolist() == priority.tolist()
    assert found.level.tolist() == relative_odds(table, found.gains)[table.unit_of_word].tolist()


def test_units_share_the_budget_with_and_without_a_question() -> None:
    table = table_of([segment(text) for text in TEXTS])
    for settings, shared in (
        ({}, True),
        ({"gains": {"budgets": "words"}}, False),
    ):
        found = order(table, CompressorConfig(**settings), "Who?", RETRIEVED)  # type: ignore[arg-type]
        assert (found.gains is not None) == shared
        assert found.quantity(threshold=False) == ("priority" if shared else "metric")
    assert asked(budgets="words")[1].gains is None
    assert asked()[1].gains is not None


def test_as_many_documents_as_set_may_stay() -> None:
    table = table_of([segment(text) for text in TEXTS])
    for count in (1, 2, 3, 9):
        found = order(table, CompressorConfig(top_n=count, gains={"retriever_weight": 9.0}), "Who?", RETRIEVED)
        assert found.ranks.tolist() == [0, 2, 1]
        assert np.flatnonzero(found.eligible).tolist() == {1: [0], 2: [0, 2]}.get(count, [0, 1, 2])
        assert found.documents == (0, 1, 2)


def test_words_by_themselves_may_be_extra_where_thinning_is_on() -> None:
    table = table_of([segment("It is the bridge of the town. The end of the list is known.")])
    found = order(table, CompressorConfig(gains={"budgets": "words", "whole_from": 0.5}), None, np.zeros(1))
    assert found.extra.tolist() == table.droppable.tolist()
    assert found.extra.any()
    assert found.gains is None
    ranked = order(table, CompressorConfig(gains={"budgets": "words"}, order="relevance"), None, np.zeros(1))
    assert ranked.quantity(threshold=False) == "metric"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import table_of

from moos_integrations.core.config import Target
from moos_integrations.core.marginal_gain import UnitGains
from moos_integrations.core.ordering import Order
from moos_integrations.core.selection import ceiling, longest_prefix, select
from moos_integrations.core.text import segment
from moos_integrations.core.types import BoolArray, SegmentedText, Selection, WordScores


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    budgets=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_search_is_monotone_in_the_budget_even_where_counts_are_not(
    counts: list[int], budgets: tuple[int, int]
) -> None:
    def exact(count: int) -> int:
        return counts[count - 1]

    small, large = sorted(budgets)
    kept_small, used_small = longest_prefix(len(counts), small, exact, None)
    kept_large, used_large = longest_prefix(len(counts), large, exact, None)
    assert kept_small <= kept_large
    assert used_small <= small
    assert used_large <= large
    if kept_small < len(counts):  # filled: one word more does not fit
        assert exact(kept_small + 1) > small


@given(st.lists(st.integers(1, 9), min_size=1, max_size=400), st.integers(0, 2500))
def test_close_estimates_save_counting_and_change_nothing(costs: list[int], budget: int) -> None:
    exact_totals = np.cumsum(costs)
    tries: list[int] = []

    def exact(count: int) -> int:
        tries.append(count)
        return int(exact_totals[count - 1])

    plain = longest_prefix(len(costs), budget, exact, None)
    without = len(tries)
    assert longest_prefix(len(costs), budget, exact, exact_totals) == plain
    assert len(tries) - without <= without + 1


def test_a_wrong_estimate_cannot_break_the_ceiling() -> None:
    assert longest_prefix(100, 50, lambda count: 10 * count, np.arange(1, 101)) == (5, 50)


@pytest.mark.parametrize(("rate", "tokens", "expected"), [(0.29, 100, 29), (0.5, 7, 3), (1.0, 9, 9), (0.0, 9, 0)])
def test_rate_as_ceiling(rate: float, tokens: int, expected: int) -> None:
    assert ceiling(Target(rate=rate), tokens) == expected


class Costs:
    """Counts by a price per word."""

    estimate_is_close, mark_tokens, empty_tokens, each = False, 0, 0, 0
    document_tokens = property(lambda self: np.full(8, self.each))

    def __init__(self, costs: Sequence[int]) -> None:
        self._costs = np.array(costs, np.int64)
        self.original_tokens = self.whole_tokens = int(self._costs.sum())

    def tokens(self, kept: BoolArray) -> int:
        return int(self._costs[kept].sum())


def each_a_unit(count: int) -> SegmentedText:
    """Words that each are a unit."""
    starts = 5 * np.arange(count)
    return SegmentedText("word " * count, starts, starts + 4, starts, starts + 5)


def choose(
    metric: list[float], protected: list[bool], target: Target, costs: list[int] | None = None, *, fill: bool = True
) -> Selection:
    document = each_a_unit(len(metric))
    prices = np.array(costs or [1] * len(metric), np.int64)
    table = table_of([document], [WordScores.from_preserve(metric)])
    table = replace(table, cost=prices, protected=np.array(protected, bool))
    return select(table, Order.by(table, table.metric), target, Costs(prices.tolist()), fill=fill)


def test_threshold_keeps_protected_words_too() -> None:
    selection = choose([0.2, 0.8, 0.5], [True, False, False], Target(threshold=0.5))
    assert selection.kept.tolist() == [True, True, True]
    assert selection.whole
    selection = choose([0.2, 0.8, 0.4], [True, False, False], Target(threshold=0.5))
    assert selection.kept.tolist() == [True, True, False]
    assert selection.cutoff == 0.8


def test_protected_text_that_does_not_fit_is_reported_and_the_ceiling_holds() -> None:
    selection = choose([0.2, 0.8, 0.5], [True, True, False], Target(budget_tokens=1))
    assert selection.kept.tolist() == [False, True, False]
    assert "1 of 2 protected words were dropped" in selection.warnings[0]


def test_unused_budget_is_reported_with_its_reason() -> None:
    selection = choose([0.9, 0.8], [False, False], Target(budget_tokens=40), [1, 60])
    assert selection.kept.tolist() == [True, False]
    assert selection.warnings[0].kind == "budget not filled"
    assert "39 of 40 tokens are unused" in selection.warnings[0]


def test_documents_beyond_the_best_keep_nothing() -> None:
    documents = [segment("one two"), segment("three")]
    table = table_of(documents, [WordScores.from_preserve(np.ones(len(document))) for document in documents])
    ordered = replace(Order.by(table, table.metric), eligible=np.array([False, True]))
    for target in (Target(rate=1.0), Target(threshold=0.0)):
        assert select(table, ordered, target, Costs([1, 1, 1])).kept.tolist() == [False, False, True]


def test_no_documents() -> None:
    table = table_of([])
    selection = select(table, Order.by(table, table.metric), Target(rate=0.5), Costs([]))
    assert selection.whole
    assert len(selection.kept) == 0


# --- details of the ranking, the search and the warnings -------------------------------------------------------------


def test_what_does_not_fit_is_left_out_and_smaller_units_fill_the_rest() -> None:
    selection = choose([0.9, 0.8, 0.7, 0.6], [False] * 4, Target(budget_tokens=10), [3, 30, 8, 6])
    assert selection.kept.tolist() == [True, False, False, True]
    assert selection.cutoff == 0.9
    assert selection.filled is not None
    assert selection.filled.tolist() == [False, False, False, True]
    plain = choose([0.9, 0.8, 0.7, 0.6], [False] * 4, Target(budget_tokens=10), [3, 30, 8, 6], fill=False)
    assert plain.kept.tolist() == [True, False, False, False]
    assert plain.filled is not None
    assert not plain.filled.any()


@pytest.mark.parametrize(
    ("gains", "costs", "kept"),
    [
        ([9.0, 8.5], [10, 24], [False, True]),  # hardly better, and much would stay unused
        ([9.0, 7.5], [10, 24], [True, False]),  # clearly better
        ([9.0, 8.5], [22, 24], [True, False]),  # little stays unused
        ([9.0, 8.5], [10, 18], [True, True]),  # both fit
        ([9.0, 8.5], [10, 40], [True, False]),  # too long by itself
        ([9.0, 8.5, 0.0], [10, 24, 14], [True, False, True]),  # filled otherwise
    ],
)
def test_a_unit_that_is_hardly_better_gives_way_where_much_stays_unused(
    gains: list[float], costs: list[int], kept: list[bool]
) -> None:
    table = table_of([each_a_unit(len(costs))], [WordScores.from_preserve([0.5] * len(costs))])
    table = replace(table, cost=np.array(costs))
    gain = np.array(gains)
    none = np.zeros(len(costs))
    units = UnitGains(gain, none, none.astype(int), none.astype(bool), gain)
    ordered = replace(Order.by(table, gain), gains=units)
    assert select(table, ordered, Target(budget_tokens=28), Costs(costs)).kept.tolist() == kept
    plain = select(table, ordered, Target(budget_tokens=28), Costs(costs), fill=False).kept
    assert plain.tolist() == (np.cumsum(costs) <= 28).tolist()


def test_a_unit_is_kept_whole_or_not_at_all() -> None:
    table = table_of([segment("One two three. Four five.")])
    ordered = Order.by(table, np.array([0.9, 0.1, 0.1, 0.1, 0.5, 0.5, 0.5]))
    for budget, kept in ((2, 0), (3, 3), (4, 4), (6, 4), (7, 7)):  # words and full stops cost a token each
        selection = select(table, ordered, Target(budget_tokens=budget), Costs([1] * 7))
        assert selection.kept.sum() == kept


def test_what_is_kept_brings_what_it_needs() -> None:
    document = replace(each_a_unit(4), unit_parents=np.array([-1, 0, -1, -1]), unit_partners=np.array([-1, -1, 3, 2]))
    table = table_of([document])
    ordered = Order.by(table, np.array([0.1, 0.9, 0.8, 0.2]))
    for budget, kept in ((1, [False] * 4), (2, [True, True, False, False]), (4, [True] * 4)):
        selection = select(table, ordered, Target(budget_tokens=budget), Costs([1] * 4))
        assert selection.kept.tolist() == kept
    selection = select(table, ordered, Target(threshold=0.85), Costs([1] * 4))
    assert selection.kept.tolist() == [True, True, False, False]
    assert selection.needed is not None
    assert selection.needed.tolist() == [True, False, False, False]


def test_the_search_counts_about_log2_of_the_words() -> None:
    tries: list[int] = []

    def exact(count: int) -> int:
        tries.append(count)
        return count

    assert longest_prefix(1000, 700, exact, None) == (700, 700)
    assert len(tries) <= 11


def test_an_estimate_that_is_wrong_by_half_cannot_break_the_ceiling() -> None:
    assert longest_prefix(100, 50, lambda count: 3 * count // 2, np.arange(1, 101)) == (33, 49)


def test_the_whole_must_fit_in_the_order_of_the_output() -> None:
    class Reordered(Costs):
        def __init__(self, costs: Sequence[int]) -> None:
            super().__init__(costs)
            self.whole_tokens += 1  # the joints of another order may cost a token more

        def tokens(self, kept: BoolArray) -> int:
            return super().tokens(kept) + bool(kept.all())

    table = table_of([each_a_unit(3)])
    selection = select(table, Order.by(table, table.metric), Target(budget_tokens=3), Reordered([1, 1, 1]))
    assert not selection.whole
    assert selection.kept.tolist() == [True, True, False]


def test_the_cut_is_the_value_of_the_worst_word_that_was_not_protected() -> None:
    assert choose([0.2, 0.8, 0.5], [True, False, False], Target(budget_tokens=2)).cutoff == 0.8
    assert choose([0.2, 0.8, 0.5], [True, False, False], Target(budget_tokens=1)).cutoff == np.inf


def test_warnings_count_what_was_lost_and_say_nothing_of_small_rests() -> None:
    selection = choose([0.2, 0.8, 0.5, 0.4], [True, True, True, False], Target(budget_tokens=1))
    assert "needs about 3 tokens and the ceiling is 1: 2 of 3 protected words were dropped" in selection.warnings[0]
    assert not choose([0.2, 0.8, 0.5], [True, True, False], Target(budget_tokens=2)).warnings
    assert not choose([0.9, 0.8], [False, False], Target(budget_tokens=5), [1, 7]).warnings
    selection = choose([0.9, 0.8, 0.7], [False] * 3, Target(budget_tokens=40), [1, 60, 2])
    assert "the best sentence or line that does not fit takes about 60" in selection.warnings[0]


def test_protected_words_of_documents_beyond_the_best_are_not_missed() -> None:
    table = replace(table_of([segment("one two"), segment("three")]), protected=np.array([True, False, False]))
    ordered = replace(Order.by(table, table.metric), eligible=np.array([False, True]))
    assert not select(table, ordered, Target(budget_tokens=1), Costs([1, 1, 1])).warnings


# --- protection, thresholds and the rounds that fill the rest --------------------------------------------------------


def test_what_is_protected_comes_first_under_a_ceiling() -> None:
    selection = choose([0.9, 0.1, 0.8], [False, True, False], Target(budget_tokens=2))
    assert selection.kept.tolist() == [True, True, False]
    assert selection.filled is not None
    assert not selection.filled.any()
    assert selection.needed is not None
    assert not selection.needed.any()


def test_protected_words_neither_are_needed_nor_set_the_cut_of_a_threshold() -> None:
    selection = choose([0.9, 0.6, 0.8, 0.1, 0.2], [False, True, False, True, False], Target(threshold=0.5))
    assert selection.kept.tolist() == [True, True, True, True, False]
    assert selection.cutoff == 0.8
    assert selection.needed is not None
    assert not selection.needed.any()


def test_many_large_groups_are_left_out_one_after_another() -> None:
    costs = [3, 30, 31, 32, 33, 6]
    values = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    selection = choose(values, [False] * 6, Target(budget_tokens=12), costs)
    assert selection.kept.tolist() == [True, False, False, False, False, True]


def test_a_rest_of_a_few_tokens_is_filled_too() -> None:
    for budget, kept in ((3, False), (4, True)):
        selection = choose([0.9, 0.8, 0.7], [False] * 3, Target(budget_tokens=budget), [3, 30, 1])
        assert selection.kept.tolist() == [True, False, kept]


def test_the_warning_names_the_best_group_that_did_not_fit() -> None:
    selection = choose([0.9, 0.8, 0.7], [False] * 3, Target(budget_tokens=40), [1, 60, 70])
    assert "takes about 60" in selection.warnings[0]


def test_protected_text_beyond_the_best_documents_is_not_counted_among_what_was_lost() -> None:
    table = table_of([each_a_unit(2), each_a_unit(3)])
    table = replace(table, protected=np.array([True, True, True, True, False]))
    ordered = replace(Order.by(table, table.metric), eligible=np.array([False, True]))
    selection = select(table, ordered, Target(budget_tokens=1), Costs([1] * 5))
    assert "needs about 2 tokens and the ceiling is 1: 1 of 2 protected words were dropped" in selection.warnings[0]


class Joined(Costs):
    """Counts a separator of a hundred tokens for each document of which something is kept, and knows words' costs."""

    estimate_is_close, each = True, 100

    def __init__(self, costs: Sequence[int], document: Sequence[int]) -> None:
        super().__init__(costs)
        self._document = np.array(document)

    def tokens(self, kept: BoolArray) -> int:
        return super().tokens(kept) + 100 * len(np.unique(self._document[kept]))


def test_a_document_brings_its_separator_once() -> None:
    costs = [20, 300, 30, 40]
    table = replace(table_of([each_a_unit(2), each_a_unit(2)]), cost=np.array(costs))
    ordered = Order.by(table, np.array([0.9, 0.8, 0.1, 0.7]))
    measure = Joined(costs, [0, 0, 1, 1])
    selection = select(table, ordered, Target(budget_tokens=300), measure)
    assert selection.kept.tolist() == [True, False, True, True]
    values = np.array([0.9, 0.8, 0.7, 0.1])
    selection = select(table, Order.by(table, values), Target(budget_tokens=300), measure)
    assert selection.kept.tolist() == [True, False, True, True]
    one = replace(table_of([each_a_unit(3)]), cost=np.array([20, 300, 40]))
    selection = select(one, Order.by(one, values[:3]), Target(budget_tokens=170), Joined([20, 300, 40], [0] * 3))
    assert selection.kept.tolist() == [True, False, True]

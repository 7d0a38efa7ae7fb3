"""Groups of words, what each needs, and the steps in which they enter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tiny import table_of

from moos_integrations.core.steps import Groups, Kept, Steps
from moos_integrations.core.text import segment
from moos_integrations.core.types import SegmentedText


def groups_of(document: SegmentedText, values: Sequence[float] = (), extra: Sequence[int] = ()) -> Groups:
    table = table_of([document])
    numbers = np.array(values, float) if len(values) else np.zeros(table.words)
    return Groups.of(table, numbers, np.isin(np.arange(table.words), extra))


def brought(text: str, *units: int) -> list[int]:
    """What is kept after these units were added, one after another."""
    groups = groups_of(segment(text))
    kept = Kept(groups)
    for unit in units:
        kept.add(unit)
    return np.flatnonzero(kept.flags()).tolist()


def test_extra_words_are_groups_of_their_own_and_the_rest_enters_with_its_best_word() -> None:
    groups = groups_of(segment("one two three. Four."), [0.9, 0.1, 0.5, 0.2, 0.3, 0.4], extra=[1])
    assert groups.of_word.tolist() == [0, 2, 0, 0, 1, 1]
    assert groups.unit.tolist() == [0, 1, 0]
    assert groups.value.tolist() == [0.9, 0.4, 0.1]
    assert groups.size.tolist() == [3, 2, 1]
    assert groups.best_first.tolist() == [0, 1, 2]


def test_groups_cost_the_tokens_of_their_words() -> None:
    table = table_of([segment("one two. Three.")])
    table.cost[:] = [5, 3, 1, 2, 1]
    groups = Groups.of(table, np.zeros(5), np.array([True, False, False, False, False]))
    assert groups.cost.tolist() == [4, 3, 5]


def test_equal_groups_come_in_source_order_and_those_without_words_never() -> None:
    assert groups_of(segment("One. Two. Three."), extra=[2]).best_first.tolist() == [0, 1, 2, 3]
    blank = segment("\u3000\n")
    assert groups_of(blank).best_first.tolist() == []


def test_an_extra_word_brings_its_unit() -> None:
    groups = groups_of(segment("one two three. Four."), extra=[1])
    kept = Kept(groups)
    assert sorted(kept.add(2)) == [0, 2]
    assert kept.add(2) == kept.add(0) == []


TABLE = "| a | b |\n| --- | --- |\n| c | d |\n| e | f |\n\nEnd here.\n"


@pytest.mark.parametrize(
    ("text", "units", "kept"),
    [
        ("# Who\n\nAda did. It is old.\n", [2], [0, 2]),  # what it is under
        ("# Who\n\nAda did. It is old.\n", [0], [0, 1]),  # a heading introduces something
        ("# Who\n\nAda did. It is old.\n", [2, 0], [0, 2]),  # and there is something
        ("Who built it?\nAda did. It is old.\n", [0], [0, 1]),
        ("```py\nx = 1\ny = 2\n```\n", [0], [0, 1, 3]),  # the other half, and what is between
        ("```py\nx = 1\ny = 2\n```\n", [3], [0, 1, 3]),
        ("```py\nx = 1\ny = 2\n```\n", [2], [0, 2, 3]),
        (TABLE, [1], [0, 1, 2]),  # a rule is no row
        (TABLE, [3], [0, 3]),
        (TABLE, [3, 1], [0, 1, 3]),
    ],
)
def test_a_unit_brings_what_it_needs(text: str, units: list[int], kept: list[int]) -> None:
    assert brought(text, *units) == kept


def test_a_question_needs_the_first_unit_of_its_answer_whatever_is_kept_below() -> None:
    text = "# Who built the bridge?\n\nAda did. It is old.\n"
    assert segment(text).unit_parents.tolist() == [-1, 0, 0]
    assert brought(text, 2) == [0, 1, 2]
    assert brought(text.replace("?", ""), 2) == [0, 2]


def test_what_is_kept_from_the_start_is_brought_no_more() -> None:
    groups = groups_of(segment("# Who\n\nAda did. It is old.\n"))
    kept = Kept(groups, np.array([0, 2]))
    assert kept.flags().tolist() == [True, False, True]
    assert kept.add(2) == kept.add(0) == []
    assert kept.add(1) == [1]


def test_a_step_brings_all_that_is_new_and_costs_as_much() -> None:
    groups = groups_of(segment("# Who\n\nAda did. It is old.\n\n# When\n\nLong ago.\n"))
    kept = Kept(groups)
    steps = Steps.of(groups, np.array([2, 0, 1]), kept)
    assert steps.driver.tolist() == [2, 1]
    assert steps.of_group.tolist() == [0, 1, 0, 2, 2]
    assert steps.cost.tolist() == [int(groups.cost[[0, 2]].sum()), int(groups.cost[1])]
    assert kept.flags().tolist() == [True, True, True, False, False]

"""Repeated text: what may go because it is there already, and what may not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tiny import table_of

from moos_integrations.core.redundancy import repetitions
from moos_integrations.core.text import segment

A = "The bridge was built by Ada Byron. "
B = "It rained a lot in that year. "
C = "The baker slept well all night. "
X = "The mill is old and very grey. "
Y = "Nobody knows where the river ends. "


def gone(*texts: str, relevance: Sequence[float] | None = None) -> list[int]:
    table = table_of([segment(text) for text in texts])
    values = -np.arange(table.units, dtype=float) if relevance is None else np.array(relevance, float)
    return np.flatnonzero(repetitions(table, values)[0]).tolist()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((A + X, A + Y), [2]),  # at the start of a document
        ((A + X, Y + A), [3]),  # at its end
        ((A + X, Y + A + B), []),  # in the middle
        ((A + B + X, Y + A + B + C), []),  # two in a row are not enough
        ((A + B + C, Y + A + B + C + X), [4, 5, 6]),  # three are
        ((A + B + C, Y + C + B + A + X), []),  # but in the same order
        ((A + "\nNo.\n" + X, Y + A + "No."), [4, 5]),  # a short one belongs to what is beside it
        ((A + "\nNo.\n" + X, Y + A + "Yes."), []),
        ((A + B + A,), [2]),
        (("# One\n\n" + A + "\n\n# Two\n\n" + A,), []),  # it is under something else
        (("# One\n\n" + A, "# Two\n\n" + A), []),
        (("# One\n\n" + A, "# One\n\n" + A), [2, 3]),
        (("It was built in 1911 by Ada Byron. " + X, Y + "built in by Ada Byron."), []),
        (("total = total + value[i]\nother(x, y)\ntotal = total + value[i]\n",), []),
    ],
)
def test_what_goes_and_what_stays(texts: tuple[str, ...], expected: list[int]) -> None:
    assert gone(*texts) == expected


@pytest.mark.parametrize("word", ["not", "42"])
def test_numbers_and_negations_of_the_longer_one_must_be_in_the_shorter_one(word: str) -> None:
    longer = f"The bridge was built by Ada Byron {word}."
    assert gone(longer, A, relevance=[1.0, 0.0]) == []
    assert gone(longer.replace(word, "then"), A, relevance=[1.0, 0.0]) == [1]


def test_text_that_comes_first_may_be_the_repetition() -> None:
    assert gone(A, "As all know, the bridge was built by Ada Byron, by hand.", relevance=[0.0, 1.0]) == [0]


def test_a_unit_made_of_two_others_is_no_repetition_of_either() -> None:
    first, second = "one two three four five. ", "two three four five six seven."
    assert gone(first, second, "one two three four five six seven.") == []


def test_a_heading_stays_if_any_of_what_it_introduces_does() -> None:
    heading = "# Of the bridge by Ada\n\n"
    assert gone(heading + A + B, heading + A + X) == [4]
    assert gone(heading + A + B, heading + A + B) == [3, 4, 5]

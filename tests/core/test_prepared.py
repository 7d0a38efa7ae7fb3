"""What is known of a text by itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tiny import WordCounter

from moos_integrations.core.prepared import PreparedText, TextCache
from moos_integrations.core.text import segment
from moos_integrations.core.tokens import token_counter


class At(WordCounter):
    """Tokens that start at these offsets."""

    def __init__(self, *starts: int) -> None:
        self._starts = starts

    def starts(self, text: str) -> npt.NDArray[np.int64]:
        return np.array(self._starts, np.int64)


@pytest.mark.parametrize(
    ("starts", "costs"),
    [
        ((0, 3), [1, 1]),  # " two" begins with the space behind "one": it is the second word's
        ((0, 1, 2, 4), [3, 1]),
        ((0, 4, 6, 7), [1, 2]),  # what starts behind the last word costs no word anything
    ],
)
def test_a_token_is_the_cost_of_the_word_in_or_before_which_it_starts(
    starts: tuple[int, ...], costs: list[int]
) -> None:
    text = PreparedText(segment("one two\n"), At(*starts))
    assert text.costs.tolist() == costs
    assert text.tokens == len(starts)


def test_known_texts_are_forgotten_when_there_are_too_many() -> None:
    counter = WordCounter()
    cache = TextCache(16 * 100)
    first = cache.prepare("a" * 60, counter)
    assert cache.prepare("a" * 60, counter) is first
    cache.prepare("b" * 60, counter)
    assert cache.prepare("a" * 60, counter) is not first
    assert cache.prepare("c" * 101, counter) is not cache.prepare("c" * 101, counter)  # too long to be kept
    assert TextCache(0).prepare("x", counter).tokens == 1


@pytest.mark.parametrize(
    ("text", "asks", "needs"),
    [
        ("Who built it?\nAda did.\n", [True, False], [True, False]),
        ("Who built it？\nAda did.\n", [True, False], [True, False]),
        ('"Who built it?"\nAda did.\n', [True, False], [True, False]),
        ("“Who built it?”\nAda did.\n", [True, False], [True, False]),
        ("Ada did. Who else?", [False, True], [False, False]),  # it introduces nothing
        ("# Who\n\nAda did.\n", [False, False], [False, False]),
        ("items:\n  - a b\n  - c d\n", [False] * 3, [False] * 3),  # a key is no sentence
        ("It was old. The colours are:\n- a b\n- c d\n", [False] * 4, [False, True, False, False]),
        ("- red one\n  - dark red\n- More\n", [False] * 3, [False] * 3),
        ("- The colours:\n  - red\n- More\n", [False] * 3, [True, False, False]),
    ],
)
def test_what_asks_or_ends_in_a_colon_needs_what_it_introduces(text: str, asks: list[bool], needs: list[bool]) -> None:
    prepared = PreparedText(segment(text), WordCounter())
    assert prepared.asks.tolist() == asks
    assert prepared.needs_first.tolist() == needs


def test_costs_of_words_sum_up_to_the_count_of_a_tokenizer_without_offsets() -> None:
    text = PreparedText(segment("one two three four."), token_counter(len))
    assert text.tokens == text.costs.sum() == 19
    assert text.costs.tolist() == [4, 4, 3, 4, 4]


def test_a_text_that_is_not_well_formed_counts_as_the_counter_counts_it() -> None:
    counter = token_counter("o200k_base")
    for odd in ("a \ud83d\ude42 b", "\ud800 b"):
        assert PreparedText(segment(odd), counter).tokens == counter.count(odd)

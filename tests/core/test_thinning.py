"""Words that a thinned sentence may lose."""

from __future__ import annotations

import numpy as np
import pytest

from moos_integrations.core.text import segment
from moos_integrations.core.thinning import droppable_words, follows_word


def gone(text: str) -> list[str]:
    document = segment(text)
    return [document.words()[index] for index in np.flatnonzero(droppable_words(document))]


def test_articles_and_fillers_may_go_and_nothing_else() -> None:
    text = "However, the bridge was not open to the 40 carts, and it is also a very old one; an owner never fell."
    assert gone(text) == ["However", ",", "the", "the", "also", "a", "very", "an"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("The bridge is not very safe in the winter.", "very"),
        ("It isn't a very old part of the town.", "very"),
        ("It is a fact that a few of the parts are old.", "few"),
        ("The drug can be taken with or without the food.", "without"),
        ("Most parts cover the damage that is old.", "cover"),
    ],
)
def test_what_turns_a_statement_stays(text: str, kept: str) -> None:
    assert kept in text
    assert kept not in gone(text)


def test_a_quantity_keeps_its_article() -> None:
    assert gone("It is a fact that a few of the parts are in the box.") == ["a", "the", "the"]


def test_a_mark_goes_with_the_word_that_it_is_behind_only() -> None:
    text = "The key, however, is in the box, and the box, as it is, is in the town."
    document = segment(text)
    flags, behind = droppable_words(document), follows_word(document)
    assert [document.words()[index] for index in np.flatnonzero(behind)] == [","] * 5
    assert (flags[behind] == flags[np.flatnonzero(behind) - 1]).all()
    assert flags[behind].sum() == 1


@pytest.mark.parametrize(
    "text",
    [
        "Die Brücke war nicht offen. Der Turm steht am Fluss.",
        "- the list of the town\n- the end of the list\n",
        "",
    ],
)
def test_other_languages_and_structured_text_lose_nothing(text: str) -> None:
    assert gone(text) == []


def test_a_fifth_of_function_words_is_english() -> None:
    assert "the" in gone("Ada's bridge spans river Tay by the old mill, as it was.")

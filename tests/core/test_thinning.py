"""Words that a thinned sentence may lose."""

from __future__ import annotations

import numpy as np
import pytest

from moos_integrations.core.text import segment
from moos_integrations.core.thinning import droppable_words


def gone(text: str) -> list[str]:
    document = segment(text)
    return [document.words()[index] for index in np.flatnonzero(droppable_words(document))]


def test_nouns_and_punctuation_may_go_and_what_turns_a_statement_may_not() -> None:
    assert gone("The bridge was not open to the 40 carts, it never fell.") == ["The", "bridge", "to", ",", "it", "."]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("The key of the gate is without value to the owner.", "without"),
        ("The dog in the town was seen and it bit the man.", "bit"),
        ("The dog of the town wanders in the park.", "wanders"),
        ("It is the duty of the town to park the cart.", "park"),
        ("It is the law that the cart can't park in the town.", "park"),
        ("It is the law that the cart can't park in the town.", "can't"),
        ("It is the cart of the 3rd man in the town.", "3rd"),
        ("NOT the man of the town is it.", "NOT"),
    ],
)
def test_verbs_negations_and_numbers_stay(text: str, kept: str) -> None:
    assert kept in segment(text).words()
    assert kept not in gone(text)


def test_light_words_may_go_though_they_look_like_verbs() -> None:
    assert "always" in gone("It is always the bridge of the town.")


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
    assert "river" in gone("Ada's bridge spans river Tay by the old mill.")

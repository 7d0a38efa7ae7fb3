from __future__ import annotations

import numpy as np
import pytest

from moos_integrations.evaluation.metrics import (
    bootstrap_interval,
    containment,
    estimate,
    exact_match,
    measure_answers,
    normalise,
    paired,
    ratio,
    rouge,
    survives,
    token_f1,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        (["3 May"], "met on 3 May.", True),
        (["the Council"], "COUNCIL met", True),  # articles and case do not count
        (["3 May"], "13 Maybe", False),  # whole words only
        (["1,499"], "$1,499.00", True),
        (["x", "met"], "they met", True),
        (["!"], "anything", False),  # nothing is left of it
        ([], "anything", False),
    ],
)
def test_survives(answers: list[str], text: str, expected: bool) -> None:
    assert survives(answers, normalise(text)) is expected


def test_normalise_is_squads() -> None:
    assert normalise("The  Ａ-team (an old one),\n and “others”") == " team old one and “others” "


def test_ratios() -> None:
    assert ratio([1, 0, 2], [2, 0, 4]) == 0.5
    assert ratio([True, False, True]) == 0.6667
    assert ratio([0], [0]) is None
    assert ratio([]) is None
    assert estimate([0, 0], [0, 0]) == {"value": None, "interval": None}


def test_intervals_hold_the_ratio() -> None:
    values = np.random.default_rng(1).random(200)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    # The standard error of a mean of 200 uniform numbers is 0.29 / sqrt(200) = 0.0204.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 200**0.5, rel=0.1)
    assert bootstrap_interval([1, 2, 3], [2, 4, 6]) == [0.5, 0.5]  # the same in every passage
    assert bootstrap_interval(values) == [low, high]  # seeded


def test_paired_differences_are_sharper_than_two_intervals() -> None:
    right = np.random.default_rng(1).random(100)
    assert paired(right + 0.1, right) == {"difference": 0.1, "interval": [0.1, 0.1]}
    assert paired([2, 1], [1, 1], [2, 2])["difference"] == 0.25


@pytest.mark.parametrize(
    ("given", "accepted", "exact", "contained", "f1"),
    [
        ("the Ada Byron", ["ada byron!"], 1, 1, 1),
        ("It was Ada Byron", ["Ada Byron", "A. Byron"], 0, 1, 2 / 3),
        ("Ada", ["Ada Byron"], 0, 0, 2 / 3),
        ("", ["Ada Byron"], 0, 0, 0),
        ("the", ["a"], 1, 0, 1),  # nothing is left of either
        ("x x", ["x"], 0, 1, 2 / 3),  # a word counts as often as it stands there
        ("x", [], 0, 0, 0),
    ],
)
def test_answers(given: str, accepted: list[str], exact: float, contained: float, f1: float) -> None:
    assert exact_match(given, accepted) == exact
    assert containment(given, accepted) == contained
    assert token_f1(given, accepted) == pytest.approx(f1)


def test_answers_are_measured_together() -> None:
    found = measure_answers(["Ada", "3 May"], [["Ada"], ["4 May"]])
    assert (found["questions"], found["exact_match"]["value"], found["f1"]["value"]) == (2, 0.5, 0.75)


def test_rouge_takes_the_best_reference() -> None:
    recall, f1 = rouge("the bridges were built by ada", ["nothing alike", "the bridge was built by ada byron"])
    assert recall == pytest.approx(3 / 6)  # the bridg, built by, by ada of six pairs; words are stemmed
    assert f1 == pytest.approx(2 * 3 / (5 + 6))
    assert rouge("x", []) == (0, 0)


def test_wilson_by_hand() -> None:
    assert wilson_interval(12, 12) == (pytest.approx(0.7575, abs=1e-4), 1.0)
    assert wilson_interval(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson_interval(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))

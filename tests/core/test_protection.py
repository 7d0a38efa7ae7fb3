from __future__ import annotations

import re
import time

import numpy as np
import pytest

from moos_integrations.core.protection import DETECTORS, check_protect, protected_words
from moos_integrations.core.text import segment

TEXT = (
    "# Setup\n"
    "Ada Lovelace did not pay $1,499.00 on 3 May 2024 (see https://a.example/x?y=1 or mail ada@b.example). "
    'The "old rule" in `parse_args()` never ran; user_id ORD-99172 lives in /etc/app/conf.d without ACME Corp.'
)


def found(*protect: object) -> set[str]:
    document = segment(TEXT)
    flags = protected_words(document, check_protect(protect))
    return {word for word, flag in zip(document.words(), flags, strict=True) if flag}


@pytest.mark.parametrize(
    ("detector", "expected"),
    [
        ("numbers", {"$1,499.00", "3 May 2024", "https://a.example/x?y=1", "ORD-99172"}),
        ("dates", {"3 May 2024"}),
        ("negations", {"not", "never", "without"}),
        ("urls", {"https://a.example/x?y=1"}),
        ("emails", {"ada@b.example"}),
        ("identifiers", {"user_id", "ORD-99172", "parse_args()"}),
        ("paths", {"/etc/app/conf.d"}),
        ("code", {"`", "parse_args()"}),
        ("quotes", {'"', "old", "rule"}),
        ("names", {"Ada", "Lovelace", "ACME", "Corp"}),
        ("headings", {"#", "Setup"}),
    ],
)
def test_detectors_find_at_least_what_they_are_named_for(detector: str, expected: set[str]) -> None:
    assert expected <= found(detector)


def test_every_detector_is_tested() -> None:
    parameters = test_detectors_find_at_least_what_they_are_named_for.pytestmark[0].args[1]
    assert {detector for detector, _ in parameters} == set(DETECTORS)


def test_literals_and_patterns() -> None:
    assert found("ACME Corp") == {"ACME", "Corp"}
    assert found(re.compile(r"ORD-\d+")) == {"ORD-99172"}
    assert found() == set()
    assert found(re.compile("")) == set()  # empty matches protect nothing


def test_code_blocks() -> None:
    text = "Prose here.\n\n    x = f(y)\n\n>>> print(1)\n```\na = b\n```\nMore prose."
    document = segment(text)
    flags = protected_words(document, ("code",))
    lost = [word for word, flag in zip(document.words(), flags, strict=True) if not flag]
    assert lost == ["Prose", "here", ".", "More", "prose", "."]


def test_negations_with_apostrophes() -> None:
    document = segment("It isn't so, they don’t know.")
    flags = protected_words(document, ("negations",))
    assert [word for word, flag in zip(document.words(), flags, strict=True) if flag] == ["isn't", "don’t"]


def test_indented_prose_is_no_code_and_headings_have_many_forms() -> None:
    document = segment("Scope\n=====\n\n    Indented prose is wrapped at the\n    end of a line. It is no code.\n")
    words = np.array(document.words())
    assert not protected_words(document, ("code",)).any()
    assert words[protected_words(document, ("headings",))].tolist() == ["Scope", "====="]


@pytest.mark.parametrize("detector", sorted(DETECTORS))
@pytest.mark.parametrize("piece", ["a.", "a-", "a_", "A'", "/a", "\\", "a:", "`", '"a', "1.", "n't ", "a+"])
def test_detectors_take_linear_time(detector: str, piece: str) -> None:
    document = segment(piece * (40_000 // len(piece)))
    started = time.process_time()
    protected_words(document, (detector,))
    assert time.process_time() - started < 2.0

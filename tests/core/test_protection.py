from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest
import regex

from moos_integrations.core.protection import (
    BINDING,
    DETECTORS,
    check_protect,
    pattern_from_json,
    pattern_to_json,
    protected_words,
)
from moos_integrations.core.text import segment
from moos_integrations.errors import ConfigError

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
    of_tools = {"errors", "tracebacks", "exit_codes", "diff_hunks"}  # in test_tool_detectors.py
    assert {detector for detector, _ in parameters} | set(BINDING) | of_tools == set(DETECTORS)


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


def test_negations_are_known_and_draw_no_sentence_in() -> None:
    found_words = DETECTORS["negations"].findall("It isn't so, they don’t know, cannot, never, without a NO.")
    assert found_words == ["isn't", "don’t", "cannot", "never", "without", "NO"]
    assert found("negations") == set()
    assert found("negations", "dates") == found("dates")


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


def test_a_literal_is_no_pattern() -> None:
    document = segment("f(x) 1.5 and 105")
    for literal, expected in (("1.5", ["1.5"]), ("f(x", ["f(x)"]), ("x)", ["f(x)"])):
        flags = protected_words(document, (literal,))
        kept = "".join(word for word, flag in zip(document.words(), flags, strict=True) if flag)
        assert kept in (expected[0], literal)


def test_words_beside_a_span_are_free() -> None:
    document = segment("(one) two")
    assert document.words() == ["(", "one", ")", "two"]
    for pattern, expected in ((r"\(", [0]), (r"one", [1]), (r"\)", [2]), (r"\) ", [2]), (r"e\) t", [1, 2, 3])):
        assert np.flatnonzero(protected_words(document, (re.compile(pattern),))).tolist() == expected


@pytest.mark.parametrize(("typo", "meant"), [("number", "numbers"), ("negation", "negations"), ("e-mails", "emails")])
def test_misspelt_detectors_are_named(typo: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"'{typo}', which is no detector; did you mean '{meant}'"):
        check_protect([typo])


def test_patterns_survive_json() -> None:
    items = ("numbers", re.compile("acme", re.IGNORECASE), regex.compile(r"\p{Lu}+", regex.MULTILINE))
    stored = json.loads(json.dumps([pattern_to_json(item) for item in items]))
    again = tuple(map(pattern_from_json, stored))
    assert again[0] == "numbers"
    assert [(item.pattern, item.flags) for item in again[1:]] == [(item.pattern, item.flags) for item in items[1:]]
    assert [type(item) for item in again] == [type(item) for item in items]

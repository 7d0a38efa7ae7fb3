from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moos_benchmarks.survival import (
    KINDS,
    Validity,
    altered,
    items,
    json_validity,
    survival,
    table_validity,
)

from moos_integrations.core.protection import DETECTORS

TEXT = (
    "On 3 May Ada Lovelace did not pay $1,499.00 for ORD-99172, nor 499 for user_id 12; see https://a.org/x_1?p=2.\n"
    "Nobody saw Pac-Man, Ada Lovelace or the 10-minute film of 2019-05-03. Why is Ada not there?"
)
FOUND = {
    "numbers": {"3": 1, "1,499.00": 1, "499": 1, "12": 1, "2019-05-03": 1},
    "negations": {"not": 2, "nor": 1, "Nobody": 1},
    "names": {"May Ada Lovelace": 1, "Pac-Man": 1, "Ada Lovelace": 1, "Ada": 1},
    "urls": {"https://a.org/x_1?p=2": 1},
    "identifiers": {"ORD-99172": 1, "user_id": 1, "10-minute": 1},
}
PIECES = (
    "Ada",
    "Pac-Man",
    "iPhone",
    "not",
    "1,499",
    "12",
    "v2",
    "a_b",
    "www.a.org",
    "say",
    " ",
    "\n",
    ".",
    "-",
    ", ",
    ": ",
)


def kept(source: str, output: str) -> dict[str, int]:
    return {kind: count for kind, count in survival(source, output).kept.items() if count}


def test_kinds_are_detectors() -> None:
    assert set(KINDS) < set(DETECTORS)


def test_items_are_wholes_and_no_digit_counts_twice() -> None:
    assert {kind: dict(found) for kind, found in items(TEXT).items()} == FOUND


def test_everything_survives_in_the_source_and_nothing_in_an_empty_text() -> None:
    found = survival(TEXT, TEXT)
    assert found.present == found.kept == {kind: sum(FOUND[kind].values()) for kind in KINDS}
    assert survival(TEXT, "").kept == dict.fromkeys(KINDS, 0)
    assert survival("", TEXT).present == dict.fromkeys(KINDS, 0)
    assert survival("", TEXT).kept == dict.fromkeys(KINDS, 0)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_nothing_is_lost_where_nothing_was_done(text: str) -> None:
    found = survival(text, text)
    assert found.kept == found.present


@given(st.lists(st.sampled_from(PIECES)).map("".join), st.lists(st.sampled_from(PIECES)).map("".join))
def test_never_more_survive_than_there_were(source: str, output: str) -> None:
    found = survival(source, output)
    assert all(0 <= found.kept[kind] <= found.present[kind] for kind in KINDS)


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        ("it cost 1,499.00 then", "it cost 1,499 then", {}),  # a part of a number is another number
        ("it cost 1,499.00 then", "it cost 1, 499. 00", {}),  # spaced out
        ("see ORD-99172 now", "see ord - 99172", {}),
        ("see ORD-99172 now", "ORD-99172", {"identifiers": 1}),
        ("he has 12 of 99", "he 120 99", {"numbers": 1}),  # bounded
        ("a 5 and 5 and 5", "5 5", {"numbers": 2}),  # occurrences
        ("a 5", "5 5 5", {"numbers": 1}),
        ("it is not so", "it is NOT so", {}),  # byte for byte
        ("it is not so", "notso", {}),
        ("we saw Ada Lovelace there", "we saw Lovelace", {}),
        ("we saw Ada Lovelace there", "Ada Lovelace", {"names": 1}),  # at the start of the text, where one word is none
        ("we saw Ada then", "Ada", {"names": 1}),
        ("we saw Ada and Bob Hope", "saw Ada Bob Hope", {"names": 2}),  # beside one another
        ("we saw Ada and Ada Lovelace", "saw Ada Lovelace", {"names": 1}),  # the short one is not in the long one
        ("see www.a.org/x.", "see www.a.org/x", {"urls": 1}),  # the stop ends the sentence
        ("see www.a.org/x.", "see www.a.org", {}),
    ],
)
def test_what_survives(source: str, output: str, expected: dict[str, int]) -> None:
    assert sum(survival(source, source).kept.values())
    assert kept(source, output) == expected


def test_names_stay_within_a_line() -> None:
    found = items("the price | High\nFourth Quarter | 3 is of Ada\nLovelace")["names"]
    assert dict(found) == {"High": 1, "Fourth Quarter": 1, "Ada": 1, "Lovelace": 1}


WHOLE = json.dumps({"a": 1, "b": {"c": "}"}}, indent=1)
LOG = '10:00 sent {"id": 7, "to": {"x": "{"}} ok\n10:01 got {"id": 8}\n```json\n{"id": 9}\n```\n'


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        (WHOLE, WHOLE, Validity(1, 1, 0)),
        (WHOLE, '{"a": 1}', Validity(1, 1, 0)),
        (WHOLE, '{"a": 1, "b": {"c": "}"}', Validity(1, 0, 1)),
        (WHOLE, '"a": 1', Validity(1, 0, 1)),
        (WHOLE, "[1]", Validity(1, 0, 1)),  # another type
        (WHOLE, " \n", Validity(1, 0, 0)),  # dropped
        ("[1, 2]", "[1]", Validity(1, 1, 0)),
        ("[1, 2]", "[1", Validity(1, 0, 1)),
        (LOG, LOG, Validity(3, 3, 0)),
        (LOG, '10:00 sent {"id": 7}', Validity(3, 1, 0)),
        (LOG, '10:00 sent {"id": 7 ok\n10:01 got {"id": 8}', Validity(3, 0, 3)),
        (LOG, 'got {"id": 8} sent {"id": 7, to} ok', Validity(3, 1, 2)),
        (LOG, "10:00 sent", Validity(3, 0, 0)),
        ("f'{name}' and {} or [1] and 7", "{", Validity()),  # no JSON
        ('x = {"a": y} and {"b": 1}', '{"b": 1}', Validity()),  # code
        ("7", "", Validity()),
    ],
)
def test_json_parses_or_not(source: str, output: str, expected: Validity) -> None:
    assert json_validity(source, output) == expected
    assert expected.dropped == expected.present - expected.valid - expected.broken >= 0


PIPES = " | High | Low\n2019: |  | \nFourth Quarter | $11.44 | $9.47\nThird Quarter | $14.96 | $10.26\n"
MARKDOWN = "Prices:\n\n| a | b |\n|---|:-:|\n| 1 | x \\| y |\n|2|z|\n\nMore text.\n"


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        (PIPES, PIPES, Validity(1, 1, 0)),
        (PIPES, "| High | Low\nThird | $14.96 | $10.26", Validity(1, 1, 0)),
        (PIPES, "| High | Low\nThird Quarter | $14.96", Validity(1, 0, 1)),  # a cell is gone
        (PIPES, "Third Quarter | $14.96 | $10.26", Validity(1, 0, 1)),  # the header is gone
        (PIPES, PIPES.replace("\n", " "), Validity(1, 0, 1)),
        (PIPES, "Third Quarter $14.96 $10.26", Validity(1, 0, 1)),  # the pipes are gone
        (PIPES, "A third quarter of Highlands 114.96", Validity(1, 0, 0)),
        (f"{PIPES}\nThe High was $14.96.", "The High was $14.96.", Validity(1, 0, 0)),  # not of the table
        (MARKDOWN, MARKDOWN, Validity(1, 1, 0)),
        (MARKDOWN, "| a | b |\n|---|:-:|\n|2|z|\n", Validity(1, 1, 0)),
        (MARKDOWN, "| a | b |\n|2|z|\n", Validity(1, 0, 1)),  # no table without its dashes
        (f"{PIPES}\n{MARKDOWN}", f"{MARKDOWN}", Validity(2, 1, 0)),
        (f"{PIPES}\n{MARKDOWN}", f"{PIPES}\n|2|z|", Validity(2, 0, 2)),  # its header tells whose a row is
        ("a | b alone\n", "a | b", Validity()),
        ("def f(\n  x: A | None,\n  y: B | None,\n):", "", Validity()),
        ("2019|a|b\n2020|c|d", "2019|a", Validity()),  # a log, not a table
        (f"{PIPES}\nx = a | b", PIPES, Validity()),  # cannot be told from a broken row
    ],
)
def test_tables_stay_tables_or_not(source: str, output: str, expected: Validity) -> None:
    assert table_validity(source, output) == expected


def test_altered() -> None:
    assert not altered("abcabc", "acb")
    assert not altered("abc", "")
    assert altered("abc", "cb")
    assert altered("abc", "aa")
    assert altered("ORD-9 b", "ord-9")
    assert altered("ORD-9\nb", "ORD - 9 b")
    assert not altered("ORD-9\nb", "ORD - 9 b", spaces=False)
    assert altered("ORD-9\nb", "b ORD-9", spaces=False)

"""Omission marks in JSON: valid JSON, and the counts are those of what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_json_commas import LAYOUTS, NAMES, VALUES, within
from tiny import HashScorer

from moos_integrations import CompressorConfig, ContextCompressor
from moos_integrations.core.json_elements import JsonElements

MARK = "[~ {count} {unit} ~]"


@pytest.fixture(scope="module")
def marked() -> ContextCompressor:
    """A compressor without a model that marks what it leaves out."""
    return ContextCompressor(HashScorer(), CompressorConfig(omission=MARK))


@pytest.mark.parametrize("layout", LAYOUTS)
@given(value=st.lists(VALUES, min_size=1, max_size=6) | st.dictionaries(NAMES, VALUES, min_size=1, max_size=6))
def test_marked_json_is_json_and_counts_what_is_missing(marked: ContextCompressor, layout: str, value: Any) -> None:
    text = json.dumps(value, **LAYOUTS[layout])
    for rate in (0.3, 0.6, 0.8):
        result = marked.compress(text, rate=rate)
        assert result.kept_tokens <= rate * result.original_tokens
        (document,) = result.documents
        if any(notice.kind == "no room for omission marks" for notice in result.warnings):
            assert not document.marks
            assert not result.text or within(json.loads(result.text), value)
        elif result.text:
            assert complete(json.loads(result.text), value), (text, result.text)
        rest, end = "", 0
        for mark in document.marks:
            rest, end = rest + document.text[end : mark.start], mark.end
            assert document.text[mark.start : mark.end].count("[~") == 1
            assert text[slice(*mark.omitted)].strip() == text[slice(*mark.omitted)] != ""
        assert rest + document.text[end:] == "".join(text[slice(*span)] for span in document.spans)


@given(st.lists(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), min_size=2, max_size=8))
def test_marked_lines_of_json_are_lines_of_json(marked: ContextCompressor, records: list[Any]) -> None:
    text = "\n".join(map(json.dumps, records))
    result = marked.compress(text, rate=0.5)
    lines = [json.loads(line) for line in result.text.splitlines()]
    said = number(lines.pop()["..."]) if lines and is_mark(lines[-1].get("...")) and len(lines[-1]) == 1 else 0
    if result.text and not any(notice.kind == "no room for omission marks" for notice in result.warnings):
        assert len(lines) + said == len(records)
        rest = iter(records)
        assert all(any(complete(line, record) for record in rest) for line in lines)


def is_mark(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("[~ ")


def number(mark: str) -> int:
    return int(mark.split()[1])


def complete(kept: Any, value: Any) -> bool:
    """Whether `kept` is `value` with members and items left out, and its marks say how many."""
    if isinstance(kept, dict) and isinstance(value, dict):
        mark = [key for key, inner in kept.items() if key not in value and is_mark(inner)]
        members = {key: inner for key, inner in kept.items() if key not in mark}
        missing = sum(number(kept[key]) for key in mark)
        return len(members) + missing == len(value) and all(
            key in value and complete(inner, value[key]) for key, inner in members.items()
        )
    if isinstance(kept, list) and isinstance(value, list):
        items = kept[:-1] if kept and is_mark(kept[-1]) else kept
        missing = number(kept[-1]) if len(items) < len(kept) else 0
        rest = iter(value)
        return len(items) + missing == len(value) and all(
            any(complete(inner, other) for other in rest) for inner in items
        )
    return within(kept, value)


def test_each_value_says_what_is_missing_from_it() -> None:
    text = '{"a": [1, 2, 3], "b": {"c": 4, "d": [5]}, "...": 6}'
    elements = JsonElements.of(text)
    spans = [(0, 7), (13, 23), (text.index("}"), len(text))]
    assert "".join(text[start:end] for start, end in spans) == '{"a": [3], "b": {}, "...": 6}'
    found = elements.missing(spans)
    assert [(len(missing.elements), missing.unit, text[slice(*missing.span)]) for missing in found] == [
        (2, "item", "1, 2"),
        (2, "member", '"c": 4, "d": [5]'),
    ]
    assert [missing.written("x") for missing in found] == [', "x"', '"...": "x"']
    assert elements.missing([]) == []


def test_a_mark_counts_what_an_earlier_mark_was_for(marked: ContextCompressor) -> None:
    text = json.dumps([f"the item with the number {number}" for number in range(60)])
    once = marked.compress(text, rate=0.5).text
    twice = json.loads(marked.compress(once, rate=0.3).text)
    marks = [item for item in twice if is_mark(item)]
    assert len(twice) - len(marks) + sum(map(number, marks)) == 60


def test_a_key_of_dots_gets_a_longer_one_beside_it() -> None:
    text = '{"...": 1, "b": 2}'
    (missing,) = JsonElements.of(text).missing([(0, 9), (17, 18)])
    assert missing.written("x") == ', "....": "x"'

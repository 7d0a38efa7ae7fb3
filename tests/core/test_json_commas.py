"""Compressed JSON is valid JSON, in every layout and at every budget."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moos_integrations import ContextCompressor
from moos_integrations.core.json_commas import JsonCommas

NAMES = st.text('abcxyz_ 09"\\,:{}[]é漢\n', min_size=1, max_size=8)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-999, 999), st.floats(-9, 9), NAMES)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)
LAYOUTS: dict[str, dict[str, Any]] = {
    "spaced": {},
    "compact": {"separators": (",", ":")},
    "indented": {"indent": 2},
    "tabs": {"indent": "\t", "ensure_ascii": False},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(value=st.lists(VALUES, min_size=1, max_size=6) | st.dictionaries(NAMES, VALUES, min_size=1, max_size=6))
def test_json_stays_json(compressor: ContextCompressor, layout: str, value: Any) -> None:
    text = json.dumps(value, **LAYOUTS[layout])
    for rate in (0.3, 0.7):
        kept = compressor.compress(text, rate=rate).text
        assert not kept or within(json.loads(kept), value), (text, kept)


@given(st.lists(st.dictionaries(NAMES, VALUES, min_size=1, max_size=6), min_size=2, max_size=6))
def test_lines_of_json_stay_lines_of_json(compressor: ContextCompressor, records: list[Any]) -> None:
    text = "\n".join(map(json.dumps, records))
    for rate in (0.3, 0.7):
        for line in compressor.compress(text, rate=rate).text.splitlines():
            kept = json.loads(line)
            assert any(within(kept, record) for record in records), (text, kept)


def within(kept: Any, value: Any) -> bool:
    """Whether `kept` is `value` with members and items left out."""
    if isinstance(kept, dict) and isinstance(value, dict):
        return all(key in value and within(inner, value[key]) for key, inner in kept.items())
    if isinstance(kept, list) and isinstance(value, list):
        rest = iter(value)
        return all(any(within(inner, other) for other in rest) for inner in kept)
    return type(kept) is type(value) and kept == value


def test_commas_within_strings_and_between_kept_members_stay() -> None:
    text = '{"a, ]": "x,}", "b": [1, 2, 3], "c": 4}'
    commas = JsonCommas.of(text)
    assert commas is not None
    assert commas.without_dangling([(0, len(text))]) == [(0, len(text))]
    spans = commas.without_dangling([(0, 16), (16, 21), (21, 22), (22, 25), (29, 31), (38, 39)])
    assert "".join(text[start:end] for start, end in spans) == '{"a, ]": "x,}", "b": [1 ]}'


@pytest.mark.parametrize("text", ["", "plain, text]", "[1, 2", '{"a": 1,}', "[1]\n[2", "[" * 100_000])
def test_other_text_has_no_commas_to_mend(text: str) -> None:
    assert JsonCommas.of(text) is None

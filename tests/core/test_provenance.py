from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moos_integrations.core.provenance import Origin, Piece, _groups, _numbers, chained, found, stored
from moos_integrations.core.tokens import token_counter

SOURCE = "".join(chr(97 + index * 7 % 26) for index in range(3000))


@st.composite
def origins(draw: st.DrawFn) -> tuple[Origin, str, str]:
    """An origin, its text and its source; with and without text that is not from the source."""
    source = draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
    cuts = sorted(draw(st.sets(st.integers(0, len(source)), max_size=10)))
    fillers = draw(st.booleans())
    text, pieces = "", []
    for start, end in itertools.zip_longest(cuts[::2], cuts[1::2]):
        if end is not None:
            text += draw(st.sampled_from(["", "[...]", " "])) if fillers else ""
            pieces.append((len(text), start, end))
            text += source[start:end]
    text += draw(st.sampled_from(["", "!"])) if fillers else ""
    return Origin(draw(st.sampled_from(["node", "document"])), tuple(pieces)), text, source


def check(origin: Origin, text: str, source: str) -> None:
    """Each piece stands in the text as in the source."""
    for at, start, end in origin.pieces:
        assert text[at : at + end - start] == source[start:end]


def same(left: Origin | None, right: Origin) -> bool:
    return left is not None and (left.within, left.spans) == (right.within, right.spans)


@given(origins(), st.none() | st.integers(0, 10**7))
def test_what_is_stored_is_found(drawn: tuple[Origin, str, str], offset: int | None) -> None:
    origin, text, source = drawn
    value = stored(origin, text, offset)
    assert value.isalnum()
    for now in (None, 0, offset):
        again = found(value, text, now)
        assert same(again, origin)
        check(again, text, source)


@given(origins(), st.text(max_size=12), st.text(max_size=12))
def test_a_template_around_the_text_changes_no_place(drawn: tuple[Origin, str, str], left: str, right: str) -> None:
    origin, text, source = drawn
    assume(len(text) > 2)
    again = found(stored(origin, text), left + text + right)
    assert same(again, origin)
    check(again, left + text + right, source)


@given(origins(), st.data())
def test_a_piece_that_a_splitter_cut_keeps_its_places(drawn: tuple[Origin, str, str], data: st.DataObject) -> None:
    origin, text, source = drawn
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    assume(end - start < len(text))
    again = found(stored(origin, text), text[start:end], start)
    assert again is not None
    check(again, text[start:end], source)
    mapped = {place for _, first, last in again.pieces for place in range(first, last)}
    expected = {
        first + place - at
        for at, first, last in origin.pieces
        for place in range(max(at, start), min(at + last - first, end))
    }
    assert mapped == expected


@given(origins(), st.text(max_size=60), st.none() | st.integers(0, 80))
def test_another_text_has_no_origin(drawn: tuple[Origin, str, str], other: str, offset: int | None) -> None:
    origin, text, _ = drawn
    assume(text and text not in other)
    # A shorter text with a new offset is what a splitter leaves; with the old one, or none, it is another text.
    assume(len(other) >= len(text) or offset is None)
    assert found(stored(origin, text, offset), other, offset) is None
    assert found(stored(origin, text, 7), other, 7) is None


@given(origins(), st.data())
def test_passes_are_chained(drawn: tuple[Origin, str, str], data: st.DataObject) -> None:
    origin, text, source = drawn
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pieces: list[Piece] = []
    kept = ""
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        pieces.append((len(kept), start, end))
        kept += text[start:end]
    again = chained(pieces, origin)
    check(again, kept, source)
    if (
        all(at + end - start <= len(text) for at, start, end in origin.pieces)
        and "".join(source[start:end] for start, end in origin.spans) == text
    ):
        assert "".join(source[start:end] for start, end in again.spans) == kept


@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_numbers_are_read_as_written(numbers: list[int]) -> None:
    assert _numbers("".join(f"{group:03d}" for number in numbers for group in _groups(number))) == numbers


def test_places_outside_of_the_source_are_none() -> None:
    origin = Origin("document", ((5, 100, 110), (18, 200, 202)))
    assert origin.place(5, 20) == (100, 202)
    assert origin.place(6, 15) == (101, 110)
    assert origin.place(4, 15) is None
    assert origin.place(5, 16) is None
    assert origin.place(20, 21) is None
    assert Origin("node", ()).place(0, 1) is None


@given(origins())
def test_what_is_not_from_the_source_is_blanked(drawn: tuple[Origin, str, str]) -> None:
    origin, text, source = drawn
    blanked = origin.without_rest(text)
    assert len(blanked) == len(text)
    check(origin, blanked, source)
    assert len(blanked.replace(" ", "")) <= sum(end - start for start, end in origin.spans)


def test_a_span_costs_about_two_tokens() -> None:
    spans = [(start, start + 60) for start in range(0, 3000, 150)]
    pieces = tuple((60 * index, start, end) for index, (start, end) in enumerate(spans))
    text = "".join(SOURCE[start:end] for start, end in spans)
    assert token_counter("o200k_base").count(stored(Origin("document", pieces), text, 4000)) <= 2 * len(spans) + 7


@pytest.mark.parametrize("value", [None, 7, "", "n", "n123", "x123456789000", "n123456789999", "n123456789000001", {}])
def test_foreign_values_are_no_origin(value: object) -> None:
    assert found(value, "some text", 3) is None


def test_long_texts_take_no_time_to_speak_of() -> None:
    text = SOURCE * 100
    origin = Origin.whole("node", len(text))
    assert same(found(stored(origin, text), f"Source 1:\n{text}\n"), origin)

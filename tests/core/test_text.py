from __future__ import annotations

import numpy as np
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from moos_integrations.core.text import enclosing_units, segment, structured_units, unit_spans, word_spans

HARD = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from(
            [*list("ab1 .,-'’\n\r\t/@_:()|#$%—"), "́", "\u200d", "️", "😀", "🇩", "🇪", "你", "ก", "ำ", "क", "्"]
        ),
    ),
    max_size=80,
)


def words(text: str) -> list[str]:
    starts, ends = word_spans(text)
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def units(text: str) -> list[str]:
    starts, ends = unit_spans(text)
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(
    "atom",
    [
        "$1,499.00", "3.5 GB", "2024-11-21", "12:30:45", "11/21/2024", "50%", "10km", "−3.5", "1e-5", "192.168.0.1",
        "v1.2.3", "https://example.org/a?b=c&d=%20e", "www.example.org/x", "a.b+tag@example.co.uk", "user_id",
        "ORD-99172", "ord_8f3a2c91", "a.b.c()", "/usr/lib/python3/x.py", "C:\\temp\\f.txt", "don't", "Yorick’s", "C++",
        "state-of-the-art", "U.S.", "timeout=30", "👨‍👩‍👧", "1️⃣", "🇩🇪", "é", "₹5,000", "#42",
    ],
)  # fmt: skip
def test_atoms_are_one_word(atom: str) -> None:
    assert atom in words(f"see {atom} here")


@pytest.mark.parametrize("text", ["你好世界", "ひらがな", "สวัสดี"])
def test_scripts_without_spaces_are_cut_between_graphemes(text: str) -> None:
    assert words(text) == regex.findall(r"\X", text)


def test_punctuation_between_words_stays_with_the_first() -> None:
    # Dropping a dash of its own would glue two words into one that the source does not have.
    assert words("foo—bar (baz)") == ["foo—", "bar", "(", "baz", ")"]


@given(HARD)
@example("a\u0301\u200d😀")
@example("ℹ\u200d😀")
@example(" \u0301x")
@example("\ud800a\udfff")
def test_words_cover_everything_but_white_space_and_never_split_a_grapheme(text: str) -> None:
    starts, ends = word_spans(text)
    assert (starts < ends).all()
    assert (starts[1:] >= ends[:-1]).all()
    covered = {position for start, end in zip(starts, ends, strict=True) for position in range(start, end)}
    assert all(text[position].isspace() for position in range(len(text)) if position not in covered)
    borders = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    assert set(starts.tolist()) | set(ends.tolist()) <= borders


@given(HARD)
def test_units_tile_the_text_and_end_at_word_borders_of_prose(text: str) -> None:
    starts, ends = unit_spans(text)
    assert "".join(text[start:end] for start, end in zip(starts, ends, strict=True)) == text
    assert (starts < ends).all()


def test_sentences() -> None:
    text = "Dr. Smith paid $3.50 in the U.S. yesterday. Why? Nobody knows!  End."
    assert units(text) == ["Dr. Smith paid $3.50 in the U.S. yesterday. ", "Why? ", "Nobody knows!  ", "End."]


def test_lines_of_tables_logs_lists_and_code_are_units() -> None:
    rows = [
        "| a. B | c |\n",
        "| 1. X | 2 |\n",
        "- item. More of it\n",
        "2024-01-01 12:00:00 INFO start. Done.\n",
        "    return x;\n",
    ]
    assert units("".join(rows)) == rows


def test_soft_wrapped_prose_is_joined() -> None:
    text = "A long line of prose that is wrapped by the editor and\ngoes on in lower case. Next one."
    assert units(text) == [text[:-9], "Next one."]


def test_long_paragraph_is_split_in_linear_blocks() -> None:
    text = 'He said "this. ' * 3000
    assert len(unit_spans(text)[0]) > 1000


def test_segment_places_every_word_in_a_unit() -> None:
    document = segment("One two. Three four.\nFive")
    assert document.unit_of_word.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert document.words()[0] == "One"
    assert len(document) == 7


def test_lines_of_code_and_rows_are_told_from_prose() -> None:
    document = segment("Prose stands here. More of it.\n| a | b |\n    return x;\n- an item\nProse again.")
    assert structured_units(document).tolist() == [False, False, True, True, True, False]
    assert structured_units(segment("")).tolist() == []


BLOCKS = [
    ("import os\n\n", None),
    ("class Bridge:\n", None),
    ("    def built(\n", "class"),
    ("        self,\n", "    def"),
    ("    ) -> int:\n", "    def"),
    ("        if self.old:\n", "    ) ->"),
    ("            return 1843;\n", "        if"),
    ("        return 1999;\n", "    ) ->"),
    ("\tlength = 300;\n", "class"),
    ("done = True\n", None),
]


def test_indentation_tells_what_a_line_stands_under() -> None:
    lines = [line for line, _ in BLOCKS]
    document = segment("".join(lines))
    assert units("".join(lines)) == lines
    over = [None if own < 0 else lines[own] for own in enclosing_units(document).tolist()]
    assert all(
        (own is None) is (start is None) and (own or "").startswith(start or "")
        for own, (_, start) in zip(over, BLOCKS, strict=True)
    ), over


def test_a_sentence_is_as_far_in_as_its_line() -> None:
    document = segment("He said much. He said this:\n  - go on. Now.\n  - stop\nAnd he went. Far.\n")
    assert enclosing_units(document).tolist() == [-1, -1, 1, 1, -1, -1]


@given(st.text(alphabet="ab. \t\n\r)}"))
def test_what_encloses_comes_before(text: str) -> None:
    over = enclosing_units(segment(text))
    assert (over < np.arange(len(over))).all()
    assert (over >= -1).all()
    assert (enclosing_units(segment(text.replace(" ", "").replace("\t", ""))) == -1).sum() >= 0


def test_text_without_indentation_encloses_nothing() -> None:
    assert enclosing_units(segment("One. Two.\nThree {\n}\n")).tolist() == [-1] * 4
    assert enclosing_units(segment("")).tolist() == []

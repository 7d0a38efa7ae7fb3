from __future__ import annotations

from random import Random

import numpy as np
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st
from layouts import ATOMS, HARD

from moos_integrations.core.text import segment, word_spans
from moos_integrations.core.text.words import find_words

SEEDS = st.integers(0, 2**32).map(Random)


def words(text: str) -> list[str]:
    starts, ends = word_spans(text)
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(
    "atom",
    [
        "$1,499.00", "3.5 GB", "2024-11-21", "12:30:45", "11/21/2024", "50%", "10km", "−3.5", "1e-5", "192.168.0.1",
        "v1.2.3", "https://example.org/a?b=c&d=%20e", "www.example.org/x", "a.b+tag@example.co.uk", "user_id",
        "ORD-99172", "ord_8f3a2c91", "a.b.c()", "/usr/lib/python3/x.py", "C:\\temp\\f.txt", "don't", "Yorick’s", "C++",
        "state-of-the-art", "U.S.", "timeout=30", "👨‍👩‍👧", "1️⃣", "🇩🇪", "é", "₹5,000", "#42",
        "1\u00a0240 €", "1\u202f240\u202f€", "12 000", "€ 5", "5\u00a0€", "1,23,456.78", "1’234.50 CHF", "USD 5,000",
        "$1.5 million",
        "3 1/2 cups", "2½ cups", "2.5 m/s", "5 kWh/100 km", "1.5x", "10-20 %", "10 – 20 km", "10 to 20 km", "100 m²",
        "-5", "− 5 °C", "± 0.5 %", "+/−3", "~20", ">= 18", "p < 0.05", "≥ 5", "n = 12", "50 ± 3 %", "1.2 × 10-5",
        "3 May 2024", "May 3, 2024", "3rd of May 2024", "3. Mai 2024", "3 de mayo de 2024", "2024年5月3日", "17:30 Uhr",
        "5 p.m.", "5:30 pm", "+49 30 1234567", "(030) 123 45-67", "+1 (555) 123-4567", "0800 123 456",
        "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111", "1.2.3-rc1+build.5", "--force", "-v", "--level=3",
        "Art. 12(3)(b)", "§ 5 Abs. 2", "§§ 3-5", "Sec. 12", "No. 3", "Nr. 4711", "Art. 6 para. 1 lit. b",
    ],
)  # fmt: skip
def test_atoms_are_one_word(atom: str) -> None:
    assert atom in words(f"It is, {atom} here")


@given(
    SEEDS,
    st.sampled_from(sorted(ATOMS)),
    st.sampled_from(["the ", "(", '"', "see ", "of ", "x, ", "“", "é ", "\n", ""]),
)
def test_generated_atoms_are_inside_one_word(random: Random, form: str, before: str) -> None:
    atom = ATOMS[form](random)
    behind = random.choice([" here", ".", ", and", ")", '"', "; x", "?", "", "\nNext"])
    text = f"{before}{atom}{behind}"
    starts, ends = word_spans(text)
    start = len(before)
    assert any(a <= start and start + len(atom) <= b for a, b in zip(starts, ends, strict=True)), words(text)


@given(SEEDS, st.lists(st.sampled_from(sorted(ATOMS)), min_size=2, max_size=6))
def test_atoms_in_one_sentence_are_words_of_their_own(random: Random, forms: list[str]) -> None:
    text, spans = "It is", []
    for form in forms:
        atom = ATOMS[form](random)
        text += " of "
        spans.append((len(text), len(text) + len(atom)))
        text += atom
    starts, ends = word_spans(text + " then.")
    for start, end in spans:
        first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(starts, end, side="left") - 1
        assert first == last, (text, text[start:end])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("values 12,-7,3 and", ["values", "12,", "-7,3", "and"]),
        ("(target:-18 °C)", ["(", "target:", "-18 °C", ")"]),
        ("- 400 g macaroni", ["-", "400 g", "macaroni"]),  # the dash is a bullet
        ("see 5 in the box", ["see", "5", "in", "the", "box"]),
        ("a model 3 car", ["a", "model", "3", "car"]),
        ("1 2 3 14 15", ["1", "2", "3", "14", "15"]),
    ],
)
def test_what_belongs_to_a_number_and_what_does_not(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_word_broken_at_the_end_of_a_line_is_one() -> None:
    assert "cre-\nated" in words("Many articles are cre-\nated every day.")
    assert "ig-\n       norespace" in words("       If it includes ig-\n       norespace, lines are kept.")
    assert "exam-\n# ple" in words("# This comment is an exam-\n# ple of a broken word.")
    assert "-" in words("a list\n- of items")


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


def test_no_word_goes_over_the_start_of_a_unit() -> None:
    text = "It costs 5\nkm and more"
    starts, ends = find_words(text, np.array([0, 11]), None)
    assert [text[start:end] for start, end in zip(starts, ends, strict=True)][2:4] == ["5", "km"]


def test_segment_places_every_word_in_a_unit() -> None:
    document = segment("One two. Three four.\nFive")
    assert document.unit_of_word.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert document.words()[0] == "One"
    assert len(document) == 7

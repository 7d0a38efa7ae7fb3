from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from layouts import HARD

from moos_integrations.core.rendering import _LINE_BREAK, Renderer
from moos_integrations.core.text import segment


def render(text: str, keep: str) -> str:
    """Render with the words listed in `keep` (each names all its occurrences)."""
    document = segment(text)
    renderer = Renderer(document)
    return renderer.text(renderer.spans(np.array([word in keep.split() for word in document.words()], bool)))


@pytest.mark.parametrize(
    ("text", "keep", "expected"),
    [
        ("one two three", "one three", "one three"),
        ("one  two\tthree", "one two three", "one  two\tthree"),  # neighbours keep their white space
        ("one two.\nthree four", "one four", "one\nfour"),  # a line break is stronger than a space
        ("one two.\n\nthree\nfour five", "one five", "one\n\nfive"),  # a paragraph break is stronger still
        ("| a | b |\n| c | d |", "a d", "a\nd"),
        ("dark red, blue", "dark , blue", "dark, blue"),  # a comma sticks to what is before it
        ("see (the notes) now", "see ( notes ) now", "see (notes) now"),
        ('set to "__debug__" is', "set __debug__ is", "set __debug__ is"),  # an underscore is no punctuation
        ("length?) and so on", "length ? on", "length? on"),  # a mark before a dropped bracket does not open
        ("((a) or (b))", "(( b ))", "((b))"),
        ("he 'said' so", "he ' so", "he '' so"),
        ('the form "*args" is', "form * args", "form *args"),  # a mark behind an opening one opens too
        ("costs $5 or -3 now", "costs -3", "costs -3"),
        ("if x:\n    do()\n    stop()", "if x : stop()", "if x:\n    stop()"),  # indentation survives
        ("你好世界", "你 世", "你世"),
        ("a\r\nb\r\nc", "a c", "a\r\nc"),
        (f"a b\n{' ' * 20}c d", "a c", f"a\n{' ' * 20}c"),
        (f"a b\n{' ' * 90}c d", "a c", f"a\n{' ' * 90}c"),  # whatever its length
        (f"a b\n{' ' * 30}\r\nc d", "a d", "a\n\r\nd"),  # a blank line between stays one
        ("a b\n\n\n  c d", "a d", "a\n\n  d"),  # of several blank lines one is left
        ("a b\n  c\n    d e", "a e", "a\n    e"),  # a word brings the indentation of its line
        ("a b\n  c\n    d e", "c e", "  c\n    e"),  # the first word as well
        ("# a b\n# c\nd", "b d", "# b\nd"),  # and the mark of a comment
        ("> a b\n> c\n> d e", "a e", "> a\n> e"),
        ("one two\nthree, four", "one ,", "one\n,"),  # a comma sticks to nothing in another line
        ("a b\nc\n\n\nd e", "a e", "a\n\ne"),  # a word inside its line brings one break, and a blank line
        ("a b\nc\n  d e", "a d", "a\n  d"),
        ("a b\n\nc d\ne f", "a f", "a\n\nf"),  # the blank line between, though it is not before this line
        ("a b\n\nc d\n \ne f", "a e", "a\n \ne"),  # the blank line that is nearest
        ("a b\r\n\n\nc d\ne f", "a f", "a\n\nf"),  # of several breaks the last two
        ("  # a b\n  # c\nd", "b c", "  # b\n  # c"),
        ("  a b", "b", "b"),  # indentation of another word
        ("他“说 so” ok", "他 “ so ” ok", "他“so” ok"),  # quotation marks that open say so themselves
    ],
)
def test_joints(text: str, keep: str, expected: str) -> None:
    assert render(text, keep) == expected


@given(text=HARD, data=st.data())
def test_output_is_a_subsequence_that_holds_all_kept_words(text: str, data: st.DataObject) -> None:
    document = segment(text)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(document), max_size=len(document))), bool)
    renderer = Renderer(document)
    spans = renderer.spans(kept)
    assert renderer.text(spans) == "".join(text[start:end] for start, end in spans)
    assert all(start < end for start, end in spans)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(spans))
    inside = {position for start, end in spans for position in range(start, end)}
    for start, end, is_kept in zip(document.word_starts, document.word_ends, kept, strict=True):
        assert all((position in inside) == is_kept for position in range(start, end))


@given(HARD)
@example(" 0")
def test_everything_kept_is_the_source_from_its_first_line_with_words_to_its_last_word(text: str) -> None:
    document = segment(text)
    if len(document):
        start = max((match.end() for match in _LINE_BREAK.finditer(text, 0, int(document.word_starts[0]))), default=0)
        end = document.word_ends[-1]
        renderer = Renderer(document)
        assert renderer.text(renderer.spans(np.ones(len(document), bool))) == text[start:end]

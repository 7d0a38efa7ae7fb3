"""Documents rendered, joined and counted."""

from __future__ import annotations

import numpy as np
from tiny import WordCounter, table_of

from moos_integrations.core.config import Target
from moos_integrations.core.ordering import Order
from moos_integrations.core.output import Output
from moos_integrations.core.prompt import PromptFormat
from moos_integrations.core.result import CompressedDocument
from moos_integrations.core.selection import select
from moos_integrations.core.text import segment
from moos_integrations.core.types import SegmentedText, Selection


class DearB(WordCounter):
    """A text that begins with a b costs 50 tokens more."""

    def count(self, text: str) -> int:
        return super().count(text) + 50 * text.startswith("b")


def flags(*kept: int, words: int) -> np.ndarray:
    return np.isin(np.arange(words), kept)


def test_sources_are_counted_in_the_order_of_the_output() -> None:
    output = Output(table_of([segment("a one"), segment("b two")]), DearB(), " - ", (1, 0))
    assert (output.original_tokens, output.whole_tokens, output.empty_tokens) == (55, 55, 0)
    assert output.document_tokens.tolist() == [1, 1]
    same = Output(table_of([segment("a one"), segment("b two")]), DearB(), " - ")
    assert (same.original_tokens, same.whole_tokens) == (5, 5)


def test_each_try_is_rendered_anew() -> None:
    output = Output(table_of([segment("one two three"), segment("four five")]), WordCounter(), " - ", (1, 0))
    assert output.text(flags(0, 3, words=5)) == "four - one"
    assert output.text(flags(2, 3, words=5)) == "four - three"
    assert output.tokens(flags(0, 1, words=5)) == 2  # an empty document leaves no separator
    assert output.text(flags(words=5)) == ""


def test_what_is_kept_whole_keeps_its_outer_white_space() -> None:
    output = Output(table_of([segment(" one two\n"), segment("three")]), WordCounter(), "-", (1, 0))
    documents, text = output.render(Selection(np.ones(3, bool), True, -np.inf))
    assert text == "three- one two\n"
    assert [document.spans for document in documents] == [((0, 9),), ((0, 5),)]
    documents, text = output.render(Selection(np.ones(3, bool), False, 0.0))
    assert text == "three- one two"  # a line keeps its indentation


def test_parts_are_counted_by_themselves() -> None:
    output = Output(table_of([segment("one two. Three four.")]), WordCounter(), "-")
    (document,), _ = output.render(Selection(flags(0, words=6), False, 0.0))
    assert (document.original_tokens, document.kept_tokens) == (6, 1)
    assert document.dropped_units == ((9, 20),)


def test_a_word_over_the_border_of_two_units_saves_both() -> None:
    def offsets(*values: int) -> np.ndarray:
        return np.array(values, np.int64)

    document = SegmentedText("ab cd e", offsets(0, 3, 6), offsets(2, 5, 7), offsets(0, 4), offsets(4, 7))
    output = Output(table_of([document]), WordCounter(), "-")
    for kept, dropped in ((1, ()), (0, ((4, 7),)), (2, ((0, 4),))):
        (part,), _ = output.render(Selection(flags(kept, words=3), False, 0.0))
        assert part.dropped_units == dropped


def titled(document: CompressedDocument) -> str:
    return f"title {document.index} {document.relevance} {document.text}"


def test_a_prompt_is_counted_with_all_that_it_shows() -> None:
    table = table_of([segment("one two three"), segment("four five")])
    prompt = PromptFormat(titled, " and ", {1})
    output = Output(table, WordCounter(), " - ", (1, 0), prompt=prompt, relevance=(2.0, None))
    assert output.text(flags(words=5)) == "title 1 None "
    assert output.text(flags(0, words=5)) == "title 1 None  and title 0 2.0 one"
    assert output.text(flags(1, 4, words=5)) == "title 1 None five and title 0 2.0 two"
    assert output.original_tokens == 6  # of the texts alone
    assert output.whole_tokens == 12
    assert output.empty_tokens == 3
    assert output.document_tokens.tolist() == [4, 0]  # the second is there in any case


def test_a_prompt_that_counts_decides_what_is_kept() -> None:
    table = table_of([segment("One two three."), segment("Four five six seven. Eight nine.")])
    ordered = Order.by(table, np.arange(table.words, 0, -1.0))

    def kept(budget: int, prompt: PromptFormat | None) -> list[str]:
        output = Output(table, WordCounter(), " ", prompt=prompt)
        selection = select(table, ordered, Target(budget_tokens=budget), output)
        assert output.tokens(selection.kept) <= budget
        return [document.text for document in output.render(selection)[0]]

    long = PromptFormat(lambda document: f"a b c d e f {document.text}")
    assert kept(8, None) == ["One two three.", "Eight nine."]
    assert kept(8, long) == ["", ""]
    assert kept(10, long) == ["One two three.", ""]
    assert kept(19, long) == ["One two three.", "Eight nine."]
    assert kept(17, PromptFormat(long.document, always=(0, 1))) == ["One two three.", ""]

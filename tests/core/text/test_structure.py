"""How units hang together: parents, lead-ins, partners; and the laws that hold for any text."""

from __future__ import annotations

import time
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from layouts import EXCHANGES, SECTIONS, STRUCTURED

from moos_integrations.core.text import segment
from moos_integrations.core.types import Kind, SegmentedText


def units(document: SegmentedText) -> list[str]:
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return [document.text[start:end] for start, end in spans]


def index_of(document: SegmentedText, piece: str) -> int:
    """Index of the unit that holds a piece of text."""
    return int(np.searchsorted(document.unit_starts, document.text.index(piece), side="right")) - 1


def ancestors(document: SegmentedText, unit: int) -> list[int]:
    """The unit itself and all that it is under, from the innermost on."""
    chain = [unit]
    while (over := int(document.unit_parents[chain[-1]])) >= 0:
        chain.append(over)
    return chain


def over(text: str) -> list[int]:
    return segment(text).unit_parents.tolist()


# --- sections and answers --------------------------------------------------------------------------------------------

NAMES = st.lists(
    st.sampled_from(["Alpha", "Beta", "Gamma", "Delta", "Orion", "Vega", "Lyra", "Rigel", "Mira", "Atlas"]),
    min_size=2,
    max_size=5,
    unique=True,
)
BODIES = ["The price is {} euros.", "It weighs {} kg.", "Take {} tablets a day.", "The warranty ends after {} months."]


@given(NAMES, st.integers(1, 3), st.sampled_from(sorted(SECTIONS)))
def test_each_line_is_under_the_heading_of_its_section(names: list[str], size: int, layout: str) -> None:
    sections = [
        (f"Model {name}", [body.format(10 * n + m) for m, body in enumerate(BODIES[:size])])
        for n, name in enumerate(names, 1)
    ]
    document = segment(SECTIONS[layout](sections))
    for title, body in sections:
        key = title.lower().replace(" ", "_") if layout in ("bracketed", "yaml") else title
        heading = index_of(document, key)
        for sentence in body:
            assert heading in ancestors(document, index_of(document, sentence)), (document.text, over(document.text))
        others = {
            index_of(document, other.lower().replace(" ", "_") if key != title else other) for other, _ in sections
        }
        chain = set(ancestors(document, index_of(document, body[-1])))
        # The first heading may be the document's title at the same time, over all that follows.
        assert chain & others <= {heading, 0}, document.text


QUESTIONS = [
    ("Do you ship abroad?", "No, only within Germany."),
    ("Which port does the service use?", "5432. Do not connect to it without asking."),
    ("Is it waterproof?", "Yes"),
    ("How long is the warranty?", "It ends after 24 months, the battery's after 6."),
    ("Who wrote it?", "Ada did."),
]


@given(st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=5, unique=True), st.sampled_from(sorted(EXCHANGES)))
def test_each_question_leads_to_its_answer_which_is_under_it(exchanges: list[tuple[str, str]], layout: str) -> None:
    document = segment(EXCHANGES[layout](exchanges))
    for question, answer in exchanges:
        asked, answered = index_of(document, question), index_of(document, answer)
        assert asked in ancestors(document, answered), document.text
        first, until = document.unit_leads_to[asked], document.unit_leads_until[asked]
        assert asked < first <= answered < until, document.text
        for other, _ in exchanges:
            assert other == question or index_of(document, other) not in ancestors(document, answered), document.text


def test_a_quiz_has_its_options_and_its_answer_under_the_question() -> None:
    text = "1. What is the capital?\na) Berlin\nb) Bonn\nAnswer: a\n\n2. Which river?\na) Rhine\nb) Spree\nAnswer: b\n"
    assert over(text) == [-1, 0, 0, 0, -1, 4, 4, 4]


# --- what is under what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# A\n\n## B\n\nOne. Two.\n\n## C\n\nThree.\n", [-1, 0, 1, 1, 0, 4]),
        ("It has these parts:\n- one\n  - inner\n- two\n\nThen prose.\n", [-1, 0, 1, 0, -1]),
        ("It has these parts:\n\n- one\n\n- two\n\nThen prose.\n", [-1, 0, 0, -1]),
        ("He said this:\n  - go on\n  - stop\nAnd he went. Far.\n", [-1, 0, 0, -1, -1]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nProse follows here.\n", [-1, 0, 0, 0, -1]),
        ("web:\n  image: x\n  ports:\n    - 80\ndb:\n  image: y\n", [-1, 0, 0, 2, -1, 4]),
        ("enum:\n- one\n- two\nother: 5\n", [-1, 0, 0, -1]),
        ("[main]\nname = x\n[other]\nname = y\n", [-1, 0, -1, 2]),
        ("def f(\n    x,\n) -> int:\n    if x:\n        return 1\n    return x\n", [-1, 0, 0, 2, 3, 2]),
        ("int main()\n{\n    return 0;\n}\n", [-1, 0, 1, 1]),
        ("if (x) {\ny();\n}\nz();\n", [-1, 0, 0, -1]),
        ("Bob: I think that is right. It is so.\nEve: I do not think so.\n", [-1, 0, 0, -1]),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n@@ -9,1 +9,1 @@\n-d\n+e\n", [-1, 0, 1, 1, 1, 0, 5, 5]),
        ("2024-05-01 10:00:00 ERROR failed\nTraceback (most recent call last):\n"
         '  File "x.py", line 3, in f\n    g()\nValueError: bad\n2024-05-01 10:00:01 INFO on\n', [-1, 0, 1, 2, 1, -1]),
        ("Title of it all\n\nA sentence is here. Another.\n\nMORE OF IT\n\nA sentence.\n", [-1, 0, 0, 0, 3]),
        ("NAME\n       bash - a shell that reads commands.\n\nOPTIONS\n       -v     Print more of what is done.\n",
         [-1, 0, -1, 2]),
        ("<ul>\n<li>One</li>\n<li>Two</li>\n</ul>\n<p>After.</p>\n", [-1, 0, 0, 0, -1]),
        ("Name: Ada\nAge: 36\n\nName: Bob\nAge: 40\n", [-1, 0, -1, 2]),
        ("Name: Ada\nAge: 36\n", [-1, -1]),
        ("What is covered?\nAll parts are. No water.\n\nWhat is not?\nWater.\n", [-1, 0, 0, -1, 3]),
        ("Q1. What is it?\nA1. A tool for it.\n\nQ2. How much?\nA2. Five euros of it.\n", [-1, 0, 1, -1, 3, 4]),
        ("options:\n  -h, --help  show this help\n  --force     do it\n", [-1, 0, 0]),
        ("| a | b | c |\n|---|---|---|\n| Assets | | |\n| cash | 1 | 2 |\n| Debts | | |\n| bank | 3 | 4 |\n",
         [-1, 0, 0, 2, 0, 4]),
        (" | Years ended May, | \n | 2019 | 2018\nCash | 5 | 6\nDebt | 7 | 8\n", [-1, 0, 0]),
        ("| | 2019 | 2018 |\n| Cash | 5 | 6 |\n", [-1, 0]),
        ("1 Introduction\n\nIt began.\n\n1.1 Scope\n\nAll of it.\n\n2 End\n\nIt ended.\n", [-1, 0, 0, 2, -1, 4]),
        ("It has parts:\n(a) one;\n(b) two:\n    (i) three;\n(c) four.\n\nIt ended there.\n", [-1, 0, 0, 2, 0, -1]),
        ("Note: it is open. It is long.\n\nIt is here.\n", [-1, -1, -1]),
        ("\\begin{lem}\n  It holds. It does.\n\\end{lem}\nAnd so on it goes.\n", [-1, 0, 0, 0, -1]),
    ],
)  # fmt: skip
def test_what_each_unit_is_under(text: str, expected: list[int]) -> None:
    document = segment(text)
    assert document.unit_parents.tolist() == expected, units(document)


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


def test_indentation_tells_what_a_line_is_under() -> None:
    lines = [line for line, _ in BLOCKS]
    document = segment("".join(lines))
    assert units(document) == lines
    found = [None if parent < 0 else lines[parent] for parent in document.unit_parents.tolist()]
    assert all(
        (parent is None) is (start is None) and (parent or "").startswith(start or "")
        for parent, (_, start) in zip(found, BLOCKS, strict=True)
    ), found


def test_questions_of_a_chat_do_not_pile_up() -> None:
    text = "".join(f"[09:{n:02}] {'Ada' if n % 2 else 'Bob'}: is it number {n}?\n" for n in range(60))
    document = segment(text)
    assert max(len(ancestors(document, unit)) for unit in range(60)) <= 3


def test_paragraphs_that_are_further_in_are_under_no_sentence() -> None:
    text = "".join(f"{' ' * n}This is the sentence with number {n} of all.\n" for n in range(30))
    assert set(over(text)) == {-1}


def test_structured_lines_are_told_from_prose() -> None:
    document = segment("Prose is here. More of it.\n| a | b |\n    return x;\n- an item\nProse again is here.")
    assert document.unit_structured.tolist() == [False, False, True, True, True, False]
    assert segment("").unit_structured.tolist() == []


# --- lead-ins and partners -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "leads"),
    [
        ("It has four parts:\n1. One;\n2. Two.\nMore prose is here.\n", {0: (1, 3)}),
        ("Run this:\n\n    pip install x\n\nThen go on.\n", {0: (1, 2)}),
        ("## Heading\n\nOne. Two.\n\nThree.\n", {0: (1, 4)}),
        ("Is it so? It is. Then go.\n", {0: (1, 2)}),
        ("enum:\n  - a\n  - b\n", {0: (1, 3)}),
        ("if x:\n    y()\nz()\n", {0: (1, 2)}),
        ("# The least that counts.\nlimit = 5\n", {0: (1, 2)}),
        ("- Fees\n  - 10 EUR\n- Shipping\n", {0: (1, 2)}),
        ("Nothing leads here. It ends.\n", {}),
    ],
)
def test_lead_ins_know_what_they_lead_to(text: str, leads: dict[int, tuple[int, int]]) -> None:
    document = segment(text)
    found = {
        int(unit): (int(document.unit_leads_to[unit]), int(document.unit_leads_until[unit]))
        for unit in np.flatnonzero(document.unit_leads_to >= 0)
    }
    assert found == leads, units(document)


@pytest.mark.parametrize(
    ("text", "opening", "closing"),
    [
        ("```py\nx = 1\n```\n", "```py", "\n```"),
        ("/* It is here.\n * It is there. */\nint f(void);\n", "/*", "*/"),
        ('def f():\n    """It is this.\n\n    It is that.\n    """\n    return 1\n', '"""It', '"""\n    return'),
        ("\\begin{lem}\n  It holds.\n\\end{lem}\n", "\\begin", "\\end"),
        ("<div>\n<p>One.</p>\n</div>\n", "<div>", "</div>"),
        ('{\n  "a": [\n    1\n  ]\n}\n', '"a"', "  ]"),
        ('{\n  "a": [\n    1\n  ]\n}\n', "{", "\n}"),
        ("call(\n    a,\n)\n", "call(", "\n)"),
        ("<p>" + "It is a sentence of a long element. " * 30 + "</p>\n", "<p>", "</p>"),
    ],
)  # fmt: skip
def test_halves_of_pairs_know_each_other(text: str, opening: str, closing: str) -> None:
    document = segment(text)
    start = text.index(closing) + len(closing) - len(closing.lstrip("\n"))
    closes = int(np.searchsorted(document.unit_starts, start, side="right")) - 1
    opens = index_of(document, opening)
    assert opens != closes
    assert document.unit_partners[opens] == closes, units(document)
    assert document.unit_partners[closes] == opens


# --- laws ------------------------------------------------------------------------------------------------------------

PIECES = [
    *"aB1 \n\t.,-#>|{}[]()\"'+=*`:;?!", "  ", "\n\n", "? ", ": ", ":\n", "- ", "# ", "> ", "```\n", "<p>", "</p>",
    "<div>",
    "</div>", '"""', "/*", "*/", "// ", "---\n", "===\n", "1. ", "a) ", "(b) ", "Q: ", "A: ", "Name: ", "key: ",
    "k=v\n",
    "@@ -1,2 +1,2 @@\n", "--- a/x\n", "+++ b/x\n", "2024-05-01 10:00:00 INFO ", "[09:14] Priya: ", "  at x.y(Z:1)\n",
    "Traceback (most recent call last):\n", "Caused by: x\n", "def f(x):\n", "    return x\n", "The cat sat. ",
    "5 %", "€ 5",
    "3 May 2024", "\u00a0", "中", "。", "ก", "ا", "؟", "e\u0301", "\u200d", "😀", "\r\n", "\r", "\ud800", "\u2028",
    "\\begin{x}",
    "\\end{x}", "--force", "x@y.z", "http://a.b/c", "<!--", "-->", "| a | b |\n", "|---|---|\n", "a,b,c\n", "ab-\ncd",
]  # fmt: skip
MIXED = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def check_laws(text: str) -> None:
    document = segment(text)
    starts, ends, count = document.unit_starts, document.unit_ends, len(document.unit_starts)
    assert "".join(units(document)) == text
    assert (starts < ends).all()
    assert (document.word_ends <= ends[document.unit_of_word]).all()
    assert (document.word_starts[1:] >= document.word_ends[:-1]).all()
    index = np.arange(count)
    assert ((document.unit_parents >= -1) & (document.unit_parents < index)).all()
    first, until = document.unit_leads_to, document.unit_leads_until
    assert (((first == -1) & (until == -1)) | ((index < first) & (first < until) & (until <= count))).all()
    partners = document.unit_partners
    assert ((partners >= -1) & (partners < count) & (partners != index)).all()
    assert set(document.unit_kinds.tolist()) <= set(Kind)
    assert all(len(each) == count for each in (document.unit_kinds, document.unit_structured, partners, first, until))


@given(st.one_of(st.text(max_size=80), MIXED))
@settings(max_examples=400)
@example("")
@example("\n")
@example(" \u0301")
@example("```")
@example("=\xa0=")
@example('{"a": [1, ' + "\u0301")
def test_laws_hold_for_any_text(text: str) -> None:
    check_laws(text)


@given(st.integers(0, 2**32).map(Random), st.sampled_from(sorted(STRUCTURED)), MIXED, st.integers(0, 400))
def test_laws_hold_for_damaged_layouts(random: Random, kind: str, piece: str, cut: int) -> None:
    text = "".join(STRUCTURED[kind](random, 3))
    check_laws(text[:cut] + piece + text[cut:])
    check_laws(text[cut:])


@pytest.mark.slow
def test_laws_hold_for_100_000_texts() -> None:
    random = Random(16)
    for _ in range(100_000):
        check_laws("".join(random.choice(PIECES) for _ in range(random.randrange(1, 30))))


@given(MIXED)
@settings(max_examples=50)
def test_segmentation_is_deterministic(text: str) -> None:
    one, two = segment(text), segment(text)
    for name in SegmentedText.__slots__:
        assert np.array_equal(getattr(one, name), getattr(two, name))


HOSTILE = {
    "one word": "a+", "Chinese": "中", "Thai": "ก", "blanks": " ", "line breaks": "\n", "brackets": "[",
    "braces": "{\n",
    "JSON": '{"a":', "tags": "<div>", "tag lines": "<div>\n", "quotes": "> a\n", "marks": ". ", "questions": "Is it? ",
    "comments": "# a\n", "pipes": "| a | b |\n", "colons": "a: ", "labels": "Model X:\n", "turns": "Q: a?\n",
    "fences": "```\na\n",
    "escapes": '\\"', "unclosed": '"""', "rows": "a,b,c\n", "items": "1. a\n", "numbers": "1 ", "number row": "1,",
    "digits": "123 ",
    "logs": "2024-05-01 10:00:00 INFO started x\n", "traces": "x.Error: a\n  at a.b(c:1)\n", "code": "if (x) {\n",
    "hyphens": "ab-\ncd ", "diffs": "@@ -1,2 +1,2 @@\n a\n-b\n+c\n", "capitals": "ABC DEF\n\n",
    "headings": "Abc def\n\n",
    "apostrophes": "'", "dashes": "- ", "initials": "S. ", "half tags": "<a ", "marks on letters": "a\u0301\u200d",
    "money": "€ 5 ",
    "phones": "+1 (555) ", "paths": "a.a/", "addresses": "x@", "begin": "\\begin{a}\n", "paragraphs": "§ 5 Abs. 2 ",
}  # fmt: skip


OFTEN = ["one word", "Chinese", "Thai", "blanks", "brackets", "JSON", "fences", "numbers", "turns", "escapes", "paths"]


@pytest.mark.parametrize(
    "name", [*OFTEN, *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(HOSTILE.keys() - set(OFTEN)))]
)
def test_time_is_linear(name: str) -> None:
    piece = HOSTILE[name]

    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        started = time.process_time()
        segment(text)
        return time.process_time() - started

    small = min(seconds(4_000) for _ in range(2))
    assert seconds(32_000) < 8 * 4 * small + 0.5  # quadratic time would be 64 times as long


def test_nesting_of_any_depth_is_followed() -> None:
    document = segment("[\n" * 5000 + "1\n" + "]\n" * 5000)
    assert len(ancestors(document, 5000)) == 5001
    deep = segment("".join(f"{' ' * n}- item\n" for n in range(400)))
    assert len(ancestors(deep, 399)) == 400


@pytest.mark.slow
@pytest.mark.parametrize("text", [" " * 1_000_000, "x" * 10_000_000, "word " * 1_000_000, "<p>" * 300_000])
def test_very_long_texts(text: str) -> None:
    check_laws(text)


def texts_of(document: SegmentedText) -> list[str]:
    spans = zip(document.unit_starts, document.unit_ends, strict=True)
    return [document.text[start:end] for start, end in spans]


TURNS = {
    "labels": ("{name} wrote:\n{text}\n\n", ["Customer", "Support"]),
    "names in bold": ("**{name}:**\n\n{text}\n\n", ["Anna", "Ben"]),
    "headings": ("### {name} said\n\n{text}\n\n", ["Anna", "Ben"]),
    "capitals": ("{name}\n{text}\n\n", ["ANNA", "BEN"]),
}


@pytest.mark.parametrize("form", TURNS)
def test_an_answer_under_the_heading_of_its_speaker_is_under_the_question(form: str) -> None:
    template, names = TURNS[form]
    turns = [(names[0], "How long is it?"), (names[1], "Two metres."), (names[0], "Is it red?"), (names[1], "No.")]
    document = segment("".join(template.format(name=name, text=text) for name, text in turns))
    units = ["".join(unit.split()) for unit in texts_of(document)]
    for question, answer in (("Howlongisit?", "Twometres."), ("Isitred?", "No.")):
        over, name = units.index(question), document.unit_parents[units.index(answer)]
        assert document.unit_parents[name] == over
        assert document.unit_leads_to[over] == name


def test_sections_that_end_in_a_question_have_no_answer_in_the_next() -> None:
    document = segment("## Price\n\nIs it dear?\n\n## Colour\n\nIt is red.\n")
    assert document.unit_parents.tolist() == [-1, 0, -1, 2]


@pytest.mark.parametrize("gap", ["\n", "\n---\n\n", "\n-----\n\n"])
def test_a_short_line_over_settings_heads_its_record(gap: str) -> None:
    records = [f"Invoice {n}\nDate: {n} May\nTotal: {n}0 euros\n\nIt was paid in {n} days.\n" for n in (17, 18)]
    document = segment(gap.join(records))
    units = texts_of(document)
    heads = [index for index, unit in enumerate(units) if unit.startswith("Invoice")]
    for index, unit in enumerate(units):
        if index not in heads and not unit.startswith("-"):
            assert document.unit_parents[index] == max(head for head in heads if head < index), unit


def test_a_mail_is_under_its_header() -> None:
    mails = [f"From: {name}@example.org\nSubject: Glaze\n\nIt is {colour}.\n" for name, colour in NAMED]
    document = segment("\n".join(mails))
    units = texts_of(document)
    for name, colour in NAMED:
        body = next(index for index, unit in enumerate(units) if colour in unit)
        assert name in units[document.unit_parents[body]]


NAMED = [("ada", "blue"), ("ben", "green")]


@pytest.mark.parametrize(
    ("first", "second", "is_title"),
    [("Invoice 17", "Invoice 18", False), ("Lake Path", "Mill Path", False), ("Berlin", "History", True)],
)
def test_a_first_line_like_a_later_heading_is_no_title(first: str, second: str, is_title: bool) -> None:
    document = segment(f"{first}\n\nIt is long.\n\n{second}\n\nIt is old.\n")
    assert document.unit_parents.tolist() == [-1, 0, 0 if is_title else -1, 2]


def test_commas_inside_numbers_separate_no_fields() -> None:
    lines = [f"Model {name}: The price is {n}8,900 euros. It seats five.\n" for n, name in enumerate("ABC", 1)]
    assert Kind.ROW not in segment("".join(lines)).unit_kinds
    assert (segment("Ada,1,200\nBen,3,400\nEve,5,600\n").unit_kinds == Kind.ROW).all()

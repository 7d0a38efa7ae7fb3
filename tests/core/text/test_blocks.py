"""What units are, in the layouts that people write."""

from __future__ import annotations

import itertools
import textwrap
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import STRUCTURED

from moos_integrations.core.text import segment
from moos_integrations.core.types import Kind, SegmentedText


def units(document: SegmentedText) -> list[str]:
    spans = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
    return [document.text[start:end] for start, end in spans]


def kinds(text: str) -> list[str]:
    return [Kind(kind).name for kind in segment(text).unit_kinds]


@pytest.mark.parametrize(
    "heading",
    [
        "# A title", "### A title", "A title\n=======", "A title\n-------", "2.1 Scope", "2.1. Scope", "1. Scope",
        "IV. Scope",
        "Chapter 3: The scope", "**A title**", "__A title__", "A TITLE", "[section]", "[[section]]", "<h1>A title</h1>",
        "<h6 class='x'>A title</h6>", "A title", "Model X:", "== A title ==", "§ 5 Scope", "\\section{Scope}",
    ],
)  # fmt: skip
def test_headings(heading: str) -> None:
    text = f"First comes a sentence of prose.\n\n{heading}\n\nHere is the body. It is short.\n"
    document = segment(text)
    assert Kind(document.unit_kinds[1]) == Kind.HEADING, (units(document), kinds(text))
    assert document.unit_parents[2:].tolist() == [1, 1]
    assert document.unit_leads_to[1] == 2
    assert document.unit_leads_until[1] == 4


@pytest.mark.parametrize(
    "stamp",
    [
        "[Mon Dec 05 06:36:59 2005] [error] ", "03-17 16:15:26.979  1702  2250 W ", "20171224-0:0:0:237|Step|3002|",
        "APPSEV 1126434160 2005.09.11 R43 RAS ", "- 1126211906 2005.09.08 R62 RAS ", "2024-05-01 10:00:00,123 INFO ",
        "Jul  1 09:00:55 host sshd: ",
    ],
)  # fmt: skip
def test_lines_that_begin_with_a_time_are_a_log(stamp: str) -> None:
    text = "".join(f"{stamp}the worker of {name} is gone\n" for name in ("unit a", "unit b", "unit c"))
    assert kinds(text) == ["LOG"] * 3


def test_rows_may_begin_with_a_time() -> None:
    text = "| at | load |\n| --- | --- |\n2024-05-01 10:00 | 3 | ok\n2024-05-01 11:00 | 4 | ok\n"
    assert "LOG" not in kinds(text)


def test_the_first_line_alone_is_the_title() -> None:
    assert kinds("Drug A, package leaflet\n\nTake one a day.\n") == ["HEADING", "SENTENCE"]
    assert kinds("It ends with a full stop.\n\nTake one a day.\n") == ["SENTENCE", "SENTENCE"]
    assert kinds("of a chunk that begins within\n\nTake one a day.\n") == ["SENTENCE", "SENTENCE"]
    assert kinds("Only this line") == ["SENTENCE"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- An item. More of it.\n  It goes on here\n  and here.\n- Another\n", ["ITEM", "ITEM"]),
        ("1. One\n2. Two\n10) Ten\n", ["ITEM"] * 3),
        ("a) One\nb) Two\n", ["ITEM"] * 2),
        ("* One\n\n* Two\n", ["ITEM"] * 2),
        ("[ERROR] It failed\nINFO: done\n", ["LOG", "LOG"]),
        ("2024-01-01 12:00:00 INFO start. Done.\n", ["LOG"]),
        ("May  3 10:00:01 host sshd[1]: Accepted\n", ["LOG"]),
        ("081109 203518 143 INFO dfs.DataNode: Receiving block\n", ["LOG"]),
        ("key: value\nother: 5\nlist:\n  - a\n", ["KEY_VALUE"] * 3 + ["ITEM"]),
        ("KEY=value\nOTHER=5\n", ["KEY_VALUE"] * 2),
        ("[main]\nname = x\nsize = 5\n", ["HEADING", "KEY_VALUE", "KEY_VALUE"]),
        ("name,count\na,5\nb,6\n", ["HEADER_ROW", "ROW", "ROW"]),
        ("a,5,x\nb,6,y\n", ["ROW", "ROW"]),
        ("Name\tCount\nx\t5\n", ["HEADER_ROW", "ROW"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", ["HEADER_ROW", "RULE", "ROW"]),
        ("a | b\n--- | ---\n1 | 2 | 3\n", ["HEADER_ROW", "RULE", "ROW"]),
        ("NAME      READY    STATUS\napi-0     1/1      Running\n", ["HEADER_ROW", "ROW"]),
        ("```python\nx = 1\n\ny = 2\n```\n", ["FENCE", "CODE", "CODE", "FENCE"]),
        ("    return x;\n    y = f(x)\n", ["CODE", "CODE"]),
        ("SELECT name\nFROM t\nWHERE x = 5;\n", ["CODE"] * 3),
        ("<ul>\n<li>One</li>\n</ul>\n", ["MARKUP"] * 3),
        ("Some prose is here.\n\n---\n\nMore prose is here.\n", ["SENTENCE", "RULE", "SENTENCE"]),
        ("\n\n  Some prose.\n", ["BLANK", "SENTENCE"]),
        ("Al: I think that it is. It is.\nBob: I do not think so at all.\n", ["SPEAKER", *["SENTENCE"] * 2, "SPEAKER"]),
    ],
)  # fmt: skip
def test_kinds(text: str, expected: list[str]) -> None:
    assert kinds(text) == expected


@pytest.mark.parametrize(
    "prose",
    [
        "He said that if you return the value, you get it.\n",
        "Note that, for example, this is a sentence; it has marks (and brackets).\n",
        "From here on, the class of problems is known.\n",
        "I was there on Monday, Tuesday, and Wednesday, and on Friday.\n",
        "While we wait for it to end, import the data and go home.\n",
        "The price is 5 | 6 euros.\n",
    ],
)
def test_prose_is_not_taken_for_code(prose: str) -> None:
    assert kinds(prose) == ["SENTENCE"]


@given(st.integers(0, 2**32).map(Random), st.sampled_from(sorted(STRUCTURED)), st.integers(1, 6))
def test_each_line_of_structured_text_is_in_one_unit_of_whole_lines(random: Random, kind: str, size: int) -> None:
    lines = STRUCTURED[kind](random, size)
    document = segment("".join(lines))
    assert document.unit_structured.all(), list(zip(kinds(document.text), units(document), strict=True))
    starts, at = set(), 0
    for line in lines:
        starts.add(at)
        at += len(line)
    assert set(document.unit_starts.tolist()) <= starts
    # Only the head of a table and of a diff is made of several lines, and blank lines go with the line before them.
    blank = sum(not line.strip() for line in lines)
    assert len(document.unit_starts) >= len(lines) - blank - (kind in ("table", "diff"))


def test_json_that_is_cut_off_behind_a_comma_has_no_empty_last_part() -> None:
    text = '{"name": "fox", "variants": {"3": {"color": "' + 200 * "x" + '"}, "price": 238.64},'
    assert "".join(units(segment(text))) == text


def test_json_in_one_line_is_taken_apart() -> None:
    items = ", ".join(f'{{"id": {n}, "host": "db-{n}", "state": "up", "note": "a, b [c] {{d"}}' for n in range(9))
    document = segment(f'{{"items": [{items}], "total": 9}}\n')
    found = units(document)
    assert all(Kind(kind) == Kind.JSON for kind in document.unit_kinds)
    assert sum('"host": "db-' in unit for unit in found) == 9
    assert all(unit.count('"host"') <= 1 for unit in found)
    opening = next(index for index, unit in enumerate(found) if unit.strip() == '"items": [')
    assert {int(document.unit_parents[index]) for index, unit in enumerate(found) if '"host"' in unit} == {opening}
    assert document.unit_partners[opening] > opening


def test_html_in_one_line_is_taken_apart() -> None:
    rows = "".join(f"<tr><td>Item {n}</td><td>{n} euros for each of them</td></tr>" for n in range(9))
    found = units(segment(f"<html><body><h2>Prices</h2><table>{rows}</table><p>All is net.</p></body></html>\n"))
    assert sum(unit.startswith("<tr>") and unit.endswith("</tr>") for unit in found) == 9
    assert "<h2>Prices</h2>" in found


# --- filled lines ----------------------------------------------------------------------------------------------------

_SENTENCES = [
    "The warranty covers all parts of the machine for two years.",
    "It does not apply to parts such as belts, for example, or to oil.",
    "See J. Smith for details, or call us if the pump - which is new - leaks.",
    "Prices rose by 12 % in 2019; the Board of Directors was not pleased.",
    "Der Käufer hat dem Verkäufer den Mangel unverzüglich anzuzeigen.",
    "The ratio is a = b, when the import of goods is not over 40.",
    "In the case of war, with a delay of ten days, we try to deliver.",
    "For each of them, let the buyer return the goods, else break the seal.",
    "We pay for the class of goods, while the rest stays the same.",
]


@pytest.mark.parametrize("width", [18, 22, 25, 28, 31, 35, 39, 44, 60, 75])
def test_a_sentence_is_one_unit_however_narrow_its_lines_are(width: int) -> None:
    random = Random(width)
    for _ in range(6):
        sentences = random.sample(_SENTENCES, 5)
        text = textwrap.fill(" ".join(sentences), width, break_on_hyphens=False, break_long_words=False)
        begins = [0, *itertools.accumulate(len(sentence) + 1 for sentence in sentences)][:-1]
        assert segment(text).unit_starts.tolist() == begins, text


def test_code_of_even_width_is_no_prose() -> None:
    text = "for a in the_rows:\n    print(a, end=1)\nreturn len(row_of)\nassert is_it(of_a)\n"
    assert len(segment(text).unit_starts) == 4


@pytest.mark.parametrize(
    "text",
    [
        "INFO worker started with pid 4711\nWARN worker slow, 1200 ms\nINFO worker stopped\n",
        "web_1     | INFO  Server started\nworker_1  | ERROR could not connect\nworker_1  | INFO retry in 5 seconds\n",
        "[    0.000000] Linux version 6.1.0\n[    1.234567] usb 1-1: new device\n[   12.000001] EXT4-fs error\n",
    ],
)
def test_lines_with_a_level_and_no_time_are_lines_of_a_log(text: str) -> None:
    assert segment(text).unit_kinds.tolist() == [Kind.LOG] * 3


def test_a_level_within_a_sentence_begins_no_line_of_a_log() -> None:
    text = "If the server writes many such lines, look for\nERROR codes in the table.\n"
    assert Kind.LOG not in segment(text).unit_kinds


@pytest.mark.parametrize(
    "text",
    [
        "Amsterdam\nBerlin\nCairo\nDelhi\nEssen\n",
        "John Smith\nMary Ann Miller\nPeter van Dyke\nJo Li\nAndrew Alexander Montgomery\n",
    ],
)
def test_a_list_without_markers_is_made_of_lines(text: str) -> None:
    document = segment(f"These came to the party in town.\n\n{text}\nThe rest was ill.\n")
    assert document.unit_kinds.tolist() == [Kind.SENTENCE, *[Kind.ITEM] * 5, Kind.SENTENCE]


@pytest.mark.parametrize(
    "text",
    [
        "Two roads diverged in a yellow wood,\nAnd sorry I could not travel both\nAnd be one traveler, long I stood\n"
        "And looked down one as far as I could\nTo where it bent in the undergrowth;\n",
        "Roses are red\nViolets are blue\nSugar is sweet\nAnd so are you\n",
        "John Smith\n12 High Street\nLondon\n",
    ],
)
def test_a_poem_and_an_address_are_no_lists(text: str) -> None:
    assert len(segment(text).unit_starts) == 1


# --- what real files taught ------------------------------------------------------------------------------------------


def chain(text: str, words: str) -> list[str]:
    """The unit that has some words, and what it is under, outermost first; the first line of each."""
    document = segment(text)
    unit = next(index for index, one in enumerate(units(document)) if words in one)
    found = []
    while unit >= 0:
        found.append(units(document)[unit].strip().split("\n")[0])
        unit = int(document.unit_parents[unit])
    return found[::-1]


_CONTRACT = (
    "4. Fees\n\n4.1 The Client shall pay the Fees:\n\n    (a) within 30 days; or\n\n"
    "    (b) where the invoice is disputed, on notice.\n\n"
    "4.2 Interest accrues on overdue sums at 4% above the base rate. It does not\n"
    "accrue on sums that are disputed.\n\n9. Termination\n\n9.1 Either party may terminate on notice.\n"
)
_PRICES = (
    "Rooms\nSingle, per night ....... 79.00\nDouble, per night ....... 109.00\n\nParking\nPer night ....... 12.00\n"
)
_TIMES = (
    "Line 12  Harbour - Central Station          Monday to Friday\n\nStop         dep    dep    dep\n"
    "Harbour      6:05   6:35   7:05\n\nLine 12  Harbour - Central Station          Sunday\n\n"
    "Stop         dep    dep    dep\nHarbour      8:05   9:05   9:35\n"
)
_COMMITS = (
    "commit 8f3c2d1e9a7b\nAuthor: Ann Lee <ann@example.com>\nDate:   Tue Mar 5 10:12:44 2024 +0100\n\n"
    "    Fix race in cache eviction\n\n"
    "commit 1a2b3c4d5e6f\nAuthor: Bob Roe <bob@example.com>\nDate:   Mon Mar 4 17:03:01 2024 +0100\n\n"
    "    Lower the default timeout\n"
)
_MAIL = (
    "We cannot launch yet.\n\nOn Wed, 6 Mar 2024 at 18:40, Dan Wu <dan@acme.example> wrote:\n> Hi Carla,\n>\n"
    "> On Tue, 5 Mar 2024 at 11:02, Eva Kim <eva@acme.example> wrote:\n>> The ads cost 12,000 euros.\n>\n> Dan\n\nBye\n"
)
_MINUTES = (
    "1. Budget\nThe figures were presented to all members.\n\n2. Office move\nThe lease ends in October.\n\n"
    "3. Any other business\nNone.\n\nThe next meeting is in June.\n"
)


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        (
            _CONTRACT,
            "Interest",
            ["4. Fees", "4.2 Interest accrues on overdue sums at 4% above the base rate. It does not"],
        ),
        (
            _CONTRACT,
            "(b)",
            ["4. Fees", "4.1 The Client shall pay the Fees:", "(b) where the invoice is disputed, on notice."],
        ),
        (_CONTRACT, "Either", ["9. Termination", "9.1 Either party may terminate on notice."]),
        (_PRICES, "Double", ["Rooms", "Double, per night ....... 109.00"]),
        (_PRICES, "12.00", ["Parking", "Per night ....... 12.00"]),
        (_TIMES, "8:05", ["Line 12  Harbour - Central Station          Sunday", "Stop         dep    dep    dep"]),
        (_COMMITS, "Bob", ["commit 1a2b3c4d5e6f", "Author: Bob Roe <bob@example.com>"]),
        (_COMMITS, "Lower", ["commit 1a2b3c4d5e6f", "Date:   Mon Mar 4 17:03:01 2024 +0100"]),
        (
            _MAIL,
            "The ads",
            [
                "On Wed, 6 Mar 2024 at 18:40, Dan Wu <dan@acme.example> wrote:",
                "> On Tue, 5 Mar 2024 at 11:02, Eva Kim <eva@acme.example> wrote:",
            ],
        ),
        (_MAIL, "Bye", ["Bye"]),
        (_MINUTES, "None", ["3. Any other business", "None."]),
        (_MINUTES, "next", ["3. Any other business", "The next meeting is in June."]),
        (
            "CC = gcc\n\n# Run the tests.\ntest: app\n\nclean: app\n\ninstall: all\n\tcp app /bin\n",
            "install",
            ["install: all"],
        ),
        ("= Guide\n\nIt is short.\n\n== Restore\n\n. Stop it.\n", "Stop", ["= Guide", "== Restore", ". Stop it."]),
        (".. warning::\n\n   Never do it.\n\nMore is here.\n", "Never", [".. warning::", "Never do it."]),
    ],
)
def test_a_unit_of_a_real_file_is_under_what_is_above_it(text: str, words: str, expected: list[str]) -> None:
    assert chain(text, words)[: len(expected)] == expected


def test_a_row_of_csv_with_line_breaks_in_quotes_is_one_row() -> None:
    rows = [
        "id,name,comment,price\n",
        '1,"Smith, John","Asked for a refund.\nWas refused.",12.50\n',
        '2,"Doe, Jane","Said ""never again"", then came back",8.00\n',
        '4,"Roy, Al","Wants a call\nbetween 9 and 11\non weekdays",7.10\n',
    ]
    document = segment("".join(rows))
    assert units(document) == rows
    assert document.unit_kinds.tolist() == [Kind.HEADER_ROW, *[Kind.ROW] * 3]


def test_a_formula_belongs_to_the_sentence_before_it() -> None:
    document = segment("There is an $N$ such that\n\\begin{equation}\n  x < N.\n\\end{equation}\nIt is used below.\n")
    assert document.unit_leads_to[0] == 1


def test_an_answer_in_a_chat_in_chinese_is_under_its_question() -> None:
    text = "[2024-03-05 09:12] 小王：会议改到几点了？\n[2024-03-05 09:13] 李经理：改到下午三点，地点在302室。\n"
    assert segment(text).unit_parents.tolist() == [-1, 0]


def test_rows_that_sql_inserts_are_under_their_statement() -> None:
    document = segment("INSERT INTO `t` VALUES\n(1,'a',0.5),\n(2,'b',5.5),\n(3,'c',12.5);\n\nSELECT 1;\n")
    assert document.unit_parents.tolist() == [-1, 0, 0, 0, -1]
    assert document.unit_leads_to.tolist() == [1, -1, -1, -1, -1]


def test_a_placeholder_ends_no_sentence() -> None:
    assert len(segment("tool [OPTION...] SRC... [DEST]").unit_starts) == 1
    assert len(segment("He waited... Then he left.").unit_starts) == 2


def test_escaped_quotes_of_json_lines_open_no_field_of_csv() -> None:
    records = ['{"a, \\"b": [' + '"x", ' * 60 + "1]}", '{"c": 1}', '{"d, \\"e": 2}']
    document = segment("\n".join(records))
    units = [document.text[a:b] for a, b in zip(document.unit_starts, document.unit_ends, strict=True)]
    assert all("\n" not in unit.strip() for unit in units)

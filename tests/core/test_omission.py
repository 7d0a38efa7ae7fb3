"""Omission marks on the output: what they say is true, nothing is left out without one, and all laws hold."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
import test_output_laws as laws
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import EXCHANGES, HARD, SECTIONS, STRUCTURED
from test_output_laws import SEEDS
from tiny import HashScorer, UnitScorer, byte_bpe

from moos_integrations import CompressionResult, CompressorConfig, ConfigError, ContextCompressor, InputError
from moos_integrations.core import prepared
from moos_integrations.core.json_commas import json_form
from moos_integrations.core.omission import MarkTemplate
from moos_integrations.core.text import segment

LONG, SHORT = "[... {count} {unit} omitted]", "[...]"
TEMPLATES = st.sampled_from(
    [LONG, SHORT, "…", "({count} {unit} cut)", "<!-- {unit} left out: {count}, -->", "[... {where} omitted]"]
)


def paragraphs(random: Random) -> str:
    return laws.laid_out(random, [sentence.replace("*", "") for sentence in laws.sentences_of(random)])


def exchanges(random: Random) -> list[tuple[str, str]]:
    return [(f"What costs part {n}?", f"Part {n} costs {n} euros. It is red and heavy.") for n in range(2, 7)]


def sections(random: Random) -> list[tuple[str, list[str]]]:
    return [
        (f"Part {n}", [f"It costs {n}00 euros today.", f"It weighs {n} kg, packed.", "It is sold in the old shop."])
        for n in range(2, 6)
    ]


def sources(random: Random) -> list[str]:
    """Documents in all layouts."""
    makers: list[Callable[[], str]] = [
        lambda: paragraphs(random),
        lambda: "".join(STRUCTURED[random.choice(list(STRUCTURED))](random, random.randint(2, 8))),
        lambda: EXCHANGES[random.choice(list(EXCHANGES))](exchanges(random)),
        lambda: SECTIONS[random.choice(list(SECTIONS))](sections(random)),
        lambda: paragraphs(random) + "\n\n" + "".join(STRUCTURED[random.choice(list(STRUCTURED))](random, 3)),
    ]
    return [random.choice(makers)() for _ in range(random.randint(1, 3))]


def compressor(template: str | None = LONG, **more: Any) -> ContextCompressor:
    return ContextCompressor(UnitScorer(), CompressorConfig(omission=template, **more))


def target_of(random: Random) -> dict[str, Any]:
    return random.choice(
        [
            {"rate": random.choice([0.1, 0.3, 0.5, 0.7, 0.9])},
            {"budget_tokens": random.randrange(150)},
            {"threshold": random.choice([0.1, 0.3, 0.5, 0.8])},
        ]
    )


# --- what every output holds -----------------------------------------------------------------------------------------


def check_marks(result: CompressionResult, texts: Sequence[str], template: str) -> None:
    for document, source in zip(result, texts, strict=True):
        if json_form(source):  # `test_json_elements.py`
            continue
        pieces, kept, place = [], set(), 0
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(document.spans))
        for mark in document.marks:
            check_text(document.text[mark.start : mark.end], source, template, mark)
            pieces.append(document.text[place : mark.start])
            place = mark.end
            start, end = mark.omitted
            assert all(right <= start or end <= left for left, right in document.spans) or not any(
                source[max(start, left) : min(end, right)].strip() for left, right in document.spans
            )
            if pieces[-1].strip():
                assert document.to_source(mark.start - len(pieces[-1])) <= start
            for position in (mark.start, mark.end - 1):
                with pytest.raises(InputError, match="omission mark"):
                    document.to_source(position)
        pieces.append(document.text[place:])
        assert "".join(pieces) == "".join(source[start:end] for start, end in document.spans)
        assert all(piece.strip() for piece in pieces[1:-1]), f"marks in a row: {document.text!r}"
        assert all(left.omitted[1] <= right.omitted[0] for left, right in itertools.pairwise(document.marks))
        inside = [range(mark.start, mark.end) for mark in document.marks]
        for position in range(len(document.text)):
            if not any(position in mark for mark in inside):
                kept.add(document.to_source(position))
                assert source[document.to_source(position)] == document.text[position]
        check_nothing_is_missing(document.text, source, kept, [mark.omitted for mark in document.marks])
        for mark in document.marks:
            check_place(document.text, source, mark)


def check_text(text: str, source: str, template: str, mark: Any) -> None:
    """A mark says what it is for; its lines are those of the source."""
    known = MarkTemplate(template)
    assert text in [known.text(mark.count, mark.unit, mark.lines, whole_lines=whole) for whole in (True, False)]
    if not any(known.earlier(source)):
        assert mark.lines == tuple(source.count("\n", 0, place) + 1 for place in mark.omitted)
    before, behind = source[: mark.omitted[0]].rpartition("\n")[2], source[mark.omitted[1] :].partition("\n")[0]
    if "{where}" in template:
        assert ("part" in text) == bool(before.strip() or behind.strip())


def check_nothing_is_missing(text: str, source: str, kept: set[int], omitted: list[tuple[int, int]]) -> None:
    """Every word of a document with text is kept, or a mark is for it."""
    segmented = segment(source)
    for start, end in zip(segmented.word_starts.tolist(), segmented.word_ends.tolist(), strict=True) if text else ():
        whole = all(position in kept for position in range(start, end))
        assert whole != any(left <= start and end <= right for left, right in omitted), source[start:end]


def check_place(text: str, source: str, mark: Any) -> None:
    """A mark for whole lines is alone in its line, with their indentation; it counts them."""
    if mark.unit != "line":
        return
    begin = source.rfind("\n", 0, mark.omitted[0]) + 1
    line = next(line for line in line_spans(text) if line[0] <= mark.start < line[1])
    assert text[line[0] : mark.start] == source[begin : mark.omitted[0]][: mark.start - line[0]]
    assert not text[line[0] : mark.start].strip()
    assert not text[mark.end : line[1]].strip()
    assert mark.count == source[slice(*mark.omitted)].count("\n") + 1


def line_spans(text: str) -> list[tuple[int, int]]:
    borders = [0, *(match.end() for match in re.finditer("\n", text)), len(text) + 1]
    return list(itertools.pairwise(borders))


@given(seed=SEEDS, template=TEMPLATES, query=st.sampled_from([None, "What is the price?"]))
def test_marks_are_true_and_nothing_is_left_out_without_one(seed: int, template: str, query: str | None) -> None:
    random = Random(seed)
    texts, target = sources(random), target_of(random)
    made = compressor(template, gains={"fill": random.random() < 0.5})
    result = made.compress(texts, query, **target)
    if "no room for omission marks" not in {notice.kind for notice in result.warnings}:
        check_marks(result, texts, template)
    assert made.counter.count(result.text) == result.kept_tokens
    for document in result:
        assert made.counter.count(document.text) == document.kept_tokens
        source = texts[document.index]
        for start, end in document.dropped_units:
            pieces = [source[max(start, left) : min(end, right)] for left, right in document.spans]
            assert not "".join(pieces).strip(" \n")
    budget = target.get("budget_tokens", int(target.get("rate", 1) * result.original_tokens + 1e-9))
    assert "threshold" in target or result.kept_tokens <= budget


@given(text=HARD, template=TEMPLATES, budget=st.integers(0, 40))
def test_any_text_keeps_the_laws(text: str, template: str, budget: int) -> None:
    made = ContextCompressor(HashScorer(), CompressorConfig(omission=template, gains={"fill": False}))
    texts = [text, f"One thing. {text}\nAnother thing."]
    result = made.compress(texts, budget_tokens=budget)
    assert made.counter.count(result.text) == result.kept_tokens <= budget
    for document, source in zip(result, texts, strict=True):
        plain = document._without_marks()
        assert plain == "".join(source[start:end] for start, end in document.spans)
        for position in range(len(plain)):
            assert source[document._in_source(position)] == plain[position]


@given(
    seed=SEEDS,
    budget=st.integers(0, 120),
    tokenizer=st.sampled_from([byte_bpe(), len, lambda text: len(text.split()), "cl100k_base"]),
)
def test_the_ceiling_holds_for_every_tokenizer(seed: int, budget: int, tokenizer: Any) -> None:
    made = compressor(tokenizer=tokenizer, separator="\n---\n")
    result = made.compress(sources(Random(seed)), "What is the price?", budget_tokens=budget)
    assert made.counter.count(result.text) == result.kept_tokens <= budget


@given(seed=SEEDS, template=TEMPLATES, budgets=st.tuples(st.integers(0, 200), st.integers(0, 200)))
def test_without_filling_a_larger_budget_keeps_a_superset(seed: int, template: str, budgets: tuple[int, int]) -> None:
    texts, made = sources(Random(seed)), compressor(template, gains={"fill": False})
    small, large = (characters(made.compress(texts, "Who?", budget_tokens=budget)) for budget in sorted(budgets))
    assert small <= large


def characters(result: CompressionResult) -> set[tuple[int, int]]:
    """Places of the source of all that is kept, white space apart."""
    return {
        (document.index, place)
        for document in result
        for position, character in enumerate(document._without_marks())
        if not character.isspace()
        for place in [document._in_source(position)]
    }


@given(seed=SEEDS, template=TEMPLATES)
def test_everything_is_the_source_and_batches_are_their_requests(seed: int, template: str) -> None:
    requests = [sources(Random(seed)), sources(Random(seed + 1))]
    made = compressor(template)
    for texts in requests:
        assert [document.text for document in made.compress(texts, rate=1.0)] == texts
    together = made.compress_many(requests, ["Who?"] * 2, rate=0.5)
    alone = [made.compress(texts, "Who?", rate=0.5) for texts in requests]
    assert [(one.text, one.documents) for one in together] == [(one.text, one.documents) for one in alone]


@given(seed=SEEDS)
def test_a_mark_is_never_dearer_than_what_it_is_for(seed: int) -> None:
    random = Random(seed)
    texts, made = sources(random), compressor()
    for document, source in zip(made.compress(texts, "What is the price?", **target_of(random)), texts, strict=True):
        for mark in document.marks:
            shown = document.text[mark.start : mark.end]
            # The mark and what it is for each may share a token with the white space around them.
            separator = ", " if source[:1] in "{[" else ""  # a member goes with its comma
            assert made.counter.count(shown) <= made.counter.count(separator + source[slice(*mark.omitted)]) + 2


@pytest.mark.parametrize(
    "check",
    [
        laws.check_sentences,
        laws.check_lines,
        laws.check_headings,
        laws.check_questions,
        laws.check_lead_ins,
        laws.check_pairs,
        laws.check_atoms,
    ],
)
@given(seed=SEEDS)
@settings(max_examples=12)
def test_the_laws_of_the_output_hold_beside_marks(check: Callable[..., None], seed: int) -> None:
    plain = laws.CompressorConfig

    def unmarked(texts: Any, random: Random, gains: Any, query: str = "") -> CompressionResult:
        result = marked(texts, random, gains, query)
        member = rf',?[ \t]*(?:"\.\.\.": )?"{MARK}"'  # of JSON
        lines = re.compile(rf"(?m)^[ \t]*{MARK}(?:\n|\Z)|{member}|[ ]?{MARK}")
        documents = tuple(replace(own, text=lines.sub("", own.text), marks=()) for own in result)
        return replace(result, text=lines.sub("", result.text), documents=documents)

    marked = laws.compress
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laws, "CompressorConfig", lambda **own: plain(**own, omission=LONG))
        patch.setattr(laws, "compress", unmarked)
        check(seed, {})


MARK = r"\[\.\.\. \d+ \w+ omitted\]"


# --- where they are --------------------------------------------------------------------------------------------------


class Chosen(HashScorer):
    """Keeps units with a star."""

    def score(self, documents: Any, query: str | None) -> Any:
        found = []
        for document, scores in zip(documents, super().score(documents, query), strict=True):
            units = zip(document.unit_starts.tolist(), document.unit_ends.tolist(), strict=True)
            stars = ["*" in document.text[start:end] for start, end in units]
            found.append(type(scores).from_preserve([0.9 if stars[unit] else 0.01 for unit in document.unit_of_word]))
        return found


def pruned(text: str, template: str = LONG, **more: Any) -> CompressionResult:
    config = CompressorConfig(omission=template, gains={"budgets": "words"}, **more)
    return ContextCompressor(Chosen(), config).compress(text, threshold=0.5)


LOREM = "Nobody had asked for it in all of those long years."
CODE = "\n    value = load(first, second, third)\n    other = load(fourth, fifth, sixth)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"It rained*. {LOREM} {LOREM} It snowed*.", "It rained*. [... 2 sentences omitted] It snowed*."),
        (f"{LOREM} It snowed*.", "[... 1 sentence omitted] It snowed*."),
        (f"It rained*. {LOREM}", "It rained*. [... 1 sentence omitted]"),
        (f"It rained*.\n\n{LOREM} {LOREM}\n\nIt snowed*.", "It rained*.\n\n[... 2 sentences omitted]\n\nIt snowed*."),
        (f"It rained*. {LOREM}\n\n{LOREM} It snowed*.", "It rained*. [... 2 sentences omitted]\n\nIt snowed*."),
        (f"It rained*.\n\n{LOREM} It snowed*.", "It rained*.\n\n[... 1 sentence omitted] It snowed*."),
        (f"> It rained*. {LOREM}\n>\n> It snowed*.", "> It rained*. [... 1 sentence omitted]\n> It snowed*."),
        (f"def f(a):{CODE}\n    stop = a * 2\n", "def f(a):\n    [... 2 lines omitted]\n    stop = a * 2"),
        (f"def f(a):\n    b = a * 2\n{CODE}\n", "def f(a):\n    b = a * 2\n\n    [... 2 lines omitted]"),
        (f"def f(a):\r\n    b = a * 2{CODE}".replace("\n    v", "\r\n    v"), "def f(a):\r\n    b = a * 2\r\n    "
         "[... 2 lines omitted]"),
        (f"- one * two\n- {LOREM}\n\n- {LOREM}\n- six *", "- one * two\n[... 3 lines omitted]\n- six *"),
        (f"- {LOREM}\n- {LOREM}\n\nIt * rained.", "[... 2 lines omitted]\n\nIt * rained."),
        (f"> {LOREM} It snowed*.", "> [... 1 sentence omitted] It snowed*."),
        (f"  It rained*. {LOREM}", "  It rained*. [... 1 sentence omitted]"),
        (f"It rained*.\n\n> {LOREM} {LOREM}\n\nIt snowed*.", "It rained*.\n\n[... 2 sentences omitted]\n\nIt snowed*."),
        (f"- one *\n- {LOREM}\n- [... 4 lines omitted]\n- {LOREM}\n- six *", "- one *\n[... 7 lines omitted]\n- six *"),
        (f"def f*(a):{CODE}\n    [... 4 lines omitted]{CODE}\n    stop = a * 2\n", "def f*(a):\n"
         "    value = load(first, second, third)\n    [... 7 lines omitted]\n    stop = a * 2"),
    ],
)  # fmt: skip
def test_where_marks_are(text: str, expected: str) -> None:
    assert pruned(text).text == expected


def test_a_gap_that_costs_no_more_than_its_mark_is_kept() -> None:
    assert pruned("It rained*. No. It snowed*.").text == "It rained*. No. It snowed*."
    assert pruned("It rained*. No. It snowed*.", "…").text == "It rained*. … It snowed*."
    reasons = {word.text: word.reason for word in pruned("It rained*. No. It snowed*.").explain()}
    assert reasons["No"] == "cheaper than its mark"
    assert reasons["snowed"] == "metric"


def test_documents_without_text_have_no_mark_and_are_counted() -> None:
    config = CompressorConfig(omission=LONG, gains={"budgets": "words"})
    result = ContextCompressor(Chosen(), config).compress([LOREM, f"It rained*. {LOREM}", LOREM], threshold=0.5)
    assert [document.text for document in result] == ["", "It rained*. [... 1 sentence omitted]", ""]
    assert result.dropped_documents == (0, 2)
    assert result.text == result.documents[1].text


def test_words_of_thinned_sentences_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # More words than articles, so that what goes costs more than its mark.
    monkeypatch.setattr(prepared, "droppable_words", lambda document: np.arange(len(document)) % 6 > 1)
    text = " ".join(template.replace("*", "").format(n=n) for n, template in enumerate(laws.TEMPLATES, 1000))
    config = CompressorConfig(omission="…{count} {unit}…", gains={"whole_from": 1.0, "temperature": 100.0})
    result = ContextCompressor(HashScorer(), config).compress(text, rate=0.5)
    check_marks(result, [text], "…{count} {unit}…")
    assert any(mark.unit == "word" for mark in result.documents[0].marks)
    for mark in result.documents[0].marks:
        if mark.unit == "word":
            words = segment(text[slice(*mark.omitted)]).words()
            assert mark.count == sum(any(map(str.isalnum, word)) for word in words)


def test_a_budget_without_room_for_marks_keeps_text_without_them() -> None:
    texts = [f"It rained all day in the town. {LOREM} {LOREM}"]
    result = compressor(LONG * 3).compress(texts, budget_tokens=14)
    assert result.text
    assert not result.documents[0].marks
    (notice,) = [notice for notice in result.warnings if notice.kind == "no room for omission marks"]
    assert "shorter `omission`" in notice
    assert not compressor(LONG * 3, gains={"fill": False}).compress(texts, budget_tokens=14).text


# --- the way back ----------------------------------------------------------------------------------------------------


def test_quotes_across_marks_are_found_in_the_source() -> None:
    text = f"It rained* for 40 days. {LOREM} It snowed* at 3 am."
    result = pruned(text)
    mark = result.documents[0].text[slice(*next((own.start, own.end) for own in result.documents[0].marks))]
    for quote in ("40 days. It snowed", "40 days [...] it snowed", f"40 days. {mark} It snowed"):
        (place,) = result.cite(quote)
        assert (text[place.start : place.end], place.coverage) == (text[text.index("40") : text.index("* at")], 1.0)
        assert place.text == f"40 days. {mark} It snowed"
    assert result.cite(mark) == []
    assert result.cite("1 sentence omitted") == []
    assert [text[place.start : place.end] for place in result.cite("3 am")] == ["3 am"]


@given(seed=SEEDS, data=st.data())
def test_a_quote_is_found_where_it_is_or_not_at_all(seed: int, data: st.DataObject) -> None:
    texts = sources(Random(seed))
    result = compressor().compress(texts, "What is the price?", rate=0.5)
    for document in result:
        if not document.text.strip():
            continue
        first = data.draw(st.integers(0, len(document.text) - 1))
        quote = document.text[first : first + 60]
        for place in document.cite(quote, min_coverage=0.3):
            words = re.findall(r"\w+", place.text)
            found = re.findall(r"\w+", texts[document.index][place.start : place.end])
            assert found[0] == words[0]
            assert found[-1] == words[-1]


# --- a second pass ---------------------------------------------------------------------------------------------------


def total(text: str) -> int:
    return sum(int(count) for count in re.findall(r"\[\.\.\. (\d+) \w+ omitted\]", text))


@given(seed=SEEDS, rates=st.tuples(st.sampled_from([0.5, 0.7]), st.sampled_from([0.3, 0.5, 0.8])))
def test_a_second_pass_adds_up(seed: int, rates: tuple[float, float]) -> None:
    sentences = [f"{n}: {sentence.replace('*', '')}" for n, sentence in enumerate(laws.sentences_of(Random(seed)))]
    text, made = " ".join(sentences), compressor()
    count = len(segment(text).unit_starts)
    first = made.compress(text, "Who?", rate=rates[0]).text
    second = made.compress(first, "Who?", rate=rates[1]).text
    for once in (first, second):
        left = re.sub(r"\[\.\.\. \d+ \w+ omitted\]", "", once)
        assert once == "" or total(once) + len([own for own in sentences if own in left]) == count == len(sentences)
        assert not re.search(r"omitted\]\s*\[\.\.\.", once)


@given(seed=SEEDS, template=st.sampled_from([LONG, "({count} {unit} cut)"]))
def test_a_second_pass_neither_nests_marks_nor_loses_their_counts(seed: int, template: str) -> None:
    random = Random(seed)
    made, texts = compressor(template), sources(random)
    first = [document.text for document in made.compress(texts, "What is the price?", rate=0.6)]
    second = made.compress(first, "What is the price?", rate=random.choice([0.3, 0.6]))
    known = MarkTemplate(template)
    for before, after in zip(first, second, strict=True):
        if json_form(before):
            continue
        old = list(known.earlier(before))
        assert all(own.count >= 1 for own in known.earlier(after.text))
        verbatim = [own for own in old if not any(new.omitted[0] <= own.start < new.omitted[1] for new in after.marks)]
        if after.text:
            assert len(list(known.earlier(after.text))) == len(verbatim) + len(after.marks)
        for new in after.marks:
            inside = [own.count for own in old if new.omitted[0] <= own.start < new.omitted[1]]
            assert new.count >= sum(inside)


@given(st.integers(0, 999))
def test_after_a_second_pass_the_lines_are_those_of_the_first_source(seed: int) -> None:
    random = Random(seed)
    lines = [f"{number}: job {random.randrange(9)} is {'done' * random.randrange(1, 4)}." for number in range(60)]
    source, made = "\n".join(lines), compressor("[... {where} omitted]")
    once = made.compress(source, rate=0.6).text
    twice = made.compress(once, rate=random.choice([0.3, 0.6])).text
    left = [line for line in twice.splitlines() if not line.startswith("[...")]
    gone = [
        range(int(mark[1]), int(mark[2] or mark[1]) + 1) for mark in re.finditer(r"lines? (\d+)-?(\d*) omitted", twice)
    ]
    missing = sorted(lines[number - 1] for numbers in gone for number in numbers)
    assert sorted([*left, *missing]) == sorted(lines)


def test_earlier_marks_beside_a_gap_become_part_of_its_mark() -> None:
    first = f"It rained*. [... 4 sentences omitted] {LOREM} It snowed*."
    assert pruned(first).text == "It rained*. [... 5 sentences omitted] It snowed*."
    assert pruned("It rained*. [... 4 sentences omitted] It snowed*.").text == (
        "It rained*. [... 4 sentences omitted] It snowed*."
    )
    mixed = f"It rained*.\n[... 4 lines omitted]\n{LOREM} It snowed*."
    assert pruned(mixed).text == "It rained*.\n[... 5 parts omitted]\nIt snowed*."
    reasons = {word.text: word.reason for word in pruned(first).explain()}
    assert reasons["4"] == "part of a mark" or reasons["4"] == "below the cut"


def test_an_earlier_mark_between_kept_text_is_no_new_one() -> None:
    text = "It rained*.\n[... 1234567890123 lines omitted]\nIt snowed*."
    (document,) = pruned(text)
    assert (document.text, document.marks) == (text, ())


def test_what_only_begins_like_a_mark_is_text() -> None:
    text = f"It rained*. {LOREM} {LOREM}\n\n... 3 lines cutting the sky* in two."
    assert pruned(text, "... {count} {unit} cut").text.endswith("\n\n... 3 lines cutting the sky* in two.")


def test_gaps_end_with_their_documents() -> None:
    texts = ["It rained*. Nobody came here.", "Nobody came here. It snowed*."]
    config = CompressorConfig(omission=LONG, gains={"budgets": "words"})
    assert [own.text for own in ContextCompressor(Chosen(), config).compress(texts, threshold=0.5)] == texts


# --- the setting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("[... {lines} omitted]", "unknown field 'lines'; known are count, unit, where"),
        ("[... {} omitted]", "unknown field ''"),
        ("[... {0} omitted]", "unknown field '0'"),
        ("[... {count.real} omitted]", "unknown field 'count.real'"),
        ("[... {count:,} omitted]", "without a format"),
        ("[... {unit!r} omitted]", "without a format"),
        ("[... {count omitted]", "Write a brace as '{{'"),
        ("[... }]", "Write a brace as '{{'"),
        ("[...\n]", "must be one line"),
        ("", "must be told apart"),
        (" [...]", "must be told apart"),
        ("{count} {unit}", "must be told apart"),
        ("omitted", "must be told apart"),
        (7, "must be a string or None, got int"),
        (True, "must be a string or None, got bool"),
    ],
)
def test_unusable_templates_are_refused(template: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        CompressorConfig(omission=template)


def test_templates_are_saved_and_braces_are_written_twice() -> None:
    config = CompressorConfig(omission="{{{count} {unit}}}")
    assert CompressorConfig.from_json(config.to_json()) == config
    template = MarkTemplate("{{{count} {unit}: {count}}}")
    assert template.text(1, "line") == "{1 line: 1}"
    assert [own.count for own in template.earlier("{2 lines: 2} {2 lines: 3} {12 words: 12}")] == [2, 12]

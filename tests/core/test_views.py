"""What results and explanations show in notebooks, in terminals and in pages: true, escaped, readable, bounded."""

from __future__ import annotations

import html
import io
import re
from html.parser import HTMLParser
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tiny import HashScorer, UnitScorer

from moos_integrations import CompressionResult, CompressorConfig, ContextCompressor, PassthroughWarning
from moos_integrations.core import views
from moos_integrations.core.config import Target
from moos_integrations.core.reasons import IN_WORDS, Header, Reason, target_in_words

TEXTS = [
    "# Cups\n\nTea <b>is</b> hot. Ask <script>alert(1)</script> him.\n\nIt rained & rained.",
    "",
    "One. Two. Three.",
]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\x00\u202e\ud800 'quoted' &amp; {title}"


def compressed(*texts: str, question: str | None = "Who?", rate: float = 0.5, **settings: object) -> CompressionResult:
    own = ContextCompressor(UnitScorer(), CompressorConfig(**settings))
    return own.compress(list(texts or TEXTS), question, rate=rate)


def on_terminal(shown: object, *, width: int = 200) -> str:
    output = io.StringIO()
    Console(width=width, file=output).print(shown)
    return output.getvalue()


class Reader(HTMLParser):
    """The text of a page, and what its tags are."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text, self.kept, self.dropped = "", "", ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if "style" in self.open else data
        self.kept += data if "mark" in self.open else ""
        self.dropped += data if "del" in self.open else ""


def words_of(text: str) -> str:
    return "".join(text.split())


# --- what is shown --------------------------------------------------------------------------------------------------


@given(st.lists(st.text(alphabet="ab.#:<& \n\t-*", max_size=40), min_size=1, max_size=2), st.sampled_from([0.3, 0.6]))
def test_views_show_the_sources_and_mark_what_is_kept(texts: list[str], rate: float) -> None:
    result = compressed(*texts, rate=rate)
    explained = Reader("".join(views.units_html(result.explain()._shown, [""] * len(texts))))
    shown = words_of("".join(texts))
    assert "".join(unit.text for unit in result.explain()._shown) == "".join(texts)
    assert sorted(words_of(explained.kept + explained.dropped)) == sorted(shown)
    assert words_of(explained.kept) == words_of("".join(document.text for document in result.documents))
    for index, text in enumerate(texts):
        marked = Reader(result.highlight(index))
        assert marked.text == views.visible(text)
        assert words_of(marked.kept) == words_of(result.documents[index].text)


def test_the_header_has_tokens_rate_target_time_question_and_warnings() -> None:
    result = compressed(rate=0.4, protect=["numbers"], question="Is it <hot>?")
    for shown in (Reader(result.explain().to_html()).text, Reader(result.to_html()).text):
        assert f"{result.original_tokens} → {result.kept_tokens} tokens ({result.rate:.1%} kept)" in shown
        assert "target: at most 40.0% of the tokens" in shown
        assert f"3 documents, {len(result.dropped_documents)} dropped" in shown
        assert f"{1000 * result.seconds:,.0f} ms" in shown
        assert "Question: Is it <hot>?" in shown
    for text in (str(result), str(result.explain()), on_terminal(result.explain())):
        assert f"{result.original_tokens} -> {result.kept_tokens} tokens" in text
        assert "question: Is it <hot>?" in text
    small = compressed("Too small for 42.", rate=0.1, protect=["numbers"])
    assert small.warnings
    for text in (str(small), str(small.explain()), on_terminal(small.explain()), Reader(small.to_html()).text):
        assert str(small.warnings[0])[:60] in text


def test_targets_and_reasons_are_in_words() -> None:
    assert target_in_words(None) == ""
    assert target_in_words(Target(budget_tokens=1200)) == "target: at most 1,200 tokens"
    assert target_in_words(Target(threshold=1e-4)) == "target: odds of at least 0.0001 of the best sentence's"
    assert set(IN_WORDS) == set(Reason.__args__)  # type: ignore[attr-defined]
    alone = ContextCompressor(UnitScorer()).compress("Too small.", "Who?")
    assert alone.left_alone
    assert "left alone: smaller than `min_tokens`" in str(alone)
    assert "left alone: smaller than `min_tokens`" in str(alone.explain())
    assert "| 1 document |" in str(alone)


def test_each_sentence_has_a_sign_and_its_reason() -> None:
    result = compressed("One rain. Two suns. One rain. Four winds.", "One rain and a dog. One rain.", rate=0.5)
    for text in (str(result.explain()), on_terminal(result.explain())):
        for unit in result.explain().units:
            sign = "+" if unit.kept_words else "-"
            assert re.search(rf"^{re.escape(sign)} {re.escape(unit.text.strip())} +\(?(kept|dropped): \w", text, re.M)
    markup = result.explain()._repr_html_()
    assert markup.count('class="moos-unit moos-is-kept"') == sum(unit.kept_words > 0 for unit in result.explain().units)


def test_a_repetition_names_the_sentence_that_says_it() -> None:
    same = "The kitchen of the old house by the river closes at five."
    result = compressed(f"{same} It rained.", f"{same} It snowed.", rate=0.6)
    assert f'says it already ("{views.start_of(same)}")' in str(result.explain())


def test_thinned_sentences_and_needed_words_have_looks_of_their_own() -> None:
    settings = CompressorConfig(gains={"budgets": "words", "whole_from": 0.1})
    text = "The kitchen of the house is really very actually indeed thus also closed on the days of a cold winter."
    result = ContextCompressor(HashScorer(), settings).compress(text, rate=0.7)
    explanation = result.explain()
    assert "~ The kitchen" in str(explanation)
    assert "(thinned: its words score above the cut; without it, its sentence would say something else)" in str(
        explanation
    )
    markup = explanation._repr_html_()
    assert re.search(r"<del title=\"preserve probability 0\.\d\d, metric 0\.\d\d\">\w+</del><del> </del><del", markup)
    text = "# Houses\n\nThe kitchen closes early.\n\n# Weather\n\nIt rained on all of the long days of May."
    needed = compressed(text, question="When does the kitchen close early?", rate=0.5).explain()
    assert "kept text needs it" in {word.reason for word in needed if word.text == "Houses"}
    assert re.search(r"<mark class='moos-needed' title=[^>]*>Houses</mark>", needed._repr_html_())


def test_bars_grow_with_relevance() -> None:
    assert views.length_of_bar(-3.0, (-3.0, 5.0)) == pytest.approx(0.04)
    assert views.length_of_bar(5.0, (-3.0, 5.0)) == 1
    assert views.length_of_bar(1.0, (-3.0, 5.0)) == pytest.approx(0.52)
    assert views.length_of_bar(1.0, (1.0, 1.0)) == 1
    result = compressed("One. Two suns. Three or more.", question="Who?")
    markup = result.explain()._repr_html_()
    found = re.findall(r'width:(\d+)%"></i></span><span[^>]*>(-?[\d.]+)<', markup)
    assert len(found) == 3
    assert sorted(found, key=lambda pair: int(pair[0])) == sorted(found, key=lambda pair: float(pair[1]))
    assert {found_width for found_width, _ in found} >= {"4", "100"}


def test_results_without_scores_show_what_they_have() -> None:
    failed = ContextCompressor(Broken(), CompressorConfig(on_error="passthrough"))
    with pytest.warns(PassthroughWarning):
        result = failed.compress(["A text.", "<b>"], rate=0.5)
    assert result.passed_through
    assert result.highlight(1) == "<mark>&lt;b&gt;</mark>"
    assert "Compression failed" in result._repr_html_()
    assert "Compression failed" in str(result)
    with pytest.raises(IndexError):
        result.highlight(2)


class Broken:
    """A model that fails."""

    def score(self, documents: object, query: object) -> object:
        raise RuntimeError("no")


def test_marks_end_where_text_was_dropped() -> None:
    assert views.marked_html("One. Two. Three.", [(0, 5), (10, 16)]) == (
        "<mark>One.</mark><del> Two. </del><mark>Three.</mark>"
    )
    assert views.marked_html("One.\n\nTwo.", [(0, 4), (4, 5), (6, 10)]) == "<mark>One.\n\nTwo.</mark>"
    assert views.marked_html("One. Two.", [(0, 20)]) == "<mark>One. Two.</mark>"
    assert views.marked_html(" a ", []) == "<del> a </del>"
    assert views.marked_html(" ", [(0, 1)]) == " "


def test_nothing_to_show() -> None:
    for texts in ([], [""], [" \n"]):
        result = ContextCompressor(UnitScorer()).compress(texts, "Who?", rate=0.5)
        for shown in (result.to_html(), result.explain().to_html(), str(result), str(result.explain())):
            assert "0 tokens" in shown or "1 tokens" in shown
        assert on_terminal(result.explain())


# --- escaping and bounds --------------------------------------------------------------------------------------------


def test_texts_and_questions_cannot_add_markup_or_act_on_terminals() -> None:
    result = compressed(HOSTILE, f"{HOSTILE}. More.", question=HOSTILE, protect=[HOSTILE[:8]])
    harmless = compressed("x", "y. More.")
    for page, plain in ((result.to_html(), harmless.to_html()), (result.explain().to_html(), None)):
        read = Reader(page)
        assert not {"script", "img"} & set(read.tags)
        assert not any(name.startswith("on") for name in read.attributes)
        assert not read.open
        assert plain is None or {"mark"} <= set(Reader(plain).tags)
        page.encode("utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    for text in (str(result), str(result.explain()), on_terminal(result.explain())):
        assert "\x1b" not in text
        assert "\x00" not in text
        text.encode("utf-8")


@pytest.mark.parametrize("text", ["word " * 200_000, "w" * 1_000_000, "A sentence. " * 80_000], ids=len)
def test_a_megabyte_is_bounded_and_the_view_says_so(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A smaller limit and text keep the test fast; the ratio is that of a megabyte to the real limit.
    monkeypatch.setattr(views, "MAX_CHARACTERS", 1_000)
    monkeypatch.setattr("moos_integrations.core.terminal.MAX_CHARACTERS", 1_000)
    result = compressed(text[:10_000], "The last one.", rate=1.0)
    assert len(Reader(result.to_html()).text) < 1_500
    for shown in (result.explain().to_html(), result.to_html(), str(result), str(result.explain())):
        assert len(shown) < 60_000
        assert re.search(r"Not shown: [\d,]+ more characters", html.unescape(shown))
    assert "Not shown: 9,0" in str(result.explain())
    assert len(on_terminal(result.explain())) < 60_000


def test_many_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_UNITS", 3)
    monkeypatch.setattr("moos_integrations.core.terminal.MAX_UNITS", 3)
    result = compressed("A1.\n\nB2.\n\nC3.\n\nD4.", "E5.", rate=1.0)
    for shown in (result.explain()._repr_html_(), str(result.explain()), on_terminal(result.explain())):
        assert "C3" in shown
        assert "D4" not in shown
        assert "[1]" not in shown
        assert "2 sentences and lines" in shown


# --- the style sheet ------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--moos-([\w-]+):(#[0-9a-f]{6})", block))


def test_contrast_of_all_texts_is_at_least_4_5_in_light_and_dark() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    blocks = re.findall(r"([^{}]+)\{([^{}]*)\}", views.STYLE)
    palettes = [variables(block) for _, block in blocks if "--moos-ground:" in block]
    assert len(palettes) == 4  # the default, the system's dark one, and those of light and dark hosts
    assert palettes[0] == palettes[2] == dict(views.PALETTES["light"])
    assert palettes[1] == palettes[3] == dict(views.PALETTES["dark"])
    rules = [block for _, block in blocks if re.search(r"(^|;)color:", block)]
    assert len(rules) >= 8
    for rule, palette in product(rules, palettes):
        (colour,) = re.findall(r"(?:^|;)color:var\(--moos-([\w-]+)\)", rule)
        ground = re.findall(r"background:var\(--moos-([\w-]+)\)", rule)
        assert contrast(palette[colour], palette[ground[0] if ground else "ground"]) >= 4.5, (rule, palette)
    assert "opacity" not in views.STYLE
    assert not re.search(r"color:(?!var)", views.STYLE.replace("prefers-color-scheme:", ""))


def test_bars_can_be_told_from_their_ground() -> None:
    for palette in views.PALETTES.values():
        assert contrast(palette["bar"], palette["ground"]) >= 3
        assert contrast(palette["bar"], palette["line"]) >= 1.5


def test_rules_reach_nothing_outside_of_a_view() -> None:
    for selectors, _ in re.findall(r"([^{}@]+)\{([^{}]*)\}", re.sub(r"@media[^{]*", "", views.STYLE)):
        for selector in selectors.split(","):
            assert ".moos-view" in selector, selector


def test_a_page_loads_nothing() -> None:
    page = compressed().explain().to_html()
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|src=|url\(|@import", page)


def test_headers_count_documents() -> None:
    header = Header(10, 5, 0.25, 2, 0)
    assert header.tokens == "10 -> 5 tokens (50.0% kept)"
    assert header.details == ["2 documents", "250 ms"]
    assert Header(0, 0, 0.0, 0).tokens == "0 -> 0 tokens (100.0% kept)"

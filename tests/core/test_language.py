from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from moos_integrations import CompressorConfig, ContextCompressor, WordScores
from moos_integrations.core import language
from moos_integrations.core.language import language_of, reads, script_is_unread, unread
from moos_integrations.core.lexical import terms_of
from moos_integrations.core.types import SegmentedText

TEXTS = {
    "en": "The bridge was built in 1820 by an engineer who had come from the north. It is still in use.",
    "de": "Die Brücke wurde 1820 von einem Ingenieur gebaut, der aus dem Norden kam. Sie ist noch in Gebrauch.",
    "fr": "Le pont a été construit en 1820 par un ingénieur qui venait du nord. Il est encore dans la ville.",
    "es": "El puente fue construido en 1820 por un ingeniero que vino del norte. Todavía está en uso.",
    "it": "Il ponte è stato costruito nel 1820 da un ingegnere che veniva dal nord. È anche oggi in uso.",
    "pt": "A ponte foi construída em 1820 por um engenheiro que veio do norte. Também é usada para os carros.",
    "nl": "De brug werd in 1820 gebouwd door een ingenieur die uit het noorden kwam. Zij is nog in gebruik.",
    "pl": "Most został zbudowany w 1820 roku przez inżyniera, który przyjechał z północy. Jest w użyciu do dziś.",
    "tr": "Köprü 1820 yılında kuzeyden gelen bir mühendis tarafından yapıldı ve bu gün de bir yol için var.",
    "vi": "Cây cầu được xây vào năm 1820 bởi một kỹ sư từ miền bắc và đã được dùng cho đến nay.",
    "Cyrillic": "Мост был построен в 1820 году инженером, который приехал с севера.",
    "Han": "这座桥建于1820年，由一位来自北方的工程师建造。它至今仍在使用。",
    "Hiragana": "この橋は北から来た技師によって1820年に建てられた。今も使われている。",
    "Hangul": "이 다리는 북쪽에서 온 기술자가 1820년에 지었다.",
    "Arabic": "بُني الجسر عام 1820 على يد مهندس جاء من الشمال.",
    "Devanagari": "यह पुल 1820 में उत्तर से आए एक इंजीनियर ने बनाया था।",
    "Thai": "สะพานนี้สร้างขึ้นในปี 1820 โดยวิศวกรที่มาจากทางเหนือ",
    "Greek": "Η γέφυρα χτίστηκε το 1820 από έναν μηχανικό που ήρθε από τον βορρά.",
}
UNCLEAR = [
    "",
    "17:30",
    "def add(a, b):\n    return a + b\n",
    "2026-05-01T02:14:00Z ERROR db-0 connection refused",
    "| Name | Preis |\n| --- | --- |\n| Brot | 3 |",
    "Die Hard",
    "SELECT id FROM users WHERE id = 3",
    "München",
    "λ = 0.5, σ = 2",
    "\n".join(
        f"2026-03-02T04:11:0{n}Z WARN db-{n} connection pool is at {n} of 50, moved to api-{n} by z" for n in range(9)
    ),
    "iVBORw0KGgo/z+zAA/o/w/w/z0KGgoa+AUANSUhEUg/z/z/a/z " * 9,
    "de la de la de la 3 de la",
]


@pytest.mark.parametrize("language", TEXTS)
def test_languages_are_told_apart(language: str) -> None:
    assert language_of(TEXTS[language]) == language
    assert reads(["en"], TEXTS[language]) == (language == "en")
    assert reads([language, "en"], TEXTS[language]) or language[0].isupper()


@pytest.mark.parametrize("text", UNCLEAR)
def test_unclear_texts_count_as_read(text: str) -> None:
    assert reads(["en"], text)


def test_scripts_belong_to_languages() -> None:
    for script, code in {"Cyrillic": "ru", "Han": "zh", "Hiragana": "ja", "Hangul": "ko", "Thai": "th"}.items():
        assert reads(["en", code], TEXTS[script])


@pytest.mark.parametrize("languages", [["en"], ["ru"]])
def test_a_request_looks_at_each_text_once_and_keeps_none(
    languages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    find = language._find_signs
    monkeypatch.setattr(language, "_find_signs", lambda text: looked.append(text) or find(text))
    language._kept.cache_clear()
    texts = [*TEXTS.values(), *(text * 900 for text in TEXTS.values())]
    references = [sys.getrefcount(text) for text in texts]
    for _ in range(2):
        script_is_unread(languages, texts, "When?")
        unread(languages, texts, "When?")
    assert len(looked) == len(texts) + 1
    assert max(map(len, looked)) == 4000
    looked.clear()
    assert [sys.getrefcount(text) for text in texts] == references


def test_most_of_the_text_decides() -> None:
    assert unread(["en"], [TEXTS["en"]] * 2 + [TEXTS["de"]], "When?") is None
    notice = unread(["en"], [TEXTS["en"], TEXTS["de"], TEXTS["fr"]], "When?")
    assert notice is not None
    assert notice.kind == "language"
    assert "reads en" in notice
    assert "(de, fr)" in notice
    assert unread(["en"], [TEXTS["en"]], TEXTS["Cyrillic"]) is not None
    assert unread(None, [TEXTS["de"]], None) is None
    assert unread(["en"], [], None) is None


class Wrong:
    """A model of English that prefers what has no answer; it says so of every text."""

    languages = ("en",)

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        return [
            WordScores.from_preserve(
                [0.01 if "1820" in document.text[: end + 40] else 0.99 for end in document.word_ends]
            )
            for document in documents
        ]


GERMAN = [
    "Der Fluss ist lang und er ist kalt. Die Fische sind nicht groß. Im Winter ist es auf dem Fluss still.",
    "Die alte Brücke wurde im Jahr 1820 von einem Ingenieur gebaut. Sie ist aus Stein und noch im Gebrauch.",
]


RUSSIAN = [
    "Река длинная и очень холодная. Рыбы в ней небольшие. Зимой на реке тихо и спокойно.",
    "Старый мост построил в 1820 году инженер с севера. Он из камня и стоит там до сих пор.",
]


def test_text_in_another_script_is_kept_whole_by_shared_words_and_order() -> None:
    compressor = ContextCompressor(Wrong())
    result = compressor.compress(RUSSIAN, "Кто построил старый мост?", rate=0.4)
    assert "Старый мост построил в 1820 году инженер с севера." in result.text
    assert "language" in [notice.kind for notice in result.warnings]
    for document, source in zip(result, RUSSIAN, strict=True):
        for start, end in document.spans:  # whole sentences
            assert source[start:end].strip()[-1] == "."
    everything = compressor.compress(RUSSIAN, "Кто построил старый мост?")
    assert everything.text == "\n\n".join(RUSSIAN)  # without a target, nothing is given up


def test_another_language_of_the_script_keeps_the_scores_of_the_model() -> None:
    result = ContextCompressor(Wrong()).compress(GERMAN, "Wann wurde die alte Brücke gebaut?", rate=0.4)
    assert "1820" not in result.text  # as this model says
    assert "language" in [notice.kind for notice in result.warnings]
    assert script_is_unread(["ru"], GERMAN, None)
    assert not script_is_unread(["ru"], RUSSIAN, None)
    assert not script_is_unread(["en"], GERMAN, None)


def test_the_order_of_the_documents_breaks_ties() -> None:
    texts = [f"Это предложение под номером {word}, и оно не очень короткое." for word in ("один", "пять", "семь")]
    for order in (texts, texts[::-1]):
        result = ContextCompressor(Wrong()).compress(order, "О чём речь?", rate=0.4)
        assert result.text == order[0]


def test_words_are_not_thinned_in_unread_text() -> None:
    for gains in ({"whole_from": 0.7}, {"budgets": "words"}):
        config = CompressorConfig(rate=0.5, gains=gains)  # type: ignore[arg-type]
        result = ContextCompressor(Wrong(), config).compress(GERMAN, "Wann wurde die Brücke gebaut?")
        for document, source in zip(result, GERMAN, strict=True):
            assert all(source[start:end].strip()[-1] == "." for start, end in document.spans)


def test_text_that_is_read_has_the_scores_of_the_model() -> None:
    texts = ["The bridge was built in 1820. It is not in use, and the town is far from it.", TEXTS["de"]]
    assert not ContextCompressor(Wrong()).compress(texts[:1], "When was it built?", rate=0.6).warnings
    plain = Wrong()
    plain.languages = None  # type: ignore[assignment]
    assert not ContextCompressor(plain).compress(GERMAN, "Wann?", rate=0.6).warnings


def test_scripts_without_spaces_have_terms() -> None:
    assert terms_of("橋は1820年") == ["橋は", "1820", "年"]
    assert terms_of("这座桥 built 1820") == ["这座", "座桥", "built", "1820"]
    assert terms_of("Die Brücke, 1820!") == ["die", "brücke", "1820"]
    texts = [
        "这条河很长，也很冷。鱼不大。冬天河上很安静。",
        "这座桥建于1820年，由一位来自北方的工程师建造。它至今仍在使用。",
    ]
    result = ContextCompressor(Wrong()).compress(texts, "这座桥建于哪一年？", rate=0.6)
    assert "这座桥建于1820年" in result.text


def test_the_bundled_model_reads_english(bundled: ContextCompressor) -> None:
    assert bundled.scorer.languages == ("en",)  # type: ignore[attr-defined]
    result = bundled.compress(GERMAN, "Wann wurde die Brücke gebaut?", rate=0.5)
    assert [notice.kind for notice in result.warnings] == ["language"]
    assert "1820" in result.text
    read = bundled.compress([TEXTS["en"]], "When was the bridge built?", rate=0.6)
    assert "language" not in [notice.kind for notice in read.warnings]

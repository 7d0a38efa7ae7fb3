from __future__ import annotations

import pytest

from moos_integrations.core.text import segment, unit_spans


def units(text: str, language: str | None = None) -> list[str]:
    starts, ends = unit_spans(text, language)
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Smith paid $3.50 in the U.S. yesterday. ", "Why? ", "Nobody knows!  ", "End."],
        ["Pursuant to Art. 6 para. 1 lit. b GDPR, data is kept for 10 yrs. from the end. ", "Cf. Sec. 12 No. 3."],
        ["The notice must reach Ms. Example by 5 p.m. on Monday, 3 May. ", "Other data is deleted."],
        ["The controller is Example Ltd. of Berlin. ", "It is large."],
        ['He asked "Why?" and left. ', '"Never again." ', "That was all."],
        ["See e.g. Fig. 3 (cf. p. 12). ", "J. K. Rowling wrote it. ", "They met at 5 p.m. ", "Then it rained."],
        ["It held.[12] ", "Then it broke (see above.) ", "End."],
        ["Der Vertrag vom 3. Mai gilt z.B. für Hr. Müller und die Fa. usw. weiter. ", "Er endet am 15. Juni."],
        ["Im 19. Jahrhundert war das nicht so, und die Kosten trägt der Kunde. ", "Das ist neu."],
        ["M. Dupont habite av. Foch. ", "Il est là."],
        ["El Sr. López vive en la pág. 3. ", "¿Por qué? ", "Nadie lo sabe."],
        ["日本の郵便番号は7桁です。", "水濡れは対象外です！", "本当？"],
        ["他说：“不。”", "然后走了。"],
        ["الضمان لا يشمل الأضرار. ", "ضمان البطارية هو 6 أشهر؟ ", "نعم."],
        ["यह एक वाक्य है। ", "यह दूसरा है।"],
        ["Он живёт в г. Москве, ул. Ленина, т.е. далеко. ", "Она нет."],
        ["it is all in small letters. ", "so is this one. ", "the end"],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    assert units("".join(sentences)) == sentences


def test_the_language_may_be_given() -> None:
    assert units("Am 5. Tag ging er.", "de") == ["Am 5. Tag ging er."]
    assert units("He was no. 5. Then he left.", "en") == ["He was no. 5. ", "Then he left."]


def test_phrases_of_thai_are_split_at_spaces() -> None:
    text = " ".join(["ประเทศไทยมีชื่ออย่างเป็นทางการว่าราชอาณาจักรไทยและมีเมืองหลวงชื่อกรุงเทพ"] * 3)
    assert len(units(text)) == 3


@pytest.mark.parametrize(
    "text", ["Vitamin C\u00a0; x", "Plan A\u00a0?", "Figure B\u2009. A", "A\u00a0. B\u00a0! \ud800"]
)
def test_what_made_a_sentence_splitter_panic(text: str) -> None:
    assert "".join(units(text)) == text


def test_a_very_long_sentence_is_cut_at_spaces() -> None:
    document = segment("word " * 5000)
    assert 3 < len(document.unit_starts) < 20
    assert len(document) == 5000


@pytest.mark.parametrize(
    "lines",
    [
        ["The warranty does not\n", "cover damage by\n", "Water. ", "It is\n", "15 years long."],
        ['    Indented prose is wrapped at\n    TRACE or at\n    "quotes" alike. ', "It is prose.\n"],
        ["> Quoted text is wrapped\n> Here and there. ", "It is prose.\n"],
        ["// A comment is wrapped\n// Here and there. ", "It is prose.\n"],
        ["/* Returns 1 if the key was removed because it had\n * expired. ", "The caller must hold it. */\n"],
    ],
)
def test_wrapped_lines_of_a_paragraph_are_joined(lines: list[str]) -> None:
    text = "".join(lines)
    found = units(text)
    assert all(unit.rstrip()[-1] in ".!?/" for unit in found), found
    assert len(found) == 2

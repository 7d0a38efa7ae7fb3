from __future__ import annotations

import pytest
from tiny import UnitScorer

from moos_integrations import CompressorConfig, ContextCompressor, InputError
from moos_integrations.evaluation import calibrate
from moos_integrations.evaluation.metrics import normalise, survives

TEXTS = [
    ["The bridge was built by Ada Byron.", "It is long. Nobody knows how long it is today."],
    ["Bread is baked from flour and water. The baker sells it warm.", "A river."],
    ["Nothing here."],
]
QUESTIONS = ["Who built it?", "What is it made of?", "Where?"]
ANSWERS = [["how long it is"], ["sells it", "rye"], ["nowhere at all"]]
COMPRESSOR = ContextCompressor(UnitScorer(), CompressorConfig(gains={"temperature": 0.5}))


def test_the_target_found_keeps_enough_and_less_does_not() -> None:
    found = calibrate(COMPRESSOR, QUESTIONS, TEXTS, ANSWERS, min_recall=1.0)
    assert found.questions == 2  # the third answer stands nowhere
    assert found.recall == 1.0
    assert found.interval == (pytest.approx(0.3424, abs=1e-4), 1.0)  # Wilson: 2 of 2
    assert 0 < found.kept < 1
    best = ContextCompressor(UnitScorer(), found.config)
    for question, texts, answers in zip(QUESTIONS[:2], TEXTS, ANSWERS, strict=False):
        assert survives(answers, normalise(best.compress(texts, question).text))
    assert found.config.gains.temperature == 0.5
    assert CompressorConfig.from_json(found.config.to_json()) == found.config
    enough = [(kept, value) for name, value, recall, kept in found.tried if recall >= 1.0]
    assert found.kept == min(enough)[0]
    less = [recall for _, _, recall, kept in found.tried if kept < found.kept]
    assert less
    assert max(less) < 1.0


def test_half_of_the_answers_take_less() -> None:
    half, all_of_them = (
        calibrate(COMPRESSOR, QUESTIONS, TEXTS, ANSWERS, min_recall=recall).kept for recall in (0.5, 1.0)
    )
    assert half <= all_of_them


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((QUESTIONS, TEXTS[:2], ANSWERS), "must be of one length, got 3, 2 and 3"),
        ((QUESTIONS[2:], TEXTS[2:], ANSWERS[2:]), "No answer stands in its documents"),
        (([], [], []), "No answer stands in its documents"),
    ],
)
def test_nothing_to_calibrate_on(arguments: tuple[list[str], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        calibrate(COMPRESSOR, *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("recall", [0, 1.5, True, "all"])
def test_impossible_recall(recall: float) -> None:
    with pytest.raises(InputError, match="`min_recall` must be a number in"):
        calibrate(COMPRESSOR, QUESTIONS, TEXTS, ANSWERS, min_recall=recall)

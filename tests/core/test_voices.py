"""How much the encoder counts beside the reader, and how likely a document answers."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moos_integrations import CompressionResult, ContextCompressor, ModelError, SegmentedText, WordScores
from moos_integrations.core.answering import ENCODER, READER, Answering, calibrations, probability
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.hub import load_classifier
from moos_integrations.core.result import NOTHING_RELEVANT
from moos_integrations.core.voices import BESIDE, MOST, encoder_voice

numbers = st.floats(-1, 1)


@given(st.lists(st.tuples(numbers, numbers), max_size=20), st.booleans())
def test_the_voice_is_zero_for_the_best_and_orders_by_the_weighted_cosines(
    rows: list[tuple[float, float]], reads: bool
) -> None:
    cosines = np.array(rows).reshape(-1, 2)
    voice = encoder_voice(cosines, None, reads=reads)
    assert voice.shape == (len(rows),)
    if rows:
        weighted = cosines @ np.array(BESIDE if reads else MOST)
        assert voice.max() == 0
        np.testing.assert_allclose(voice, weighted - weighted.max(), atol=1e-9)


def test_a_learnt_gate_weighs_each_unit() -> None:
    cosines, gates = np.array([[0.5, 0.1], [0.1, 0.5]]), np.array([[10.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(encoder_voice(cosines, gates), [0.0, -4.0])


# --- whether anything answers -----------------------------------------------------------------------------------------


class Judging:
    """A scorer with a calibration: a document is as likely to answer as it has the word "yes"."""

    answering: ClassVar[dict[str, Answering]] = {READER: Answering(0.0, (0.0, 1.0))}

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        found = []
        for document in documents:
            scores = WordScores.from_preserve(np.full(len(document), 0.5))
            chance = 0.9 if "yes" in document.text else 0.2
            found.append(scores if query is None else replace(scores, passage_probability=chance))
        return found


class Silent(Judging):
    answering: ClassVar[dict[str, Answering]] = {}


TEXTS = ["One no. Two no.", "One yes. Two no.", "", "  ", "Three no. Four no."]


def judged(
    texts: Sequence[str], query: str | None = "Which?", scorer: Judging | None = None, **settings: object
) -> CompressionResult:
    config = CompressorConfig(tokenizer=len, **settings)  # type: ignore[arg-type]
    return ContextCompressor(scorer or Judging(), config).compress(texts, query)


def test_relevance_is_the_calibrated_log_odds() -> None:
    result = judged(TEXTS, rate=1.0)
    chances = [None if own.relevance is None else float(probability(own.relevance)) for own in result]
    assert chances[2] is None
    assert [chances[index] for index in (0, 1, 4)] == pytest.approx([0.2, 0.9, 0.2])


@pytest.mark.parametrize("target", [{"rate": 1.0}, {"rate": 0.5}, {"budget_tokens": 20}, {"threshold": 0.0}, {}])
@pytest.mark.parametrize("more", [{}, {"omission": "[...]"}, {"order": "relevance"}, {"protect": ["Three"]}])
def test_of_documents_below_the_floor_nothing_is_kept(target: dict[str, float], more: dict[str, object]) -> None:
    result = judged(TEXTS, min_relevance=0.5, **target, **more)
    assert [document.index for document in result.documents if document.text.strip()] in ([1], [])
    assert {word.reason for word in result.explain() if word.document in (0, 4)} == {"below `min_relevance`"}
    assert not result.nothing_relevant
    below = judged(TEXTS, min_relevance=0.1, **target, **more)
    assert all(word.reason != "below `min_relevance`" for word in below.explain())


@pytest.mark.parametrize("target", [{"rate": 1.0}, {"rate": 0.5}, {"budget_tokens": 20}, {"threshold": 0.0}, {}])
@pytest.mark.parametrize("more", [{}, {"omission": "[...]"}, {"top_n": 1}, {"protect": ["Three"]}])
def test_if_nothing_answers_the_result_is_empty_and_says_so(target: dict[str, float], more: dict[str, object]) -> None:
    result = judged(TEXTS, min_relevance=0.95, **target, **more)
    assert result.text == ""
    assert result.kept_tokens == 0
    assert result.nothing_relevant
    (notice,) = [own for own in result.warnings if own.kind == NOTHING_RELEVANT]
    assert "with a probability of 0.900" in notice
    assert all(document.dropped for document in result.documents)


@pytest.mark.parametrize("query", [None, "", "  "])
def test_without_a_question_there_is_no_floor(query: str | None) -> None:
    assert judged(TEXTS, query, min_relevance=0.95, rate=1.0).text == judged(TEXTS, query, rate=1.0).text
    short = judged(["Short no."], query, min_relevance=0.95)
    assert (short.text, short.nothing_relevant) == ("Short no.", False)


def test_a_model_without_a_calibration_says_that_the_floor_is_not_used() -> None:
    result = judged(TEXTS, scorer=Silent(), min_relevance=0.95, rate=1.0)
    assert result.text == judged(TEXTS, scorer=Silent(), rate=1.0).text
    assert [notice.kind for notice in result.warnings] == ["no calibration"]


def test_no_documents_is_no_case_for_the_floor() -> None:
    assert judged([], min_relevance=0.95).warnings == ()


# --- in a model's files -----------------------------------------------------------------------------------------------


def test_a_models_calibration_is_read_and_does_not_change_its_scores(aware_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(aware_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["moos"]["answering"] = {READER: [1, 2.0, 3.0], ENCODER: [0.5, 1, 2, 3, 4]}
    (folder / "config.json").write_text(json.dumps(config))
    known, plain = load_classifier(str(folder), device="cpu"), load_classifier(str(aware_model), device="cpu")
    assert known.answering == {READER: Answering(1.0, (2.0, 3.0)), ENCODER: Answering(0.5, (1.0, 2.0, 3.0, 4.0))}
    assert plain.answering == {}
    assert known.reading == plain.reading
    compressor = ContextCompressor.from_pretrained(
        str(folder), tokenizer=len, min_tokens=0, min_relevance=0.0, rate=0.9
    )
    result = compressor.compress(["The quick fox.", "The dog."], "Which fox?")
    assert not result.warnings
    assert all(document.relevance is not None for document in result.documents)


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"other": [1, 2, 3]},
        {READER: [1, 2]},
        {READER: "x"},
        {ENCODER: [1, 2, 3]},
        {READER: [1, 2, None]},
        {READER: [1, 2, math.nan]},
        {READER: [True, 1, 2]},
    ],
)
def test_a_calibration_that_cannot_be_used_is_a_clear_error(aware_model: Path, tmp_path: Path, entry: object) -> None:
    with pytest.raises(ValueError, match=r"it must|its values"):
        calibrations(entry)
    folder = tmp_path / "model"
    shutil.copytree(aware_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["moos"]["answering"] = entry
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="`answering` in `moos` of its config"):
        load_classifier(str(folder), device="cpu")

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moos_benchmarks import recall
from moos_benchmarks.data import Passage

from moos_integrations import ContextCompressor, SegmentedText, WordScores
from moos_integrations.core.encoder import TokenClassifierScorer
from moos_integrations.core.hub import load_classifier
from moos_integrations.core.text import segment

TEXT = "The council of Gilmer met on 3 May. It did not raise the fee of user_id nine. Nobody complained about that."
PASSAGES = [
    Passage(TEXT, (("3 May",), ("Gilmer", "GLM"), ("not in the text",))),
    Passage("Nothing is asked here. Nothing is said either.", ()),
    Passage("Ada wrote it in 1843, long before there was a machine to run it.", (("1843",),)),
]
ANSWER_WORDS = {"3", "May", "Gilmer", "1843"}


def only(wanted: bool) -> recall.ByMetric:
    """Answer words first, or last."""
    return recall.ByMetric(lambda document: [(word in ANSWER_WORDS) == wanted for word in document.words()])


def test_a_perfect_scorer_and_the_worst() -> None:
    best = recall.measure_recall(PASSAGES, only(True), 0.5)
    assert (best.survived.tolist(), best.present.tolist()) == ([2, 0, 1], [2, 0, 1])  # answers that were there count
    assert best.value == 1.0
    worst = recall.measure_recall(PASSAGES, only(False), 0.5)
    assert worst.value == 0.0
    assert 0.35 < best.kept <= 0.5
    assert recall.measure_recall(PASSAGES, only(False), 1.0).value == 1.0
    nothing = recall.measure_recall(PASSAGES, only(True), 0.0)
    assert (nothing.value, nothing.kept) == (0.0, 0.0)
    assert recall.measure_recall(PASSAGES[1:2], only(True), 0.5).value is None


def test_rare_words_are_numbers_names_and_identifiers_inside_sentences() -> None:
    document = segment(TEXT)
    words = np.array(document.words())
    found = {kind: words[flags].tolist() for kind, flags in recall.rare_words(document).items()}
    assert found == {"numbers": ["3"], "names": ["Gilmer", "May"], "identifiers": ["user_id"]}


def test_rare_word_recall() -> None:
    found = recall.measure_recall(PASSAGES[:1], recall.ByMetric(lambda d: [w in ("3", "May") for w in d.words()]), 0.2)
    shares = found.rare_words()
    assert shares["numbers"] == 1.0
    assert shares["names"] == 0.5 or shares["names"] == 1.0  # Gilmer may fit as well
    assert shares["identifiers"] in (0.0, 1.0)
    everything = recall.measure_recall(PASSAGES, only(True), 1.0).rare_words()
    assert everything == {"all": 1.0, "numbers": 1.0, "names": 1.0, "identifiers": 1.0}


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7, 1.0])
def test_kept_words_are_those_of_the_explanation(compressor: ContextCompressor, rate: float) -> None:
    result = compressor.compress(TEXT, rate=rate)
    flags = recall.kept_words(segment(TEXT), result.documents[0])
    assert flags.tolist() == [word.kept for word in result.explain()]


def test_methods_without_a_model() -> None:
    methods = recall.without_model(PASSAGES)
    documents = [segment(passage.text) for passage in PASSAGES]
    lead, idf, shuffled = (methods[name].score(documents, None)[1].metric for name in ("lead", "idf", "random"))
    assert (np.diff(lead) < 0).all()
    words = documents[1].words()
    assert idf[words.index("said")] > idf[words.index(".")]
    other = recall.without_model(PASSAGES, seed=1)["random"].score(documents, None)[1].metric
    assert (shuffled == recall.without_model(PASSAGES)["random"].score(documents, None)[1].metric).all()
    assert (shuffled != other).any()


def test_compare_gives_json_with_differences() -> None:
    table = recall.compare(PASSAGES, {"moos": only(True), "classifier": only(False)}, rates=(0.5,))
    assert (table["passages"], table["questions"], table["answers_present"]) == (3, 4, 3)
    assert table["0.5"]["moos"]["answer_recall"] == 1.0
    assert table["0.5"]["moos - classifier"]["difference"] == 1.0
    json.dumps(table, allow_nan=False)


class Counting:
    """A model that counts how often it is called."""

    def __init__(self, model: Any) -> None:
        self.model, self.calls = model, 0

    def __call__(self, **inputs: Any) -> Any:
        self.calls += 1
        return self.model(**inputs)


def test_one_forward_pass_serves_all_statistics(tiny_model: Path) -> None:
    from dataclasses import replace

    classifier = load_classifier(str(tiny_model), dtype="float32")
    counting = Counting(classifier.model)
    texts = [passage.text for passage in PASSAGES]
    watched = replace(classifier, model=counting)
    recall.model_scores(watched, texts, ["class_diag"])
    calls, counting.calls = counting.calls, 0
    found = recall.model_scores(watched, texts * 2, recall.STATISTICS)
    assert counting.calls == calls
    documents = [segment(text) for text in texts]
    for statistic in recall.STATISTICS:
        scorer = TokenClassifierScorer(
            classifier, alpha=0.7, outlier_statistic=statistic, word_reduction="mean", max_batch_pieces=4096
        )
        stored = recall.Stored(found[statistic], 0.7).score(documents, None)
        for mine, own in zip(stored, scorer.score(documents, None), strict=True):
            np.testing.assert_allclose(mine.metric, own.metric, atol=1e-6)


def test_long_texts_are_scored_in_chunks() -> None:
    texts = ["a" * 90_000, "b" * 90_000, "c" * 90_000, "d"]
    assert [len(chunk) for chunk in recall._chunks(texts)] == [2, 2]
    assert [text for chunk in recall._chunks(texts) for text in chunk] == texts


def test_the_sweep_has_every_cell() -> None:
    def scores(outlier: Sequence[bool]) -> WordScores:
        return WordScores(np.full(len(outlier), 0.5), np.asarray(outlier, float), np.full(len(outlier), 0.5))

    def stored(wanted: bool) -> dict[str, WordScores]:
        documents: list[SegmentedText] = [segment(passage.text) for passage in PASSAGES]
        return {d.text: scores([(word in ANSWER_WORDS) == wanted for word in d.words()]) for d in documents}

    table = recall.sweep(
        PASSAGES, {"class_diag": stored(True), "class_dist": stored(False)}, alphas=(1.0, 0.5), rates=(0.5,)
    )
    assert table["0.5"]["class_diag"] == {"0.5": 1.0}
    assert table["0.5"]["class_dist"] == {"0.5": 0.0}
    assert set(table["0.5"]["rare_words"]) == {"classifier", "class_diag", "class_dist"}


def test_the_validation_set_is_the_held_out_articles(tmp_path: Path) -> None:
    def record(title: str) -> dict[str, Any]:
        qas = [{"id": "1", "question": "Who?", "answers": [{"text": title, "answer_start": 0}]}]
        return {"id": title, "title": title, "context": f"{title} it was.", "qas": qas}

    lines = "".join(json.dumps(record(f"T{index:03}")) + "\n" for index in range(120))
    (tmp_path / "squad_train.jsonl").write_text(lines, encoding="utf-8")
    passages = recall.read_set(tmp_path, recall.VALIDATION)
    assert [passage.answers[0][0] for passage in passages] == ["T000", "T050", "T100"]
    assert len(recall.read_set(tmp_path, recall.VALIDATION, 2)) == 2

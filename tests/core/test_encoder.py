from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import CORPUS, save_tiny_model
from transformers import AutoModelForTokenClassification, AutoTokenizer

from moos_integrations import ConfigError, ContextCompressor, ModelError
from moos_integrations.core import hub
from moos_integrations.core.encoder import TokenClassifierScorer
from moos_integrations.core.hub import load_classifier
from moos_integrations.core.text import segment
from moos_integrations.core.types import WordScores

TEXTS = [*CORPUS, "Short.", "", "   ", "A longer text. " * 30, "\x00\x01 \u200b"]


def scorer(folder: Path, **settings: object) -> TokenClassifierScorer:
    defaults = {"alpha": 0.9, "outlier_statistic": "class_diag", "word_reduction": "mean", "max_batch_pieces": 4096}
    classifier = load_classifier(str(folder), device="cpu", dtype="float32")
    return TokenClassifierScorer(classifier, **{**defaults, **settings})  # type: ignore[arg-type]


# Two float32 routes through the tiny model (padded or not, batched or not) differ by rounding; 1e-6 was seen.
ROUNDING = 1e-5


def assert_same(left: WordScores, right: WordScores) -> None:
    for name in ("preserve", "outlier", "metric"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), atol=ROUNDING)


@pytest.mark.parametrize("statistic", ["class_diag", "class_dist", "global_diag"])
def test_batched_equals_single(tiny_model: Path, statistic: str) -> None:
    documents = [segment(text) for text in TEXTS]
    together = scorer(tiny_model, outlier_statistic=statistic).score(documents, None)
    for document, scores in zip(documents, together, strict=True):
        assert_same(scorer(tiny_model, outlier_statistic=statistic).score([document], None)[0], scores)


@pytest.mark.parametrize("size", [1, 100])
def test_batch_size_changes_nothing(tiny_model: Path, size: int) -> None:
    documents = [segment(text) for text in TEXTS]
    small = scorer(tiny_model, max_batch_pieces=size).score(documents, None)
    for left, right in zip(small, scorer(tiny_model).score(documents, None), strict=True):
        assert_same(left, right)


def test_order_of_documents_changes_no_score(tiny_model: Path) -> None:
    documents = [segment(text) for text in TEXTS]
    forward = scorer(tiny_model).score(documents, None)
    backward = scorer(tiny_model).score(documents[::-1], None)[::-1]
    for left, right in zip(forward, backward, strict=True):
        assert_same(left, right)


def test_alpha_one_is_the_plain_classifier_bit_for_bit(tiny_model: Path) -> None:
    """Against transformers itself, unpadded: `[CLS] pieces [SEP]`, softmax, mean over a word's pieces."""
    text = CORPUS[0]
    model = AutoModelForTokenClassification.from_pretrained(tiny_model).eval()
    batch = AutoTokenizer.from_pretrained(tiny_model)(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = batch.pop("offset_mapping")[0].numpy()
    with torch.inference_mode():
        probabilities = model(input_ids=batch["input_ids"]).logits[0].softmax(-1)[:, 1].double().numpy()
    document = segment(text)
    (plain,) = scorer(tiny_model, alpha=1.0).score([document], None)
    for word, (start, end) in enumerate(zip(document.word_starts, document.word_ends, strict=True)):
        own = probabilities[(offsets[:, 0] < end) & (offsets[:, 1] > start)]
        assert plain.preserve[word] == pytest.approx(own.mean(), abs=ROUNDING)
    assert (plain.metric == plain.preserve).all()
    assert np.isnan(plain.outlier).all()
    (mixed,) = scorer(tiny_model, alpha=0.7).score([document], None)
    np.testing.assert_allclose(mixed.preserve, plain.preserve, atol=ROUNDING)  # the classifier stays what it was
    np.testing.assert_array_equal(mixed.metric, 0.7 * mixed.preserve + (1 - 0.7) * mixed.outlier)


@pytest.mark.parametrize("family", ["wordpiece", "byte_bpe", "unigram"])
def test_any_fast_tokenizer(tmp_path: Path, family: str) -> None:
    folder = save_tiny_model(tmp_path / family, family)
    scores = scorer(folder).score([segment(text) for text in TEXTS], None)
    assert [len(score.metric) for score in scores] == [len(segment(text)) for text in TEXTS]
    assert all(((score.metric >= 0) & (score.metric <= 1)).all() for score in scores)


def test_long_text_agrees_with_short_windows_where_they_see_the_same(tiny_model: Path) -> None:
    """64 positions hold 62 pieces: the sentences before one that is longer stand in a window of their own."""
    head = "The quick brown fox. " * 2
    (alone,) = scorer(tiny_model).score([segment(head)], None)
    (whole,) = scorer(tiny_model).score([segment(head + "Numbers " * 100)], None)
    for name in ("preserve", "outlier"):
        np.testing.assert_allclose(getattr(whole, name)[: len(alone.metric)], getattr(alone, name), atol=ROUNDING)


# --- loading -------------------------------------------------------------------------------------------------------


def test_same_arguments_give_the_same_object(tiny_model: Path) -> None:
    assert load_classifier(str(tiny_model)) is load_classifier(str(tiny_model))


def test_saved_and_reloaded_scores_the_same(tiny_model: Path, tmp_path: Path) -> None:
    AutoModelForTokenClassification.from_pretrained(tiny_model).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    assert load_classifier(str(tmp_path)).fingerprint == load_classifier(str(tiny_model)).fingerprint
    documents = [segment(text) for text in TEXTS]
    for left, right in zip(
        scorer(tmp_path).score(documents, None), scorer(tiny_model).score(documents, None), strict=True
    ):
        assert_same(left, right)


@pytest.mark.parametrize(
    ("labels", "index"), [(("keep", "drop"), 0), (("LABEL_0", "LABEL_1"), 1), (("Preserve", "x"), 0)]
)
def test_the_preserve_label_is_found_by_name(tmp_path: Path, labels: tuple[str, str], index: int) -> None:
    assert load_classifier(str(save_tiny_model(tmp_path / "m", labels=labels))).preserve_label == index


def test_the_preserve_label_can_be_said(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "m", labels=("yes", "no")))
    with pytest.raises(ModelError, match=r"labels 'yes', 'no'.*`preserve_label`"):
        load_classifier(folder)
    assert load_classifier(folder, preserve_label="yes").preserve_label == 0
    assert load_classifier(folder, preserve_label=1).preserve_label == 1


def test_other_than_two_labels_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", labels=("B", "I", "O"))
    with pytest.raises(ModelError, match=re.escape("has 3 labels (B, I, O); a token classifier with two")):
        load_classifier(str(folder))


def test_slow_tokenizers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowTokenizer:
        is_fast = False

    folder = save_tiny_model(tmp_path / "m")
    monkeypatch.setattr(hub, "AutoTokenizer", SimpleNamespace(from_pretrained=lambda *_, **__: SlowTokenizer()))
    with pytest.raises(ModelError, match="slow tokenizer SlowTokenizer, which gives no character offsets"):
        load_classifier(str(folder))


def test_a_missing_model_names_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"could not be loaded.*Expected a bundled name \(moos-minilm-en\)"):
        ContextCompressor.from_pretrained(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="the folder holds no usable model"):
        load_classifier(str(tmp_path / "empty"))


@pytest.mark.parametrize("settings", [{"device": "quantum"}, {"dtype": "int3"}])
def test_unknown_device_and_dtype(tiny_model: Path, settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must be 'auto' or"):
        load_classifier(str(tiny_model), **settings)


def test_an_empty_name() -> None:
    with pytest.raises(ConfigError, match="`model` must be"):
        load_classifier("")

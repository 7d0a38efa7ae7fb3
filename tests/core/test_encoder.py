from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import CORPUS, TOKENIZERS, save_tiny_model
from tokenizers import normalizers
from transformers import AutoModelForTokenClassification, AutoTokenizer

from moos_integrations import ConfigError, ContextCompressor, ModelError
from moos_integrations.core import hub
from moos_integrations.core.encoder import TokenClassifierScorer
from moos_integrations.core.hub import load_classifier
from moos_integrations.core.outliers import normalise, outlier_scores
from moos_integrations.core.text import segment
from moos_integrations.core.types import WordScores
from moos_integrations.core.windows import tokenize, windows_of

TEXTS = [*CORPUS, "Short.", "", "   ", "A longer text. " * 30, "\x00\x01 \u200b"]
QUESTION = "Which names and numbers matter?"


def scorer(folder: Path, **settings: object) -> TokenClassifierScorer:
    defaults = {"alpha": 0.9, "outlier_statistic": "class_diag", "word_reduction": "mean", "max_batch_pieces": 4096}
    classifier = load_classifier(str(folder), device="cpu", dtype="float32")
    return TokenClassifierScorer(classifier, **{**defaults, **settings})  # type: ignore[arg-type]


# Two float32 routes through the tiny model (padded or not, batched or not) differ by rounding; 1e-6 was seen.
ROUNDING = 1e-5


def assert_same(left: WordScores, right: WordScores) -> None:
    for name in ("preserve", "outlier", "metric", "passage_probability"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), atol=ROUNDING)


def assert_identical(left: list[WordScores], right: list[WordScores]) -> None:
    for one, other in zip(left, right, strict=True):
        for name in ("preserve", "outlier", "metric", "passage_probability"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


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


# --- with a question ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", list(TOKENIZERS))
def test_a_question_is_read_as_transformers_reads_a_pair(tmp_path: Path, family: str) -> None:
    """Unpadded: the tokenizer's own pair, softmax, outliers among the passage's pieces, mean over a word's pieces."""
    text, question = CORPUS[1], "Which sum?"
    folder = save_tiny_model(tmp_path / "m", family, query_aware=True)
    batch = AutoTokenizer.from_pretrained(folder)(
        question, text, return_tensors="pt", return_offsets_mapping=True, return_token_type_ids=True
    )
    offsets = batch.pop("offset_mapping")[0].numpy()
    passage = np.array([owner == 1 for owner in batch.sequence_ids(0)])
    with torch.inference_mode():
        outputs = AutoModelForTokenClassification.from_pretrained(folder).eval()(**batch, output_hidden_states=True)
        p = outputs.logits.softmax(-1)[..., 1]
        s = outlier_scores(outputs.hidden_states[-1], p, torch.from_numpy(passage)[None], "class_diag")
    preserve, outlier = p[0].double().numpy(), np.zeros(len(passage))
    outlier[passage] = normalise(s[0].double().numpy()[passage])
    document = segment(text)
    (scores,) = scorer(folder).score([document], question)
    for word, (start, end) in enumerate(zip(document.word_starts, document.word_ends, strict=True)):
        own = passage & (offsets[:, 0] < end) & (offsets[:, 1] > start)
        assert scores.preserve[word] == pytest.approx(preserve[own].mean(), abs=ROUNDING)
        assert scores.outlier[word] == pytest.approx(outlier[own].mean(), abs=10 * ROUNDING)
    np.testing.assert_array_equal(scores.metric, 0.9 * scores.preserve + (1 - 0.9) * scores.outlier)
    expected = np.nan if family == "unigram" else preserve[0]  # no special token opens the input of a unigram model
    assert scores.passage_probability == pytest.approx(expected, abs=ROUNDING, nan_ok=True)
    (plain,) = scorer(folder, alpha=1.0).score([document], question)
    np.testing.assert_array_equal(plain.metric, scores.preserve)
    assert plain.passage_probability == pytest.approx(scores.passage_probability, nan_ok=True)


@pytest.mark.parametrize("family", list(TOKENIZERS))
def test_with_a_question_batch_and_order_change_nothing(tmp_path: Path, family: str) -> None:
    folder = save_tiny_model(tmp_path / "m", family, query_aware=True)
    documents = [segment(text) for text in TEXTS]
    together = scorer(folder).score(documents, QUESTION)
    others = [
        [scorer(folder).score([document], QUESTION)[0] for document in documents],
        scorer(folder, max_batch_pieces=1).score(documents, QUESTION),
        scorer(folder, max_batch_pieces=100).score(documents, QUESTION),
        scorer(folder).score(documents[::-1], QUESTION)[::-1],
    ]
    for other in others:
        for left, right in zip(together, other, strict=True):
            assert_same(left, right)


def test_a_question_changes_the_scores_of_a_query_aware_model(aware_model: Path) -> None:
    document = segment(CORPUS[0])
    which, who, free = (scorer(aware_model).score([document], query)[0] for query in (QUESTION, "Who?", None))
    assert np.abs(which.preserve - free.preserve).max() > 0.01
    assert np.abs(which.preserve - who.preserve).max() > 0.01
    assert which.passage_probability != who.passage_probability


@pytest.mark.parametrize("query", ["", " \n\t", "\u200b\x01"], ids=["empty", "white space", "no pieces"])
def test_a_question_that_says_nothing_is_none(tmp_path: Path, query: str) -> None:
    folder = save_tiny_model(tmp_path / "m", query_aware=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)  # drops control characters
    tokenizer.save_pretrained(folder)
    documents = [segment(text) for text in TEXTS]
    free = scorer(folder).score(documents, None)
    assert_identical(scorer(folder).score(documents, query), free)
    assert all(np.isnan(score.passage_probability) for score in free)


def test_other_models_ignore_the_question(aware_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(aware_model, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    del config["moos"]
    (folder / "config.json").write_text(json.dumps(config))
    documents = [segment(text) for text in TEXTS]
    free = scorer(folder).score(documents, None)
    assert_identical(scorer(folder).score(documents, QUESTION), free)
    assert_identical(scorer(aware_model).score(documents, None), free)


def test_token_types_are_zero_without_a_question(aware_model: Path) -> None:
    documents = [segment(text) for text in TEXTS]
    typed, untyped = scorer(aware_model), scorer(aware_model)
    untyped.classifier = replace(typed.classifier, takes_types=False)
    assert typed.classifier.takes_types
    assert_identical(typed.score(documents, None), untyped.score(documents, None))
    assert (
        typed.score(documents, QUESTION)[0].passage_probability
        != untyped.score(documents, QUESTION)[0].passage_probability
    )


def test_a_long_question_is_cut_and_every_word_is_scored(aware_model: Path) -> None:
    question, document = "Which names and numbers matter? " * 200, segment(" ".join(CORPUS * 5))
    (pieces,) = tokenize(scorer(aware_model).classifier.tokenizer, [question])
    (scores,) = scorer(aware_model).score([document], question)
    assert (scores.preserve > 0).all()  # a word that no window owns would have 0
    quarter = question[: pieces.ends[64 // 4 - 1]]
    assert_identical([scores], scorer(aware_model).score([document], quarter))


def test_relevance_is_that_of_the_best_window(aware_model: Path) -> None:
    text = "The quick brown fox jumps. Numbers like 42 matter. Ada Lovelace too! " * 8
    document, scoring = segment(text), scorer(aware_model)
    classifier = scoring.classifier
    question, passage = tokenize(classifier.tokenizer, ["Who?", text])
    room = classifier.max_pieces - len(classifier.special.frame(question.ids.tolist()))
    windows = windows_of(0, document, passage, room)
    assert len(windows) > 2
    model = AutoModelForTokenClassification.from_pretrained(aware_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(aware_model)
    told = []
    for window in windows:
        run = text[passage.starts[window.start] : passage.ends[window.end - 1]]
        batch = tokenizer("Who?", run, return_tensors="pt", return_token_type_ids=True)
        with torch.inference_mode():
            told.append(model(**batch).logits[0, 0].softmax(-1)[1].item())
    assert max(told) - min(told) > 10 * ROUNDING
    (scores,) = scoring.score([document], "Who?")
    assert scores.passage_probability == pytest.approx(max(told), abs=ROUNDING)


def with_similarity(folder: Path, target: Path, scale: object) -> Path:
    """The model, weighing the cosine between question and unit differently."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    config["moos"]["similarity_scale"] = scale
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_similarity_is_the_cosine_of_question_and_unit(aware_model: Path, tmp_path: Path) -> None:
    text, question = "The quick brown fox jumps. Numbers like 42 matter.", "Who jumps?"
    batch = AutoTokenizer.from_pretrained(aware_model)(
        question, text, return_tensors="pt", return_offsets_mapping=True, return_token_type_ids=True
    )
    starts, owner = batch.pop("offset_mapping")[0, :, 0].numpy(), np.array(batch.sequence_ids(0))
    model = AutoModelForTokenClassification.from_pretrained(aware_model).eval()
    with torch.inference_mode():
        hidden = model(**batch, output_hidden_states=True).hidden_states[-1][0]
    document = segment(text)
    border = document.unit_starts[1]
    asked, first, second = owner == 0, (owner == 1) & (starts < border), (owner == 1) & (starts >= border)
    expected = [
        10 * torch.nn.functional.cosine_similarity(hidden[asked].mean(0), hidden[unit].mean(0), dim=0).item()
        for unit in (first, second)
    ]
    (scores,) = scorer(aware_model).score([document], question)
    assert scores.unit_similarity is not None
    assert scores.unit_similarity.tolist() == pytest.approx(expected, abs=100 * ROUNDING)
    assert scorer(aware_model).score([document], None)[0].unit_similarity is None
    (plain,) = scorer(with_similarity(aware_model, tmp_path / "p", 0)).score([document], question)
    assert plain.unit_similarity is None  # it says that its states tell nothing
    np.testing.assert_array_equal(plain.metric, scores.metric)


def test_every_unit_has_a_similarity_in_any_batch(aware_model: Path) -> None:
    documents = [segment(text) for text in [*TEXTS, " ".join(CORPUS * 5), "word " * 300]]
    together = scorer(aware_model).score(documents, QUESTION)
    for document, scores in zip(documents, together, strict=True):
        assert scores.unit_similarity is not None
        assert scores.unit_similarity.shape == document.unit_starts.shape
        assert np.isfinite(scores.unit_similarity).all()
        (alone,) = scorer(aware_model, max_batch_pieces=1).score([document], QUESTION)
        np.testing.assert_allclose(alone.unit_similarity, scores.unit_similarity, atol=100 * ROUNDING)
    assert (np.abs(together[-1].unit_similarity) > 0).all()


@pytest.mark.parametrize("scale", ["ten", True, -1, float("inf")])
def test_a_wrong_similarity_scale_is_a_clear_error(aware_model: Path, tmp_path: Path, scale: object) -> None:
    folder = with_similarity(aware_model, tmp_path / "m", scale)
    with pytest.raises(ModelError, match=r"`similarity_scale` in `moos` of its config\.json must be a number"):
        scorer(folder)


def test_relevance_is_a_share_or_unknown(aware_model: Path) -> None:
    for text, scores in zip(TEXTS, scorer(aware_model).score([segment(text) for text in TEXTS], QUESTION), strict=True):
        assert isinstance(scores.passage_probability, float)
        assert 0 <= scores.passage_probability <= 1 or (
            not text.strip("\x00\x01 \u200b") and np.isnan(scores.passage_probability)
        )


def test_lone_surrogates_in_a_question(aware_model: Path) -> None:
    documents = [segment(text) for text in TEXTS]
    replaced = scorer(aware_model).score(documents, "who \ufffd?")
    assert_identical(scorer(aware_model).score(documents, "who \ud800?"), replaced)


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


def test_a_query_aware_model_says_so_and_stays_so(tiny_model: Path, aware_model: Path, tmp_path: Path) -> None:
    assert not load_classifier(str(tiny_model)).query_aware
    assert load_classifier(str(aware_model)).query_aware
    AutoModelForTokenClassification.from_pretrained(aware_model).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(aware_model).save_pretrained(tmp_path)
    documents = [segment(text) for text in TEXTS]
    assert_identical(scorer(tmp_path).score(documents, QUESTION), scorer(aware_model).score(documents, QUESTION))


def test_a_query_aware_model_needs_a_template_for_pairs(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", query_aware=True)
    TOKENIZERS["wordpiece"]().save_pretrained(folder)
    with pytest.raises(ModelError, match=r"is query-aware by its config.json, but its tokenizer has no template"):
        load_classifier(str(folder))


@pytest.mark.parametrize("moos", [True, {"query_aware": "yes"}])
def test_what_a_model_says_of_itself_is_checked(tmp_path: Path, moos: object) -> None:
    folder = save_tiny_model(tmp_path / "m", query_aware=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "moos": moos}))
    with pytest.raises(ModelError, match=r"`query_aware` is true or false, got"):
        load_classifier(str(folder))


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
    with pytest.raises(ModelError, match="slow tokenizer SlowTokenizer, which has no character offsets"):
        load_classifier(str(folder))


def test_a_missing_model_names_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"could not be loaded.*Expected a bundled name \(moos-minilm-en\)"):
        ContextCompressor.from_pretrained("nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="the folder has no usable model"):
        load_classifier(str(tmp_path / "empty"))


@pytest.mark.parametrize("settings", [{"device": "quantum"}, {"dtype": "int3"}])
def test_unknown_device_and_dtype(tiny_model: Path, settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must be 'auto' or"):
        load_classifier(str(tiny_model), **settings)


def test_an_empty_name() -> None:
    with pytest.raises(ConfigError, match="`model` must be"):
        load_classifier("")


# --- windows and batches ----------------------------------------------------------------------------------------------


def test_a_batch_holds_at_most_so_many_pieces(tiny_model: Path) -> None:
    shapes: list[torch.Size] = []
    scoring = scorer(tiny_model, max_batch_pieces=100)
    model = scoring.classifier.model

    def spy(**inputs: torch.Tensor) -> object:
        shapes.append(inputs["input_ids"].shape)
        return model(**inputs)

    scoring.classifier = replace(scoring.classifier, model=spy)  # type: ignore[arg-type]
    scoring.score([segment(text) for text in ["One two three."] * 9 + ["word " * 90]], None)
    assert all(rows * length <= 100 or rows == 1 for rows, length in shapes)
    assert max(rows * length for rows, length in shapes if length == shapes[0][1]) > 100 - shapes[0][1]  # and is full


def test_the_fingerprint_knows_all_that_scores_depend_on(tiny_model: Path) -> None:
    base = scorer(tiny_model)
    others = [
        scorer(tiny_model, alpha=0.8),
        scorer(tiny_model, outlier_statistic="class_dist"),
        scorer(tiny_model, word_reduction="max"),
        scorer(tiny_model),
    ]
    others[-1].classifier = replace(base.classifier, dtype=torch.bfloat16)
    assert len({own.fingerprint for own in (base, *others)}) == 5
    assert scorer(tiny_model, max_batch_pieces=7).fingerprint == base.fingerprint
    plain = [scorer(tiny_model, alpha=1.0, outlier_statistic=name).fingerprint for name in ("class_diag", "class_dist")]
    assert plain[0] == plain[1]  # without a weight it is not computed


@pytest.mark.parametrize("text", ["lazy dog " * 26 + "matter and " * 14, "Numbers like 42 and fox " * 12])
def test_a_unit_longer_than_a_window_is_the_mean_of_its_parts_and_as_near_as_the_best(
    aware_model: Path, text: str
) -> None:
    question = "Who?"
    document, scoring = segment(text), scorer(aware_model)
    assert len(document.unit_starts) == 1
    classifier = scoring.classifier
    asked, passage = tokenize(classifier.tokenizer, [question, text])
    frame = classifier.special.frame(asked.ids.tolist())
    windows = windows_of(0, document, passage, classifier.max_pieces - len(frame))
    total, near = np.zeros(32), []
    for window in windows:
        run = frame.around(passage.ids[window.start : window.end].tolist())
        with torch.inference_mode():
            ids, types = torch.tensor([run.ids]), torch.tensor([run.types])
            hidden = classifier.model(ids, token_type_ids=types, output_hidden_states=True).hidden_states[-1][0]
        own = hidden[len(frame.front.ids) : len(frame.front.ids) + len(window)]
        total += own.sum(0).double().numpy()
        near.append(torch.cosine_similarity(hidden[frame.question].mean(0), own.mean(0), dim=0).item())
    assert max(near) - min(near) > 100 * ROUNDING
    assert len(windows[0]) != len(windows[-1])
    (scores,) = scoring.score([document], question)
    pieces = sum(len(window) for window in windows)
    np.testing.assert_allclose(scores.unit_vectors[0], total / pieces, atol=10 * ROUNDING)
    assert scores.unit_similarity.tolist() == pytest.approx([10 * max(near)], abs=100 * ROUNDING)

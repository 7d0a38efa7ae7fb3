"""The encoder stage: passages, what is computed when, and what a question then costs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny import CORPUS

from moos_integrations import ConfigError, ContextCompressor, ModelError
from moos_integrations.core.encoder import TokenClassifierScorer
from moos_integrations.core.hub import load_classifier, resolve_encoder
from moos_integrations.core.passages import PassageEncoder
from moos_integrations.core.stages import MOST_WORDS, PassageScorer, TwoStageScorer, passage_of_unit
from moos_integrations.core.text import segment

TEXTS = [*CORPUS, "A fox sleeps here. The dog does not. " * 60, "", "  \n", "fox " * 700]
QUESTION = "Where does the fox sleep?"


@pytest.fixture(scope="module")
def residual_model(aware_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on what an encoder's cosines leave open, with a gate that opens differently."""
    folder = tmp_path_factory.mktemp("residual") / "model"
    shutil.copytree(aware_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["moos"]["residual"] = True
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    tensors = load_file(folder / "model.safetensors")
    tensors["relevance_gate.linear.weight"] = torch.randn(2, 32) / 8
    tensors["relevance_gate.linear.bias"] = torch.tensor([-0.5, -1.0])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def built(folder: Path, **settings: object) -> ContextCompressor:
    values = {"min_tokens": 0, "tokenizer": len, "device": "cpu", "dtype": "float32", **settings}
    return ContextCompressor.from_pretrained(str(folder), **values)  # type: ignore[arg-type]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which network reads how many rows: "encoder 3", "reader 2"."""
    found: list[str] = []
    encode, read = PassageEncoder._compute, TokenClassifierScorer._compute

    def counted_encode(self: PassageEncoder, ids: list[list[int]], *rest: object) -> object:
        found.append(f"encoder {len(ids)}")
        return encode(self, ids, *rest)  # type: ignore[arg-type]

    def counted_read(self: TokenClassifierScorer, batch: list[object], *rest: object) -> object:
        found.append(f"reader {len(batch)}")
        return read(self, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PassageEncoder, "_compute", counted_encode)
    monkeypatch.setattr(TokenClassifierScorer, "_compute", counted_read)
    return found


# --- passages ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 90), max_size=60))
def test_passages_are_runs_of_whole_units_and_none_is_long_without_need(lengths: list[int]) -> None:
    document = segment(" ".join(f"{'word ' * (length - 1)}end{index}." for index, length in enumerate(lengths)))
    words = np.bincount(document.unit_of_word, minlength=len(document.unit_starts))
    passages = passage_of_unit(document)
    assert len(passages) == len(document.unit_starts)
    if not len(words):
        return
    assert passages[0] == 0
    assert set(np.diff(passages)) <= {0, 1}
    sizes = np.bincount(passages, weights=words)
    assert sizes.max() <= MOST_WORDS + words.max()
    assert len(sizes) <= -(-words.sum() // MOST_WORDS)


def test_a_long_document_is_ranked_inside(tiny_model: Path) -> None:
    document = segment("The dog barks at the door all night. " * 300)
    (scores,) = PassageScorer(PassageEncoder(str(tiny_model), max_pieces=64)).score([document], None)
    words = len(document)
    assert scores.passage_vectors is not None
    assert scores.unit_vectors is not None
    assert len(scores.passage_vectors) == -(-words // MOST_WORDS)
    np.testing.assert_allclose(np.linalg.norm(scores.passage_vectors, axis=1), 1, atol=1e-5)
    assert len(scores.unit_vectors) == len(document.unit_starts)


def test_vectors_of_a_text_depend_on_it_alone(tiny_model: Path) -> None:
    scorer = PassageScorer(PassageEncoder(str(tiny_model), max_pieces=64))
    documents = [segment(text) for text in TEXTS]
    for document, together in zip(documents, scorer.score(documents, None), strict=True):
        (alone,) = scorer.score([document], "any")
        assert not together.misfit(document)
        np.testing.assert_array_equal(alone.unit_vectors, together.unit_vectors)
        np.testing.assert_array_equal(alone.passage_vectors, together.passage_vectors)


# --- what is read when ------------------------------------------------------------------------------------------------


def test_after_precompute_a_question_costs_one_short_pass_of_the_encoder(
    aware_model: Path, tiny_model: Path, passes: list[str]
) -> None:
    compressor = built(aware_model, encoder=str(tiny_model))
    compressor.precompute(TEXTS[:3])
    assert any(own.startswith("encoder") for own in passes)
    passes.clear()
    compressor.compress(TEXTS[:3], QUESTION, rate=0.5)
    assert [own for own in passes if own.startswith("encoder")] == ["encoder 1"]
    assert any(own.startswith("reader") for own in passes)
    passes.clear()
    compressor.compress(TEXTS[:3], QUESTION, rate=0.3)
    assert passes == ["encoder 1"]


def test_vectors_are_kept_in_a_directory_by_content_and_encoder(
    aware_model: Path, tiny_model: Path, tmp_path: Path, passes: list[str]
) -> None:
    built(aware_model, encoder=str(tiny_model), cache_dir=tmp_path).precompute(TEXTS[:3])
    passes.clear()
    built(aware_model, encoder=str(tiny_model), cache_dir=tmp_path).compress(TEXTS[:2], QUESTION, rate=0.5)
    assert [own for own in passes if own.startswith("encoder")] == ["encoder 1"]
    passes.clear()
    built(aware_model, encoder=str(aware_model), cache_dir=tmp_path).compress(TEXTS[:2], QUESTION, rate=0.5)
    assert len([own for own in passes if own.startswith("encoder")]) > 1, "another encoder has other vectors"


@pytest.mark.parametrize("query", [None, "", " \n", "\u200b"])
def test_without_a_question_the_encoder_does_not_run_on_documents(
    aware_model: Path, tiny_model: Path, passes: list[str], query: str | None
) -> None:
    result = built(aware_model, encoder=str(tiny_model)).compress(TEXTS[:3], query, rate=0.5)
    assert result.kept_tokens <= result.original_tokens // 2
    assert {own for own in passes if own.startswith("encoder")} <= {"encoder 1"}


# --- results ----------------------------------------------------------------------------------------------------------

QUESTIONS = {
    "of another language": "Wo schläft der Fuchs?",
    "of another script": "狐狸睡在哪里？",
    "endless": "Where does the fox sleep? " * 4000,
    "code alone": "def sleeps(fox):\n    return fox.place\n",
    "marks alone": "?!",
    "surrogate": "fox \ud800",
}


@pytest.mark.parametrize("query", QUESTIONS.values(), ids=QUESTIONS)
def test_any_question_gives_a_result_under_the_ceiling(residual_model: Path, query: str) -> None:
    compressor = built(residual_model)
    result = compressor.compress(TEXTS, query, rate=0.4)
    assert result.kept_tokens <= 0.4 * result.original_tokens
    assert result.text == compressor.compress(TEXTS, query, rate=0.4).text


def test_the_cosines_join_what_the_reader_says(aware_model: Path, tiny_model: Path) -> None:
    documents = [segment(text) for text in TEXTS]
    both, reader = built(aware_model, encoder=str(tiny_model)).scorer, built(aware_model).scorer
    assert isinstance(both, TwoStageScorer)
    for one, other, document in zip(
        both.score(documents, QUESTION), reader.score(documents, QUESTION), documents, strict=True
    ):
        np.testing.assert_array_equal(one.metric, other.metric)
        assert other.cosines is None
        assert one.cosines is not None
        assert one.cosines.shape == (len(document.unit_starts), 2)
        assert np.abs(one.cosines).max(initial=0) <= 1 + 1e-5
    assert both.score(documents, None)[0].cosines is None


def test_an_encoder_makes_relevance_for_a_model_that_reads_no_question(tiny_model: Path) -> None:
    texts = ["The fox sleeps.", "It is late."]
    result = built(tiny_model, encoder=str(tiny_model)).compress(texts, "The fox sleeps.", rate=0.9)
    assert [document.relevance is not None for document in result.documents] == [True, True]
    alone = built(tiny_model).scorer.score([segment(text) for text in texts], "The fox sleeps.")
    assert not any(scores.reads_question for scores in alone)


# --- models that were trained with an encoder -------------------------------------------------------------------------


def test_a_residual_model_is_its_own_encoder_and_its_gate_weighs(residual_model: Path) -> None:
    scorer = built(residual_model).scorer
    documents = [segment(text) for text in TEXTS]
    for document, scores in zip(documents, scorer.score(documents, QUESTION), strict=True):
        assert scores.cosines is not None
        if len(document):
            assert scores.gates is not None
            assert scores.gates.shape == scores.cosines.shape
            assert (scores.gates > 0).all()
            assert (scores.gates < [40, 20]).all()
    spread = np.concatenate([own.gates for own in scorer.score(documents, QUESTION) if own.gates is not None])
    assert spread.std(0).min() > 0.1, "the gate does not see the passage"
    assert all(own.gates is None for own in scorer.score(documents, None))


def test_the_gate_of_the_files_is_used(residual_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(residual_model, other)
    tensors = load_file(other / "model.safetensors")
    tensors["relevance_gate.linear.bias"] = torch.tensor([5.0, 5.0])
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    first, second = (load_classifier(str(own), device="cpu", dtype="float32") for own in (residual_model, other))
    assert first.reading != second.reading, "cached scores of one gate must not be those of another"
    document = [segment(TEXTS[0])]
    low, high = (built(own).scorer.score(document, QUESTION)[0].gates for own in (residual_model, other))
    assert low is not None
    assert high is not None
    assert (high > low).all()


def drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["relevance_gate.linear.weight"]


def cut(tensors: dict[str, torch.Tensor]) -> None:
    tensors["relevance_gate.linear.weight"] = torch.zeros(2, 3)


def spoil(tensors: dict[str, torch.Tensor]) -> None:
    tensors["relevance_gate.linear.bias"] = torch.tensor([torch.nan, 0.0])


@pytest.mark.parametrize(
    ("change", "message"), [(drop, "have no gate"), (cut, "have no gate"), (spoil, "must be finite")]
)
def test_a_residual_model_without_a_usable_gate_is_refused(
    residual_model: Path, tmp_path: Path, change: object, message: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(residual_model, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)  # type: ignore[operator]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=message):
        load_classifier(str(folder), device="cpu")


def test_what_says_whether_a_model_is_residual_must_be_true_or_false(residual_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    shutil.copytree(residual_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["moos"]["residual"] = "yes"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"`residual` in `moos` of its config\.json must be true or false, got 'yes'"):
        load_classifier(str(folder), device="cpu")


def test_the_encoder_in_a_models_folder_is_used_unless_the_setting_names_another(
    aware_model: Path, residual_model: Path, tiny_model: Path, tmp_path: Path
) -> None:
    document = [segment(TEXTS[0])]
    for model in (aware_model, residual_model):
        folder = tmp_path / model.parent.name / model.name
        shutil.copytree(model, folder)
        shutil.copytree(tiny_model, folder / "encoder")
        tensors = load_file(folder / "encoder" / "model.safetensors")
        torch.manual_seed(2)
        changed = {name: tensor + torch.randn_like(tensor) / 4 for name, tensor in tensors.items()}
        save_file(changed, folder / "encoder" / "model.safetensors", metadata={"format": "pt"})
        beside, named = built(folder).scorer, built(model, encoder=str(folder / "encoder")).scorer
        other = built(folder, encoder=str(model)).scorer
        found, expected, unlike = (own.score(document, QUESTION)[0].cosines for own in (beside, named, other))
        np.testing.assert_array_equal(found, expected)
        assert np.abs(found - unlike).max() > 1e-3


# --- the setting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [3, "", "no such/folder/here", Path("encoder")])
def test_an_encoder_is_named_by_a_folder_or_an_id(value: object) -> None:
    with pytest.raises(ConfigError, match="`encoder` must be"):
        ContextCompressor.from_pretrained(lazy=True, encoder=value)  # type: ignore[arg-type]


def test_a_folder_without_an_encoder_is_a_clear_error(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model / "config.json", tmp_path / "config.json")
    with pytest.raises(ModelError, match="Expected a sentence encoder with a fast tokenizer in"):
        built(tiny_model, encoder=str(tmp_path))


def test_the_packaged_encoder_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moos_integrations.core.hub.find_spec", lambda name: None)
    assert resolve_encoder("all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"

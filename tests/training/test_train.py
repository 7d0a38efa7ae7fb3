from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import llama_index.core
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import PAIR_TEMPLATES, wordpiece
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedModel

from moos_integrations import ConfigError, ContextCompressor, InputError
from moos_integrations.core.hub import load_classifier
from moos_integrations.core.pooling import OUTSIDE, QUESTION
from moos_integrations.core.text import segment
from moos_integrations.training.card import model_card
from moos_integrations.training.examples import Example
from moos_integrations.training.labels import LabelledText
from moos_integrations.training.loss import IGNORED, LossParts, MOOSLoss
from moos_integrations.training.tiny import tiny_groups, train_tiny
from moos_integrations.training.trainer import (
    LOG,
    Collator,
    Recipe,
    Seen,
    cosine_per_layer,
    encode,
    fit,
    fit_rows,
    model_inputs,
    pieces_by_step,
    read_in_parts,
    start,
)


def labelled(text: str, keep: str) -> LabelledText:
    return LabelledText(text, np.array([float(word in keep.split()) for word in segment(text).words()]))


PAIRED = wordpiece(PAIR_TEMPLATES["wordpiece"])


# --- inputs --------------------------------------------------------------------------------------------------------


def test_every_piece_has_the_label_of_its_word() -> None:
    tokenizer = wordpiece()
    passage = labelled("The quick brown fox jumps, 42 times.", "quick jumps 42")
    (row,) = encode([Example(passage)], tokenizer, 64)
    pieces = tokenizer.convert_ids_to_tokens(row["input_ids"])
    assert len(pieces) > len(passage.targets)  # some words have several pieces
    words = {True: "", False: ""}
    for piece, label in zip(pieces, row["labels"], strict=True):
        assert (label == IGNORED) == (piece in ("[CLS]", "[SEP]"))
        if label != IGNORED:
            words[bool(label)] += piece.removeprefix("##")
    assert words == {True: "quickjumps42", False: "Thebrownfox,times."}


def test_a_question_stands_before_the_passage_and_has_no_labels() -> None:
    passage = labelled("The quick brown fox.", "fox")
    (row,) = encode([Example(passage, "lazy dog.", 1.0)], PAIRED, 64)
    pieces = PAIRED.convert_ids_to_tokens(row["input_ids"])
    first, last = pieces.index("[SEP]"), len(pieces) - 1
    assert pieces[0] == "[CLS]"
    assert "".join(piece.removeprefix("##") for piece in pieces[1:first]) == "lazydog."
    assert row["labels"][0] == 1.0
    assert set(row["labels"][1 : first + 1]) == {IGNORED}
    assert row["labels"][last] == IGNORED
    own = [(piece, label) for piece, label in zip(pieces, row["labels"], strict=True) if label != IGNORED][1:]
    assert "".join(piece.removeprefix("##") for piece, label in own if label == 1.0) == "fox"
    assert row["token_type_ids"] == [0] * (first + 1) + [1] * (last - first)


def test_a_long_question_gets_a_quarter_and_a_long_passage_is_cut() -> None:
    passage = labelled("The quick brown fox. " * 40, "fox")
    (row,) = encode([Example(passage, "lazy dog " * 200, 0.0)], PAIRED, 64)
    assert len(row["input_ids"]) == 64
    assert row["input_ids"].index(PAIRED.convert_tokens_to_ids("[SEP]")) <= 1 + 64 // 4


def test_training_and_scoring_read_the_same_input(aware_model: Path) -> None:
    """What the model is trained on, piece for piece, is what the scorer shows it."""
    from moos_integrations.core.windows import question_pieces, tokenize

    classifier = load_classifier(str(aware_model), device="cpu", dtype="float32")
    text, question = "The quick brown fox.", "lazy dog?"
    (row,) = encode([Example(labelled(text, ""), question, 0.0)], AutoTokenizer.from_pretrained(aware_model), 64)
    asked = question_pieces(classifier.tokenizer, question, 64)
    frame = classifier.special.frame(tuple(int(piece) for piece in asked))
    (pieces,) = tokenize(classifier.tokenizer, [text])
    ids, types = frame.around(pieces.ids.tolist())[:2]
    assert list(ids) == row["input_ids"]
    assert list(types) == row["token_type_ids"]


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="Expected 2 labels, one per word, got 1"):
        encode([Example(LabelledText("a b", np.array([1.0])))], wordpiece(), 64)


def test_batches_are_padded_outside_the_loss() -> None:
    rows = encode([Example(labelled(text, "fox")) for text in ("The fox.", "The quick brown fox jumps.")], PAIRED, 64)
    batch = Collator(PAIRED.pad_token_id)([rows])
    short = len(rows[0]["input_ids"])
    assert (batch["labels"][0, short:] == IGNORED).all()
    assert batch["attention_mask"].sum(1).tolist() == [len(row["input_ids"]) for row in rows]
    assert (batch["units"][0, short:] == OUTSIDE).all()
    assert Collator(PAIRED.pad_token_id)([rows, rows[:1]])["groups"].tolist() == [0, 0, 1]


def test_every_piece_of_the_passage_has_its_sentence() -> None:
    passage = labelled("The fox jumps. The dog sleeps. The fox snores.", "fox")
    (row,) = encode([Example(passage, "lazy dog.", 1.0)], PAIRED, 64)
    pieces = PAIRED.convert_ids_to_tokens(row["input_ids"])
    texts: dict[int, str] = {}
    for piece, unit in zip(pieces, row["units"], strict=True):
        texts[unit] = texts.get(unit, "") + piece.removeprefix("##")
    assert texts == {
        OUTSIDE: "[CLS][SEP][SEP]",
        QUESTION: "lazydog.",
        0: "Thefoxjumps.",
        1: "Thedogsleeps.",
        2: "Thefoxsnores.",
    }


def test_similarities_stay_with_their_rows() -> None:
    texts, told = ("The fox jumps. The dog sleeps.", "The fox."), (np.array([0.5, 0.25]), None)
    examples = [Example(labelled(text, "fox"), "A dog?", 1.0, own) for text, own in zip(texts, told, strict=True)]
    batch = Collator(PAIRED.pad_token_id)([encode(examples, PAIRED, 64)])
    assert batch["similarities"][0].tolist() == [0.5, 0.25]
    assert batch["similarities"][1].isnan().all()


def test_reading_in_parts_changes_nothing(aware_model: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(aware_model).eval()
    texts = ["The fox.", "The quick brown fox jumps over the dog.", "Fox.", "The quick brown fox jumps.", "The dog."]
    batch = Collator(PAIRED.pad_token_id)([encode([Example(labelled(text, "fox")) for text in texts], PAIRED, 64)])
    inputs = model_inputs(batch)
    with torch.inference_mode():
        whole = model(**inputs, output_hidden_states=True)
        for parts in (1, 2, 5):
            logits, hidden = read_in_parts(model, inputs, parts)
            real = inputs["attention_mask"].bool()
            torch.testing.assert_close(logits[real], whole.logits[real], atol=1e-5, rtol=0)
            torch.testing.assert_close(hidden[real], whole.hidden_states[-1][real], atol=1e-5, rtol=0)


# --- recipes -------------------------------------------------------------------------------------------------------


def test_a_recipe_goes_to_json_and_back() -> None:
    recipe = Recipe(beta=0.3, negatives=7)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json("{}") == Recipe()
    assert Recipe.from_json(json.dumps({"recipe": json.loads(recipe.to_json()), "steps": 3})) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "Expected a JSON object of training settings, got list"),
        ("{", "Expected a JSON object of training settings: "),
        ('{"betta": 1}', "Unknown setting 'betta'; known are backbone, "),
        ('{"mix": {}}', "Unknown setting 'mix'; known are backbone, "),
        ('{"beta": "high"}', "`beta` must be a finite number from 0 on, got 'high'"),
        ('{"held_out": 2}', "`held_out` must be a number in [0, 1], got 2"),
        ('{"negatives": 1.5}', "`negatives` must be a whole number from 0 on, got 1.5"),
        ('{"batch_size": 0}', "`batch_size` must be a whole number from 1 on, got 0"),
        ('{"backbone": 7}', "`backbone` must be a bundled name, a folder or a hub id, got 7"),
    ],
)
def test_a_wrong_recipe_is_a_clear_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        Recipe.from_json(text)


# --- whole runs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    output = tmp_path_factory.mktemp("tiny_run")
    return output / "model", train_tiny(output)


@pytest.mark.slow
def test_eight_examples_are_learnt_by_heart(tiny_run: tuple[Path, dict[str, object]]) -> None:
    folder, report = tiny_run
    assert report["accuracy"] >= 0.95  # words that no label tells apart stay wrong
    losses = [loss for _, loss in report["loss_curve"]]  # type: ignore[attr-defined]
    assert losses[-1] < losses[0] / 2
    compressor = ContextCompressor.from_pretrained(str(folder))
    passage = "The ferry leaves the north pier at 7:45. Dogs travel free."
    asked = compressor.compress(passage, "When does the ferry leave?", threshold=0.5)
    assert "7:45" in asked.text
    assert "Dogs" not in asked.text


@pytest.mark.slow
def test_the_question_decides_after_training(tiny_run: tuple[Path, dict[str, object]]) -> None:
    """The same passage, its own question and another's: relevance tells them apart."""
    from moos_integrations.core.encoder import TokenClassifierScorer
    from moos_integrations.core.text import segment

    scorer = TokenClassifierScorer(
        load_classifier(str(tiny_run[0]), dtype="float32"),
        alpha=1.0,
        outlier_statistic="class_diag",
        word_reduction="mean",
        max_batch_pieces=4096,
    )
    document = segment("The ferry leaves the north pier at 7:45. Dogs travel free.")
    own, other = (
        scorer.score([document], q)[0] for q in ("When does the ferry leave?", "Who wrote notes on the engine?")
    )
    assert own.passage_probability > 0.5 > other.passage_probability


@pytest.mark.slow
def test_the_saved_folder_loads_everywhere(tiny_run: tuple[Path, dict[str, object]]) -> None:
    folder, _ = tiny_run
    model = AutoModelForTokenClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "discard", 1: "preserve"}
    classifier = load_classifier(str(folder))
    assert classifier.query_aware
    assert classifier.max_pieces == 512  # the length of training is no property of the model


@pytest.mark.slow
def test_llmlingua_loads_the_saved_folder(
    tiny_run: tuple[Path, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))  # it counts with a tokenizer that would be downloaded
    llmlingua = pytest.importorskip("llmlingua")
    # It tells the family of a model by its name, and knows three names.
    folder = shutil.copytree(tiny_run[0], tmp_path / "bert-base-multilingual-cased")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compressor = llmlingua.PromptCompressor(
            str(folder), use_llmlingua2=True, device_map="cpu", llmlingua2_config={"max_force_token": 0}
        )
        result = compressor.compress_prompt(["The ferry leaves the north pier at 7:45. Dogs travel free."], rate=0.5)
    assert result["compressed_prompt"]


@pytest.mark.slow
def test_the_card_tells_what_was_done(tiny_run: tuple[Path, dict[str, object]]) -> None:
    card = (tiny_run[0] / "README.md").read_text(encoding="utf-8")
    for expected in ("query-aware", "arXiv 2504.16786", "2602.01719", "| seed | 0 |"):
        assert expected in card
    report = {**json.loads((tiny_run[0] / "training.json").read_text()), "data_sha256": {"mine.jsonl": "ab" * 32}}
    assert "| `mine.jsonl` | `abababababababab` |" in model_card(report)


def recipe_for(backbone: str, **changes: object) -> Recipe:
    settings: dict[str, object] = {
        "backbone": backbone,
        "learning_rate": 5e-3,
        "warmup_steps": 2,
        "decay_steps": 4,
        "max_steps": 8,
        "batch_size": 8,
        "max_pieces": 60,
        "save_steps": 4,
    }
    return Recipe(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_model_says_that_it_reads_questions_before_it_is_measured(aware_model: Path, tmp_path: Path) -> None:
    """Early stopping would otherwise watch what the model makes of passages without their question."""
    recipe = recipe_for(str(aware_model), patience=1, save_steps=1, max_steps=1, similarity_scale=7.0)
    model, tokenizer = start(recipe)
    model.config.moos = {}
    said = []

    def measure(model: PreTrainedModel) -> dict[str, float]:
        said.append(dict(model.config.moos))
        return {"score": 0.0}

    groups = tiny_groups()
    fit(model, tokenizer, groups, [example for group in groups for example in group], recipe, tmp_path, measure)
    assert said == [{"query_aware": True, "similarity_scale": 7.0}]


def test_the_cosine_of_every_layer(aware_model: Path) -> None:
    model = AutoModelForTokenClassification.from_pretrained(aware_model)
    rows = encode([Example(labelled("The quick brown fox.", "fox"))] * 3, PAIRED, 64)
    curve = cosine_per_layer(model, rows, Collator(PAIRED.pad_token_id), size=2)
    assert len(curve) == 2
    assert all(-1 <= value <= 1 for value in curve)
    assert curve == cosine_per_layer(model, rows[:1], Collator(PAIRED.pad_token_id))


# --- the residual on a sentence encoder and the log -------------------------------------------------------------------


def residual_rows(count: int = 6) -> list[list[dict[str, object]]]:
    groups = []
    for n in range(count):
        passages = (labelled("The fox jumps. The dog sleeps.", "fox"), labelled("The quick dog. The lazy fox.", ""))
        group = [
            Example(own, "A fox?", float(not place), np.array([0.9, 0.1]), 0.5, kind=("table", "code")[n % 2])
            for place, own in enumerate(passages)
        ]
        groups.append(encode(group, PAIRED, 64))
    return groups


@pytest.mark.slow
def test_the_gate_is_learnt_and_saved_and_the_log_has_losses_by_kind(aware_model: Path, tmp_path: Path) -> None:
    recipe = Recipe(backbone=str(aware_model), residual=True, learning_rate=0.05, max_steps=25, batch_size=2)
    model, tokenizer = start(recipe)
    probe = [Example(labelled("The fox jumps.", "fox"))]
    report = fit_rows(model, tokenizer, residual_rows(), probe, recipe, tmp_path, lambda _: {}, query_aware=True)
    assert model.config.moos["residual"]
    (line, *_) = [json.loads(own) for own in (tmp_path / LOG).read_text().splitlines()]
    assert line["step"] == 25
    assert line["pieces"] == report["training_pieces"] > 0
    for kind in ("table", "code"):
        assert {f"words/{kind}", f"passage/{kind}", f"ranking/{kind}"} <= line.keys()
    model.save_pretrained(tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert weights["relevance_gate.linear.weight"].abs().max() > 0
    assert load_classifier(str(tmp_path / "model")) is not None  # the gate does no harm to who does not know it


def test_pieces_of_a_part_that_was_repeated_count_once(tmp_path: Path) -> None:
    lines = [{"step": 25, "pieces": 10}, {"step": 50, "pieces": 11}, {"step": 75, "pieces": 12}]
    again = [{"step": 50, "pieces": 11}, {"step": 50, "train_loss": 1.0}]
    (tmp_path / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines + again), encoding="utf-8")
    assert pieces_by_step(tmp_path / LOG) == {25: 10, 50: 11}
    assert pieces_by_step(tmp_path / "none") == {}


def test_losses_are_reported_by_kind_and_text_without_a_kind_is_left_out() -> None:
    collate, seen = Collator(PAIRED.pad_token_id), Seen()
    rows = residual_rows(2)
    rows[1] = encode([Example(labelled("The fox.", "fox"))], PAIRED, 64)
    batch = collate(rows)
    nothing = torch.nan
    parts = LossParts(
        {"words": torch.tensor(2.0)},
        {"words": torch.tensor([1.0, 3.0, 9.0]), "ranking": torch.tensor([nothing, 7.0])},
    )
    seen.add(parts, batch, collate.kinds)
    pieces = int(batch["attention_mask"].sum())
    assert seen.taken() == {"loss/words": 2.0, "words/table": 2.0, "pieces": pieces}
    assert seen.taken() == {"pieces": 0}


def test_the_base_shifts_the_ranking_alone() -> None:
    rows = residual_rows(1)
    batch = Collator(PAIRED.pad_token_id)(rows)
    shape = batch["labels"].shape
    logits, hidden = torch.zeros(*shape, 2), torch.ones(*shape, 4)
    loss = MOOSLoss(0.0, ranking_weight=1.0, passage_weight=1.0)
    inputs = (logits, hidden, batch["labels"], batch["units"], batch["groups"])
    plain, helped = loss.parts(*inputs), loss.parts(*inputs, base=torch.tensor([[5.0, 0.0], [0.0, 0.0]]))
    assert helped.terms["ranking"] < plain.terms["ranking"] - 1
    for name in ("words", "passage"):
        assert helped.terms[name] == plain.terms[name]

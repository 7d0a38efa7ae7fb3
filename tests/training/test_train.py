from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
from tiny import wordpiece

from moos_integrations import ContextCompressor
from moos_integrations.core.text import segment
from moos_integrations.training.labels import LabelledText
from moos_integrations.training.loss import IGNORED
from moos_integrations.training.train import Recipe, compression_pairs, encode, join_passages, train


def labelled(text: str, keep: str) -> LabelledText:
    return LabelledText(text, np.array([word in keep.split() for word in segment(text).words()]))


def test_every_piece_has_the_label_of_its_word() -> None:
    tokenizer = wordpiece()
    passage = labelled("The quick brown fox jumps, 42 times.", "quick jumps 42")
    (example,) = encode([passage], tokenizer, 64)
    pieces = tokenizer.convert_ids_to_tokens(example["input_ids"])
    assert len(pieces) > len(passage.keep)  # some words have several pieces
    words = {True: "", False: ""}
    for piece, label in zip(pieces, example["labels"], strict=True):
        assert (label == IGNORED) == (piece in ("[CLS]", "[SEP]"))
        if label != IGNORED:
            words[bool(label)] += piece.removeprefix("##")
    assert words == {True: "quickjumps42", False: "Thebrownfox,times."}


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected 2 labels, one per word, got 1"):
        encode([LabelledText("a b", np.array([True]))], wordpiece(), 64)


def test_joining_keeps_all_words_in_order() -> None:
    parts = [labelled(f"word{index} end.", f"word{index}") for index in range(10)]
    joined = join_passages(parts, (1, 2, 3), random.Random(0))
    assert " ".join(passage.text for passage in joined) == " ".join(part.text for part in parts)
    assert np.concatenate([passage.keep for passage in joined]).tolist() == [True, False, False] * 10
    assert all(len(segment(passage.text)) == len(passage.keep) for passage in joined)


def write(path: Path, records: list[dict[str, object]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)


def test_numbers_hidden_by_the_source_become_numbers(tmp_path: Path) -> None:
    write(tmp_path / "lc.jsonl.gz", [{"source": "it cost ## dollars , he said .", "keep": "11110001"}, {"source": "x"}])
    (sentence,) = compression_pairs(tmp_path / "lc.jsonl.gz", random.Random(0))
    assert "#" not in sentence.text
    assert sentence.text.startswith("it cost ")
    assert sentence.text.endswith("dollars, he said.")
    assert sentence.keep[:4].all()


def test_a_whole_run_learns_and_loads(tmp_path: Path, tiny_model: Path) -> None:
    """Eight passages with one rule (words after `brown` matter): after some steps the saved model has learnt it."""
    context = "The quick brown fox jumps over the lazy dog. Names like Ada matter."
    qas = [{"question": "Which fox?", "answers": [{"text": "quick brown fox", "answer_start": 4}]}]
    write(
        tmp_path / "squad_train.jsonl.gz",
        [{"title": f"t{index % 4}", "context": context, "qas": qas} for index in range(8)],
    )
    pair = {"source": "The quick brown fox .", "source_text": "The quick brown fox.", "keep": "01110"}
    write(tmp_path / "google_compression_cased.jsonl.gz", [pair] * 8)
    write(tmp_path / "google_compression_train_lc.jsonl.gz", [{"source": "the dog .", "keep": "000"}] * 8)
    recipe = Recipe(str(tiny_model), "tiny", learning_rate=5e-3, epochs=40, max_pieces=60, batch_size=4)
    report = train(tmp_path, tmp_path / "run", recipe)
    losses = [loss for _, loss in report["loss_curve"]]
    assert losses[-1] < losses[0] / 2
    assert report["validation"]["f1"] > 0.9
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["backbone_name"] == "tiny"
    result = ContextCompressor.from_pretrained(str(tmp_path / "run" / "model"), alpha=1.0).compress(
        context, threshold=0.5
    )
    assert result.text == "quick brown fox"

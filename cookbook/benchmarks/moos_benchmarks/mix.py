"""The training mix: data sets to examples, query-free and query-aware, with hard negatives.

Reads JSON lines: `squad_train`, `hotpotqa`, `google_compression_cased`, `google_compression_train_lc`. Held out from
training are one in fifty SQuAD articles, 300 HotpotQA questions and the last 500 cased Google pairs
(`evaluation.data`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import regex

from moos_benchmarks.data import (
    Pair,
    SquadPassage,
    articles_held_out,
    data_file,
    hotpotqa_held_out,
    pairs_held_out,
    read_pairs,
    read_squad,
)
from moos_benchmarks.negatives import nearest_by_embedding, nearest_by_words, sentence_similarities
from moos_integrations.core.checks import check_share, check_whole_number
from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.types import IntArray, Span
from moos_integrations.records import Document, Question, read_questions
from moos_integrations.training.examples import Example, Group, crop, restyled
from moos_integrations.training.labels import (
    LabelledText,
    labels_for_question,
    labels_from_questions,
    labels_from_token_mask,
)

SETS = ("squad_train", "hotpotqa", "google_compression_cased", "google_compression_train_lc")
_NEAREST = 20  # candidates per retriever; an answer may stand in most of them
_DISTRACTORS = 4  # of a HotpotQA question that stand beside its supporting documents


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a SQuAD paragraph: `paragraph` is its index, `answers` are character spans in it."""

    question: str
    paragraph: int
    answers: tuple[Span, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A SQuAD paragraph with the questions whose answer has a sure place in it."""

    title: str
    text: str
    asked: tuple[Asked, ...]


# --- SQuAD ---------------------------------------------------------------------------------------------------------


def squad_paragraphs(records: Iterable[SquadPassage]) -> list[Paragraph]:
    """Paragraphs with their questions; answers whose position is ambiguous are left out."""
    paragraphs = []
    for index, record in enumerate(records):
        asked = [
            Asked(
                item.question,
                index,
                tuple((answer.start, answer.start + len(answer.text)) for answer in sure),
                tuple(answer.text for answer in sure),
            )
            for item in record.questions
            if (sure := [answer for answer in item.answers if answer.occurrences == 1])
        ]
        paragraphs.append(Paragraph(record.title, record.context, tuple(asked)))
    return paragraphs


def query_free(paragraphs: Sequence[Paragraph]) -> list[LabelledText]:
    """Each paragraph once, labelled with all its questions; those without a question are left out."""
    return [
        labels_from_questions(
            paragraph.text,
            [asked.question for asked in paragraph.asked],
            [span for asked in paragraph.asked for span in asked.answers],
        )
        for paragraph in paragraphs
        if paragraph.asked
    ]


def query_aware(
    paragraphs: Sequence[Paragraph], asked: Sequence[Asked], nearest: IntArray, rng: random.Random, negatives: int = 1
) -> list[Group]:
    """Per question its own paragraph, and others that a retriever takes for it.

    Args:
        paragraphs: All paragraphs that may serve as negatives.
        asked: The questions.
        nearest: Indices into `paragraphs`, best first. Shape: `(retrievers, questions, candidates)`.
        rng: Chooses among the negatives, and the style of the question.
        negatives: Other paragraphs per question; fewer where fewer are without the answer.
    """
    groups = []
    for row, item in enumerate(asked):
        question = restyled(item.question, rng)
        own = labels_for_question(paragraphs[item.paragraph].text, item.question, item.answers)
        group = [Example(crop(own, rng), question, 1.0)]
        first = rng.randrange(len(nearest))  # the retrievers take turns: their mistakes differ
        candidates = [nearest[(first + turn) % len(nearest), row].tolist() for turn in range(negatives)]
        texts = [_hard_negative(paragraphs, item, found, rng) for found in candidates]
        for text in dict.fromkeys(text for text in texts if text is not None):
            passage = LabelledText(text, np.zeros(len(word_spans(text)[0])))
            group.append(Example(crop(passage, rng), question, 0.0))
        groups.append(tuple(group))
    return groups


def _hard_negative(
    paragraphs: Sequence[Paragraph], asked: Asked, candidates: Sequence[int], rng: random.Random
) -> str | None:
    """One of the five best candidates without the answer; sometimes one of the same article."""
    if rng.random() < 0.2:  # neighbours share the topic, and retrievers do not always find them
        near = range(max(asked.paragraph - 8, 0), min(asked.paragraph + 9, len(paragraphs)))
        title = paragraphs[asked.paragraph].title
        candidates = [index for index in near if paragraphs[index].title == title]
        rng.shuffle(candidates)
    answers = [text.lower() for text in asked.texts]
    wrong = [
        paragraphs[index].text
        for index in candidates
        if index != asked.paragraph and not any(answer in paragraphs[index].text.lower() for answer in answers)
    ]
    return rng.choice(wrong[:5]) if wrong else None


# --- HotpotQA ------------------------------------------------------------------------------------------------------


def hotpot_groups(records: Sequence[Question], rng: random.Random, copies: int = 2) -> list[Group]:
    """Every question `copies` times, in another style, with its supporting documents, cropped anew, and some others."""
    groups = []
    for record in records:
        gold = [document for document in record.documents if document.is_gold]
        others = [document for document in record.documents if not document.is_gold]
        for _ in range(copies):
            question = restyled(record.question, rng)
            dealt = [*gold, *rng.sample(others, min(_DISTRACTORS, len(others)))]
            groups.append(tuple(_of_hotpot(record, document, question, rng) for document in dealt))
    return groups


def _of_hotpot(record: Question, document: Document, question: str, rng: random.Random) -> Example:
    answers = _occurrences(document.text, record.answers) if document.evidence else []
    inside = [span for span in answers if any(a <= span[0] and span[1] <= b for a, b in document.evidence)]
    passage = labels_for_question(document.text, record.question, inside, document.evidence)
    return Example(crop(passage, rng), question, float(bool(document.is_gold)))


def _occurrences(text: str, answers: Sequence[str]) -> list[Span]:
    return [
        match.span()
        for answer in answers
        for match in regex.finditer(rf"\b{regex.escape(answer)}\b", text, regex.IGNORECASE)
    ]


# --- sentence compression ------------------------------------------------------------------------------------------


def compression_pairs(pairs: Iterable[Pair], rng: random.Random) -> list[LabelledText]:
    """Labelled sentences; where a sentence is given as tokens alone, it is put together, and `##` becomes a number.

    Args:
        pairs: The pairs; those without a mask, and those whose tokens do not spell the sentence, are left out.
        rng: Draws the numbers that stand in for `##` (any number, in the lower-cased Google pairs).
    """
    labelled = []
    for pair in pairs:
        if pair.keep is None:
            continue
        tokens, text = list(pair.tokens), pair.text
        if text == " ".join(tokens):
            tokens = [str(rng.randrange(10 ** rng.randint(1, 4))) if token == "##" else token for token in tokens]
            text = _detokenise(tokens)
        labels = labels_from_token_mask(text, tokens, pair.keep)
        if labels is not None:
            labelled.append(labels)
    return labelled


def _detokenise(tokens: Sequence[str]) -> str:
    return regex.sub(r" ([,.;:!?%)]|'s\b|n't\b)", r"\1", " ".join(tokens)).replace("( ", "(").replace("$ ", "$")


# --- shaping -------------------------------------------------------------------------------------------------------


def join_passages(parts: Sequence[LabelledText], sizes: Sequence[int], rng: random.Random) -> list[LabelledText]:
    """Join runs of neighbours into longer passages, run lengths drawn from `sizes`, as retrieved chunks are joined."""
    joined, position = [], 0
    while position < len(parts):
        run = parts[position : position + rng.choice(sizes)]
        joined.append(LabelledText(" ".join(part.text for part in run), np.concatenate([part.targets for part in run])))
        position += len(run)
    return joined


# --- the mix -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of what; see `load`.

    Attributes:
        query_free_share: Share of the SQuAD paragraphs read without a question.
        query_free_copies: How often each text is read without a question, each time joined with others.
        questions: SQuAD questions, each with its paragraph and hard negatives.
        negatives: Hard negatives per SQuAD question.
        hotpot_copies: How often a HotpotQA question is seen, each time with its supporting documents and other
            distractors; 0 leaves the set out.
        cased_pairs: Use at most so many cased Google pairs.
        lower_case_pairs: Use at most so many of the lower-cased ones.
        limit: Use only this many records of each set (trials and tests); 0 means all.
    """

    query_free_share: float = 1.0
    query_free_copies: int = 1
    questions: int = 0
    negatives: int = 2
    hotpot_copies: int = 0
    cased_pairs: int = 8_992
    lower_case_pairs: int = 15_000
    limit: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming the first that is of the wrong kind or out of range.
        """
        check_share("query_free_share", self.query_free_share)
        for name in ("query_free_copies", "questions", "negatives", "hotpot_copies", "cased_pairs", "lower_case_pairs"):
            check_whole_number(name, getattr(self, name), 0)
        check_whole_number("limit", self.limit, 0)


def load(
    data: Path, mix: Mix, retriever: str, seed: int, *, skip_bad: bool = False, found: Path | None = None
) -> tuple[list[Group], list[SquadPassage], int]:
    """Training examples in groups, shuffled, and the passages of the held-out articles.

    Args:
        data: Folder with the sets that `SETS` names.
        mix: How much of each.
        retriever: Sentence encoder that finds hard negatives (beside BM25).
        seed: Of every choice.
        skip_bad: Leave malformed records out and count them.
        found: Folder that keeps the negatives found (`negatives-HASH.npy`), so that a run that goes on need not search
            again; None keeps nothing.

    Returns:
        Groups of examples, held-out passages, and how many malformed records were skipped.

    Raises:
        InputError: If a file is missing, or a record is malformed and `skip_bad` is False.
    """
    squad = read_squad(data_file(data, "squad_train"), limit=mix.limit or None, skip_bad=skip_bad)
    held_out = articles_held_out(record.title for record in squad)
    paragraphs = squad_paragraphs(record for record in squad if record.title not in held_out)
    rng = _rng(seed, "query-free")
    chosen = [paragraph for paragraph in paragraphs if rng.random() < mix.query_free_share]
    texts, skipped = _joined_anew(query_free(chosen), (1, 1, 2), mix.query_free_copies, rng), squad.skipped
    for name, count in (
        ("google_compression_cased", mix.cased_pairs),
        ("google_compression_train_lc", mix.lower_case_pairs),
    ):
        if count:
            rng = _rng(seed, name)
            read = read_pairs(data_file(data, name), skip_bad=skip_bad)
            kept_back = len(pairs_held_out(read.items)) if name == "google_compression_cased" else 0
            pairs = compression_pairs(read.items[: len(read) - kept_back][: mix.limit or None], rng)
            rng.shuffle(pairs)
            texts += _joined_anew(pairs[:count], (1, 2, 4, 6), mix.query_free_copies, rng)
            skipped += read.skipped
    groups: list[Group] = [(Example(text),) for text in texts]
    if mix.questions:
        groups += _asked_of_squad(paragraphs, mix, retriever, _rng(seed, "questions"), found)
    if mix.hotpot_copies:
        questions = read_questions(data_file(data, "hotpotqa"), skip_bad=skip_bad)
        unseen = hotpotqa_held_out(record.id for record in questions)
        seen = [record for record in questions if record.id not in unseen][: mix.limit or None]
        groups += hotpot_groups(seen, _rng(seed, "hotpotqa"), mix.hotpot_copies)
        skipped += questions.skipped
    _rng(seed, "order").shuffle(groups)
    return groups, [record for record in squad if record.title in held_out], skipped


def _joined_anew(
    parts: Sequence[LabelledText], sizes: Sequence[int], copies: int, rng: random.Random
) -> list[LabelledText]:
    return [passage for _ in range(copies) for passage in join_passages(parts, sizes, rng)]


def _rng(seed: int, part: str) -> random.Random:
    """One per part, so that another amount of one leaves the others, and the negatives found for them, as they are."""
    return random.Random(f"{seed} {part}")


def _asked_of_squad(
    paragraphs: Sequence[Paragraph], mix: Mix, retriever: str, rng: random.Random, found: Path | None
) -> list[Group]:
    asked = [item for paragraph in paragraphs for item in paragraph.asked]
    asked = rng.sample(asked, min(mix.questions, len(asked)))
    questions, passages = [item.question for item in asked], [paragraph.text for paragraph in paragraphs]
    searched = hashlib.sha256("\0".join([Path(retriever).name, *questions, *passages]).encode()).hexdigest()
    kept = found / f"negatives-{searched[:16]}.npy" if found else None
    if kept and kept.exists():
        nearest = np.load(kept)
    else:
        by_words = nearest_by_words(questions, passages, _NEAREST)
        nearest = np.stack([by_words, nearest_by_embedding(retriever, questions, passages, _NEAREST)])
        if kept:
            np.save(kept, nearest)
    return query_aware(paragraphs, asked, nearest, rng, mix.negatives)


def with_similarities(groups: Sequence[Group], encoder: str) -> list[Group]:
    """The groups, with what a sentence encoder says of each question and the units of its passages.

    Args:
        groups: Those without a question stay as they are.
        encoder: Folder or hub id of a sentence encoder with mean pooling.
    """
    asked = [
        (example.question, _units(example.passage.text)) for group in groups for example in group if example.question
    ]
    found = iter(sentence_similarities(encoder, [question for question, _ in asked], [units for _, units in asked]))
    return [
        tuple(replace(example, similarities=next(found)) if example.question else example for example in group)
        for group in groups
    ]


def _units(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in zip(*unit_spans(text), strict=True)]

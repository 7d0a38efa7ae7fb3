"""Training examples from a user's records: questions with documents and answers, and compressed texts.

A record becomes a group: the passages of a question are ranked against one another, a compressed text is alone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex

from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.types import FloatArray, Span
from moos_integrations.errors import InputError
from moos_integrations.records import Document, Pair, Question, parser, question_of, read_records
from moos_integrations.training.alignment import labels_from_pairs
from moos_integrations.training.labels import (
    LabelledText,
    content_words,
    labels_for_question,
    labels_from_questions,
)

OK = "ok"
"""The verdict of `moos annotate` that is used for training."""
_CROP_WORDS = 90  # query-aware passages are cut to about this, as retrievers cut their chunks
_LONG_WORDS = 200  # no passage of more words stays whole: the end would not fit into the model
_CANDIDATES = 20  # documents of other questions among which a negative is looked for
_MOST_GOLD = 3  # documents with the answer in a group


@dataclass(frozen=True, slots=True)
class Example:
    """One input of the model.

    Attributes:
        passage: The text with its targets.
        question: The question, or None for query-free reading.
        relevance: 1 if the passage has the answer, else 0: the target of the first piece, which learns the passage
            probability. None without a question.
        similarities: Cosine of the question and each unit of the passage by a sentence encoder; None without one.
            Shape: `(units,)`.
        passage_similarity: The same of the question and the whole passage; None without one.
        kind: Kind of text or of question, under which its loss is reported; empty for none.
    """

    passage: LabelledText
    question: str | None = None
    relevance: float | None = None
    similarities: FloatArray | None = None
    passage_similarity: float | None = None
    kind: str = ""


Group = tuple[Example, ...]
"""The passages of one question, ranked against one another; without a question an example is alone."""


@dataclass(frozen=True, slots=True)
class TrainingRecords:
    """The records of the training files.

    Attributes:
        questions: Questions with an answer in one of their documents, or with a document that is marked as gold.
        pairs: Texts with their compressed texts.
        notes: Reasons for which other records were left out, one line each.
    """

    questions: tuple[Question, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of records."""
        return len(self.questions) + len(self.pairs)

    def split(self, share: float) -> tuple[TrainingRecords, TrainingRecords]:
        """Training records and held-out records, the same ones in every run.

        Args:
            share: Fraction of the records of each kind to hold out, rounded down.
        """
        questions, held_questions = _split(self.questions, share, lambda own: own.question)
        pairs, held_pairs = _split(self.pairs, share, lambda own: own.text)
        return TrainingRecords(questions, pairs, self.notes), TrainingRecords(held_questions, held_pairs)


def _split(records: Sequence[Any], share: float, key: Callable[[Any], str]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """By the hash of the text, so that a repeated text is on one side."""
    digests = {text: hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in map(key, records)}
    out = set(sorted(digests, key=digests.__getitem__)[: int(share * len(digests))])
    return tuple(own for own in records if key(own) not in out), tuple(own for own in records if key(own) in out)


# --- records ---------------------------------------------------------------------------------------------------------


def read_training(paths: Sequence[str | Path], *, skip_bad: bool = False) -> TrainingRecords:
    """Records of one or more JSON-lines files, in any mixture of three forms.

    * `{"question", "documents", "answers"}`: see `records.read_questions`;
    * `{"original" or "text", "compressed"}`: a text and its compressed text;
    * lines of `moos annotate`, which have the same fields; answers whose verdict is not "ok" are left out.

    Args:
        paths: The files; `.gz` is unpacked.
        skip_bad: Skip and count malformed records.

    Raises:
        InputError: If a file cannot be read, a record is malformed, or nothing is left to learn from.
    """
    found = read_records(paths, _training_record, skip_bad=skip_bad)
    asked = [own for own in found if isinstance(own, Question)]
    questions = tuple(own for own in asked if any(is_gold(own, document) for document in own.documents))
    every = [own for own in found if isinstance(own, Pair)]
    pairs = tuple(own for own in every if own.verdict == OK)
    counts = {
        "malformed records skipped": found.skipped,
        "questions left out: no document has their answer": len(asked) - len(questions),
        "annotations left out: their verdict is not ok": len(every) - len(pairs),
    }
    notes = tuple(f"{count:,} {what}" for what, count in counts.items() if count)
    if not questions and not pairs:
        names = ", ".join(Path(path).name for path in paths) or "no file"
        raise InputError(f"Nothing to learn from in {names}: {'; '.join(notes) or 'no records'}.")
    return TrainingRecords(questions, pairs, notes)


def _training_record(values: dict[str, Any]) -> Question | Pair:
    if "question" in values:
        return question_of(values)
    if "compressed" in values:
        return parser(Pair)(values)
    names = ", ".join(f"`{name}`" for name in values) or "none"
    raise ValueError(
        "expected the fields `question`, `documents` and `answers`, or `original` and `compressed`; the record has "
        f"{names}"
    )


def is_gold(question: Question, document: Document) -> bool:
    """Whether a document has what the question needs: by the record's `is_gold`, else if it contains an answer."""
    if document.is_gold is not None:
        return document.is_gold
    return bool(answer_spans(document.text, question.answers))


def answer_spans(text: str, answers: Iterable[str]) -> list[Span]:
    """Spans of answers in a text as whole words, without regard to case."""
    borders = {0, len(text), *(border for edges in word_spans(text) for border in edges.tolist())}

    def parts(place: int) -> bool:  # words, or what is no word: the words of "$1.50" are one
        return place in borders or not (text[place - 1].isalnum() and text[place].isalnum())

    return [
        match.span()
        for answer in answers
        for match in regex.finditer(regex.escape(answer.strip()), text, regex.IGNORECASE)
        if parts(match.start()) and parts(match.end())
    ]


# --- groups ----------------------------------------------------------------------------------------------------------


def groups_from_pairs(pairs: Sequence[Pair], words: int = _LONG_WORDS) -> list[Group]:
    """Query-free examples: the words that the compressed text kept, traced back to the source.

    Pairs of poor quality are left out; see `labels_from_pairs`.

    Args:
        pairs: Texts and their compressed texts.
        words: Longest passage; longer texts are cut into several between sentences.
    """
    labelled = labels_from_pairs([(own.text, own.compressed) for own in pairs])
    return [(Example(part),) for text in labelled for part in cut(text, words)]


def groups_from_questions(
    questions: Sequence[Question], rng: random.Random, *, negatives: int = 4, query_free_share: float = 0.25
) -> list[Group]:
    """Query-aware groups, and some of the passages without the question.

    A group has the documents with the answer (three at most), cut to about 90 words around it, and documents without
    it. If a record has none without it, one that shares words with the question is taken from another record.

    Args:
        questions: Each with a document that has the answer.
        rng: Chooses documents, cuts and the form of questions.
        negatives: Most documents without the answer in a group.
        query_free_share: Share of the questions whose first such document is also read without a question.
    """
    pool = [document.text for own in questions for document in own.documents]
    groups: list[Group] = []
    for own in questions:
        gold = [document for document in own.documents if is_gold(own, document)]
        others = [document.text for document in own.documents if not is_gold(own, document)]
        others = rng.sample(others, min(negatives, len(others))) or _borrowed(own, pool, rng)
        asked = restyled(own.question, rng)
        passages = [_with_answer(own, document) for document in gold[:_MOST_GOLD]]
        examples = [Example(_cropped(passage, rng), asked, 1.0) for passage in passages]
        for text in others if negatives else ():
            nothing = LabelledText(text, np.zeros(len(word_spans(text)[0])))
            examples.append(Example(_cropped(nothing, rng), asked, 0.0))
        groups.append(tuple(examples))
        if rng.random() < query_free_share:
            spans = answer_spans(gold[0].text, own.answers)
            free = labels_from_questions(gold[0].text, [own.question], [*spans, *gold[0].evidence])
            groups.append((Example(_cropped(free, rng)),))
    return groups


def _with_answer(question: Question, document: Document) -> LabelledText:
    spans = answer_spans(document.text, question.answers)
    return labels_for_question(document.text, question.question, spans, document.evidence)


def _borrowed(question: Question, pool: Sequence[str], rng: random.Random) -> list[str]:
    """Of some documents of other records, the one that shares most words with the question and has no answer."""
    wanted = {word.lower() for word in content_words(question.question)}
    own = {document.text for document in question.documents}
    candidates = [
        text
        for text in rng.sample(pool, min(_CANDIDATES, len(pool)))
        if text not in own and not answer_spans(text, question.answers)
    ]
    if not candidates:
        return []
    return [max(candidates, key=lambda text: len(wanted & {word.lower() for word in content_words(text)}))]


def _cropped(passage: LabelledText, rng: random.Random) -> LabelledText:
    whole = 0.25 if len(passage.targets) <= _LONG_WORDS else 0.0
    return crop(passage, rng, whole=whole)


# --- shaping ---------------------------------------------------------------------------------------------------------


def cut(passage: LabelledText, words: int) -> list[LabelledText]:
    """A passage as pieces of whole sentences of at most `words` words; a longer sentence stays whole.

    Args:
        passage: The text with its targets.
        words: Longest piece.
    """
    starts, _ = word_spans(passage.text)
    unit_starts, unit_ends = unit_spans(passage.text)
    unit_of_word = np.searchsorted(unit_starts, starts, side="right") - 1
    sizes = np.bincount(unit_of_word, minlength=len(unit_starts)) if len(starts) else np.zeros(0, int)
    pieces, first = [], 0
    for last in range(len(sizes)):
        if last + 1 == len(sizes) or sizes[first : last + 2].sum() > words:
            inside = (unit_of_word >= first) & (unit_of_word <= last)
            text = passage.text[unit_starts[first] : unit_ends[last]]
            # Rarely a sentence ends inside a word ("U.S."): then the cut would change the words.
            if inside.any() and len(word_spans(text)[0]) == inside.sum():
                pieces.append(LabelledText(text, passage.targets[inside]))
            first = last + 1
    return pieces


def crop(passage: LabelledText, rng: random.Random, words: int = _CROP_WORDS, *, whole: float = 0.25) -> LabelledText:
    """A run of whole sentences of about `words` words with all words to preserve, if there are any.

    Args:
        passage: The text with its targets.
        rng: Chooses the sentences.
        words: Desired length.
        whole: Share of the passages that stay whole, so that the model sees all lengths.
    """
    unit_starts, unit_ends = unit_spans(passage.text)
    word_starts, _ = word_spans(passage.text)
    if len(word_starts) <= words or len(unit_starts) < 2 or rng.random() < whole:
        return passage
    unit_of_word = np.searchsorted(unit_starts, word_starts, side="right") - 1
    wanted = unit_of_word[passage.targets > 0]
    first, last = (int(wanted.min()), int(wanted.max())) if len(wanted) else (rng.randrange(len(unit_starts)),) * 2
    sizes = np.bincount(unit_of_word, minlength=len(unit_starts))
    while sizes[first : last + 1].sum() < words and (first > 0 or last < len(unit_starts) - 1):
        if last == len(unit_starts) - 1 or (first > 0 and rng.random() < 0.5):
            first -= 1
        else:
            last += 1
    inside = (unit_of_word >= first) & (unit_of_word <= last)
    text = passage.text[unit_starts[first] : unit_ends[last]]
    # Rarely a sentence ends inside a word ("U.S."): the cut would change the words, so the passage stays whole.
    return LabelledText(text, passage.targets[inside]) if len(word_spans(text)[0]) == inside.sum() else passage


def restyled(question: str, rng: random.Random) -> str:
    """The question as users write it: half stay, a third lose question mark and capitals, some become keywords.

    Some lose a part of the keywords too, because a passage often answers only a part of a question of several steps.
    `rewritten` has more ways.
    """
    draw = rng.random()
    if draw < 0.5:
        return question
    if draw < 0.8:
        return question.rstrip(" ?").lower()
    words = content_words(question)
    if draw >= 0.88:
        words = [word for word in words if rng.random() < 0.6] or words
    return " ".join(words) or question


_FILLERS = ("um", "uh", "well", "so", "you know", "I mean")
_CORRECTIONS = ("no wait", "sorry", "I mean", "or rather")


def rewritten(question: str, rng: random.Random) -> str:
    """As `restyled`; one question in ten is spoken with fillers and a false start, one in thirty is in capitals."""
    draw = rng.random()
    if draw < 0.1:
        return disfluent(question, rng)
    if draw < 0.133:
        return question.upper()
    return restyled(question, rng)


def disfluent(question: str, rng: random.Random) -> str:
    """The question as it is spoken: a false start that is taken back, or a filler somewhere in it.

    Args:
        question: Its words stay, in order.
        rng: Chooses the form and the place.
    """
    words = question.split()
    if len(words) < 4:
        return f"{rng.choice(_FILLERS)} {question}"
    place = rng.randrange(1, len(words) - 1)
    if rng.random() < 0.5:
        return " ".join([*words[:place], rng.choice(_FILLERS), *words[place:]])
    started = words[: rng.randrange(2, min(len(words), 5))]
    return " ".join([*started, rng.choice(_CORRECTIONS), *words])

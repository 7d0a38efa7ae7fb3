"""The data sets: readers for their JSON-lines schemas, and the rules that say what is held out from training.

A record that does not have the fields of its schema stops the reading with its file, line and field; `skip_bad` leaves
it out instead and counts it. Files are `NAME.jsonl.gz` or `NAME.jsonl`. Nothing here loads torch.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

from moos_integrations.core.types import Span
from moos_integrations.errors import InputError

Item = TypeVar("Item")


# --- what is held out from training ----------------------------------------------------------------------------------


def hotpotqa_held_out(ids: Iterable[str], count: int = 300) -> set[str]:
    """The `hotpotqa` questions that no training sees: those whose ids have the smallest SHA-256 digests.

    Args:
        ids: The ids of all questions of the file.
        count: How many are held out.
    """
    return set(sorted(set(ids), key=lambda name: sha256(name.encode()).hexdigest())[:count])


def articles_held_out(titles: Iterable[str]) -> set[str]:
    """The `squad_train` articles that no training sees: every fiftieth of the sorted titles."""
    return set(sorted(set(titles))[::50])


def pairs_held_out(records: Sequence[Item], count: int = 500) -> Sequence[Item]:
    """The `google_compression_cased` records that no training sees: the last ones of the file."""
    return records[-count:]


# --- values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Document:
    """A retrieved document.

    Attributes:
        title: Its title; no part of `text`.
        text: What is compressed.
        is_gold: Whether the question was asked about it.
        evidence: Character spans of its supporting sentences, where the data set names them.
    """

    title: str
    text: str
    is_gold: bool
    evidence: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the documents that a retriever found for it.

    Attributes:
        id: Unique in its file.
        question: The query.
        answers: Accepted answers.
        documents: In retrieval order.
        source: Where within its data set it comes from; empty if there is but one source.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    documents: tuple[Document, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its place in the passage.

    Attributes:
        text: The answer.
        start: Offset into the passage at which it stands.
        occurrences: How often it stands there; from two on, `start` is a guess.
    """

    text: str
    start: int
    occurrences: int = 1


@dataclass(frozen=True, slots=True)
class SquadQuestion:
    """A question about one passage."""

    id: str
    question: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class SquadPassage:
    """A passage of an article with all questions about it."""

    id: str
    title: str
    context: str
    questions: tuple[SquadQuestion, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence and which of its tokens a human compression kept.

    Attributes:
        id: Unique in its file.
        text: The sentence as written; where the file has none, its tokens joined by spaces.
        tokens: The sentence's tokens, parted at white space.
        keep: True for each kept token; None where the compression is no subsequence of the sentence.
    """

    id: str
    text: str
    tokens: tuple[str, ...]
    keep: tuple[bool, ...] | None


@dataclass(frozen=True, slots=True)
class LongText:
    """A long text with a question about it."""

    id: str
    question: str
    answers: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with worked examples in front of it, which are what is compressed.

    Attributes:
        id: Unique in its file.
        prompt: The worked examples.
        question: The problem.
        answer: Its solution; with the steps that lead there, where the data set has them.
        task: What kind of problem it is; empty if there is but one.
    """

    id: str
    prompt: str
    question: str
    answer: str
    task: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text and, per question about it, the accepted answers: what query-free measuring needs of any schema."""

    text: str
    answers: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Records(Generic[Item]):
    """What was read from a file.

    Attributes:
        items: The records, in file order.
        skipped: How many malformed records were left out.
    """

    items: tuple[Item, ...]
    skipped: int = 0

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the records."""
        return iter(self.items)

    def __len__(self) -> int:
        """Number of records read."""
        return len(self.items)


# --- readers ---------------------------------------------------------------------------------------------------------


def data_file(data: Path, name: str) -> Path:
    """The file of a data set.

    Raises:
        InputError: If the folder has neither `NAME.jsonl.gz` nor `NAME.jsonl`.
    """
    for path in (data / f"{name}.jsonl.gz", data / f"{name}.jsonl"):
        if path.is_file():
            return path
    raise InputError(f"Expected {name}.jsonl.gz or {name}.jsonl in {data}, found neither. Name another data folder.")


def read_questions(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Question]:
    """Questions with documents: `{"id", "question", "answers", "documents": [{"title", "text", "is_gold"}]}`.

    Args:
        path: The file.
        limit: Read only this many records.
        skip_bad: Leave malformed records out and count them.

    Raises:
        InputError: If the file cannot be read; naming line and field, if a record is malformed.
    """
    return _read(path, _question, limit, skip_bad)


def read_squad(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[SquadPassage]:
    """Passages: `{"id", "title", "context", "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}`.

    Arguments and errors as for `read_questions`.
    """
    return _read(path, _squad, limit, skip_bad)


def read_pairs(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Pair]:
    """Sentence compressions: `{"id", "source", "keep"?, "source_text"?}`; `keep` has a 0 or 1 per token of `source`.

    Arguments and errors as for `read_questions`.
    """
    return _read(path, _pair, limit, skip_bad)


def read_long(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[LongText]:
    """Long texts: `{"id", "question", "answers", "text"}`. Arguments and errors as for `read_questions`."""
    return _read(path, _long, limit, skip_bad)


def read_problems(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Problem]:
    """Problems: `{"id", "prompt", "question", "answer", "rationale"?, "task"?}`.

    Arguments and errors as for `read_questions`.
    """
    return _read(path, _problem, limit, skip_bad)


def read_asked(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Question]:
    """Questions with what they are asked about, from any schema that has it: documents, or one long text.

    Arguments and errors as for `read_questions`.
    """
    return _read(path, _asked, limit, skip_bad)


def read_passages(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Passage]:
    """Texts with answers from any schema that has them; documents are joined by blank lines.

    Arguments and errors as for `read_questions`.
    """
    return _read(path, _passage, limit, skip_bad)


def passage_of(record: Question | SquadPassage | LongText) -> Passage:
    """The text and the answers of a record, without its questions."""
    if isinstance(record, SquadPassage):
        return Passage(
            record.context, tuple(tuple(answer.text for answer in item.answers) for item in record.questions)
        )
    if isinstance(record, LongText):
        return Passage(record.text, (record.answers,))
    return Passage("\n\n".join(document.text for document in record.documents), (record.answers,))


def _read(path: Path, parse: Callable[[_Fields], Item], limit: int | None, skip_bad: bool) -> Records[Item]:
    items: list[Item] = []
    skipped = 0
    for number, line in enumerate(_lines(path), 1):
        if limit is not None and len(items) == limit:
            break
        try:
            items.append(parse(_record(line, f"{path.name}, line {number}")))
        except InputError as error:
            if not skip_bad:
                raise InputError(f"{error} Correct the record, or leave such records out with `skip_bad`.") from error
            skipped += 1
    return Records(tuple(items), skipped)


def _lines(path: Path) -> Iterator[str]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read as (gzipped) UTF-8 JSON lines: {error}.") from error


def _record(line: str, where: str) -> _Fields:
    try:
        return _Fields(json.loads(line), where)
    except ValueError as error:
        raise InputError(f"{where}: expected a JSON object: {error}.") from error


class _Fields:
    """A JSON object whose fields are checked as they are taken out."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            raise InputError(f"{where}: expected a JSON object, got {type(values).__name__}.")
        self._values, self._where = values, where

    def __contains__(self, field: str) -> bool:
        return field in self._values

    def fail(self, field: str, expected: str, came: str) -> InputError:
        """The error for a field, to be raised."""
        return InputError(f"{self._where}: expected {expected} in `{field}`, got {came}.")

    def _take(self, field: str, kind: type, expected: str) -> Any:
        if field not in self._values:
            raise self.fail(field, expected, "no such field")
        value = self._values[field]
        if type(value) is not kind:  # exactly: a bool is no int here
            raise self.fail(field, expected, type(value).__name__)
        return value

    def text(self, field: str) -> str:
        """A string."""
        return str(self._take(field, str, "a string"))

    def number(self, field: str) -> int:
        """A whole number."""
        return int(self._take(field, int, "a whole number"))

    def flag(self, field: str) -> bool:
        """A truth value."""
        return bool(self._take(field, bool, "true or false"))

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of strings, at least one."""
        values = self._take(field, list, "a list of strings")
        if not values or not all(isinstance(value, str) for value in values):
            raise self.fail(field, "a list of one or more strings", repr(values)[:60])
        return tuple(values)

    def spans(self, field: str, length: int) -> tuple[Span, ...]:
        """A list of `[start, end]` in a text of `length` characters."""
        values = self._take(field, list, "a list of [start, end]")
        for value in values:
            whole = isinstance(value, list) and [type(edge) for edge in value] == [int, int]
            if not whole or not 0 <= value[0] <= value[1] <= length:
                raise self.fail(field, f"spans [start, end] within {length} characters", repr(value)[:60])
        return tuple((start, end) for start, end in values)

    def objects(self, field: str) -> list[_Fields]:
        """A list of objects, at least one."""
        values = self._take(field, list, "a list of objects")
        if not values:
            raise self.fail(field, "a list of one or more objects", "an empty list")
        return [_Fields(value, f"{self._where}, {field}[{index}]") for index, value in enumerate(values)]


def _question(record: _Fields) -> Question:
    documents = tuple(
        Document(item.text("title"), item.text("text"), item.flag("is_gold"), _evidence(item))
        for item in record.objects("documents")
    )
    source = record.text("source") if "source" in record else ""
    return Question(record.text("id"), record.text("question"), record.texts("answers"), documents, source)


def _evidence(record: _Fields) -> tuple[Span, ...]:
    return record.spans("gold_spans", len(record.text("text"))) if "gold_spans" in record else ()


def _squad(record: _Fields) -> SquadPassage:
    context = record.text("context")
    questions = tuple(
        SquadQuestion(
            item.text("id"),
            item.text("question"),
            tuple(_answer(answer, context) for answer in item.objects("answers")),
        )
        for item in record.objects("qas")
    )
    return SquadPassage(record.text("id"), record.text("title"), context, questions)


def _answer(record: _Fields, context: str) -> Answer:
    text, start = record.text("text"), record.number("answer_start")
    if not 0 <= start <= len(context) - len(text) or not context.startswith(text, start):
        raise record.fail("answer_start", "the offset of the answer in `context`", f"{start} for {text[:40]!r}")
    return Answer(text, start, record.number("n_occurrences") if "n_occurrences" in record else 1)


def _pair(record: _Fields) -> Pair:
    source = record.text("source")
    tokens = tuple(source.split())
    text = record.text("source_text") if "source_text" in record else source
    if "keep" not in record:
        return Pair(record.text("id"), text, tokens, None)
    mask = record.text("keep")
    if len(mask) != len(tokens) or set(mask) - {"0", "1"}:
        raise record.fail("keep", f"{len(tokens)} times 0 or 1, one per token of `source`", repr(mask[:60]))
    return Pair(record.text("id"), text, tokens, tuple(bit == "1" for bit in mask))


def _long(record: _Fields) -> LongText:
    return LongText(record.text("id"), record.text("question"), record.texts("answers"), record.text("text"))


def _problem(record: _Fields) -> Problem:
    answer = record.text("answer")
    if "rationale" in record:
        answer = f"{record.text('rationale').strip()} {answer}"
    task = record.text("task") if "task" in record else ""
    return Problem(record.text("id"), record.text("prompt"), record.text("question"), answer, task)


def _asked(record: _Fields) -> Question:
    if "documents" in record:
        return _question(record)
    own = _long(record)
    document = Document("", own.text, is_gold=True, evidence=_evidence(record))
    return Question(own.id, own.question, own.answers, (document,))


def _passage(record: _Fields) -> Passage:
    if "qas" in record:
        return passage_of(_squad(record))
    return passage_of(_long(record) if "text" in record else _question(record))

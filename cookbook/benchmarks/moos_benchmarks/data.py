"""Our data sets: readers for their JSON-lines schemas, and the rules that say what is held out from training.

Questions with documents are read by `moos_integrations.records`, and so are the lines of all files. Files are
`NAME.jsonl.gz` or `NAME.jsonl`. Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, StrictInt
from pydantic.dataclasses import dataclass

from moos_integrations.core.types import Span
from moos_integrations.errors import InputError
from moos_integrations.records import SETTINGS, Document, Question, Records, parser, read_questions, read_records

__all__ = ["read_questions"]

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


@dataclass(frozen=True, slots=True, config=SETTINGS)
class Answer:
    """An answer with its place in the passage.

    Attributes:
        text: The answer.
        start: Offset into the passage at which it stands.
        occurrences: How often it stands there; from two on, `start` is a guess.
    """

    text: str
    start: Annotated[StrictInt, Field(validation_alias="answer_start")]
    occurrences: Annotated[StrictInt, Field(validation_alias="n_occurrences")] = 1


@dataclass(frozen=True, slots=True, config=SETTINGS)
class SquadQuestion:
    """A question about one passage."""

    id: str
    question: str
    answers: Annotated[tuple[Answer, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True, config=SETTINGS)
class SquadPassage:
    """A passage of an article with all questions about it."""

    id: str
    title: str
    context: str
    questions: Annotated[tuple[SquadQuestion, ...], Field(validation_alias="qas")]

    def __post_init__(self) -> None:
        """Check the places of the answers.

        Raises:
            ValueError: If one does not stand where it should.
        """
        for answer in (answer for question in self.questions for answer in question.answers):
            if answer.start < 0 or not self.context.startswith(answer.text, answer.start):
                raise ValueError(
                    f"expected `answer_start` to be the offset of {answer.text[:40]!r} in `context`, got {answer.start}"
                )


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
    answers: Annotated[tuple[str, ...], Field(min_length=1)]
    text: str
    gold_spans: tuple[Span, ...] = ()


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
class _PairLine:
    id: str
    source: str
    source_text: str | None = None
    keep: str | None = None


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


def read_squad(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[SquadPassage]:
    """Passages: `{"id", "title", "context", "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}`.

    Arguments and errors as for `read_questions`.
    """
    return read_records(path, parser(SquadPassage), limit=limit, skip_bad=skip_bad)


def read_pairs(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Pair]:
    """Sentence compressions: `{"id", "source", "keep"?, "source_text"?}`; `keep` has a 0 or 1 per token of `source`.

    Arguments and errors as for `read_questions`.
    """
    return read_records(path, _pair, limit=limit, skip_bad=skip_bad)


def read_long(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[LongText]:
    """Long texts: `{"id", "question", "answers", "text"}`. Arguments and errors as for `read_questions`."""
    return read_records(path, parser(LongText), limit=limit, skip_bad=skip_bad)


def read_problems(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Problem]:
    """Problems: `{"id", "prompt", "question", "answer", "rationale"?, "task"?}`.

    Arguments and errors as for `read_questions`.
    """
    return read_records(path, _problem, limit=limit, skip_bad=skip_bad)


def read_asked(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Question]:
    """Questions with what they are asked about, from any schema that has it: documents, or one long text.

    Arguments and errors as for `read_questions`.
    """
    return read_records(path, _asked, limit=limit, skip_bad=skip_bad)


def read_passages(path: Path, *, limit: int | None = None, skip_bad: bool = False) -> Records[Passage]:
    """Texts with answers from any schema that has them; documents are joined by blank lines.

    Arguments and errors as for `read_questions`.
    """
    return read_records(path, _passage, limit=limit, skip_bad=skip_bad)


def passage_of(record: Question | SquadPassage | LongText) -> Passage:
    """The text and the answers of a record, without its questions."""
    if isinstance(record, SquadPassage):
        return Passage(
            record.context, tuple(tuple(answer.text for answer in item.answers) for item in record.questions)
        )
    if isinstance(record, LongText):
        return Passage(record.text, (record.answers,))
    return Passage("\n\n".join(document.text for document in record.documents), (record.answers,))


def _pair(values: dict[str, Any]) -> Pair:
    line = parser(_PairLine)(values)
    tokens, text = tuple(line.source.split()), line.source if line.source_text is None else line.source_text
    if line.keep is None:
        return Pair(line.id, text, tokens, None)
    if len(line.keep) != len(tokens) or set(line.keep) - {"0", "1"}:
        raise ValueError(f"expected {len(tokens)} times 0 or 1 in `keep`, one per token of `source`, got {line.keep!r}")
    return Pair(line.id, text, tokens, tuple(bit == "1" for bit in line.keep))


def _problem(values: dict[str, Any]) -> Problem:
    steps = values.get("rationale")
    if isinstance(steps, str) and isinstance(values.get("answer"), str):
        values = {**values, "answer": f"{steps.strip()} {values['answer']}"}
    return parser(Problem)(values)


def _asked(values: dict[str, Any]) -> Question:
    if "documents" in values:
        return parser(Question)(values)
    line = parser(LongText)(values)
    document = Document(line.text, is_gold=True, evidence=line.gold_spans)
    return Question(line.question, line.answers, (document,), line.id)


def _passage(values: dict[str, Any]) -> Passage:
    if "qas" in values:
        return passage_of(parser(SquadPassage)(values))
    return passage_of(parser(LongText)(values) if "text" in values else parser(Question)(values))

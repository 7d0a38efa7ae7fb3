"""Records of JSON-lines files: questions with documents and answers, and pairs of a text and its compressed text.

One record is one line. `.gz` files are unpacked. A record that does not fit stops the reading with its file, line and
field; `skip_bad` leaves such records out and counts them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass as plain_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from moos_integrations.core.text import well_formed
from moos_integrations.errors import InputError

Item = TypeVar("Item")
SETTINGS = ConfigDict(populate_by_name=True)
_SHOWN = 60  # characters of a value that an error repeats


# --- values ----------------------------------------------------------------------------------------------------------


def _spoken(text: str) -> str:
    if not text.strip():
        raise ValueError("expected text that is not blank")
    return text


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_name(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


def _as_fields(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(well_formed)]
"""A string without lone surrogates, which UTF-8 libraries refuse; JSON can hold them."""
Spoken = Annotated[Text, AfterValidator(_spoken)]
"""The same, not blank."""


@dataclass(frozen=True, slots=True, config=SETTINGS)
class Document:
    """A retrieved document.

    Attributes:
        text: What is compressed. In a file also `page_content`.
        title: Its title; no part of `text`.
        is_gold: Whether it holds what the question needs; None if unknown.
        evidence: Character spans of its supporting sentences, if known. In a file also `gold_spans`.
    """

    text: Annotated[Text, Field(validation_alias=AliasChoices("text", "page_content"))]
    title: str = ""
    is_gold: StrictBool | None = None
    evidence: Annotated[
        tuple[tuple[StrictInt, StrictInt], ...], Field(validation_alias=AliasChoices("evidence", "gold_spans"))
    ] = ()

    def __post_init__(self) -> None:
        """Check the spans.

        Raises:
            ValueError: If one is not within the text.
        """
        for start, end in self.evidence:
            if not 0 <= start <= end <= len(self.text):
                raise ValueError(f"expected `evidence` within {len(self.text)} characters, got {[start, end]}")


@dataclass(frozen=True, slots=True, config=SETTINGS)
class Question:
    """A question with the documents that a retriever found for it.

    Building one with a value of a wrong type raises pydantic's `ValidationError`, which is a ValueError.

    Attributes:
        question: The query.
        answers: Accepted answers. In a file also one string under `answer`.
        documents: In retrieval order. In a file each is an object or a string.
        id: Names the question; may be empty.
        source: Where within its data set it comes from; may be empty.
    """

    question: Text
    answers: Annotated[
        tuple[Spoken, ...],
        BeforeValidator(_as_list),
        Field(min_length=1, validation_alias=AliasChoices("answers", "answer")),
    ]
    documents: tuple[Annotated[Document, BeforeValidator(_as_fields)], ...]
    id: Annotated[str, BeforeValidator(_as_name)] = ""
    source: str = ""


@dataclass(frozen=True, slots=True, config=SETTINGS)
class Pair:
    """A text and what a person or a model left of it.

    Attributes:
        text: The source. In a file also `original`.
        compressed: The source with words deleted.
        verdict: The verdict of `moos annotate`; only "ok" is fit for training.
    """

    text: Annotated[Spoken, Field(validation_alias=AliasChoices("text", "original"))]
    compressed: Text
    verdict: str = "ok"


@plain_dataclass(frozen=True, slots=True)
class Records(Generic[Item]):
    """What was read.

    Attributes:
        items: The records, in the order of the files.
        problems: What was wrong with the records that were left out, one line each.
        lines: The line of each record in its file, counted from 1.
    """

    items: tuple[Item, ...]
    problems: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()

    @property
    def skipped(self) -> int:
        """How many malformed records were left out."""
        return len(self.problems)

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the records."""
        return iter(self.items)

    def __len__(self) -> int:
        """Number of records read."""
        return len(self.items)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_questions(
    paths: str | Path | Iterable[str | Path], *, limit: int | None = None, skip_bad: bool = False
) -> Records[Question]:
    """Questions from JSON lines: `{"question": ..., "documents": [...], "answers": [...]}`.

    A document is a string, or an object with `text` (or `page_content`) and optionally `title`, `is_gold` and
    `evidence`. Other fields are passed over.

    Args:
        paths: One file or several.
        limit: Read only this many records.
        skip_bad: Leave malformed records out and count them.

    Raises:
        InputError: If a file cannot be read, or a record is malformed.
    """
    return read_records(paths, question_of, limit=limit, skip_bad=skip_bad)


def question_of(values: dict[str, Any]) -> Question:
    """A JSON object as a question; see `read_questions`.

    Raises:
        ValueError: If it does not fit, or the question is blank.
    """
    found = parser(Question)(values)
    if not found.question.strip():
        raise ValueError("`question`: expected text that is not blank")
    return found


def read_records(
    paths: str | Path | Iterable[str | Path],
    parse: Callable[[dict[str, Any]], Item],
    *,
    limit: int | None = None,
    skip_bad: bool = False,
) -> Records[Item]:
    """Records from JSON lines. Blank lines are passed over.

    Args:
        paths: One file or several.
        parse: A JSON object to a record; raises ValueError if it does not fit.
        limit: Read only this many records.
        skip_bad: Leave malformed records out and count them.

    Raises:
        InputError: If a file cannot be read, or a record is malformed.
    """
    items: list[Item] = []
    problems: list[str] = []
    numbers: list[int] = []
    for name, number, line in _lines(paths):
        if limit is not None and len(items) == limit:
            break
        try:
            items.append(parse(_object(line)))
            numbers.append(number)
        except ValueError as error:
            problem = f"{name}, line {number}: {_reason(error)}"
            if not skip_bad:
                raise InputError(f"{problem}. Correct the record, or leave such records out: `--skip-bad`.") from error
            problems.append(problem)
    return Records(tuple(items), tuple(problems), tuple(numbers))


def parser(kind: type[Item]) -> Callable[[dict[str, Any]], Item]:
    """What turns a JSON object into a record of a kind.

    Args:
        kind: A pydantic model or dataclass.
    """
    form: Any = kind
    validate: Callable[[dict[str, Any]], Item] = _adapter(form).validate_python
    return validate


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _lines(paths: str | Path | Iterable[str | Path]) -> Iterator[tuple[str, int, bytes]]:
    """Each line that is not blank, with its file and its number."""
    for path in [Path(paths)] if isinstance(paths, (str, Path)) else map(Path, paths):
        try:
            with _open(path) as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield path.name, number, line
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be read as (gzipped) JSON lines: {error}.") from error


def _open(path: Path) -> AbstractContextManager[Iterable[bytes]]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _object(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8 text, got byte {line[error.start]:#x}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected a JSON object ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {type(values).__name__}")
    return values


def _reason(error: ValueError) -> str:
    """The first thing that is wrong, in words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    if first["type"] in ("missing", "missing_argument"):
        return f"the field `{field}` is missing; there are {_names(first['input'])}"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    message = message.replace("tuple", "list").replace(
        "a dictionary or an instance of Document", "a string or an object"
    )
    where = f"`{field}`: " if field else ""
    came = "" if first["type"] == "value_error" else f", got {_short(first['input'])}"
    return f"{where}{message[:1].lower()}{message[1:]}{came}"


def _names(values: Any) -> str:
    values = getattr(values, "kwargs", values)  # pydantic wraps the fields of a dataclass
    return ", ".join(f"`{name}`" for name in values) or "no fields" if isinstance(values, dict) else _short(values)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."

"""Training data from an LLM: chunks of text go to a chat model that may only delete words, and are kept if it obeyed.

Every answer is appended to a JSON lines file as soon as it arrives, under a key made of the instruction, the model, its
settings and the chunk: a run that was cut short goes on where it stopped and pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import regex

from moos_integrations.core.config import DEFAULT_TOKENIZER
from moos_integrations.core.text import unit_spans, well_formed, word_spans
from moos_integrations.core.tokens import TokenizerLike, token_counter
from moos_integrations.core.types import Span
from moos_integrations.errors import ConfigError, InputError, MissingExtraError, ModelError, MoosError
from moos_integrations.records import read_records as read_lines

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

Json = dict[str, Any]

INSTRUCTION = """\
You shorten a text by deleting words from it, and do nothing else.
1. Copy the words that you keep exactly: same spelling, same form, same capital letters, same numbers.
2. Leave them in the order in which they stand in the text.
3. Add nothing: no new words, no abbreviations, no symbols for words, no comments.
4. Delete all that a reader can do without: filler, repetition, words that can be guessed from the rest. Keep what is \
needed to answer questions about the text: names, numbers, dates, negations, conditions and the words that link them.
Reply with the shortened text alone."""
_LEAD = "Text to shorten:\n\n"

DEFAULT_TOLERANCE = 0.05
"""Share of an answer's words that may break a rule: one in twenty, such as a changed ending."""

_FIELDS = {"run", "key", "text", "compressed", "verdict"}
"""Without these, a line of the output is no annotation."""

OK = "ok"
FAILED = "failed"
"""The verdict that is counted, but not written: the provider gave no answer, so that a rerun asks again."""


class Record(NamedTuple):
    """A text to annotate, and the name that its chunks carry."""

    id: str
    text: str


class Chunk(NamedTuple):
    """What one call of the model is about."""

    id: str
    start: int
    text: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationSettings:
    """How to cut, ask and judge; checked when built.

    The instruction is part of the key of a chunk, beside the model and its own settings. The tolerances are not: an
    answer keeps the verdict that it got, with the two shares it came from, and `judge` judges it anew for free.

    Attributes:
        instruction: What the model is told before it gets a chunk.
        max_chunk_tokens: Longest chunk, in tokens of `tokenizer`. Only a single word may be longer.
        tokenizer: Counts chunks and estimates; a tiktoken name, a Hugging Face tokenizer or a callable.
        max_added: Largest share of the answer's words that the chunk does not have, or not that often.
        max_moved: Largest share of the answer's other words that do not stand in the order of the chunk.
        concurrency: Calls that are under way at a time.
        attempts: Calls per chunk before it counts as failed, with waits of 1, 2, 4, ... seconds and a bit between them.
        max_failures: Failed chunks in a row that end the run: the key is wrong or the provider is down.
    """

    instruction: str = INSTRUCTION
    max_chunk_tokens: int = 512
    tokenizer: TokenizerLike = DEFAULT_TOKENIZER
    max_added: float = DEFAULT_TOLERANCE
    max_moved: float = DEFAULT_TOLERANCE
    concurrency: int = 8
    attempts: int = 4
    max_failures: int = 20

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: If one is out of range.
        """
        for name in ("max_chunk_tokens", "concurrency", "attempts", "max_failures"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"`{name}` must be a whole number from 1 on, got {value!r}.")
        for name in ("max_added", "max_moved"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"`{name}` must be a number in [0, 1], got {getattr(self, name)!r}.")


DEFAULTS = AnnotationSettings()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take, before it starts.

    Attributes:
        chunks: Calls to make.
        done: Chunks that the output already has, or that an earlier text repeats.
        input_tokens: Of instructions and chunks; without the few that a provider adds to each message.
        output_tokens: Of answers as long as their chunks, which is the most that deletion leaves. What a model spends
            on thinking comes on top.
        cost: In the currency of the prices; None without prices.
    """

    chunks: int
    done: int
    input_tokens: int
    output_tokens: int
    cost: float | None

    def __str__(self) -> str:
        """One line."""
        cost = "" if self.cost is None else f"; cost about {self.cost:,.2f}"
        return (
            f"{self.chunks:,} chunks to annotate ({self.done:,} done before); about {self.input_tokens:,} input and at "
            f"most {self.output_tokens:,} output tokens{cost}"
        )


@dataclass(slots=True)
class AnnotationReport:
    """What a run did.

    Attributes:
        verdicts: Number of chunks per verdict: those of `judge`; `truncated` where the provider cut the answer short;
            `failed` where there was no answer.
        done: Chunks that were not sent: the output had them, or an earlier text repeats them.
        input_tokens: As the provider counted them; 0 if it does not.
        output_tokens: As the provider counted them; 0 if it does not.
        last_error: Of the provider, in words.
    """

    done: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    last_error: str | None = None

    @property
    def failed(self) -> int:
        """Chunks without an answer: a rerun asks for them again."""
        return self.verdicts[FAILED]

    def __str__(self) -> str:
        """One line, and one more about failures."""
        counts = ", ".join(f"{verdict} {count:,}" for verdict, count in self.verdicts.most_common()) or "nothing to do"
        tokens = f"{self.input_tokens:,} input, {self.output_tokens:,} output tokens"
        line = f"{counts} ({self.done:,} done before); {tokens}"
        return f"{line}\nlast error: {self.last_error}" if self.last_error else line


# --- input and output ------------------------------------------------------------------------------------------------


def read_records(
    path: str | Path, *, text_field: str = "text", skip_bad: bool = False
) -> tuple[list[Record], list[str]]:
    """Texts from JSON lines (`.gz` is unpacked). The `id` of a record is its field `id`, else its line number.

    Args:
        path: One JSON object per line; empty lines are passed over.
        text_field: The field that holds the text.
        skip_bad: Leave malformed records out instead of raising.

    Returns:
        The records, and what was wrong with those that were left out.

    Raises:
        InputError: If the file cannot be read, or, without `skip_bad`, a record has no text.
    """
    found = read_lines(path, partial(_record, text_field=text_field), skip_bad=skip_bad)
    named = [Record(own.id or str(line), own.text) for own, line in zip(found, found.lines, strict=True)]
    return named, list(found.problems)


def _record(values: Json, text_field: str) -> Record:
    text = values.get(text_field)
    if not isinstance(text, str):
        found = type(text).__name__ if text_field in values else f"the fields {list(values)}"
        raise ValueError(f"expected a string in the field {text_field!r}, got {found}")
    return Record(str(values.get("id", "")), text)


def read_annotations(path: str | Path) -> list[tuple[str, str]]:
    """Pairs `(text, compressed)` of the answers that passed, for training.

    Raises:
        InputError: If the file cannot be read or holds something else.
    """
    return [(record["text"], record["compressed"]) for _, record in _annotations(Path(path)) if record["verdict"] == OK]


def _annotations(path: Path) -> Iterator[tuple[int, Json]]:
    """Number and content of each line; a last line that a crash left half-written is passed over."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                record = _json_or_none(line)
                if isinstance(record, dict) and record.keys() >= _FIELDS:
                    yield number, record
                elif record is not None or line.endswith(b"\n"):
                    raise InputError(
                        f"{path}, line {number}: expected an annotation with the fields {sorted(_FIELDS)}, got "
                        f"{line[:60]!r}. Name another file, or delete the line."
                    )
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def _json_or_none(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _done_keys(output: Path, run: str, model: str) -> set[str]:
    """Keys of the answers that the output has.

    Raises:
        ConfigError: If it has answers of another run: whoever trained on the file would mix the two unawares.
    """
    if not output.exists():
        return set()
    keys = set()
    for number, record in _annotations(output):
        if record["run"] != run:
            raise ConfigError(
                f"{output} holds answers of another run (line {number}, model {record.get('model')!r}): the "
                f"instruction, the model or its settings differ from those of now (model {model!r}). Name another "
                "output file; to train on both, join the files afterwards."
            )
        keys.add(record["key"])
    return keys


def _open_for_appending(output: Path) -> IO[str]:
    """Open the output behind its last whole line."""
    try:
        file = output.open("a", encoding="utf-8", newline="\n")
        last, start = b"", 0
        with output.open("rb") as lines:
            for line in lines:
                start, last = start + len(last), line
        if last and not last.endswith(b"\n"):
            if _json_or_none(last) is None:
                file.truncate(start)
            else:
                file.write("\n")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error}.") from error
    return file


# --- chunks ----------------------------------------------------------------------------------------------------------


def chunk_spans(text: str, count: Callable[[str], int], max_tokens: int) -> Iterator[Span]:
    """Spans of chunks that end where a sentence or line ends; a longer sentence is cut between words.

    Args:
        text: Any string.
        count: Tokens of a string.
        max_tokens: Longest chunk; only a single word may be longer.

    Yields:
        Start and end, without white space around them; blank chunks are left out.
    """
    _, unit_ends = unit_spans(text)
    for start, end in _packed(text, [0, *unit_ends.tolist()], count, max_tokens):
        if count(text[start:end].strip()) <= max_tokens:
            parts: Iterable[Span] = [(start, end)]
        else:
            word_starts, _ = word_spans(text[start:end])
            parts = _packed(text, [*(word_starts + start).tolist(), end], count, max_tokens)
        for part_start, part_end in parts:
            part = text[part_start:part_end]
            if part.strip():
                yield part_start + len(part) - len(part.lstrip()), part_end - len(part) + len(part.rstrip())


def _packed(text: str, borders: Sequence[int], count: Callable[[str], int], max_tokens: int) -> Iterator[Span]:
    """Neighbouring pieces joined as long as they fit; one that is too long by itself stays by itself."""
    start = end = borders[0]
    for stop in borders[1:]:
        if end > start and count(text[start:stop].strip()) > max_tokens:
            yield start, end
            start = end
        end = stop
    if end > start:
        yield start, end


def _plan(
    records: Iterable[Record], llm: BaseChatModel, output: Path, settings: AnnotationSettings
) -> tuple[list[Chunk], int]:
    """The chunks to send, and the number of those that need not be sent."""
    run = _run_key(llm, settings)
    keys = _done_keys(output, run, _model_name(llm))
    count = token_counter(settings.tokenizer).count
    chunks, done = [], 0
    for record in records:
        text = well_formed(record.text)
        for start, end in chunk_spans(text, count, settings.max_chunk_tokens):
            key = _digest([run, text[start:end]])
            if key in keys:
                done += 1
            else:
                keys.add(key)
                chunks.append(Chunk(record.id, start, text[start:end], key))
    return chunks, done


# --- the model -------------------------------------------------------------------------------------------------------


def load_chat_model(name: str) -> BaseChatModel:
    """A LangChain chat model by name.

    Args:
        name: `module:factory`, a function without arguments that returns the model; or `provider:model`, as
            `init_chat_model` of the package `langchain` takes it.

    Raises:
        ConfigError: If it is neither, or the package `langchain` is needed and not installed.
        ModelError: If building the model fails.
        MissingExtraError: If langchain-core is not installed.
    """
    _chat_model_class()
    try:
        build = _factory(name) or partial(_init_chat_model(name), name)
        return _checked(build())
    except MoosError:
        raise
    except Exception as error:  # a missing API key, an unknown provider: each package has its own errors
        raise ModelError(f"The chat model {name!r} could not be built: {error}") from error


def _factory(name: str) -> Callable[[], Any] | None:
    """What `module:factory` names, or None if there is no such module or function."""
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        return None
    try:
        return getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            return None
        raise  # the module is there, what it imports is not


def _init_chat_model(name: str) -> Callable[[str], Any]:
    try:
        return importlib.import_module("langchain.chat_models").init_chat_model  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        if error.name not in ("langchain", "langchain.chat_models"):
            raise
        raise ConfigError(
            "The model must be `module:factory`, a module that can be imported and a function in it, or "
            f"`provider:model`, for which the package `langchain` must be installed; got {name!r}. For the latter: pip "
            "install langchain and the provider's package, such as langchain-openai."
        ) from error


def _chat_model_class() -> type[BaseChatModel]:
    try:
        from langchain_core.language_models import BaseChatModel
    except ImportError as error:
        raise MissingExtraError("langchain_core", extra="langchain") from error
    return BaseChatModel


def _checked(llm: Any) -> BaseChatModel:
    kind = _chat_model_class()
    if not isinstance(llm, kind):
        raise ConfigError(
            f"Expected a LangChain chat model (a BaseChatModel), got {type(llm).__name__}. Give the model itself, with "
            "its settings in its constructor, and no chain and no result of `bind`."
        )
    return llm


def _model_name(llm: BaseChatModel) -> str:
    names = (getattr(llm, name, None) for name in ("model_name", "model", "model_id"))
    return next((name for name in names if isinstance(name, str) and name), type(llm).__name__)


def _run_key(llm: Any, settings: AnnotationSettings) -> str:
    """What tells this run from others; hashed, since settings may hold secrets."""
    llm = _checked(llm)
    own: Mapping[str, Any] = llm._identifying_params
    if not own:  # a class that does not say what identifies it: all plain fields that it adds
        fields = type(llm).model_fields.keys() - _chat_model_class().model_fields.keys()
        values = {name: getattr(llm, name) for name in fields}
        own = {name: value for name, value in values.items() if isinstance(value, (str, int, float))}
    return _digest([settings.instruction, _LEAD, type(llm).__name__, _model_name(llm), dict(own)])


def _digest(value: Any) -> str:
    # The name of a type stands for objects: their `repr` may hold an address, which is another one in the next process.
    text = json.dumps(value, sort_keys=True, default=lambda item: type(item).__name__)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- judging answers -------------------------------------------------------------------------------------------------

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_THOUGHTS = regex.compile(r"\A\s*<think>.*?</think>", regex.DOTALL)
_FENCED = regex.compile(r"\A```[\w-]*\n(.*?)\n?```\Z", regex.DOTALL)
_LABEL = regex.compile(
    r"\A(?:(?:sure|certainly|of course|okay|ok)\b[^\n:]{0,20}?)?"
    r"(?:here(?:'s|’s| is)[^\n:]{0,60}|\**(?:the )?(?:compressed|shortened)(?: text| version)?\**)\s*:\**\s*",
    regex.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "«": "»"}
_REFUSAL = regex.compile(
    r"(?:sorry|unfortunately|as an ai|i apologi[sz]e|i(?:['’]m| am) (?:sorry|an ai|unable|not able)|"
    r"i (?:cannot|can['’]t|do not|don['’]t|will not|won['’]t)|please provide|could you|how can i|"
    r"(?:sure|certainly|of course|here(?:['’]s| is))\b)",
    regex.IGNORECASE,
)
_REFUSAL_ADDED = 0.5
_CUT_SHORT = ("length", "max_tokens", "MAX_TOKENS")


class Judgement(NamedTuple):
    """The verdict on an answer, and the shares that it rests on (see `AnnotationSettings`)."""

    verdict: str
    added: float
    moved: float


def judge(
    text: str, compressed: str, *, max_added: float = DEFAULT_TOLERANCE, max_moved: float = DEFAULT_TOLERANCE
) -> Judgement:
    """Whether `compressed` is `text` with words deleted.

    Words are compared without case, punctuation and width; hyphens part words.

    Returns:
        `ok`, or the first that holds of: `empty`; `refusal`: it opens as refusals and chat do, and most of its words
        are not in the text; `unchanged`: nothing was deleted; `added`; `reordered`.
    """
    source, answer = _words(text), _words(compressed)
    if not answer:
        return Judgement("empty", 0.0, 0.0)
    in_source = (Counter(answer) & Counter(source)).total()
    added = round(1 - in_source / len(answer), 4)
    moved = round(1 - _longest_in_order(answer, source) / in_source, 4) if in_source else 0.0
    if added > _REFUSAL_ADDED and _REFUSAL.match(compressed):
        verdict = "refusal"
    elif answer == source:
        verdict = "unchanged"
    elif added > max_added:
        verdict = "added"
    elif moved > max_moved:
        verdict = "reordered"
    else:
        verdict = OK
    return Judgement(verdict, added, moved)


def _words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).casefold()
    starts, ends = word_spans(text)  # parts what is written without spaces; the pattern parts what hyphens join
    return [word for start, end in zip(starts, ends, strict=True) for word in _WORD.findall(text, start, end)]


def _longest_in_order(answer: Sequence[str], source: Sequence[str]) -> int:
    """Length of the longest common subsequence (Hunt and Szymanski)."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(source):
        places.setdefault(word, []).append(place)
    ends: list[int] = []  # ends[i]: the first place in the source at which i + 1 words in order can end
    for word in answer:
        for place in reversed(places.get(word, [])):  # backwards, so that a word is not matched twice
            index = bisect_left(ends, place)
            ends[index : index + 1] = [place]
    return len(ends)


def unwrapped(answer: str, text: str) -> str:
    """`answer` without what models put around a good one: thoughts, a code fence, a label, quotes.

    What `text` itself starts with is no wrapper.
    """
    answer = _THOUGHTS.sub("", answer).strip()
    for pattern in (_LABEL, _FENCED, _LABEL):  # a label stands before the fence or inside
        found = pattern.match(answer)
        if found and not text.startswith(answer[:8]):
            answer = (found[1] if pattern is _FENCED else answer[found.end() :]).strip()
    opening, closing = answer[:1], answer[-1:]
    if len(answer) > 1 and _QUOTES.get(opening) == closing and not text.startswith(opening):
        answer = answer[1:-1].strip()
    return answer


def _annotation(chunk: Chunk, message: BaseMessage, model: str, run: str, settings: AnnotationSettings) -> Json:
    """The line of the output for an answer."""
    compressed = unwrapped(well_formed(str(message.text)), chunk.text)
    judgement = judge(chunk.text, compressed, max_added=settings.max_added, max_moved=settings.max_moved)
    reasons = (message.response_metadata.get(name) for name in ("finish_reason", "stop_reason", "done_reason"))
    if judgement.verdict != "empty" and any(reason in _CUT_SHORT for reason in reasons):
        # Its end would be labelled as deleted, though the model never came to it.
        judgement = judgement._replace(verdict="truncated")
    usage = getattr(message, "usage_metadata", None)
    return {
        "id": chunk.id,
        "start": chunk.start,
        "key": chunk.key,
        "run": run,
        "model": model,
        **judgement._asdict(),
        "text": chunk.text,
        "compressed": compressed,
        "usage": {name: usage[name] for name in ("input_tokens", "output_tokens")} if usage else None,
    }


# --- runs ------------------------------------------------------------------------------------------------------------


def estimate(
    records: Iterable[Record],
    llm: BaseChatModel,
    output: str | Path,
    *,
    settings: AnnotationSettings = DEFAULTS,
    input_price: float | None = None,
    output_price: float | None = None,
) -> Estimate:
    """What `annotate` with the same arguments would take; sends and writes nothing.

    Args:
        records: Texts.
        llm: The chat model; it is only asked for its name and settings, to know which chunks are done.
        output: The file that `annotate` would write to.
        settings: As for `annotate`.
        input_price: Per million tokens.
        output_price: Per million tokens.

    Returns:
        Calls, tokens and, if there are prices, cost.

    Raises:
        ConfigError: If one price is given without the other, or the output is of another run.
    """
    if (input_price is None) != (output_price is None):
        raise ConfigError(
            f"Give both prices or none, got `input_price` {input_price!r} and `output_price` {output_price!r}."
        )
    chunks, done = _plan(records, llm, Path(output), settings)
    count = token_counter(settings.tokenizer).count
    output_tokens = sum(count(chunk.text) for chunk in chunks)
    input_tokens = output_tokens + len(chunks) * count(settings.instruction + _LEAD)
    cost = None
    if input_price is not None and output_price is not None:
        cost = (input_tokens * input_price + output_tokens * output_price) / 1e6
    return Estimate(len(chunks), done, input_tokens, output_tokens, cost)


def annotate(
    records: Iterable[Record],
    llm: BaseChatModel,
    output: str | Path,
    *,
    settings: AnnotationSettings = DEFAULTS,
    on_chunk: Callable[[str], None] | None = None,
) -> AnnotationReport:
    """Have a chat model delete words, and append each answer to `output`; see `read_annotations`.

    In a notebook, where an event loop is running, `await aannotate(...)` instead.

    Args:
        records: Texts; a chunk that was met before is not sent again.
        llm: Any LangChain chat model.
        output: JSON lines file. If it exists, the chunks that it has are not sent again, and a last line that a crash
            left half-written is cut off.
        settings: How to cut, ask and judge.
        on_chunk: Called with the verdict after each chunk, for progress.

    Returns:
        Counts per verdict, and tokens.

    Raises:
        ConfigError: If `llm` is no chat model, or the output holds answers to another instruction or of another model.
        InputError: If the output cannot be written or holds something else.
        ModelError: If `max_failures` chunks in a row failed; what was answered is in the output.
    """
    return asyncio.run(aannotate(records, llm, output, settings=settings, on_chunk=on_chunk))


async def aannotate(
    records: Iterable[Record],
    llm: BaseChatModel,
    output: str | Path,
    *,
    settings: AnnotationSettings = DEFAULTS,
    on_chunk: Callable[[str], None] | None = None,
) -> AnnotationReport:
    """`annotate`, awaited. When it is cancelled, at most `concurrency` answers that were under way are lost."""
    output = Path(output)
    chunks, done = _plan(records, llm, output, settings)
    report = AnnotationReport(done)
    run, model = _run_key(llm, settings), _model_name(llm)
    asked = llm.with_retry(stop_after_attempt=settings.attempts)
    waiting = iter(chunks)
    failed_in_a_row = 0

    async def work(file: IO[str]) -> None:
        nonlocal failed_in_a_row
        for chunk in waiting:  # one iterator for all workers, so each chunk is taken once
            try:
                message = await asked.ainvoke([("system", settings.instruction), ("human", _LEAD + chunk.text)])
            except Exception as error:  # providers raise what they like
                verdict = FAILED
                report.last_error = f"{type(error).__name__}: {error}"
                failed_in_a_row += 1
                if failed_in_a_row == settings.max_failures:
                    raise ModelError(
                        f"The chat model failed on {failed_in_a_row} chunks in a row, last with {report.last_error}. "
                        f"Mend the cause and run again; the answers so far are in {output}."
                    ) from error
            else:
                failed_in_a_row = 0
                annotation = _annotation(chunk, message, model, run, settings)
                file.write(json.dumps(annotation, ensure_ascii=False) + "\n")
                file.flush()
                verdict = annotation["verdict"]
                report.input_tokens += (annotation["usage"] or {}).get("input_tokens", 0)
                report.output_tokens += (annotation["usage"] or {}).get("output_tokens", 0)
            report.verdicts[verdict] += 1
            if on_chunk is not None:
                on_chunk(verdict)

    with _open_for_appending(output) as file:
        workers = [asyncio.ensure_future(work(file)) for _ in range(settings.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:  # one that stops, stops all: nothing more is to be paid for
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
    return report

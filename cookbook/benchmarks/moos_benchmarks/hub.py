"""The data sets by their names on the Hugging Face hub, for those who have no JSON-lines copies (`evaluation.data`).

Reading needs the optional package `datasets` and the network; the converters are pure and need neither. They follow the
schemas of the data set cards and **were tested on hand-written records of those schemas only**: the hub could not be
reached where they were written.

`datasets` from 4.0 on runs no loading scripts. Where a repository may still be read by one, another with the same
records and schema as Parquet files is known by its own name as well: `framolfese/2WikiMultihopQA`,
`Xnhyacinth/LongBench` and `SaylorTwift/bbh`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from moos_integrations.core.types import Span
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.records import Document, Question, Records

Record = Mapping[str, Any]
"""A record as `datasets` gives it."""


@dataclass(frozen=True, slots=True)
class HubSet:
    """A data set of the hub.

    Attributes:
        convert: A record to a question; the index stands in for an id where the schema has none.
        split: What is read by default: the part with answers that is not for training.
        config: What is read by default; None where the data set has but one.
        configs: The known ones, where `config` is None but one must be named.
    """

    convert: Callable[[Record, int], Question]
    split: str
    config: str | None = None
    configs: tuple[str, ...] = ()


def read_hub(
    name: str, split: str | None = None, config: str | None = None, limit: int | None = None
) -> Records[Question]:
    """Questions of a data set of the hub.

    Args:
        name: A name in `HUB_SETS`; a configuration may follow, as in "THUDM/LongBench:qmsum".
        split: A split of the data set; by default the one that evaluation is done on.
        config: Its configuration, if `name` has none.
        limit: Read only this many records; they are streamed, so that the rest is not downloaded.

    Raises:
        ConfigError: If the name is not known, two configurations are given, or one is needed and none is.
        InputError: If `datasets` is not installed, the data set cannot be read, or a record does not have its schema.
    """
    repository, own, config = _chosen(name, config)
    try:
        datasets = importlib.import_module("datasets")  # optional; by name, so that type checking does not need it
    except ImportError as error:
        raise InputError("The hub's data sets need the package `datasets`: pip install datasets") from error
    try:
        records = datasets.load_dataset(repository, config, split=split or own.split, streaming=limit is not None)
        found = list(islice(records, limit))
    except Exception as error:  # the network, the hub, a split that is not there: each has an error class of its own
        raise InputError(
            f"{repository} (configuration {config or 'default'}, split {split or own.split}) cannot be read from the "
            f"hub: {type(error).__name__}: {error}"
        ) from error
    return convert(repository, found)


def convert(name: str, records: Iterable[Record]) -> Records[Question]:
    """Records of a data set of the hub, however they were read, as questions.

    Args:
        name: A name in `HUB_SETS`, without a configuration.
        records: As `datasets` gives them.

    Raises:
        ConfigError: If the name is not known.
        InputError: If a record does not have the schema of the data set.
    """
    return Records(tuple(_converted(name, _known(name), records)))


def _converted(name: str, own: HubSet, records: Iterable[Record]) -> Iterator[Question]:
    for index, record in enumerate(records):
        try:
            yield own.convert(record, index)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{name}, record {index}: expected the schema of its data set card: {type(error).__name__}: {error}."
            ) from error


def _known(name: str) -> HubSet:
    if name not in HUB_SETS:
        raise ConfigError(f"Expected one of the hub's data sets {', '.join(HUB_SETS)}; got {name!r}.")
    return HUB_SETS[name]


def _chosen(name: str, config: str | None) -> tuple[str, HubSet, str | None]:
    repository, _, named = name.partition(":")
    own = _known(repository)
    if named and config not in (None, named):
        raise ConfigError(f"Give the configuration once; got {named!r} in `name` and {config!r}.")
    config = named or config or own.config
    if own.configs and config is None:
        raise ConfigError(
            f"{repository} needs a configuration, as in {repository + ':' + own.configs[0]!r}; "
            f"known are {', '.join(own.configs)}."
        )
    return repository, own, config


# --- schemas ---------------------------------------------------------------------------------------------------------


def multi_hop(record: Record, index: int = 0) -> Question:
    """HotpotQA and 2WikiMultihopQA: titled lists of sentences, and which of them support the answer.

    Args:
        record: `id` or `_id`, `question`, `answer`; `context` as `{"title": [], "sentences": [[]]}` or as
            `[[title, sentences]]`; `supporting_facts` as `{"title": [], "sent_id": []}` or as `[[title, index]]`; each
            may be JSON in a string.
        index: Unused.

    Returns:
        One document per title; the sentences are joined by single spaces, where they do not bring their own.
    """
    supporting: dict[str, set[int]] = {}
    for title, sentence in _rows(record["supporting_facts"], "title", "sent_id"):
        supporting.setdefault(title, set()).add(sentence)
    documents = tuple(
        _of_sentences(title, sentences, supporting.get(title, set()))
        for title, sentences in _rows(record["context"], "title", "sentences")
    )
    return Question(
        _text(record, "question"),
        (_text(record, "answer"),),
        documents,
        _text(record, "id" if "id" in record else "_id"),
        record.get("type") or "",
    )


def musique(record: Record, index: int = 0) -> Question:
    """MuSiQue: titled paragraphs, each told to support the answer or not.

    Args:
        record: `id`, `question`, `answer`, `answer_aliases`, `paragraphs` with `idx`, `title`, `paragraph_text` and
            `is_supporting`.
        index: Unused.

    Returns:
        One document per paragraph, by `idx`; no evidence, as the schema has none within a paragraph.
    """
    answers = dict.fromkeys([_text(record, "answer"), *(record.get("answer_aliases") or ())])
    documents = tuple(
        Document(_text(own, "paragraph_text"), _text(own, "title"), bool(own["is_supporting"]))
        for own in sorted(record["paragraphs"], key=lambda own: own["idx"])
    )
    return Question(_text(record, "question"), tuple(answers), documents, _text(record, "id"))


def squad(record: Record, index: int = 0) -> Question:
    """SQuAD: a question about one passage.

    Args:
        record: `id`, `title`, `context`, `question`, `answers` as `{"text": [], "answer_start": []}`.
        index: Unused.

    Returns:
        One document, with the answers' places as evidence.

    Raises:
        ValueError: If an answer does not stand where the record says.
    """
    context, texts = _text(record, "context"), list(record["answers"]["text"])
    spans = []
    for text, start in zip(texts, record["answers"]["answer_start"], strict=True):
        if not context.startswith(text, start):
            raise ValueError(f"no {text[:40]!r} at {start} of `context`")
        spans.append((start, start + len(text)))
    document = Document(context, _text(record, "title"), is_gold=True, evidence=tuple(dict.fromkeys(spans)))
    return Question(_text(record, "question"), tuple(dict.fromkeys(texts)), (document,), _text(record, "id"))


def longbench(record: Record, index: int = 0) -> Question:
    """LongBench, all configurations: one long text.

    Args:
        record: `_id`, `input` (empty in the summarisation sets), `context`, `answers`, `dataset`.
        index: Unused.

    Returns:
        One document: the schema does not say where the passages of a multi-document context begin.
    """
    document = Document(_text(record, "context"), "", is_gold=True)
    answers = tuple(map(str, record["answers"]))
    return Question(_text(record, "input"), answers, (document,), _text(record, "_id"), record.get("dataset") or "")


def gsm8k(record: Record, index: int = 0) -> Question:
    """GSM8K: a problem and its solution.

    Args:
        record: `question`, and `answer`: the steps, and the result behind `####`.
        index: Of the record, for its id.

    Returns:
        No documents; the result alone is the answer.

    Raises:
        ValueError: If there is no `####`.
    """
    _, mark, result = _text(record, "answer").rpartition("####")
    if not mark:
        raise ValueError("no #### in `answer`")
    # The thousands of a result are parted by commas in some records and not in others.
    answers = tuple(dict.fromkeys([result.strip(), result.strip().replace(",", "")]))
    return Question(_text(record, "question"), answers, (), f"gsm8k-{index}")


def bbh(record: Record, index: int = 0) -> Question:
    """BIG-Bench Hard: a problem and its answer.

    Args:
        record: `input`, `target`.
        index: Of the record, for its id.

    Returns:
        No documents.
    """
    return Question(_text(record, "input"), (_text(record, "target"),), (), f"bbh-{index}")


def _text(record: Record, field: str) -> str:
    value = record[field]
    if not isinstance(value, str):
        raise TypeError(f"expected a string in `{field}`, got {type(value).__name__}")
    return value


def _rows(value: Any, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Rows of a table given by columns, by rows (lists or objects), or as the JSON of one of these."""
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, Mapping):
        yield from zip(*(value[column] for column in columns), strict=True)
        return
    for row in value:
        yield tuple(row[column] for column in columns) if isinstance(row, Mapping) else tuple(row)


def _of_sentences(title: str, sentences: Iterable[str], supporting: set[int]) -> Document:
    text, evidence = "", list[Span]()
    for index, sentence in enumerate(sentences):
        if text and sentence and not (text[-1].isspace() or sentence[0].isspace()):
            text += " "
        start = len(text) + len(sentence) - len(sentence.lstrip())
        text += sentence
        if index in supporting and sentence.strip():
            evidence.append((start, len(text.rstrip())))
    return Document(text, title, is_gold=bool(supporting), evidence=tuple(evidence))


_LONGBENCH = HubSet(
    longbench,
    "test",
    configs=(
        "narrativeqa",
        "qasper",
        "multifieldqa_en",
        "multifieldqa_zh",
        "hotpotqa",
        "2wikimqa",
        "musique",
        "qmsum",
        "gov_report",
        "multi_news",
        "triviaqa",
    ),
)
_BBH = HubSet(bbh, "test", configs=("boolean_expressions", "causal_judgement", "date_understanding"))
HUB_SETS: Mapping[str, HubSet] = {
    "hotpotqa/hotpot_qa": HubSet(multi_hop, "validation", "distractor"),
    "xanhho/2WikiMultihopQA": HubSet(multi_hop, "dev"),
    "framolfese/2WikiMultihopQA": HubSet(multi_hop, "validation"),
    "dgslibisey/MuSiQue": HubSet(musique, "validation"),
    "rajpurkar/squad": HubSet(squad, "validation"),
    "THUDM/LongBench": _LONGBENCH,
    "Xnhyacinth/LongBench": _LONGBENCH,
    "openai/gsm8k": HubSet(gsm8k, "test", "main"),
    "lukaemon/bbh": _BBH,
    "SaylorTwift/bbh": _BBH,
}
"""The known data sets by their names."""

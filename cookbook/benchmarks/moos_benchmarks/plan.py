"""The training plan: questions of many sets, mixed by kind with a cap per set, made into packed parts when needed.

A plan is a list of entries (a set, a record, a copy), shuffled once and split into parts. A part is built when training
reaches it, and kept in a file whose name is a hash of all that it depends on: settings, data, tokenizer, encoder. A run
that goes on therefore reads the same rows, and another run on the same plan finds them made.

Of each question a group is made: windows of about 60 to 180 words at unit borders with what answers, and hard negatives
without: windows of the question's documents that share most words with it, or, for sets of single passages, what BM25
and the untouched encoder find nearest among all passages. The encoder's cosines of the question with each window and
unit are in the rows.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import regex
import torch

from moos_benchmarks.data import (
    articles_held_out,
    data_file,
    hotpotqa_held_out,
    pairs_held_out,
    read_pairs,
)
from moos_benchmarks.mix import compression_pairs, join_passages
from moos_benchmarks.negatives import nearest_by_words
from moos_integrations.core.checks import check_share, check_whole_number
from moos_integrations.core.passages import PassageEncoder
from moos_integrations.core.pooling import QUESTION
from moos_integrations.core.text import unit_spans, word_spans
from moos_integrations.core.types import IntArray, Span
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.records import read_records
from moos_integrations.training.examples import Example, Group, crop, rewritten
from moos_integrations.training.labels import LabelledText, labels_for_question, labels_from_questions
from moos_integrations.training.trainer import EpochSampler, Json, encode

_VERSION = 1  # goes up whenever the same settings and data would give other rows
_GOLD = 2  # windows with what answers, per group
_CANDIDATES = 12  # nearest passages per retriever
_POOL_PIECES = 96  # of a passage, read to find negatives
_SHORTEST, _LONGEST = 60, 180  # words of a window
_WORD = regex.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class SetPlan:
    """What a set gives.

    Attributes:
        kind: Under which its losses are reported.
        questions: Most questions.
        copies: How often each is seen, each time in another style, with other windows and negatives.
        pool: Sets with the same pool give each other negatives; empty if a record has documents of its own.
        free: Most texts that are also read without a question.
    """

    kind: str
    questions: int
    copies: int = 1
    pool: str = ""
    free: int = 0


ENGLISH: Mapping[str, SetPlan] = {
    "squad_train": SetPlan("wiki", 12_000, pool="wiki", free=18_000),
    "hotpotqa": SetPlan("hops", 1_000, copies=4, free=500),
    "hotpotqa_more": SetPlan("hops", 1_000, copies=4),
    "nq_oracle": SetPlan("search", 2_000, copies=4, pool="wiki", free=700),
    "clapnq": SetPlan("search", 1_000, copies=2, pool="wiki", free=200),
    "qed": SetPlan("search", 1_000, copies=2, pool="wiki", free=500),
    "boolq_val": SetPlan("search", 3_000, pool="wiki"),
    "tydiqa_en": SetPlan("search", 4_000, pool="wiki", free=1_500),
    "selqa": SetPlan("wiki", 2_000, pool="wiki", free=800),
    "condaqa": SetPlan("negation", 3_000, pool="wiki", free=500),
    "time_sensitive_qa": SetPlan("long", 2_000, free=500),
    "evidence_inference": SetPlan("long", 2_000, free=500),
    "covidqa_windows": SetPlan("long", 500, copies=2, free=200),
    "medquad": SetPlan("long", 1_500),
    "scitldr": SetPlan("long", 0, free=2_600),
    "policyqa": SetPlan("policy", 2_500, pool="policy", free=900),
    "friendsqa": SetPlan("dialogue", 1_700, pool="dialogue", free=160),
    "qmsum_spans": SetPlan("dialogue", 600, copies=2, free=200),
    "wikitablequestions": SetPlan("table", 4_000, free=1_500),
    "ottqa_hybridqa": SetPlan("table", 2_500, free=500),
    "fetaqa": SetPlan("table", 2_000, free=800),
    "tatqa_rest": SetPlan("table", 500, copies=2, free=250),
    "code_questions": SetPlan("code", 4_500, free=1_500),
    "tool_output": SetPlan("log", 4_000, free=1_500),
    "records": SetPlan("json", 4_000, free=1_500),
}
"""The sets of the English model."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of which data; see the module.

    Attributes:
        sets: Per set, settings of `SetPlan` that differ from `ENGLISH`; {"questions": 0, "free": 0} leaves it out.
        only: Names of the sets used; empty for all of `ENGLISH`.
        negatives: Windows without what answers, per group.
        query_free: Scales the number of texts read without a question.
        query_free_copies: How often each of them is read.
        cased_pairs: Most cased sentence compressions, read without a question; `lower_case_pairs` of the other set.
        lower_case_pairs: See `cased_pairs`.
        part: Groups in a part.
        limit: Use only so many records of each set (trials and tests); 0 means all.
    """

    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    negatives: int = 3
    query_free: float = 1.0
    query_free_copies: int = 2
    cased_pairs: int = 8_992
    lower_case_pairs: int = 15_000
    part: int = 2_048
    limit: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming the first that is of the wrong kind or out of range, or a set that is not known.
        """
        object.__setattr__(self, "only", tuple(self.only))
        unknown = [name for name in (*self.only, *self.sets) if name not in ENGLISH]
        if unknown:
            raise ConfigError(f"Unknown set {unknown[0]!r} in `plan`; known are {', '.join(ENGLISH)}.")
        check_share("query_free", self.query_free)
        for name in ("query_free_copies", "cased_pairs", "lower_case_pairs", "limit"):
            check_whole_number(name, getattr(self, name), 0)
        for name in ("negatives", "part"):
            check_whole_number(name, getattr(self, name), 1)
        self.chosen()

    def chosen(self) -> dict[str, SetPlan]:
        """The sets and what each gives.

        Raises:
            ConfigError: If `sets` has a setting that `SetPlan` has not.
        """
        try:
            found = {
                name: SetPlan(**{**_fields(plan), **self.sets.get(name, {})})
                for name, plan in ENGLISH.items()
                if not self.only or name in self.only
            }
        except TypeError as error:
            raise ConfigError(f"`plan.sets`: {error}.") from error
        return {name: plan for name, plan in found.items() if plan.questions or plan.free}


def _fields(plan: SetPlan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in SetPlan.__slots__}


# --- records of any schema -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """A document of a question.

    Attributes:
        text: The document.
        gold: It has what answers.
        spans: Character spans of what answers; none in a gold document if nobody marked it.
    """

    text: str
    gold: bool = False
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """A question of any set.

    Attributes:
        name: Of the set.
        id: Unique in the set.
        question: As it was written.
        answers: Accepted answers; a passage with one of them is no negative, unless they are classes such as "yes".
        documents: What it is asked about.
        marked: Character spans of the answers themselves, in the first gold document; where known.
        free: The record is only to be read without the question.
    """

    name: str
    id: str
    question: str
    answers: tuple[str, ...]
    documents: tuple[Source, ...]
    marked: tuple[Span, ...] = ()
    free: bool = False


_WHOLE = ("medquad",)  # a gold document is wanted whole
_CLASSES = ("yes_no", "yes_no_maybe", "class", "none")


def items_of(values: Mapping[str, Any], name: str) -> list[Item]:
    """The questions of a record.

    Args:
        values: A record of any of the three schemas: `documents`, `text` or `context`.
        name: Of the set.

    Raises:
        ValueError: If it has none of the schemas.
    """
    try:
        if "qas" in values:
            return list(_squad(values, name))
        if "documents" in values:
            documents = tuple(_document(own, name) for own in values["documents"])
        else:
            spans = tuple(map(tuple, values.get("gold_spans") or ()))
            documents = (Source(values["text"], values.get("answerable", True), spans),)
        answers = () if values.get("answer_type") in _CLASSES else tuple(map(str, values["answers"]))
        free = bool(values.get("query_free"))
        return [Item(name, str(values["id"]), values["question"], answers, documents, free=free)]
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected a record with questions and texts: {type(error).__name__}: {error}") from error


def _document(values: Mapping[str, Any], name: str) -> Source:
    gold, text = bool(values.get("is_gold")), values["text"]
    spans = tuple((int(start), int(end)) for start, end in values.get("gold_spans") or ())
    return Source(text, gold, ((0, len(text)),) if gold and not spans and name in _WHOLE else spans)


def _squad(values: Mapping[str, Any], name: str) -> Iterator[Item]:
    context = values["context"]
    for own in values["qas"]:
        sure = [answer for answer in own["answers"] if answer.get("n_occurrences", 1) == 1]
        spans = tuple((a["answer_start"], a["answer_start"] + len(a["text"])) for a in sure)
        if spans:
            evidence = tuple(map(tuple, own.get("evidence") or ())) or spans
            texts = tuple(answer["text"] for answer in sure)
            yield Item(name, str(own["id"]), own["question"], texts, (Source(context, True, evidence),), spans)
    for own in values.get("unanswerable") or ():
        yield Item(name, str(own["id"]), own["question"], (), (Source(context),))


# --- windows and labels ----------------------------------------------------------------------------------------------


def windows(text: str, words: int) -> list[Span]:
    """Runs of whole units of at most about `words` words; a longer unit is alone. Character spans, in order."""
    starts, _ = word_spans(text)
    unit_starts, unit_ends = unit_spans(text)
    sizes = np.bincount(np.searchsorted(unit_starts, starts, side="right") - 1, minlength=len(unit_starts))
    found, first, count = [], 0, 0
    for unit, size in enumerate(sizes.tolist()):
        if count and count + size > words:
            found.append((int(unit_starts[first]), int(unit_ends[unit - 1])))
            first, count = unit, 0
        count += size
    if count:
        found.append((int(unit_starts[first]), int(unit_ends[-1])))
    return found


def _shifted(spans: Iterable[Span], window: Span) -> list[Span]:
    """The parts of spans inside a window, counted from its start."""
    start, end = window
    return [(max(a, start) - start, min(b, end) - start) for a, b in spans if a < end and b > start]


class Groups:
    """Makes the groups of a plan's questions."""

    def __init__(self, plan: Plan, negatives: Callable[[Item, random.Random], list[str]]) -> None:
        """`negatives` gives passages of other records for an item."""
        self._plan, self._negatives = plan, negatives

    def of(self, item: Item, kind: str, rng: random.Random) -> Group:
        """The windows of a question: those with what answers (two at most), and hard negatives.

        Args:
            item: The question.
            kind: Of the set.
            rng: Chooses the windows and the style of the question.
        """
        question, words = rewritten(item.question, rng), rng.randint(_SHORTEST, _LONGEST)
        gold: list[tuple[Source, Span]] = []
        rest: list[str] = []
        for document in self._read(item, rng):
            for window in windows(document.text, words):
                answers = document.gold and (not document.spans or _shifted(document.spans, window))
                if answers:
                    gold.append((document, window))
                else:
                    rest.append(document.text[slice(*window)])
        rng.shuffle(gold)
        examples = [self._with_answer(item, *found, question, kind) for found in gold[:_GOLD]]
        wanted = self._plan.negatives + (_GOLD - len(examples) if len(item.documents) > 1 or len(rest) > 1 else 0)
        hard = self._hardest(item, rest, wanted, rng)
        for text in dict.fromkeys(hard):
            nothing = LabelledText(text, np.zeros(len(word_spans(text)[0])))
            examples.append(Example(nothing, question, 0.0, kind=kind))
        return tuple(examples)

    def _read(self, item: Item, rng: random.Random) -> list[Source]:
        """The documents of which windows are made: those with what answers, and of many others the likeliest."""
        gold = [own for own in item.documents if own.gold]
        others = [own for own in item.documents if not own.gold]
        if len(others) > 2 * self._plan.negatives:
            asked = _terms(item.question)
            others = sorted(others, key=lambda own: -len(asked & _terms(own.text)))
            near, far = others[: self._plan.negatives + 1], others[self._plan.negatives + 1 :]
            others = [*near, *rng.sample(far, min(2, len(far)))]
        return [*gold, *others]

    def _with_answer(self, item: Item, document: Source, window: Span, question: str, kind: str) -> Example:
        text = document.text[slice(*window)]
        if not document.spans:  # nobody marked what answers
            return Example(LabelledText(text, np.full(len(word_spans(text)[0]), np.nan)), question, 1.0, kind=kind)
        evidence = _shifted(document.spans, window)
        answers = _shifted(item.marked, window) or [
            span for span in _occurrences(text, item.answers) if any(a <= span[0] and span[1] <= b for a, b in evidence)
        ]
        return Example(labels_for_question(text, item.question, answers, evidence), question, 1.0, kind=kind)

    def _hardest(self, item: Item, rest: Sequence[str], count: int, rng: random.Random) -> list[str]:
        """Windows of the question's documents, and passages of other records where there are too few."""
        asked = _terms(item.question)
        near = sorted(rest, key=lambda text: -len(asked & _terms(text)))
        own = near[: count - 1]
        if len(near) > len(own):
            own.append(rng.choice(near[len(own) :]))
        found = self._negatives(item, rng)
        if len(own) < count:
            return [*own, *found[: count - len(own)]]
        return [*own[:-1], *found[:1]] if found else own


def _terms(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _occurrences(text: str, answers: Sequence[str]) -> list[Span]:
    return [
        match.span()
        for answer in answers
        if answer.strip()
        for match in regex.finditer(rf"(?<!\w){regex.escape(answer.strip())}(?!\w)", text, regex.IGNORECASE)
    ]


# --- the whole plan --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One group to make: of a question (`item`), or of a text read without one (`text`)."""

    kind: str
    seed: str
    item: Item | None = None
    text: LabelledText | Callable[[], LabelledText] | None = None


class Material:
    """All records of a plan, the entries made of them, and the negatives for each question."""

    def __init__(self, folders: Sequence[Path], plan: Plan, seed: int, kept: Path) -> None:
        """Read the sets.

        Args:
            folders: Where the sets are: in a folder itself, or in `train` in it.
            plan: How much of each.
            seed: Of every choice.
            kept: Folder that keeps what is slow to find.

        Raises:
            InputError: If a set is missing, or a record is malformed.
        """
        self._plan, self._seed, self._kept = plan, seed, kept
        self.hashes: dict[str, str] = {}
        self._folders = folders
        self.items = {name: self._items(name, own) for name, own in plan.chosen().items()}
        self.entries = self._entries()

    def _file(self, name: str) -> Path:
        for folder in self._folders:
            for place in (folder / "train", folder):
                try:
                    path = data_file(place, name)
                except InputError:
                    continue
                self.hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
                return path
        raise InputError(f"Expected {name}.jsonl.gz in {', '.join(map(str, self._folders))}; found it in none.")

    def _items(self, name: str, own: SetPlan) -> list[Item]:
        """The questions of a set, without those that are held out or near a set that is measured on."""
        records = read_records(self._file(name), dict, limit=self._plan.limit or None).items
        if name == "squad_train":
            out = articles_held_out(record["title"] for record in records)
            records = tuple(record for record in records if record["title"] not in out)
        if name == "hotpotqa":
            out = hotpotqa_held_out(record["id"] for record in records)
            records = tuple(record for record in records if record["id"] not in out)
        found = [item for record in records if not record.get("near_dev") for item in items_of(record, name)]
        random.Random(f"{self._seed} {name}").shuffle(found)
        return found

    def _entries(self) -> list[Entry]:
        found: list[Entry] = []
        for name, own in self._plan.chosen().items():
            asked = [item for item in self.items[name] if not item.free][: own.questions]
            found += [
                Entry(own.kind, f"{self._seed} {name} {item.id} {copy}", item)
                for item in asked
                for copy in range(own.copies)
            ]
            found += self._free(name, own)
        found += self._compressed()
        random.Random(f"{self._seed} entries").shuffle(found)
        return found

    def _free(self, name: str, own: SetPlan) -> Iterator[Entry]:
        """Texts with what answers, each with the questions about it; a window of it is read without them."""
        about: dict[str, list[Item]] = defaultdict(list)
        for item in self.items[name]:
            for document in item.documents:
                if document.spans:
                    about[document.text].append(item)
        texts = list(about.items())[: round(own.free * self._plan.query_free)]
        for index, (text, items) in enumerate(texts):
            for copy in range(self._plan.query_free_copies):
                seed = f"{self._seed} free {name} {index} {copy}"
                yield Entry(f"free {own.kind}", seed, text=_Free(text, tuple(items), seed))

    def _compressed(self) -> Iterator[Entry]:
        counts = {
            "google_compression_cased": self._plan.cased_pairs,
            "google_compression_train_lc": self._plan.lower_case_pairs,
        }
        for name, count in counts.items():
            if not count:
                continue
            rng = random.Random(f"{self._seed} {name}")
            read = read_pairs(self._file(name))
            kept_back = len(pairs_held_out(read.items)) if name == "google_compression_cased" else 0
            pairs = compression_pairs(read.items[: len(read) - kept_back][: self._plan.limit or None], rng)
            rng.shuffle(pairs)
            for copy in range(self._plan.query_free_copies):
                for index, text in enumerate(join_passages(pairs[:count], (1, 2, 4, 6), rng)):
                    yield Entry("free pairs", f"{self._seed} {name} {index} {copy}", text=text)

    # --- negatives of single passages ---

    @cached_property
    def _pools(self) -> dict[str, list[str]]:
        """Per pool its passages: short texts, each once."""
        pools: dict[str, dict[str, None]] = defaultdict(dict)
        for name, own in self._plan.chosen().items():
            for item in self.items[name] if own.pool else ():
                for document in item.documents:
                    if document.gold and len(document.text) < 2_500:
                        pools[own.pool][document.text] = None
        return {name: list(texts) for name, texts in pools.items()}

    def find_negatives(self, encoder: PassageEncoder) -> None:
        """Search the passages nearest to each question: by BM25 over all of a pool, and by the encoder.

        What was found is kept in `negatives-HASH.npz`.
        """
        self._nearest: dict[str, IntArray] = {}
        for pool, passages in self._pools.items():
            names = [name for name, own in self._plan.chosen().items() if own.pool == pool]
            asked = list({e.item.question: None for e in self.entries if e.item and e.item.name in names})
            digest = _digest([encoder.fingerprint, *asked, *passages])
            path = self._kept / f"negatives-{pool}-{digest}.npy"
            if not path.exists():
                count = min(_CANDIDATES, len(passages))
                found = np.stack([nearest_by_words(asked, passages, count), self._near(encoder, asked, passages)], 1)
                _save(path, found)
            self._nearest |= {f"{pool} {text}": row for text, row in zip(asked, np.load(path), strict=True)}

    def _near(self, encoder: PassageEncoder, asked: Sequence[str], passages: Sequence[str]) -> IntArray:
        known, own = encoder.texts(passages, _POOL_PIECES, kept=self._kept), encoder.texts(asked, 64, kept=self._kept)
        count = min(_CANDIDATES, len(passages))
        questions = [torch.from_numpy(own[start : start + 512]) for start in range(0, len(own), 512)]
        parts = [(part @ torch.from_numpy(known).T).topk(count).indices for part in questions]
        return np.asarray(torch.cat(parts).numpy(), np.int64)

    @cached_property
    def _answering(self) -> dict[str, set[str]]:
        """Per question the passages that answer it: some questions stand in several records."""
        found: dict[str, set[str]] = defaultdict(set)
        for item in (item for items in self.items.values() for item in items):
            found[item.question] |= {document.text for document in item.documents}
        return found

    def negatives(self, item: Item, rng: random.Random) -> list[str]:
        """Passages of a pool without an answer of the item, hard ones first; the retrievers take turns."""
        pool = self._plan.chosen()[item.name].pool
        rows = self._nearest.get(f"{pool} {item.question}") if pool else None
        if rows is None:
            return []
        own, answers = self._answering[item.question], [text.lower() for text in item.answers]
        found: list[list[str]] = []
        for row in rows:
            texts = [self._pools[pool][index] for index in row.tolist()]
            fitting = [t for t in texts if t not in own and not any(answer in t.lower() for answer in answers)][:6]
            rng.shuffle(fitting)
            found.append(fitting)
        rng.shuffle(found)
        mixed = [text for pair in zip(*found, strict=False) for text in pair]
        return list(dict.fromkeys(mixed))


@dataclass(frozen=True, slots=True)
class _Free:
    """A window of a text, labelled with all questions about it; made when called."""

    text: str
    items: tuple[Item, ...]
    seed: str

    def __call__(self) -> LabelledText:
        rng = random.Random(self.seed)
        spans = [span for item in self.items for own in item.documents if own.text == self.text for span in own.spans]
        parts = windows(self.text, rng.randint(_SHORTEST, _LONGEST))
        with_answer = [part for part in parts if _shifted(spans, part)]
        window = rng.choice(with_answer or parts)
        text = self.text[slice(*window)]
        answers = [span for item in self.items for span in _shifted(item.marked, window)]
        if not answers:  # the lines or sentences that answer, or the answer in them
            evidence = _shifted(spans, window)
            inside = [
                (a, b)
                for item in self.items
                for a, b in _occurrences(text, item.answers)
                if any(start <= a and b <= end for start, end in evidence)
            ]
            answers = inside or evidence
        return labels_from_questions(text, [item.question for item in self.items if not item.free], answers)


_NOTHING = Example(LabelledText("", np.zeros(0)))

# --- packed parts ----------------------------------------------------------------------------------------------------


class PackedParts:
    """The groups of a plan as encoded rows, a part in memory at a time: a data set for `fit_rows`."""

    def __init__(
        self,
        material: Material,
        plan: Plan,
        tokenizer: Any,
        encoder: PassageEncoder,
        folder: Path,
        *,
        max_pieces: int,
        types: bool,
        log: Callable[[str], None] = print,
    ) -> None:
        """Nothing is built before it is asked for.

        Args:
            material: The entries.
            plan: The settings.
            tokenizer: Of the model in training.
            encoder: Gives the cosines.
            folder: Where parts are kept.
            max_pieces: Longest row.
            types: Whether the model takes token types.
            log: Gets a line when a part is built.
        """
        self._material, self._tokenizer, self._encoder, self._folder = material, tokenizer, encoder, folder
        self._size, self._max_pieces, self._types, self._log = plan.part, max_pieces, types, log
        # What the tokenizer cut before is no part of what it is.
        backend = json.dumps({**json.loads(tokenizer.backend_tokenizer.to_str()), "truncation": None, "padding": None})
        settings = json.dumps([_VERSION, _plain(plan), material.hashes, max_pieces, types], sort_keys=True)
        self._digest = _digest([settings, material.entries[0].seed, encoder.fingerprint, backend])
        self._groups = Groups(plan, material.negatives)
        self._loaded: tuple[int, list[list[Json]]] | None = None

    def __len__(self) -> int:
        """Number of groups."""
        return len(self._material.entries)

    def __getitem__(self, index: int) -> list[Json]:
        """The rows of a group."""
        part, place = divmod(index, self._size)
        return self.part(part)[place]

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-len(self) // self._size)

    def sampler(self, batch_size: int, seed: int) -> PartSampler:
        """Goes through the parts in order, in each by similar length."""
        return PartSampler(self, batch_size, seed)

    def sizes(self, part: int) -> list[int]:
        """Longest row of each group of a part."""
        return [max(len(row["input_ids"]) for row in group) for group in self.part(part)]

    def part(self, index: int) -> list[list[Json]]:
        """The groups of a part; built if it is not in the folder."""
        if self._loaded is None or self._loaded[0] != index:
            path = self._path(index)
            if not path.exists():
                self._log(f"Building part {index + 1} of {self.parts}.")
                _save_rows(path, self._build(index))
            self._loaded = index, _load_rows(path)
        return self._loaded[1]

    def counts(self) -> dict[str, int]:
        """Groups of the plan, and examples of the parts that are built."""
        built = [self.part(index) for index in range(self.parts) if self._path(index).exists()]
        rows = [row for part in built for group in part for row in group]
        asked = sum(bool((row["units"] == QUESTION).any()) for row in rows)
        return {"groups": len(self), "examples": len(rows), "query_aware_examples": asked}

    def _path(self, index: int) -> Path:
        return self._folder / f"part-{index:03}-{self._digest}.npz"

    def _build(self, index: int) -> list[list[Json]]:
        entries = self._material.entries[index * self._size : (index + 1) * self._size]
        groups = [self._group_or_nothing(entry) for entry in entries]
        examples = [example for group in groups for example in group]
        rows = encode(examples, self._tokenizer, self._max_pieces, types=self._types)
        add_cosines(rows, self._encoder)
        left = iter(rows)
        return [[next(left) for _ in group] for group in groups]

    def _group_or_nothing(self, entry: Entry) -> Group:
        """A long training must not end at one text that cannot be cut into words; what happened is logged."""
        try:
            return self._group(entry)
        except (IndexError, ValueError) as error:
            self._log(f"Left out: {entry.seed} ({type(error).__name__}: {error}).")
            return (_NOTHING,)

    def _group(self, entry: Entry) -> Group:
        rng = random.Random(entry.seed)
        group: Group = ()
        if entry.item is not None:
            group = self._groups.of(entry.item, entry.kind, rng)
        elif entry.text is not None:
            text = entry.text if isinstance(entry.text, LabelledText) else entry.text()
            group = (Example(crop(text, rng, _LONGEST), kind=entry.kind),)
        # A text without a word gives nothing to learn; an empty row stands for it, so that places do not move.
        group = tuple(example for example in group if len(example.passage.targets))
        return group or (_NOTHING,)


def add_cosines(rows: Sequence[Json], encoder: PassageEncoder) -> None:
    """Put the encoder's cosines of question and passage, and of question and units, into encoded rows.

    Args:
        rows: Of `encode`, by a tokenizer with the pieces of the encoder; those without a question stay as they are.
        encoder: The untouched sentence encoder.
    """
    asked = [row for row in rows if QUESTION in row["units"]]
    questions = list(dict.fromkeys(tuple(_pieces(row, question=True)) for row in asked))
    vectors = encoder.passages(questions, [[-1] * len(own) for own in questions])
    of_question = {own: found.passage for own, found in zip(questions, vectors, strict=True)}
    passages = [_pieces(row, question=False)[: encoder.room] for row in asked]
    units = [[unit for unit in row["units"] if unit >= 0][: encoder.room] for row in asked]
    for row, own in zip(asked, encoder.passages(passages, units), strict=True):
        question = of_question[tuple(_pieces(row, question=True))]
        row["passage"] = [float(own.passage @ question)]
        row["similarities"] = (own.units @ question).tolist()


def _pieces(row: Json, *, question: bool) -> list[int]:
    pairs = zip(row["input_ids"], row["units"], strict=True)
    return [piece for piece, unit in pairs if (unit == QUESTION if question else unit >= 0)]


class PartSampler:
    """Indices of groups: part by part, in each groups of similar length together; depends on seed and epoch alone."""

    def __init__(self, parts: PackedParts, batch_size: int, seed: int) -> None:
        """`batch_size` in groups."""
        self._parts, self._batch_size, self._seed, self._epoch = parts, batch_size, seed, 0

    def __len__(self) -> int:
        """Number of groups."""
        return len(self._parts)

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Indices of the groups."""
        first = 0
        for part in range(self._parts.parts):
            sizes = _Lazy(self._parts, part)
            yield from (first + place for place in sizes.order(self._batch_size, self._seed + 1_000 * self._epoch))
            first += len(sizes)


class _Lazy:
    """The order within a part. While a run that goes on skips what it has seen, only lengths are loaded."""

    def __init__(self, parts: PackedParts, part: int) -> None:
        self._parts, self._part = parts, part
        self._sizes = parts.sizes(part)

    def __len__(self) -> int:
        return len(self._sizes)

    def order(self, batch_size: int, seed: int) -> list[int]:
        sampler = EpochSampler(self._sizes, batch_size, seed)
        sampler.set_epoch(self._part)
        return list(sampler)


_INTS = ("input_ids", "token_type_ids", "units")
_FLOATS = ("labels", "similarities", "passage")


def _save_rows(path: Path, groups: Sequence[Sequence[Json]]) -> None:
    rows = [row for group in groups for row in group]
    arrays: dict[str, Any] = {"groups": np.array([len(group) for group in groups], np.int32)}
    for name in (*_INTS, *_FLOATS):
        if rows and name in rows[0]:
            columns = [np.asarray(row[name], np.int32 if name in _INTS else np.float32) for row in rows]
            arrays[name] = np.concatenate(columns).astype(np.int32 if name in _INTS else np.float16)
            arrays[f"{name}_sizes"] = np.array([len(column) for column in columns], np.int32)
    arrays["kinds"] = np.array([row["kind"] for row in rows])
    _save(path, arrays)


def _load_rows(path: Path) -> list[list[Json]]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    columns = {
        name: [
            torch.from_numpy(part.astype(np.int64 if name in _INTS else np.float32))
            for part in np.split(arrays[name], np.cumsum(arrays[f"{name}_sizes"])[:-1])
        ]
        for name in (*_INTS, *_FLOATS)
        if name in arrays
    }
    rows = [
        {**{name: column[index] for name, column in columns.items()}, "kind": str(kind)}
        for index, kind in enumerate(arrays["kinds"])
    ]
    left = iter(rows)
    return [[next(left) for _ in range(size)] for size in arrays["groups"].tolist()]


def _save(path: Path, content: Any) -> None:
    """Write an array, or a dictionary of them, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        if isinstance(content, dict):
            np.savez_compressed(file, **content)
        else:
            np.save(file, content)
    partial.replace(path)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _plain(plan: Plan) -> Json:
    return {name: getattr(plan, name) for name in Plan.__slots__ if name != "sets"} | {
        "sets": {name: _fields(own) for name, own in plan.chosen().items()}
    }

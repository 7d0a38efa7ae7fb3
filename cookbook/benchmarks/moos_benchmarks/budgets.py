"""Answer recall under one token ceiling over all documents of a question: where does the budget go?

Every method orders the words of all documents, and the same selection, rendering and counting (o200k_base, documents
joined by blank lines) then keeps what fits: methods differ in nothing but that order. An answer survives if it stands
in what is kept as whole words, normalised. Where answers stand in no document word by word (summaries), the share of
the supporting passages' tokens that is kept is the measure: `evidence`.

Titles are not read. Intervals are 95 % bootstrap over questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from moos_benchmarks import ranking
from moos_benchmarks.data import read_asked
from moos_benchmarks.ranking import Pool, bm25_scores, embedded, random_scores
from moos_integrations.core.config import DEFAULT_SEPARATOR, CompressorConfig, Redundancy, Target
from moos_integrations.core.marginal_gain import log_odds, standardised, unit_relevance
from moos_integrations.core.ordering import Order, order
from moos_integrations.core.output import Output
from moos_integrations.core.prepared import PreparedText
from moos_integrations.core.selection import select
from moos_integrations.core.table import Table
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import BoolArray, FloatArray, Scorer, SegmentedText, WordScores
from moos_integrations.evaluation.metrics import estimate, normalise, paired, ratio, survives
from moos_integrations.records import Document, Question, Records

SETS = (
    "nq_20docs",
    "nq_10docs",
    "hotpotqa",
    "2wikimqa",
    "musique",
    "narrativeqa_summary",
    "qmsum",
    "covidqa_long",
    "quality",
    "tatqa_tables",
    "code_functions",
    "loghub_logs",
)
BY_SOURCE = ("nq_20docs", "nq_10docs")
BUDGETS = (0.25, 0.125, 0.0625, 0.03125)
"""Shares of the tokens: 4, 8, 16 and 32 times fewer."""

ABLATION_SETS = (
    "nq_20docs",
    "hotpotqa",
    "2wikimqa",
    "musique",
    "covidqa_long",
    "tatqa_tables",
    "code_functions",
    "loghub_logs",
)
UNIT_SIZES = (1, 2, 4)
"""Sentences or lines per unit."""
ABLATION_LIMIT = 100
"""Questions per set where many settings are tried."""
DUPLICATE_SETS = ("nq_20docs", "hotpotqa")
OF_DUPLICATES = ("moos", "sentences", "uniform rate", "embeddings", "documents, embeddings")
COMPARED = CompressorConfig(gains={"budgets": "gain", "retriever_weight": 0.0})
"""The compressor's defaults, without a retriever: the methods that are compared know of none."""
REDUNDANCIES: tuple[Redundancy, ...] = ("greedy", "symmetric")

Priority = FloatArray
"""A number per word of all documents; the words with the highest are kept. Shape: `(words,)`."""
Methods = dict[str, list[Priority]]
"""Orders of words by the method's name, one per case."""


def read_set(data: Path, name: str, limit: int | None = None, *, skip_bad: bool = False) -> Records[Question]:
    """The questions of a set of any schema; see `ranking.read_set`."""
    return ranking.read_set(data, name, limit, skip_bad=skip_bad, read=read_asked)


@dataclass(frozen=True, eq=False)
class Case:
    """A question, its documents ready to be cut, and what the model says of them.

    Attributes:
        pool: The segmented documents and their sentences.
        table: Their words and units, with what the model says of them.
        counter: Of the target LLM.
        retrieved: What a retriever scored the documents, standardised; None without one. Shape: `(documents,)`.
    """

    pool: Pool
    table: Table
    counter: TokenCounter
    retrieved: FloatArray | None = None

    @classmethod
    def of(cls, question: Question, scorer: Scorer, counter: TokenCounter, unit_size: int = 1) -> Case:
        """Segment and score the documents of a question; `unit_size` sentences or lines make a unit."""
        pool = Pool.of(question)
        if unit_size > 1:
            pool = replace(pool, documents=tuple(coarser(document, unit_size) for document in pool.documents))
        scores = scorer.score(pool.documents, question.question)
        return cls(pool, Table.of([PreparedText(document, counter) for document in pool.documents], scores), counter)

    @cached_property
    def output(self) -> Output:
        """Renders and counts."""
        return Output(self.table, self.counter, DEFAULT_SEPARATOR)

    def kept(self, priority: Priority | Order, budget_tokens: int) -> BoolArray:
        """The words that a method keeps under a ceiling. Shape: `(words,)`."""
        ordered = priority if isinstance(priority, Order) else Order.by(self.table, priority)
        return select(self.table, ordered, Target(budget_tokens=budget_tokens), self.output).kept

    def outcome(self, priority: Priority | Order, budget_tokens: int) -> float:
        """Whether an answer survives; where none stands in the documents, the share of the evidence that is kept."""
        kept = self.kept(priority, budget_tokens)
        return float(self.answered(kept)) if self.answerable else self.evidence(kept)

    def answered(self, kept: BoolArray) -> bool:
        """Whether an answer stands in the kept text."""
        return survives(self.pool.question.answers, normalise(self.output.text(kept)))

    @cached_property
    def answerable(self) -> bool:
        """Whether an answer stands in the full documents."""
        texts = [document.text for document in self.pool.documents]
        return survives(self.pool.question.answers, normalise(DEFAULT_SEPARATOR.join(texts)))

    def evidence(self, kept: BoolArray) -> float:
        """Share of the tokens of the supporting passages that is kept; NaN if the data set names none."""
        inside = np.concatenate([self._supporting(index) for index in range(self.table.documents)])
        total = int(self.table.cost[inside].sum())
        return int(self.table.cost[inside & kept].sum()) / total if total else float("nan")

    def _supporting(self, index: int) -> BoolArray:
        """Words of a document that touch named evidence."""
        document = self.pool.documents[index]
        inside = np.zeros(len(document), bool)
        for start, end in self.pool.question.documents[index].evidence:
            inside |= (document.word_starts < end) & (document.word_ends > start)
        return inside


def coarser(document: SegmentedText, size: int) -> SegmentedText:
    """The same words, with every `size` units joined into one."""
    starts = document.unit_starts[::size]
    return replace(document, unit_starts=starts, unit_ends=np.append(starts[1:], document.unit_ends[-1:]))


# --- orders of words -------------------------------------------------------------------------------------------------


def by_sentence(pool: Pool, scores: FloatArray) -> Priority:
    """Whole sentences, the best first; inside a sentence from left to right, so that the last one is cut at its end.

    Args:
        pool: The documents.
        scores: A number per sentence; ties in source order. Shape: `(sentences,)`.
    """
    place = np.empty(len(pool))
    place[np.argsort(-scores, kind="stable")] = np.arange(len(pool))
    offsets = np.cumsum([0, *[len(np.unique(document.unit_of_word)) for document in pool.documents]])
    found = []
    for index, document in enumerate(pool.documents):
        sentence = np.unique(document.unit_of_word, return_inverse=True)[1] + offsets[index]
        position = np.arange(len(document)) / max(len(document), 1)
        found.append(-(place[sentence] + position))
    return np.concatenate(found) if found else np.zeros(0)


def by_document(pool: Pool, scores: FloatArray) -> Priority:
    """Whole documents, the best first, from left to right.

    Args:
        pool: The documents.
        scores: A number per document. Shape: `(documents,)`.
    """
    place = np.empty(len(scores))
    place[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    found = [
        -(place[index] + np.arange(len(document)) / max(len(document), 1))
        for index, document in enumerate(pool.documents)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def uniform_rate(case: Case) -> Priority:
    """The same share of every document, its best words: what token classifiers do without a budget controller."""
    found = []
    columns = (case.table.by_document(case.table.metric), case.table.by_document(case.table.cost))
    for metric, cost in zip(*columns, strict=True):
        best_first = np.argsort(-metric, kind="stable")
        share = np.empty(len(metric))
        share[best_first] = np.cumsum(np.maximum(cost[best_first], 1)) / max(int(np.maximum(cost, 1).sum()), 1)
        found.append(-share)
    return np.concatenate(found) if found else np.zeros(0)


def by_words(case: Case) -> Priority:
    """One ranking of all words by the model's metric."""
    return case.table.metric


def mmr(similarity: FloatArray, vectors: FloatArray, balance: float = 0.7) -> FloatArray:
    """Scores that give the order of maximal marginal relevance: `balance * sim - (1 - balance) * max cos to chosen`."""
    chosen = np.zeros(len(similarity))
    most, waiting = np.zeros(len(similarity)), np.ones(len(similarity), bool)
    for place in range(len(similarity)):
        best = int(np.where(waiting, balance * similarity - (1 - balance) * most, -np.inf).argmax())
        waiting[best], chosen[best] = False, -place
        most = np.maximum(most, vectors @ vectors[best])
    return chosen


def without_model(cases: Sequence[Case], embed: Callable[[Sequence[str]], FloatArray], seed: int) -> Methods:
    """The orders that need no model of ours.

    Sentences by BM25, by embeddings, by embeddings with MMR and at random; whole documents by embeddings.

    Args:
        cases: What is ordered.
        embed: Texts to unit vectors. Shape: `(texts, width)`.
        seed: Of the random order.
    """
    pools = [case.pool for case in cases]
    asked = [pool.question.question for pool in pools]
    sentences = embedded([pool.texts() for pool in pools], asked, embed)
    documents = embedded([[own.text for own in pool.documents] for pool in pools], asked, embed)
    near = [vectors @ question for vectors, question in sentences]
    diverse = [mmr(own, vectors) for own, (vectors, _) in zip(near, sentences, strict=True)]
    of_sentences = {
        "bm25": bm25_scores(pools),
        "embeddings": near,
        "embeddings, mmr": diverse,
        "random": random_scores(pools, seed),
    }
    found = {name: list(map(by_sentence, pools, scores)) for name, scores in of_sentences.items()}
    of_documents = [vectors @ question for vectors, question in documents]
    return found | {"documents, embeddings": list(map(by_document, pools, of_documents))}


def flat(document: SegmentedText) -> SegmentedText:
    """The text with units that do not hang together: no headings, lead-ins, halves of pairs."""
    none = np.full(len(document.unit_starts), -1)
    return replace(document, unit_parents=none, unit_leads_to=none, unit_leads_until=none, unit_partners=none)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One row of the ablation: how the compressor orders words, with what is changed.

    Attributes:
        config: The compressor's settings. The retriever has no weight here, as the methods that are compared know of
            no retriever.
        alpha: Weight of the preserve probability where words of a unit are chosen.
        relevance: What a unit's relevance is made of: "words" (mean log-odds of their preserve probabilities),
            "document" (the passage's) and "similarity" (of unit and question).
        passage_factor: Multiplies the passage's log-odds, where they are a part.
        flat: Take the units as if they did not hang together.
    """

    config: CompressorConfig = COMPARED
    alpha: float = COMPARED.scores.alpha
    relevance: tuple[str, ...] = ("words", "document", "similarity")
    passage_factor: float = 1.0
    flat: bool = False

    def order(self, case: Case) -> Order:
        """What `ContextCompressor` makes of the case with these settings."""
        retrieved = np.zeros(case.table.documents) if case.retrieved is None else case.retrieved
        return order(self._table(case), self.config, case.pool.question.question, retrieved)

    def _table(self, case: Case) -> Table:
        if self == Settings(config=self.config):
            return case.table
        texts = case.table.texts
        if self.flat:
            texts = tuple(PreparedText(flat(text.document), case.counter) for text in texts)
        return Table.of(texts, list(map(self._scores, case.table.scores)))

    def _scores(self, scores: WordScores) -> WordScores:
        """The scores without what relevance is not to be made of; equal probabilities say nothing."""
        words = scores.preserve if "words" in self.relevance else np.full(len(scores.preserve), 0.5)
        passage = 1 / (1 + np.exp(-self.passage_factor * log_odds(np.array(scores.passage_probability))))
        return replace(
            scores,
            preserve=words,
            metric=self._metric(scores),
            passage_probability=float(passage) if "document" in self.relevance else float("nan"),
            unit_similarity=scores.unit_similarity if "similarity" in self.relevance else None,
        )

    def _metric(self, scores: WordScores) -> FloatArray:
        if self.alpha == 1 or np.isnan(scores.outlier).any():
            return scores.preserve
        return self.alpha * scores.preserve + (1 - self.alpha) * scores.outlier


def _with(**settings: Any) -> Settings:
    """The compressor's settings with some changed."""
    return Settings(config=CompressorConfig(gains=COMPARED.gains.model_copy(update=settings)))


GRID: Mapping[str, Settings] = {
    "defaults": Settings(),
    **{
        f"temperature {heat:g}, whole from {share:g}": _with(temperature=heat, whole_from=share)
        for heat in (0.35, 0.7, 1.0, 2.0, 4.0)
        for share in (0.0, 0.3, 0.5, 0.7, 1.0)
    },
    **{
        f"{kind} redundancy, weight {weight:g}": _with(redundancy=kind, redundancy_weight=weight)
        for kind in REDUNDANCIES
        for weight in (1.0, 2.0, 4.0, 8.0)
    },
    "no redundancy": _with(redundancy_weight=0.0),
    **{
        f"relevance of {' + '.join(parts)}": Settings(relevance=parts)
        for parts in (
            ("words",),
            ("document",),
            ("similarity",),
            ("words", "document"),
            ("words", "similarity"),
            ("document", "similarity"),
        )
    },
    "relevance with the whole of the document's": Settings(passage_factor=2.0),
    **{f"match of terms, weight {weight:g}": _with(lexical_weight=weight) for weight in (0.0, 1.0, 3.0)},
    "units without those that they are under": Settings(flat=True),
    **{f"retriever, weight {weight:g}": _with(retriever_weight=weight) for weight in (0.25, 0.5, 1.0, 2.0)},
    **{
        f"word by word, alpha {alpha:g}": replace(_with(whole_from=1.0), alpha=alpha)
        for alpha in (1.0, 0.95, 0.9, 0.8, 0.5)
    },
}
"""The ablation: one thing changed at a time, but for temperature and `whole_from`, which hang together."""


def ours(cases: Sequence[Case]) -> Methods:
    """The orders that come from our model: the compressor's own, and what it is held against.

    `moos` is what `ContextCompressor` does; `sentences` ranks whole sentences by the relevance that the model alone
    tells; `words` puts all words into one ranking; `uniform rate` keeps the same share of every document.
    """
    return {
        "moos": [Settings().order(case).priority for case in cases],
        "sentences": [by_sentence(case.pool, model_sentences(case)) for case in cases],
        "words": [by_words(case) for case in cases],
        "uniform rate": [uniform_rate(case) for case in cases],
    }


def model_sentences(case: Case) -> FloatArray:
    """The model's relevance of each sentence of the pool. Shape: `(sentences,)`."""
    return unit_relevance(case.table)[np.unique(case.table.unit_of_word)]


def retrieved(cases: Sequence[Case], embed: Callable[[Sequence[str]], FloatArray]) -> list[Case]:
    """The cases with what a retriever with these embeddings scores their documents."""
    texts = [[own.text for own in case.pool.documents] for case in cases]
    vectors = embedded(texts, [case.pool.question.question for case in cases], embed)
    scores = [standardised((own @ question).tolist()) for own, question in vectors]
    return [replace(case, retrieved=own) for case, own in zip(cases, scores, strict=True)]


# --- duplicates ------------------------------------------------------------------------------------------------------


def duplicated(question: Question) -> Question:
    """Every document retrieved twice."""
    twice = tuple(document for document in question.documents for _ in range(2))
    return replace(question, documents=twice)


def overlapping(question: Question, words: int = 60, step: int = 30) -> Question:
    """Every document cut into chunks of `words` white-space words, each repeating half of the one before."""
    chunks = tuple(chunk for document in question.documents for chunk in _chunks(document, words, step))
    return replace(question, documents=chunks)


def chunked(question: Question, words: int = 60) -> Question:
    """Every document cut into chunks of `words` white-space words that do not overlap."""
    return overlapping(question, words, words)


def _chunks(document: Document, words: int, step: int) -> Iterable[Document]:
    pieces = document.text.split(" ")
    for start in range(0, max(len(pieces) - (words - step), 1), step):
        yield replace(document, text=" ".join(pieces[start : start + words]), evidence=())


REPEATED: Mapping[str, tuple[Callable[[Question], Question], Callable[[Question], Question]]] = {
    "every document twice": (lambda question: question, duplicated),
    "overlapping chunks": (chunked, overlapping),
}
"""Documents without and with repetitions, by the kind of repetition."""


# --- measuring -------------------------------------------------------------------------------------------------------


def compare(
    cases: Sequence[Case],
    methods: Mapping[str, Sequence[Priority | Order]],
    *,
    budgets: Sequence[float] = BUDGETS,
    tokens: Sequence[int] | None = None,
    against: str = "",
    by_source: bool = False,
) -> dict[str, Any]:
    """The table of methods: per budget the recall relative to the full context, and differences to one of them.

    Args:
        cases: Questions of which something can survive; others are left out by `measurable`.
        methods: Orders of words by name, one per case.
        budgets: Shares of the tokens.
        tokens: What they are shares of, per case; None for the tokens of its documents.
        against: The method whose paired difference to all others is reported.
        by_source: Add a table of each source's questions alone, under `sources`.
    """
    whole = [case.output.original_tokens for case in cases] if tokens is None else list(tokens)
    found = {
        name: np.array(
            [
                [
                    case.outcome(order, int(budget * size))
                    for case, order, size in zip(cases, orders, whole, strict=True)
                ]
                for budget in budgets
            ]
        ).reshape(len(budgets), len(cases))
        for name, orders in methods.items()
    }
    sources = np.array([case.pool.question.source for case in cases])
    table = _table(found, budgets, against)
    if by_source:
        table["sources"] = {
            source: _table({name: own[:, sources == source] for name, own in found.items()}, budgets, against)
            for source in sorted(set(sources.tolist()))
        }
    return table


def measurable(cases: Iterable[Case]) -> list[Case]:
    """Cases of which something can survive: an answer that stands in the documents, or named evidence."""
    return [case for case in cases if case.answerable or any(each.evidence for each in case.pool.question.documents)]


def _table(found: Mapping[str, FloatArray], budgets: Sequence[float], against: str) -> dict[str, Any]:
    count = next(iter(found.values())).shape[1] if found else 0
    return {
        "questions": count,
        "methods": {
            name: {str(budget): estimate(own) for budget, own in zip(budgets, rows, strict=True)}
            for name, rows in found.items()
        },
        "differences": {
            f"{against} - {name}": {
                str(budget): paired(found[against][row], rows[row]) for row, budget in enumerate(budgets)
            }
            for name, rows in found.items()
            if against in found and name != against
        },
        "mean": {name: ratio(rows.mean(0)) for name, rows in found.items()},
    }

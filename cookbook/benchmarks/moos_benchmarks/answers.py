"""The part `answers`: our data sets for `evaluation.measuring`, and plain methods beside the compressor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from moos_benchmarks import budgets
from moos_benchmarks.budgets import Case
from moos_benchmarks.data import Problem, data_file, read_problems
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import FloatArray, SegmentedText, WordScores
from moos_integrations.evaluation.measuring import TEMPLATES, Context, Kind, Method, joined
from moos_integrations.evaluation.metrics import containment
from moos_integrations.records import Document, Question

SETS = (
    "nq_20docs",
    "hotpotqa",
    "2wikimqa",
    "musique",
    "narrativeqa_summary",
    "covidqa_long",
    "quality",
    "tatqa_tables",
    "code_functions",
    "loghub_logs",
    "qmsum",
    "multi_news",
    "gsm8k",
    "bbh_cot",
)
KINDS: Mapping[str, Kind] = {
    "qmsum": "summary",
    "multi_news": "summary",
    "quality": "chosen",
    "gsm8k": "solved",
    "bbh_cot": "result",
}
"""Of the sets whose answers are not quoted."""
QUESTIONS: Mapping[str, int] = {
    "nq_20docs": 20,
    "hotpotqa": 30,
    "2wikimqa": 30,
    "musique": 16,
    "narrativeqa_summary": 30,
    "covidqa_long": 8,
    "quality": 4,
    "tatqa_tables": 25,
    "code_functions": 15,
    "loghub_logs": 14,
    "qmsum": 3,
    "multi_news": 6,
    "gsm8k": 6,
    "bbh_cot": 20,
}
"""Records of each set, unless a limit is given: the longer the documents, the fewer, as peers and readers are slow."""
JUDGED = (
    "nq_20docs",
    "hotpotqa",
    "2wikimqa",
    "musique",
    "narrativeqa_summary",
    "quality",
    "tatqa_tables",
    "gsm8k",
    "bbh_cot",
)
"""Sets that the language model is asked about, as it is slow: not the longest ones, nor summaries, nor code and logs,
whose answers stand there word by word or not at all."""


# --- methods ---------------------------------------------------------------------------------------------------------


class _Unread:
    """Stands in for a model where an order of words needs none."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        del query
        return [WordScores.from_preserve(np.full(len(document), 0.5)) for document in documents]


def plain(embed: Callable[[Sequence[str]], FloatArray], counter: TokenCounter, seed: int = 0) -> dict[str, Method]:
    """What needs no model of ours: see `budgets.without_model`; and `lead`, the documents from the first word on."""

    @lru_cache(maxsize=1)
    def orders(question: Question) -> tuple[Case, dict[str, budgets.Priority]]:
        case = Case.of(question, _Unread(), counter)
        found = {name: own[0] for name, own in budgets.without_model([case], embed, seed).items()}
        lead = budgets.by_document(case.pool, -np.arange(len(case.pool.documents), dtype=np.float64))
        return case, {**found, "lead": lead}

    def kept(question: Question, ceilings: Sequence[int], *, name: str) -> dict[int, Context]:
        case, known = orders(question)
        return {ceiling: Context(case.output.text(case.kept(known[name], ceiling))) for ceiling in ceilings}

    names = ("bm25", "embeddings", "embeddings, mmr", "documents, embeddings", "random", "lead")
    return {name: partial(kept, name=name) for name in names}


# --- sets ------------------------------------------------------------------------------------------------------------


def read_set(data: Path, name: str, limit: int | None = None, *, skip_bad: bool = False) -> tuple[list[Question], int]:
    """The questions of a set that say something, and how many records were malformed."""
    most = limit or QUESTIONS[name]
    if KINDS.get(name) in TEMPLATES:
        problems = read_problems(data_file(data, name), skip_bad=skip_bad)
        return [_asked(problem) for problem in by_turns(problems.items)[:most]], problems.skipped
    records = budgets.read_set(data, name, most, skip_bad=skip_bad)
    return [own for own in records if name in KINDS or containment(joined(own), own.answers)], records.skipped


def by_turns(problems: Sequence[Problem]) -> list[Problem]:
    """One problem of each task after another, so that the first ones speak for all tasks."""
    seen: Counter[str] = Counter()
    turns = []
    for problem in problems:
        turns.append(seen[problem.task])
        seen[problem.task] += 1
    return [problems[row] for row in np.argsort(turns, kind="stable").tolist()]


def _asked(problem: Problem) -> Question:
    return Question(problem.question, (problem.answer,), (Document(problem.prompt, "", is_gold=True),), problem.id)

"""One order of all words of a request, and one of its documents, from scores and gains. Pure numpy.

With gains, the budget is shared out by COMI's softmax: a unit's share is `softmax(G / temperature)`, capped at its
length, what is left over flowing on to the others. Shares need no budget to be known. Let the level `x` rise from 0:
unit `u` may keep `x * exp(G_u / temperature)` tokens. A word that needs `c` tokens of its unit then enters at
`log x = log c - G_u / temperature`. Ordering all words by that number is the same as sharing out every budget at once:
one ranking serves all budgets. A unit that is kept whole needs all of its tokens, and those of what it is under.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.config import Order as DocumentOrder
from moos_integrations.core.marginal_gain import UnitGains, marginal_gains, repeats_of, unit_relevance
from moos_integrations.core.table import Table
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Kind

Quantity = Literal["metric", "priority", "odds"]
"""By what words compete: MOOSComp's metric (of a unit that is kept whole, its mean); the priority that marginal gains
give; the odds of a word's unit as a share of the best unit's."""
HIGHEST_LEVEL = 14.0
"""In log-odds, what the best unit counts at most where others are compared with it: the best unit of nineteen in twenty
questions of the development sets is below. What repeats a question word by word can be far above."""
_AFTER_ALL = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """In which order words and documents are kept.

    Attributes:
        priority: What words are ordered by under a ceiling, higher first. Shape: `(words,)`.
        level: What a threshold is compared with. Shape: `(words,)`.
        extra: Words that may enter after the rest of their unit: those that thinning may drop. Shape: `(words,)`.
        ranks: Place of each document, 0 for the best. Shape: `(documents,)`.
        eligible: Whether anything of each document may be kept. Shape: `(documents,)`.
        documents: Indices of the documents in the order of the output.
        gains: Of the units; None where words are ranked without regard to their units.
        answers: Whether each document reaches the floor of relevance; None without a floor. Shape: `(documents,)`.
    """

    priority: FloatArray
    level: FloatArray
    extra: BoolArray
    ranks: IntArray
    eligible: BoolArray
    documents: tuple[int, ...]
    gains: UnitGains | None
    answers: BoolArray | None = None

    @classmethod
    def by(cls, table: Table, values: FloatArray) -> Order:
        """Units by any numbers of their words, all documents eligible and in source order."""
        ranks, none = np.arange(table.documents), np.zeros(table.words, bool)
        return cls(values, values, none, ranks, np.ones(len(ranks), bool), tuple(ranks.tolist()), None)

    def only(self, answers: BoolArray) -> Order:
        """The same order, in which only documents that reach the floor may be kept. Shape: `(documents,)`."""
        return replace(self, eligible=self.eligible & answers, answers=answers)

    def quantity(self, *, threshold: bool) -> Quantity:
        """What the values of words are, under a threshold or under a ceiling."""
        if self.gains is None:
            return "metric"
        return "odds" if threshold else "priority"


def order(table: Table, config: CompressorConfig, query: str | None, retrieved: FloatArray) -> Order:
    """The order of a request's words and documents.

    Args:
        table: The request.
        config: The settings.
        query: The question, if there is one.
        retrieved: What a retriever scored the documents, standardised; see `standardised`. Shape: `(documents,)`.
    """
    settings = config.gains
    by_gain = settings.budgets != "words"
    arranging = config.order != "source" or config.top_n is not None
    gains = unit_gains(table, config, query, retrieved) if by_gain or arranging else None
    ranks = document_ranks(table, gains) if arranging and gains is not None else np.arange(table.documents)
    eligible = np.ones(table.documents, bool) if config.top_n is None else ranks < config.top_n
    documents = tuple(arranged(ranks.tolist(), config.order))
    extra = extra_words(table, settings.whole_from)
    if gains is None or not by_gain:
        metric = word_metric(table, extra)
        return Order(metric, metric, extra, ranks, eligible, documents, None)
    priority = word_priority(table, gains, extra, temperature=settings.temperature, whole_from=settings.whole_from)
    level = relative_odds(table, gains, query)[table.unit_of_word]
    return Order(priority, level, extra, ranks, eligible, documents, gains)


def unit_gains(table: Table, config: CompressorConfig, query: str | None, retrieved: FloatArray) -> UnitGains:
    """What each unit adds: by the scorer, by matching terms, and by the retriever, less what others say."""
    relevance = (
        unit_relevance(table)
        + config.gains.lexical_weight * table.term_match(query or "")
        + config.gains.retriever_weight * retrieved[table.document_of_unit]
    )
    return marginal_gains(
        table, relevance, query, weight=config.gains.redundancy_weight, redundancy=config.gains.redundancy
    )


# --- words -----------------------------------------------------------------------------------------------------------


def extra_words(table: Table, whole_from: float) -> BoolArray:
    """Words that may enter after the rest of their unit; none if units are kept whole (`whole_from` 0).

    Shape: `(words,)`.
    """
    return table.droppable if whole_from > 0 else np.zeros(table.words, bool)


def word_metric(table: Table, extra: BoolArray) -> FloatArray:
    """The metric of each word; words that are kept together have the mean of theirs. Shape: `(words,)`."""
    together = np.where(extra, 0.0, table.metric)
    words = np.bincount(table.unit_of_word, weights=~extra, minlength=table.units)
    means = np.bincount(table.unit_of_word, weights=together, minlength=table.units) / np.maximum(words, 1)
    return np.where(extra, table.metric, means[table.unit_of_word])


def word_priority(
    table: Table, gains: UnitGains, extra: BoolArray, *, temperature: float, whole_from: float
) -> FloatArray:
    """The order in which words enter as the budget grows: higher first.

    Args:
        table: The request; inside a unit, words enter by their metric.
        gains: Of its units.
        extra: Words that may enter after the rest of their unit. Shape: `(words,)`.
        temperature: In log-odds. Towards 0 the units enter one after another, by their gain; a high one gives all
            units the same share.
        whole_from: Share of a unit's tokens from which it is kept whole: a unit whose share of the budget reaches it
            gets all the rest at once.

    Returns:
        Words of repetitions come after all others. Shape: `(words,)`.
    """
    unit = table.unit_of_word
    entry = gains.gain / temperature - np.where(gains.repeated, _AFTER_ALL, 0.0)
    priority = _unit_priority(table, entry)[unit]
    if extra.any():
        thinned = entry[unit] - np.log(_tokens_of_unit(table, extra, whole_from))
        priority = np.where(table.unit_has(extra), thinned, priority)
    return np.asarray(priority)


def _unit_priority(table: Table, entry: FloatArray) -> FloatArray:
    """Priority of units that are kept whole: `entry` against the tokens of the unit and of all that it is under.

    What several units are under is paid for once, by the first of them: the others, which come after it, are held
    against their own tokens. So a row is not punished for a header that another row brings, and nothing comes free.
    Lines of code always count with all lines that they are under: deep ones are mostly details. Shape: `(units,)`.
    """
    alone = entry - np.log(np.maximum(table.path_cost, 1))
    alone[table.kinds == Kind.RULE] = -np.inf  # the rule under a table's head comes after a row, and brings none
    parents, brought = table.parents.tolist(), alone.tolist()
    for unit in range(len(parents) - 1, -1, -1):  # what is below a unit comes after it
        if parents[unit] >= 0 and brought[unit] > brought[parents[unit]]:
            brought[parents[unit]] = brought[unit]
    under = np.flatnonzero((table.parents >= 0) & (table.kinds != Kind.CODE))
    later = entry[under] - np.log(np.maximum(table.unit_cost[under], 1))
    first = np.nextafter(np.array(brought)[table.parents[under]], -np.inf)
    alone[under] = np.maximum(alone[under], np.minimum(later, first))
    return np.asarray(alone)


def _tokens_of_unit(table: Table, extra: BoolArray, whole_from: float) -> FloatArray:
    """Tokens that each word's unit must get for the word to enter: first what it must not lose. Shape: `(words,)`."""
    unit, cost = table.unit_of_word, np.maximum(table.cost, 1)
    length = np.bincount(unit, weights=cost, minlength=table.units)
    order = np.lexsort((-table.metric, extra, unit))  # unit by unit, what must stay first, then the best word
    running = np.cumsum(cost[order])
    first = np.searchsorted(unit[order], np.arange(table.units), side="left")
    before = np.concatenate([[0], running])[first]
    tokens = np.empty(table.words)
    tokens[order] = running - before[unit[order]]
    core = np.bincount(unit, weights=np.where(extra, 0, cost), minlength=table.units)
    tokens = np.where(extra, tokens, np.maximum(core[unit], 1))
    return np.asarray(np.minimum(tokens, np.maximum(np.maximum(whole_from * length, core)[unit], 1.0)))


def relative_odds(table: Table, gains: UnitGains, query: str | None = None) -> FloatArray:
    """The odds of each unit as a share of the best unit's, in (0, 1]: what a `threshold` is compared with.

    Repetitions have 0. A unit that only repeats the question does not set the level, and no unit sets it higher than
    `HIGHEST_LEVEL`. An easy question leaves few units above a threshold, one that nothing answers clearly leaves many.
    Shape: `(units,)`.
    """
    if not len(gains):
        return np.zeros(0)
    alive = ~gains.repeated
    telling = alive & ~repeats_of(table, query)
    setting = telling if telling.any() else alive
    best = min(gains.gain[setting].max(), HIGHEST_LEVEL) if setting.any() else 0.0
    return np.asarray(np.where(alive, np.exp(np.minimum(gains.gain - best, 0.0)), 0.0))


# --- documents -------------------------------------------------------------------------------------------------------


def document_ranks(table: Table, gains: UnitGains) -> IntArray:
    """Place of each document, 0 for the one whose best unit gains most; ties in source order.

    A document that only repeats others comes after all that do not, an empty one last. Shape: `(documents,)`.
    """
    best = np.full(table.documents, -np.inf)
    np.maximum.at(best, table.document_of_unit, gains.gain - np.where(gains.repeated, _AFTER_ALL, 0.0))
    ranks = np.empty(table.documents, np.int64)
    ranks[np.argsort(-best, kind="stable")] = np.arange(table.documents)
    return ranks


def arranged(ranks: Sequence[int], documents: DocumentOrder) -> list[int]:
    """Indices of the documents in the order of the output; see `CompressorConfig.order`."""
    if documents == "source":
        return list(range(len(ranks)))
    best_first = sorted(range(len(ranks)), key=lambda index: ranks[index])
    return best_first if documents == "relevance" else best_first[::2] + best_first[1::2][::-1]

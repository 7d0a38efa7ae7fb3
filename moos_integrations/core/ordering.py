"""One order of all words of a request, and one of its documents, from scores and gains. Pure numpy.

With gains, the budget is shared out by COMI's softmax: a unit's share is `softmax(G / temperature)`, capped at its
length, what is left over flowing on to the others. Shares need no budget to be known. Let the level `x` rise from 0:
unit `u` may keep `x * exp(G_u / temperature)` tokens. Its word whose `c`-th token it is (counted from the unit's best
word on) then enters at `log x = log c - G_u / temperature`. Ordering all words by that number is the same as sharing
out every budget at once: one ranking serves all budgets, and a larger budget keeps a superset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.config import Order as DocumentOrder
from moos_integrations.core.marginal_gain import UnitGains, marginal_gains, unit_relevance
from moos_integrations.core.table import Table
from moos_integrations.core.types import BoolArray, FloatArray, IntArray

Quantity = Literal["metric", "priority", "odds"]
"""By what words compete: MOOSComp's metric; the priority that marginal gains give; the odds of a word's unit as a share
of the best unit's."""
_AFTER_ALL = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class WordValues:
    """What words are compared by.

    Attributes:
        quantity: What the numbers are.
        alone: Each word's number by itself. Shape: `(words,)`.
        lifted: The same, or the number of a word that needs this one to make sense, if that is larger: what decides.
            Shape: `(words,)`.
    """

    quantity: Quantity
    alone: FloatArray
    lifted: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """In which order words and documents are kept.

    Attributes:
        priority: What words are ordered by under a ceiling, higher first.
        level: What a threshold is compared with.
        ranks: Place of each document, 0 for the best. Shape: `(documents,)`.
        eligible: Whether anything of each document may be kept. Shape: `(documents,)`.
        documents: Indices of the documents in the order of the output.
        gains: Of the units; None where words are ranked without regard to their units.
    """

    priority: WordValues
    level: WordValues
    ranks: IntArray
    eligible: BoolArray
    documents: tuple[int, ...]
    gains: UnitGains | None

    @classmethod
    def by(cls, table: Table, values: WordValues) -> Order:
        """Words by any numbers, all documents eligible and in source order."""
        ranks = np.arange(table.documents)
        return cls(values, values, ranks, np.ones(len(ranks), bool), tuple(ranks.tolist()), None)


def order(table: Table, config: CompressorConfig, query: str | None, retrieved: FloatArray) -> Order:
    """The order of a request's words and documents.

    Args:
        table: The request.
        config: The settings.
        query: The question, if there is one.
        retrieved: What a retriever scored the documents, standardised; see `standardised`. Shape: `(documents,)`.
    """
    by_gain = config.gains.budgets == "gain" or (config.gains.budgets == "auto" and table.reads_question)
    arranging = config.order != "source" or config.top_n is not None
    gains = unit_gains(table, config, query, retrieved) if by_gain or arranging else None
    ranks = document_ranks(table, gains) if arranging and gains is not None else np.arange(table.documents)
    eligible = np.ones(table.documents, bool) if config.top_n is None else ranks < config.top_n
    documents = tuple(arranged(ranks.tolist(), config.order))
    if gains is None or not by_gain:
        # Words are ranked without regard to their units.
        metric = WordValues("metric", table.metric, table.metric)
        return Order(metric, metric, ranks, eligible, documents, None)
    priority = word_priority(table, gains, temperature=config.gains.temperature, whole_from=config.gains.whole_from)
    level = relative_odds(gains)[table.unit_of_word]
    return Order(
        WordValues("priority", priority, with_enclosing(table, priority)),
        WordValues("odds", level, with_enclosing(table, level)),
        ranks,
        eligible,
        documents,
        gains,
    )


def unit_gains(table: Table, config: CompressorConfig, query: str | None, retrieved: FloatArray) -> UnitGains:
    """What each unit adds: by the scorer, by matching terms, and by the retriever, less what others say."""
    relevance = (
        unit_relevance(table)
        + config.gains.lexical_weight * table.term_match(query or "")
        + config.gains.retriever_weight * retrieved[table.document_of_unit]
    )
    return marginal_gains(table, relevance, weight=config.gains.redundancy_weight, redundancy=config.gains.redundancy)


# --- words -----------------------------------------------------------------------------------------------------------


def word_priority(
    table: Table, gains: UnitGains, *, temperature: float, whole_from: float, lines_whole: bool = True
) -> FloatArray:
    """The order in which words enter as the budget grows: higher first.

    Args:
        table: The request; inside a unit, words enter by their metric.
        gains: Of its units.
        temperature: In log-odds. Towards 0 the units enter one after another, by their gain; a high one gives all
            units the same share.
        whole_from: Share of a unit's tokens from which it is kept whole: a unit whose share of the budget reaches it
            gets all the rest at once. 0 keeps units whole or not at all, 1 thins them word by word.
        lines_whole: Keep lines of code, rows of tables and the like whole or not at all, whatever `whole_from` says.

    Returns:
        Words of repetitions come after all others. Shape: `(words,)`.
    """
    shares = np.where(table.structured, 0.0, whole_from) if lines_whole else np.full(table.units, whole_from)
    tokens = _tokens_of_unit(table.metric, np.maximum(table.cost, 1), table.unit_of_word, shares)
    entry = gains.gain / temperature - np.where(gains.repeated, _AFTER_ALL, 0.0)
    return np.asarray(entry[table.unit_of_word] - np.log(tokens))


def _tokens_of_unit(metric: FloatArray, cost: IntArray, unit: IntArray, whole_from: FloatArray) -> FloatArray:
    """Tokens that each word's unit must get for the word to enter. Shape: `(words,)`."""
    units = len(whole_from)
    length = np.bincount(unit, weights=cost, minlength=units)
    order = np.lexsort((-metric, unit))  # unit by unit, best word first
    running = np.cumsum(cost[order])
    first = np.searchsorted(unit[order], np.arange(units), side="left")
    before = np.concatenate([[0], running])[first]
    tokens = np.empty(len(metric))
    tokens[order] = running - before[unit[order]]
    bound = np.where(whole_from == 0, length, np.maximum(whole_from * length, 1.0))[unit]
    return np.asarray(np.where((whole_from == 0)[unit], bound, np.minimum(tokens, bound)))


def relative_odds(gains: UnitGains) -> FloatArray:
    """The odds of each unit as a share of the best unit's, in (0, 1]: what a `threshold` is compared with.

    Repetitions have 0. An easy question leaves few units above a threshold, one that nothing answers clearly leaves
    many. Shape: `(units,)`.
    """
    if not len(gains):
        return np.zeros(0)
    alive = ~gains.repeated
    best = gains.gain[alive].max() if alive.any() else 0.0
    return np.asarray(np.where(alive, np.exp(np.minimum(gains.gain - best, 0.0)), 0.0))


def with_enclosing(table: Table, words: FloatArray) -> FloatArray:
    """Word by word, the largest number of a unit or of any that stands under it.

    The line that opens a block says whose the lines below it are: `return a + b` says little without its `def`. With
    these numbers no line enters before the lines that it stands under.

    Args:
        table: The request.
        words: A number per word. Shape: `(words,)`.

    Returns:
        Shape: `(words,)`.
    """
    over = table.enclosing
    inside = np.flatnonzero(over >= 0)
    if not len(inside):
        return words
    best = np.full(table.units, -np.inf)
    np.maximum.at(best, table.unit_of_word, words)
    below = np.full(table.units, -np.inf)
    for unit in inside[::-1].tolist():  # from the innermost on: what is lifted lifts on
        below[over[unit]] = max(below[over[unit]], best[unit], below[unit])
    return np.asarray(np.maximum(words, below[table.unit_of_word]))


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

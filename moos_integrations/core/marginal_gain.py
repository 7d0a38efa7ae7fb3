"""Marginal information gain (COMI): what each unit of a request adds. Pure numpy.

COMI gives a group of tokens `G = cos(x, q) - max cos(x, x_j)` and sizes it by a softmax. Here the groups are units of
text (sentences, lines), and relevance comes as log-odds from a scorer; `core.ordering` shares the budget out. This
adaptation to text is not COMI as published.

*Relevance* is one thing throughout: how much the question needs a unit, in log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moos_integrations.core.config import Redundancy
from moos_integrations.core.lexical import statement, terms_of
from moos_integrations.core.redundancy import KINDS, centred, repetitions
from moos_integrations.core.table import Table
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Kind
from moos_integrations.core.voices import encoder_voice

PASSAGE_WEIGHT = 0.5
"""Of a passage's own log-odds in the relevance of its units: more helps where one passage answers, and hurts
where several do (`cookbook/benchmarks/results/gain_ablation.json`)."""
# An echo has so much of its terms in common with the question, and so much of the question's terms in it.
_ECHO_OF_UNIT, _ECHO_OF_QUESTION = 0.8, 0.6
_STATED_OF_UNIT, _LEAST_STATED = 0.45, 4  # share of a unit's terms, words of a question
_EMPTY_ECHO = 4.0  # log-odds that an echo loses which introduces nothing
# A lead-in hands its relevance on to so many units at most, each with so much less, in log-odds.
_INTRODUCED_UNITS, _INTRODUCED_LOSS, _BELOW_LOSS, _RULE_LOSS = 12, 0.5, 2.0, 1.0
_FURNITURE_LOSS = 6.0  # log-odds that a menu loses which has no word of the question
_TELLING_TERM = 4  # characters from which a term that a menu shares with the question tells something
_LEAST = 1e-6  # probabilities are moved this far from 0 and 1, so that their log-odds are finite


@dataclass(frozen=True, slots=True, eq=False)
class UnitGains:
    """The units of all documents of a request, in source order, and what each would add.

    Attributes:
        relevance: How much the question needs the unit, in log-odds. Shape of this and all others: `(units,)`.
        redundancy: Largest cosine to the units it was compared with, in [-1, 1]; 1 for a repetition.
        against: Index of the unit it is most like; -1 if it was compared with none.
        repeated: Its text stands in a better unit already.
        gain: `relevance - weight * redundancy`, the marginal information gain.
    """

    relevance: FloatArray
    redundancy: FloatArray
    against: IntArray
    repeated: BoolArray
    gain: FloatArray

    def __len__(self) -> int:
        """Number of units."""
        return len(self.gain)

    def shares(self, temperature: float) -> FloatArray:
        """Share of the budget that each unit gets before caps: `softmax(gain / temperature)`, 0 for repetitions."""
        alive = ~self.repeated
        if not alive.any():
            return np.zeros(len(self))
        weights = np.where(alive, np.exp((self.gain - self.gain[alive].max()) / temperature), 0.0)
        return np.asarray(weights / weights.sum())


def log_odds(probability: FloatArray) -> FloatArray:
    """`log(p / (1 - p))`, with probabilities moved away from 0 and 1."""
    clipped = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def unit_relevance(table: Table, *, passage_weight: float = PASSAGE_WEIGHT) -> FloatArray:
    """Relevance of all units by what the scorer says: the reader, and a sentence encoder if there is one.

    Args:
        table: The request.
        passage_weight: As in `reader_relevance`.

    Returns:
        In log-odds; a unit without words gets the least there is. Shape: `(units,)`.
    """
    relevance = reader_relevance(table, passage_weight=passage_weight)
    if table.cosines is None:
        return relevance
    return np.asarray(relevance + encoder_voice(table.cosines, table.gates, reads=table.reader_reads_question))


def reader_relevance(table: Table, *, passage_weight: float = PASSAGE_WEIGHT) -> FloatArray:
    """Relevance of all units by the model that scores words.

    It is the mean log-odds of the metric of the unit's words, plus the unit's similarity to the question and a part of
    the log-odds of its passage, where the scorer knows them.

    Args:
        table: The request.
        passage_weight: Weight of the passage's log-odds.

    Returns:
        In log-odds; a unit without words gets the least there is. Shape: `(units,)`.
    """
    words = np.bincount(table.unit_of_word, minlength=table.units)
    totals = np.bincount(table.unit_of_word, weights=log_odds(table.metric), minlength=table.units)
    least = float(log_odds(np.zeros(1))[0])
    relevance = np.divide(totals, words, out=np.full(table.units, least), where=words > 0)
    passage = table.passage_probability[table.document_of_unit]
    known = ~np.isnan(passage)
    relevance[known] += passage_weight * log_odds(passage[known])
    return np.asarray(relevance + table.unit_similarity)


def standardised(scores: Sequence[float | None]) -> FloatArray:
    """A retriever's scores of the documents in standard deviations from their mean: their scales are all different.

    Args:
        scores: One per document, higher is better; None or NaN where there is none.

    Returns:
        Shape: `(documents,)`. 0 where there is no score, and everywhere if all are alike.
    """
    values = np.array([np.nan if score is None else score for score in scores], np.float64)
    known = np.isfinite(values)
    spread = values[known].std() if known.any() else 0.0
    if not spread > 0:
        return np.zeros(len(values))
    return np.asarray(np.where(known, (values - values[known].mean()) / spread, 0.0))


def repeats_of(table: Table, query: str | None) -> BoolArray:
    """Units with hardly a term that the question has not, and most of the terms that it has. Shape: `(units,)`."""
    asked = set(terms_of(query or ""))
    flags = np.zeros(table.units, bool)
    if not asked:
        return flags
    for unit, terms in enumerate(table.unit_terms):
        if _ECHO_OF_UNIT * len(terms) > len(asked):
            continue  # most units have too many terms, and need no comparison
        common = len(asked.intersection(terms))
        flags[unit] = common >= max(_ECHO_OF_UNIT * len(terms), _ECHO_OF_QUESTION * len(asked), 1)
    return flags


def echoes(table: Table, query: str | None) -> BoolArray:
    """Units that only repeat the question: headings and questions with hardly a term that the question has not.

    They say where the answer is, not what it is. So does any sentence or line that has the question word by word and
    little else. Shape: `(units,)`.
    """
    heads = repeats_of(table, query) & (table.asks | (table.kinds == Kind.HEADING))
    return np.asarray(heads | _states(table, query))


def _states(table: Table, query: str | None) -> BoolArray:
    """Units that have the question word by word and little else. Shape: `(units,)`."""
    asked, stated = set(terms_of(query or "")), f" {' '.join(statement(query or ''))} "
    flags = np.zeros(table.units, bool)
    if not asked or stated.count(" ") <= _LEAST_STATED:
        return flags
    statements = table.statements
    for unit, terms in enumerate(table.unit_terms):
        if len(asked) >= _STATED_OF_UNIT * len(terms) and asked.issubset(terms):
            flags[unit] = stated in f" {' '.join(statements[unit])} "
    return flags


def _furniture_loss(table: Table, query: str | None) -> FloatArray:
    """What menus and other parts of pages lose, but for those that the question names. Shape: `(units,)`."""
    loss = np.where(table.furniture, _FURNITURE_LOSS, 0.0)
    asked = {term for term in terms_of(query or "") if len(term) >= _TELLING_TERM}
    terms = table.unit_terms
    for unit in np.flatnonzero(loss).tolist() if asked else ():
        if asked.intersection(terms[unit]):
            loss[unit] = 0.0
    return np.asarray(loss)


def with_introductions(table: Table, relevance: FloatArray, echo: BoolArray) -> FloatArray:
    """Relevance of units where some only introduce others.

    An echo of the question is at most as relevant as the best unit that is none, and less if it introduces nothing.
    What a question or a lead-in introduces is hardly less relevant than it: the answer to a question that was found
    need not have a word of it.

    Args:
        table: The request.
        relevance: In log-odds. Shape: `(units,)`.
        echo: See `echoes`. Shape: `(units,)`.
    """
    found = relevance.copy()
    others = relevance[~echo]
    bound = others.max() if len(others) else np.inf
    found[echo] = np.minimum(found[echo], bound)
    found[echo & _introduces_echoes(table, echo)] -= _EMPTY_ECHO
    _hand_on(table, found)
    _rules_of_tables(table, found)
    return found


def _introduces_echoes(table: Table, echo: BoolArray) -> BoolArray:
    """Which units introduce nothing, or an echo that introduces nothing. Shape: `(units,)`."""
    empty = table.leads_to < 0
    for unit in np.flatnonzero(echo & ~empty)[::-1].tolist():  # what is introduced comes behind
        first = int(table.leads_to[unit])
        empty[unit] = echo[first] and empty[first]
    return empty


def _hand_on(table: Table, relevance: FloatArray) -> None:
    """Raise what is introduced to hardly less than what introduces it, from the outermost on."""
    partners, parents = table.partners, table.parents
    for lead in np.flatnonzero(table.leads_to >= 0).tolist():
        first, until = int(table.leads_to[lead]), int(table.leads_until[lead])
        if table.needs_first[lead]:
            part = range(first, min(until, first + _INTRODUCED_UNITS))
            for place, unit in enumerate(part):
                loss = _INTRODUCED_LOSS * (1 + place * bool(table.asks[lead]))
                relevance[unit] = max(relevance[unit], relevance[lead] - loss)
        elif partners[first] != lead:
            # A heading or key hands on to its first unit, and so to the items of a list that follows it.
            relevance[first] = max(relevance[first], relevance[lead] - _BELOW_LOSS)
            siblings = range(first + 1, min(until, first + _INTRODUCED_UNITS))
            for unit in siblings if table.kinds[first] == Kind.ITEM else ():
                if parents[unit] == parents[first] and table.kinds[unit] == Kind.ITEM:
                    relevance[unit] = max(relevance[unit], relevance[lead] - _BELOW_LOSS)


def _rules_of_tables(table: Table, relevance: FloatArray) -> None:
    """The rule under a table's head comes after the best row: it makes a table of them."""
    for rule in np.flatnonzero((table.kinds == Kind.RULE) & (table.parents >= 0)).tolist():
        head = int(table.parents[rule])
        relevance[rule] = relevance[head : max(int(table.leads_until[head]), head + 1)].max() - _RULE_LOSS


def marginal_gains(
    table: Table, relevance: FloatArray, query: str | None = None, *, weight: float, redundancy: Redundancy = "greedy"
) -> UnitGains:
    """Relevance minus redundancy of the units of all documents (COMI, marginal information gain).

    Args:
        table: The request. Without vectors of its units, repetitions of text are the only redundancy.
        relevance: Of each unit by itself, in log-odds. Shape: `(units,)`.
        query: The question, if there is one.
        weight: Of redundancy, in log-odds: what a unit loses that is the same as another.
        redundancy: "symmetric" compares a unit with all others, as published; "greedy" only with those that gain more,
            so that of two like units the better one loses nothing.

    Returns:
        One value per unit of all documents together.
    """
    relevance = with_introductions(table, relevance - _furniture_loss(table, query), echoes(table, query))
    repeated, original = repetitions(table, relevance)
    alike, against = np.zeros(table.units), np.full(table.units, -1)
    vectors = table.unit_vectors
    if weight and vectors is not None and table.units:
        alike, against = KINDS[redundancy](centred(vectors), relevance, weight, repeated)
    alike, against = np.where(repeated, 1.0, alike), np.where(repeated, original, against)
    return UnitGains(relevance, alike, against, repeated, relevance - weight * np.maximum(alike, 0.0))

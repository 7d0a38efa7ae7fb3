"""Marginal information gain (COMI): which units of all documents get how much of the one budget. Pure numpy.

COMI gives a group of tokens `G = cos(x, q) - max cos(x, x_j)` and sizes it by a softmax. Here the groups are units of
text (sentences, lines), relevance comes as log-odds from a scorer, and a unit's share of the budget is
`softmax(G / temperature)`, capped at its length, what is left over flowing on to the others. This adaptation to text is
not COMI as published.

Shares need no budget to be known. Let the level `x` rise from 0: unit `u` may keep `x * exp(G_u / temperature)` tokens,
so its word whose `c`-th token it is (counted from the unit's best word on) enters at `log x = log c - G_u /
temperature`. Ordering all words by that number is the same as sharing out every budget at once, so that one ranking
serves all budgets and a larger one keeps a superset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from moos_integrations.core.config import Order, Redundancy
from moos_integrations.core.lexical import unit_terms
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, SegmentedText, WordScores

DOCUMENT_WEIGHT = 0.5
"""Of a passage's own log-odds in the relevance of its units: more helps where one passage answers, and hurts
where several do (`cookbook/benchmarks/results/gain_ablation.json`)."""
_LEAST = 1e-6  # probabilities are moved this far from 0 and 1, so that their log-odds are finite
_SHINGLE = 4  # words that must agree in a row to count as the same text
_REPEATED = 0.8  # share of a unit's text that stands elsewhere already, from which it is a repetition
# Units are compared with so many of the most relevant ones, not with all: time and memory stay linear in their number.
_COMPARED_UNITS = 1024
_BLOCK = 1024  # units compared at once


@dataclass(frozen=True, slots=True, eq=False)
class UnitGains:
    """The units of all documents of a request, in source order, and what each would add.

    Attributes:
        document: Index of each unit's document. Shape of this and all others: `(units,)`.
        relevance: What scorer, matched terms and retriever say of its being needed, added up in log-odds.
        redundancy: Largest cosine to the units it was compared with, in [-1, 1]; 1 for a repetition.
        against: Index of the unit it is most like; -1 if it was compared with none.
        repeated: Its text stands in a better unit already.
        gain: `relevance - weight * redundancy`, the marginal information gain.
    """

    document: IntArray
    relevance: FloatArray
    redundancy: FloatArray
    against: IntArray
    repeated: BoolArray
    gain: FloatArray

    def __len__(self) -> int:
        """Number of units."""
        return len(self.document)

    def shares(self, temperature: float) -> FloatArray:
        """Share of the budget that each unit is given before caps: `softmax(gain / temperature)`, 0 for repetitions."""
        alive = ~self.repeated
        if not alive.any():
            return np.zeros(len(self))
        weights = np.where(alive, np.exp((self.gain - self.gain[alive].max()) / temperature), 0.0)
        return np.asarray(weights / weights.sum())


def log_odds(probability: FloatArray) -> FloatArray:
    """`log(p / (1 - p))`, with probabilities moved away from 0 and 1."""
    clipped = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def unit_relevance(
    document: SegmentedText, scores: WordScores, *, document_weight: float = DOCUMENT_WEIGHT
) -> FloatArray:
    """Relevance of a document's units from what the scorer tells, as log-odds.

    Mean log-odds of the unit's words, plus the unit's similarity to the question and a part of the log-odds of the
    document, where the scorer tells them.

    Args:
        document: Segmented.
        scores: Its scores.
        document_weight: Weight of the document's own log-odds.

    Returns:
        Shape: `(units,)`; a unit without words gets the least there is.
    """
    units = len(document.unit_starts)
    owner = document.unit_of_word
    words = np.bincount(owner, minlength=units)
    totals = np.bincount(owner, weights=log_odds(scores.preserve), minlength=units)
    relevance = np.divide(totals, words, out=np.full(units, float(log_odds(np.zeros(1))[0])), where=words > 0)
    if not np.isnan(scores.relevance):
        relevance = relevance + document_weight * log_odds(np.array(scores.relevance))
    if scores.unit_similarity is not None:
        relevance = relevance + scores.unit_similarity
    return np.asarray(relevance)


def standardised(scores: Sequence[float | None]) -> FloatArray:
    """A retriever's scores of the documents in standard deviations from their mean: their scales are all different.

    Args:
        scores: One per document, higher is better; None or NaN where there is none.

    Returns:
        Shape: `(documents,)`. 0 where there is no score, and everywhere if all are alike.
    """
    told = np.array([np.nan if score is None else score for score in scores], np.float64)
    known = np.isfinite(told)
    spread = told[known].std() if known.any() else 0.0
    if not spread > 0:
        return np.zeros(len(told))
    return np.asarray(np.where(known, (told - told[known].mean()) / spread, 0.0))


def marginal_gains(
    documents: Sequence[SegmentedText],
    relevance: Sequence[FloatArray],
    vectors: Sequence[npt.NDArray[np.floating[Any]] | None],
    *,
    weight: float,
    redundancy: Redundancy = "greedy",
    shingles: Sequence[Sequence[Sequence[int]]] | None = None,
) -> UnitGains:
    """Relevance minus redundancy of the units of all documents (COMI, marginal information gain).

    Args:
        documents: Segmented.
        relevance: Per document. Shape of each: `(units,)`.
        vectors: Per document, a vector per unit, such as the mean of its last-layer states; None where there are none,
            which leaves repetitions of text as the only redundancy. Shape of each: `(units, width)`.
        weight: Of redundancy, in log-odds: what a unit loses that is the same as another.
        redundancy: "symmetric" compares a unit with all others, as published; "greedy" only with those that gain more,
            so that of two like units the better one loses nothing.
        shingles: Per document what `unit_shingles` gives, if it is known already.

    Returns:
        One value per unit of all documents together.
    """
    sizes = [len(document.unit_starts) for document in documents]
    document = np.repeat(np.arange(len(documents)), sizes)
    told = np.concatenate(list(relevance)) if sizes else np.zeros(0)
    runs = list(map(unit_shingles, documents)) if shingles is None else shingles
    repeated, original = _repetitions([own for each in runs for own in each], document, told)
    if weight and all(own is not None for own in vectors) and len(told):
        units = _centred(np.concatenate([np.asarray(own, np.float64) for own in vectors if own is not None]))
        compare = _greedy if redundancy == "greedy" else _symmetric
        alike, against = compare(units, told, weight, repeated)
    else:
        alike, against = np.zeros(len(told)), np.full(len(told), -1)
    alike, against = np.where(repeated, 1.0, alike), np.where(repeated, original, against)
    return UnitGains(document, told, alike, against, repeated, told - weight * np.maximum(alike, 0.0))


def word_priority(
    documents: Sequence[SegmentedText],
    scores: Sequence[WordScores],
    costs: Sequence[IntArray],
    gains: UnitGains,
    *,
    temperature: float,
    whole_from: float,
    structured: Sequence[BoolArray] | None = None,
) -> list[FloatArray]:
    """The order in which words enter as the budget grows: higher first.

    Args:
        documents: Segmented.
        scores: Of their words; inside a unit, words enter by their metric.
        costs: About how many tokens each word costs. Shape of each: `(words,)`.
        gains: Of their units.
        temperature: In log-odds. Towards 0 the units enter one after another, by their gain; a high one gives all
            units the same share.
        whole_from: Share of a unit's tokens from which it is kept whole: a unit whose share of the budget reaches it
            gets all the rest at once. 0 keeps units whole or not at all, 1 thins them word by word.
        structured: Per document, which units (lines of code, rows of tables) are kept whole or not at all, whatever
            `whole_from` says; None for no such. Shape of each: `(units,)`.

    Returns:
        Per document. Shape of each: `(words,)`. Words of repetitions come after all others.
    """
    if not documents:
        return []
    starts = np.cumsum([0, *(len(document.unit_starts) for document in documents)])
    owner = np.concatenate([document.unit_of_word + start for document, start in zip(documents, starts, strict=False)])
    metric = np.concatenate([score.metric for score in scores])
    shares = (
        np.full(len(gains), whole_from) if structured is None else np.where(np.concatenate(structured), 0, whole_from)
    )
    level = _levels(metric, np.maximum(np.concatenate(costs), 1), owner, shares)
    entry = gains.gain / temperature - np.where(gains.repeated, _AFTER_ALL, 0.0)
    return np.split(entry[owner] - np.log(level), np.cumsum([len(document) for document in documents])[:-1])


def relative_odds(gains: UnitGains) -> FloatArray:
    """How many times less each unit gains than the best one, as a share in (0, 1]: what a `threshold` is held against.

    Repetitions have 0. An easy question leaves few units above a threshold, one that nothing answers clearly leaves
    many.
    """
    if not len(gains):
        return np.zeros(0)
    alive = ~gains.repeated
    best = gains.gain[alive].max() if alive.any() else 0.0
    return np.asarray(np.where(alive, np.exp(np.minimum(gains.gain - best, 0.0)), 0.0))


def per_document(documents: Sequence[SegmentedText], units: FloatArray) -> list[FloatArray]:
    """A number per unit of all documents, document by document. Shape of each: `(units,)`."""
    borders = np.cumsum([len(document.unit_starts) for document in documents])[:-1]
    return np.split(units, borders) if documents else []


def by_word(documents: Sequence[SegmentedText], units: FloatArray) -> list[FloatArray]:
    """A number per unit of all documents as one per word. Per document. Shape of each: `(words,)`."""
    parts = per_document(documents, units)
    return [own[document.unit_of_word] for document, own in zip(documents, parts, strict=True)]


def with_enclosing(
    documents: Sequence[SegmentedText], words: Sequence[FloatArray], enclosing: Sequence[IntArray]
) -> list[FloatArray]:
    """Word by word, the largest number of a unit or of any that stands under it.

    The line that opens a block says whose the lines below it are: `return a + b` tells little without its `def`. With
    these numbers no line enters before the lines that it stands under.

    Args:
        documents: Segmented.
        words: A number per word. Shape of each: `(words,)`.
        enclosing: Index of the unit that each unit stands under, smaller than its own; -1 for none. Shape of each:
            `(units,)`.

    Returns:
        Per document. Shape of each: `(words,)`.
    """
    return [
        _with_enclosing(document.unit_of_word, own, over) if (over >= 0).any() else own
        for document, own, over in zip(documents, words, enclosing, strict=True)
    ]


def _with_enclosing(owner: IntArray, words: FloatArray, over: IntArray) -> FloatArray:
    best = np.full(len(over), -np.inf)
    np.maximum.at(best, owner, words)
    below = np.full(len(over), -np.inf)
    for unit in np.flatnonzero(over >= 0)[::-1].tolist():  # from the innermost on: what is lifted lifts on
        below[over[unit]] = max(below[over[unit]], best[unit], below[unit])
    return np.asarray(np.maximum(words, below[owner]))


def document_ranks(gains: UnitGains, documents: int) -> list[int]:
    """Place of each document, 0 for the one whose best unit gains most; ties in source order.

    A document that only repeats others comes after all that do not, an empty one last.
    """
    best = np.full(documents, -np.inf)
    np.maximum.at(best, gains.document, gains.gain - np.where(gains.repeated, _AFTER_ALL, 0.0))
    ranks = np.empty(documents, np.int64)
    ranks[np.argsort(-best, kind="stable")] = np.arange(documents)
    return [int(rank) for rank in ranks]


def arranged(ranks: Sequence[int], order: Order) -> list[int]:
    """Indices of the documents in the order of the output; see `CompressorConfig.order`."""
    if order == "source":
        return list(range(len(ranks)))
    best_first = sorted(range(len(ranks)), key=lambda index: ranks[index])
    return best_first if order == "relevance" else best_first[::2] + best_first[1::2][::-1]


_AFTER_ALL = 1e9


def _levels(metric: FloatArray, cost: IntArray, owner: IntArray, whole_from: FloatArray) -> FloatArray:
    """Tokens that each word's unit must be given for the word to enter. Shape: `(words,)`."""
    units = len(whole_from)
    length = np.bincount(owner, weights=cost, minlength=units)
    order = np.lexsort((-metric, owner))  # unit by unit, best word first
    running = np.cumsum(cost[order])
    first = np.searchsorted(owner[order], np.arange(units), side="left")
    before = np.concatenate([[0], running])[first]
    tokens = np.empty(len(metric))
    tokens[order] = running - before[owner[order]]
    bound = np.where(whole_from == 0, length, np.maximum(whole_from * length, 1.0))[owner]
    return np.asarray(np.where((whole_from == 0)[owner], bound, np.minimum(tokens, bound)))


# --- redundancy ------------------------------------------------------------------------------------------------------


def _centred(vectors: FloatArray) -> FloatArray:
    """Unit vectors around the mean of all: raw states point the same way, so that all cosines are large."""
    centred = vectors - vectors.mean(0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-9), np.float32)


def _symmetric(
    units: FloatArray, relevance: FloatArray, weight: float, repeated: BoolArray
) -> tuple[FloatArray, IntArray]:
    """Largest cosine to any other unit that is no repetition, as published; of very many, to the most relevant ones."""
    alike, against = np.zeros(len(units)), np.full(len(units), -1)
    others = np.flatnonzero(~repeated)
    if len(others) < 2:
        return alike, against
    others = np.sort(others[np.argsort(-relevance[others], kind="stable")[:_COMPARED_UNITS]])
    for start in range(0, len(units), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(units)))
        cosine = units[rows] @ units[others].T
        cosine[rows[:, None] == others[None]] = -np.inf
        best = cosine.argmax(1)
        alike[rows], against[rows] = cosine[np.arange(len(rows)), best], others[best]
    return alike, against


def _greedy(
    units: FloatArray, relevance: FloatArray, weight: float, repeated: BoolArray
) -> tuple[FloatArray, IntArray]:
    """Largest cosine to the units that gain more, chosen one after another (maximal marginal relevance)."""
    alike, against = np.zeros(len(units)), np.full(len(units), -1)
    order = np.argsort(np.where(repeated, np.inf, -relevance), kind="stable")
    order = order[: np.count_nonzero(~repeated)]
    near, far = order[:_COMPARED_UNITS], order[_COMPARED_UNITS:]
    own, told = units[near], relevance[near]
    most, which = np.full(len(near), -np.inf), np.full(len(near), -1)
    waiting = np.ones(len(near), bool)
    for _ in range(len(near)):
        gain = np.where(waiting, told - weight * np.maximum(most, 0.0), -np.inf)
        chosen = int(gain.argmax())
        waiting[chosen] = False
        cosine = own @ own[chosen]
        closer = waiting & (cosine > most)
        most[closer], which[closer] = cosine[closer], chosen
    compared = which >= 0
    alike[near[compared]], against[near[compared]] = most[compared], near[which[compared]]
    for start in range(0, len(far), _BLOCK):
        rows = far[start : start + _BLOCK]
        cosine = units[rows] @ own.T
        best = cosine.argmax(1)
        alike[rows], against[rows] = cosine[np.arange(len(rows)), best], near[best]
    return alike, against


def unit_shingles(document: SegmentedText) -> list[list[int]]:
    """Hashes of all runs of `_SHINGLE` words (lower-cased, without punctuation) in each unit of a text."""
    return [_shingles(words) for words in unit_terms(document)]


def _shingles(words: Sequence[str]) -> list[int]:
    return [hash(tuple(words[start : start + _SHINGLE])) for start in range(len(words) - _SHINGLE + 1)]


def _may_repeat(shingles: Sequence[Sequence[int]]) -> bool:
    """Whether any unit has enough runs of words that stand elsewhere too: mostly none has, and that is seen sooner."""
    sizes = np.array([len(own) for own in shingles], np.int64)
    flat = np.fromiter(chain.from_iterable(shingles), np.int64, int(sizes.sum()))
    _, which, times = np.unique(flat, return_inverse=True, return_counts=True)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    elsewhere = np.bincount(owner, weights=times[which] > 1, minlength=len(sizes))
    return bool(((elsewhere > 0) & (elsewhere >= _REPEATED * sizes)).any())


def _repetitions(
    shingles: Sequence[Sequence[int]], document: IntArray, relevance: FloatArray
) -> tuple[BoolArray, IntArray]:
    """Units whose text stands in more relevant units (ties: in earlier ones) of other documents already.

    Text is compared by runs of words, so that the cut sentences at the ends of overlapping chunks are found as well.
    Shorter units are never repetitions, and neither is what a document itself repeats: lines of code and rows of tables
    mean something where they stand. Time is linear in the words.

    Returns:
        Whether each unit is a repetition, and the unit with which it shares most; -1 for others.
    """
    repeated, original = np.zeros(len(shingles), bool), np.full(len(shingles), -1)
    if not _may_repeat(shingles):
        return repeated, original
    seen: dict[int, int] = {}
    home = document.tolist()
    for unit in np.argsort(-relevance, kind="stable").tolist():
        own, index = shingles[unit], home[unit]
        owners = [owner for owner in map(seen.get, own) if owner is not None and home[owner] != index]
        if owners and len(owners) >= _REPEATED * len(own):
            values, counts = np.unique(owners, return_counts=True)
            repeated[unit], original[unit] = True, values[counts.argmax()]
            continue
        for shingle in own:
            seen.setdefault(shingle, unit)
    return repeated, original

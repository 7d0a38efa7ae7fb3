"""What units say that others say already: repeated text, and the likeness of their vectors. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np

from moos_integrations.core.lexical import unit_terms
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, SegmentedText

_SHINGLE = 4  # words that must agree in a row to count as the same text
_REPEATED = 0.8  # share of a unit's text that stands elsewhere already, from which it is a repetition
# Units are compared with so many of the most relevant ones, not with all: time and memory stay linear in their number.
_COMPARED_UNITS = 1024
_BLOCK = 1024  # units compared at once

Likeness = tuple[FloatArray, IntArray]
"""Largest cosine of each unit to those it was compared with, and the index of that unit; -1 for none."""


# --- repeated text ---------------------------------------------------------------------------------------------------


def unit_shingles(document: SegmentedText) -> list[list[int]]:
    """Hashes of all runs of `_SHINGLE` words (lower-cased, without punctuation) in each unit of a text."""
    return [_shingles(words) for words in unit_terms(document)]


def _shingles(words: Sequence[str]) -> list[int]:
    return [hash(tuple(words[start : start + _SHINGLE])) for start in range(len(words) - _SHINGLE + 1)]


def repetitions(
    shingles: Sequence[Sequence[int]], document: IntArray, relevance: FloatArray
) -> tuple[BoolArray, IntArray]:
    """Units whose text stands in more relevant units (ties: in earlier ones) of other documents already.

    Text is compared by runs of words, so that the cut sentences at the ends of overlapping chunks are found as well.
    Shorter units are never repetitions, and neither is what a document itself repeats: lines of code and rows of tables
    mean something where they stand. Time is linear in the words.

    Args:
        shingles: What `unit_shingles` gives, of the units of all documents.
        document: Index of each unit's document. Shape: `(units,)`.
        relevance: Of each unit, in log-odds. Shape: `(units,)`.

    Returns:
        Whether each unit is a repetition, and the unit with which it shares most; -1 for others.
    """
    repeated, original = np.zeros(len(shingles), bool), np.full(len(shingles), -1)
    if not _may_repeat(shingles):
        return repeated, original
    seen: dict[int, int] = {}
    home = document.tolist()
    for unit in np.argsort(-relevance, kind="stable").tolist():
        runs, index = shingles[unit], home[unit]
        owners = [owner for owner in map(seen.get, runs) if owner is not None and home[owner] != index]
        if owners and len(owners) >= _REPEATED * len(runs):
            values, counts = np.unique(owners, return_counts=True)
            repeated[unit], original[unit] = True, values[counts.argmax()]
            continue
        for shingle in runs:
            seen.setdefault(shingle, unit)
    return repeated, original


def _may_repeat(shingles: Sequence[Sequence[int]]) -> bool:
    """Whether any unit has enough runs of words that stand elsewhere too: mostly none has, and that is seen sooner."""
    sizes = np.array([len(runs) for runs in shingles], np.int64)
    flat = np.fromiter(chain.from_iterable(shingles), np.int64, int(sizes.sum()))
    _, which, times = np.unique(flat, return_inverse=True, return_counts=True)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    elsewhere = np.bincount(owner, weights=times[which] > 1, minlength=len(sizes))
    return bool(((elsewhere > 0) & (elsewhere >= _REPEATED * sizes)).any())


# --- likeness of vectors ---------------------------------------------------------------------------------------------


def centred(vectors: FloatArray) -> FloatArray:
    """Unit vectors around the mean of all: raw states point the same way, so that all cosines are large.

    Args:
        vectors: One per unit. Shape: `(units, width)`.
    """
    around = vectors - vectors.mean(0)
    lengths = np.linalg.norm(around, axis=1, keepdims=True)
    return np.asarray(np.divide(around, lengths, out=np.zeros_like(around), where=lengths > 1e-9), np.float32)


def symmetric(vectors: FloatArray, relevance: FloatArray, weight: float, repeated: BoolArray) -> Likeness:
    """Cosine to any other unit that is no repetition, as published (COMI); of very many, to the most relevant ones."""
    alike, against = np.zeros(len(vectors)), np.full(len(vectors), -1)
    others = np.flatnonzero(~repeated)
    if len(others) < 2:
        return alike, against
    others = np.sort(others[np.argsort(-relevance[others], kind="stable")[:_COMPARED_UNITS]])
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        cosine = vectors[rows] @ vectors[others].T
        cosine[rows[:, None] == others[None]] = -np.inf
        best = cosine.argmax(1)
        alike[rows], against[rows] = cosine[np.arange(len(rows)), best], others[best]
    return alike, against


def greedy(vectors: FloatArray, relevance: FloatArray, weight: float, repeated: BoolArray) -> Likeness:
    """Cosine to the units that gain more, chosen one after another (maximal marginal relevance)."""
    alike, against = np.zeros(len(vectors)), np.full(len(vectors), -1)
    order = np.argsort(np.where(repeated, np.inf, -relevance), kind="stable")
    order = order[: np.count_nonzero(~repeated)]
    near, far = order[:_COMPARED_UNITS], order[_COMPARED_UNITS:]
    most, which = _chosen_one_by_one(vectors[near], relevance[near], weight)
    compared = which >= 0
    alike[near[compared]], against[near[compared]] = most[compared], near[which[compared]]
    for start in range(0, len(far), _BLOCK):
        rows = far[start : start + _BLOCK]
        cosine = vectors[rows] @ vectors[near].T
        best = cosine.argmax(1)
        alike[rows], against[rows] = cosine[np.arange(len(rows)), best], near[best]
    return alike, against


def _chosen_one_by_one(vectors: FloatArray, relevance: FloatArray, weight: float) -> Likeness:
    """For each unit the largest cosine to those chosen before it; the next one is always that which gains most."""
    most, which = np.full(len(vectors), -np.inf), np.full(len(vectors), -1)
    waiting = np.ones(len(vectors), bool)
    for _ in range(len(vectors)):
        gain = np.where(waiting, relevance - weight * np.maximum(most, 0.0), -np.inf)
        chosen = int(gain.argmax())
        waiting[chosen] = False
        cosine = vectors @ vectors[chosen]
        closer = waiting & (cosine > most)
        most[closer], which[closer] = cosine[closer], chosen
    return most, which


KINDS: Mapping[str, Callable[[FloatArray, FloatArray, float, BoolArray], Likeness]] = {
    "greedy": greedy,
    "symmetric": symmetric,
}
"""Ways to compare units, by the name of the setting `redundancy`.

Each takes unit vectors (shape `(units, width)`), relevance in log-odds (shape `(units,)`), the weight of redundancy
against it, and which units are repetitions (shape `(units,)`).
"""

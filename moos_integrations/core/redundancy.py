"""What units say that others say already: repeated text, and the likeness of their vectors. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from moos_integrations.core.table import Table
from moos_integrations.core.types import BoolArray, FloatArray, IntArray

_SHINGLE = 4  # words that must agree in a row to count as the same text; shorter units repeat nothing by themselves
_RUN = 3  # units in a row that are a repetition wherever they are
_DEEPEST = 64  # levels of headings and blocks that are compared
_NEGATIONS = frozenset(
    (
        "no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "unless", "except",
        "t", "nicht", "kein", "keine", "keinen", "nie", "ohne", "ne", "pas", "jamais", "sans", "sin", "nunca",
        "não", "non", "не", "нет", "без", "ни",
    )
)  # fmt: skip
# Units are compared with so many of the most relevant ones, not with all: time and memory stay linear in their number.
_COMPARED_UNITS = 1024
_BLOCK = 1024  # units compared at once

Likeness = tuple[FloatArray, IntArray]
"""Largest cosine of each unit to those it was compared with, and the index of that unit; -1 for none."""


# --- repeated text ---------------------------------------------------------------------------------------------------


def repetitions(table: Table, relevance: FloatArray) -> tuple[BoolArray, IntArray]:
    """Units whose text is in a more relevant unit (ties: an earlier one) already, word by word.

    What differs in a word is another statement: a correction, or the figure of another year. A repetition goes only
    where nothing is lost with it: what it is under is the same, it has all numbers and negations of the other, and of
    another document it is a run at the start or end (as in chunks that overlap) or one of several units. A heading or
    lead-in goes only with all that it introduces. Lines of structured text that a document itself repeats stay.

    Args:
        table: The request.
        relevance: Of each unit, in log-odds. Shape: `(units,)`.

    Returns:
        Whether each unit is a repetition, and the unit that has its text; -1 for others.
    """
    original = np.full(table.units, -1)
    statements = table.statements
    if _may_repeat(statements):
        _find_originals(table, statements, relevance, original)
        _join_short_ones(table, statements, original)
        _drop_single_ones(table, statements, original)
        _keep_what_introduces(table, original)
    return original >= 0, original


def _shingles(words: Sequence[str]) -> list[int]:
    """Hashes of all runs of `_SHINGLE` words."""
    return [hash(tuple(words[start : start + _SHINGLE])) for start in range(len(words) - _SHINGLE + 1)]


def _may_repeat(statements: Sequence[tuple[str, ...]]) -> bool:
    """Whether the beginning of any unit is elsewhere too: mostly none is, and that is seen sooner."""
    seen: set[int] = set()
    for words in statements:
        runs = _shingles(words)
        if runs and all(run in seen for run in (runs[0], runs[-1])):
            return True
        seen.update(runs)
    return _later_holds_earlier(statements)


def _later_holds_earlier(statements: Sequence[tuple[str, ...]]) -> bool:
    """Whether a unit is a part of a later one."""
    seen: set[int] = set()
    for words in reversed(statements):
        runs = _shingles(words)
        if runs and runs[0] in seen and runs[-1] in seen:
            return True
        seen.update(runs)
    return False


def _find_originals(
    table: Table, statements: Sequence[tuple[str, ...]], relevance: FloatArray, original: IntArray
) -> None:
    holder: dict[int, int] = {}
    whole: dict[tuple[str, ...], int] = {}
    for unit in np.argsort(-relevance, kind="stable").tolist():
        runs = _shingles(statements[unit])
        owners = {holder.get(run) for run in runs}
        owner = whole.get(statements[unit]) if runs else None  # alike sentences share runs: they have several owners
        if owner is None and len(owners) == 1:
            owner = owners.pop()
        if owner is not None and _says_the_same(table, statements, unit, owner):
            original[unit] = owner
            continue
        whole.setdefault(statements[unit], unit)
        for run in runs:
            holder.setdefault(run, unit)


def _says_the_same(table: Table, statements: Sequence[tuple[str, ...]], unit: int, other: int) -> bool:
    """Whether a unit may go, for all of its words are in the other one."""
    if table.document_of_unit[unit] == table.document_of_unit[other]:
        if table.structured[unit] or table.parents[unit] != table.parents[other]:
            return False
    elif not _under_the_same(table, statements, unit, other):
        return False
    return _critical(statements[unit]) == _critical(statements[other])


def _under_the_same(table: Table, statements: Sequence[tuple[str, ...]], unit: int, other: int) -> bool:
    """Whether the unit is under nothing, or under what the other one is under."""
    for _ in range(_DEEPEST):
        unit, other = int(table.parents[unit]), int(table.parents[other])
        if unit < 0:
            return True
        if other < 0 or statements[unit] != statements[other]:
            return False
    return False


def _critical(words: Sequence[str]) -> list[str]:
    """Numbers and negations: what turns a statement into another one."""
    return sorted(word for word in words if word in _NEGATIONS or any(map(str.isdigit, word)))


def _join_short_ones(table: Table, statements: Sequence[tuple[str, ...]], original: IntArray) -> None:
    """Units of a few words between repetitions belong to them, if they are the same there as well."""
    for units, step in ((range(1, table.units), -1), (range(table.units - 2, -1, -1), 1)):
        for unit in units:
            beside = int(original[unit + step])
            there = beside - step
            if original[unit] >= 0 or beside < 0 or len(statements[unit]) >= _SHINGLE:
                continue
            same_place = 0 <= there < table.units and statements[there] == statements[unit]
            if same_place and _together(table, unit, unit + step) and _together(table, there, beside):
                original[unit] = there


def _together(table: Table, unit: int, other: int) -> bool:
    return bool(table.document_of_unit[unit] == table.document_of_unit[other])


def _drop_single_ones(table: Table, statements: Sequence[tuple[str, ...]], original: IntArray) -> None:
    """Of other documents, only runs at the start or end of a document are repetitions, and those of several units."""
    twin, unit = _twins(original), 0
    while unit < table.units:
        if twin[unit] < 0 or _together(table, unit, int(twin[unit])):
            unit += 1
            continue
        stop = unit + 1
        while stop < table.units and _goes_on(table, twin, stop):
            stop += 1
        document = int(table.document_of_unit[unit])
        first, last = int(table.unit_borders[document]), int(table.unit_borders[document + 1])
        words = [index for index in range(first, last) if statements[index]] if stop - unit < _RUN else []
        if words and words[0] < unit and words[-1] >= stop:
            original[unit:stop] = -1
        unit = stop


def _twins(original: IntArray) -> IntArray:
    """The unit with the same text, of originals as well: of two chunks that overlap, each may have the better copy."""
    twin, repeated = original.copy(), np.flatnonzero(original >= 0)
    free = twin[original[repeated]] < 0
    twin[original[repeated[free]]] = repeated[free]
    return twin


def _goes_on(table: Table, twin: IntArray, unit: int) -> bool:
    """Whether a unit repeats what comes after that which the unit before it repeats."""
    before, here = int(twin[unit - 1]), int(twin[unit])
    return here > before >= 0 and _together(table, unit, unit - 1) and _together(table, here, before)


def _keep_what_introduces(table: Table, original: IntArray) -> None:
    for unit in np.flatnonzero((original >= 0) & (table.leads_to >= 0))[::-1].tolist():
        if (original[int(table.leads_to[unit]) : int(table.leads_until[unit])] < 0).any():
            original[unit] = -1


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

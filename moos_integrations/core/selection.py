"""Scores and a target to kept words, never over the ceiling.

All words of all documents stand in one ranking, and what is kept is a prefix of it: the cut is global, and a larger
budget keeps a superset of what a smaller one kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from moos_integrations.core.config import Target
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Selection, WordScores

# Words that cost more than this (base64, very long URLs) rank behind all others, so that one of them at the top cannot
# leave a budget unused. A constant, not a share of the budget: otherwise larger budgets would not keep supersets.
_OVERSIZED_TOKENS = 64
# Trust in the additive token estimate: outside this band around the budget a try is decided without counting.
_BAND, _BAND_TOKENS = 0.06, 12
# An unused part of the ceiling is reported from this on.
_UNUSED_SHARE, _UNUSED_TOKENS = 0.05, 8

Measure = Callable[[list[BoolArray]], int]
"""Exact number of tokens of the joined output, given the kept words of each document."""


def select(
    scores: Sequence[WordScores],
    protected: Sequence[BoolArray],
    costs: Sequence[IntArray],
    target: Target,
    original_tokens: int,
    measure: Measure,
    *,
    separator_tokens: int = 0,
    estimate_is_close: bool = False,
    priority: Sequence[FloatArray] | None = None,
    levels: Sequence[FloatArray] | None = None,
    eligible: Sequence[bool] | None = None,
    whole_tokens: int | None = None,
) -> Selection:
    """Choose the words to keep.

    Args:
        scores: Per document.
        protected: Per document, True for words that rank before all others. Shape of each: `(words,)`.
        costs: Per document, about how many tokens each word costs. Shape of each: `(words,)`.
        target: What to aim for.
        original_tokens: Exact number of tokens of the joined sources.
        measure: Counts exactly; called about `log2(words)` times, less with a close estimate.
        separator_tokens: About how many tokens the first word of each document adds.
        estimate_is_close: Whether `costs` come from the tokenizer itself and not from the text's length.
        priority: What words are ordered by under a ceiling, higher first; None for their metric. Per document.
        levels: What a threshold is held against; None for the metric. Per document.
        whole_tokens: Exact number of tokens of the joined sources in the order of the output, if that is another one.
        eligible: Whether anything of each document may be kept, protected words included; None for all.

    Returns:
        The kept words. With `rate` or `budget_tokens`, `measure` of them is at most the ceiling.
    """
    sizes = [len(score.metric) for score in scores]
    metric = np.concatenate([score.metric for score in scores]) if sizes else np.empty(0)
    shield = np.concatenate(list(protected)) if sizes else np.empty(0, bool)
    cost = np.concatenate(list(costs)) if sizes else np.empty(0, np.int64)
    allowed = np.repeat(np.ones(len(sizes), bool) if eligible is None else np.array(eligible, bool), sizes)
    by_metric = [score.metric for score in scores]

    def split(kept: BoolArray) -> list[BoolArray]:
        return np.split(kept, np.cumsum(sizes)[:-1]) if sizes else []

    if target.threshold is not None:
        held = by_metric if levels is None else list(levels)
        level = np.concatenate(held) if sizes else metric
        kept = allowed & (shield | (level >= target.threshold))
        return Selection(split(kept), list(protected), bool(kept.all()), _cutoff(level, kept & ~shield), held)
    by = by_metric if priority is None else list(priority)
    value = np.concatenate(by) if sizes else metric
    budget = ceiling(target, original_tokens)
    if (original_tokens if whole_tokens is None else whole_tokens) <= budget and allowed.all():
        return Selection(split(np.ones(len(metric), bool)), list(protected), True, -np.inf, by)
    order = ranking(value, shield, cost)
    order = order[allowed[order]]

    def kept_after(count: int) -> BoolArray:
        flags = np.zeros(len(metric), bool)
        flags[order[:count]] = True
        return flags

    def exact(count: int) -> int:
        return measure(split(kept_after(count))) if count else 0

    estimate = np.cumsum(cost[order] + _first_of_document(order, sizes) * separator_tokens)
    count, used = longest_prefix(len(order), budget, exact, estimate if estimate_is_close else None)
    kept = kept_after(count)
    warnings = _warnings(budget, used, shield & allowed, kept, cost, order[count:])
    return Selection(split(kept), list(protected), False, _cutoff(value, kept & ~shield), by, warnings)


def ceiling(target: Target, original_tokens: int) -> int:
    """The ceiling in tokens that a `rate` or `budget_tokens` target sets."""
    if target.budget_tokens is not None:
        return target.budget_tokens
    # 1e-9: 0.29 * 100 is 28.999999999999996 in floating point.
    return int((target.rate or 0.0) * original_tokens + 1e-9)


def ranking(value: FloatArray, protected: BoolArray, cost: IntArray) -> IntArray:
    """All words, best first: protected ones, then by value, oversized ones last; ties in source order."""
    oversized = (cost > _OVERSIZED_TOKENS) & ~protected
    return np.lexsort((-value, oversized, ~protected))


def longest_prefix(words: int, budget: int, exact: Callable[[int], int], estimate: IntArray | None) -> tuple[int, int]:
    """How many words of the ranking fit, and the tokens they take.

    A binary search whose tries depend on `words` alone. Token counts are not quite monotone (a word more can merge two
    tokens), and a search that steered by the budget could keep less for a larger one; on a fixed tree of tries a larger
    budget turns right wherever a smaller one does.

    Args:
        words: Length of the ranking.
        budget: Ceiling in tokens.
        exact: Exact tokens of the first `k` words.
        estimate: Estimated tokens of the first `k + 1` words, to decide clear cases without counting; or None.

    Returns:
        `(k, exact(k))` with `exact(k) <= budget`.
    """
    counted: dict[int, int] = {0: 0}
    low_bound, high_bound = budget * (1 - _BAND) - _BAND_TOKENS, budget * (1 + _BAND) + _BAND_TOKENS

    def fits(count: int) -> bool:
        if estimate is not None and not low_bound < estimate[count - 1] <= high_bound:
            return bool(estimate[count - 1] <= low_bound)
        counted[count] = exact(count)
        return counted[count] <= budget

    low, high = 0, words + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low not in counted:
        counted[low] = exact(low)
    if counted[low] > budget:  # the estimate was wrong by more than the band: count every try
        return longest_prefix(words, budget, exact, None)
    return low, counted[low]


def _first_of_document(order: IntArray, sizes: Sequence[int]) -> IntArray:
    """1 where a word is the first of its document in the ranking. Shape: `(words,)`."""
    document = np.repeat(np.arange(len(sizes)), sizes)[order]
    first = np.zeros(len(order), np.int64)
    first[np.unique(document, return_index=True)[1]] = 1
    return first


def _cutoff(value: FloatArray, kept_by_value: BoolArray) -> float:
    return float(value[kept_by_value].min()) if kept_by_value.any() else float("inf")


def _warnings(
    budget: int, used: int, protected: BoolArray, kept: BoolArray, cost: IntArray, rest: IntArray
) -> tuple[str, ...]:
    lost = protected & ~kept
    if lost.any():
        return (
            f"Protected text needs about {int(cost[protected].sum())} tokens and the ceiling is {budget}: "
            f"{int(lost.sum())} of {int(protected.sum())} protected words were dropped.",
        )
    unused = budget - used
    if len(rest) and unused >= max(_UNUSED_TOKENS, _UNUSED_SHARE * budget):
        return (
            f"{unused} of {budget} tokens are unused: the next word in the ranking takes about {int(cost[rest[0]])}.",
        )
    return ()

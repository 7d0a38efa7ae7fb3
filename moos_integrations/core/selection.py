"""An order of words and a target to kept words, never over the ceiling.

All words of all documents are in one ranking, and what is kept is a prefix of it: the cut is global, and a larger
budget keeps a superset of what a smaller one kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from moos_integrations.core.config import Target
from moos_integrations.core.ordering import Order
from moos_integrations.core.table import Table
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Selection
from moos_integrations.messages import Notice

OVERSIZED_TOKENS = 64
"""Words that cost more than this (base64, very long URLs) rank behind all others, so that one of them at the top cannot
leave a budget unused. A constant, not a share of the budget: otherwise larger budgets would not keep supersets."""
# Trust in the additive token estimate: outside this band around the budget a try is decided without counting.
_BAND, _BAND_TOKENS = 0.06, 12
# An unused part of the ceiling is reported from this on.
_UNUSED_SHARE, _UNUSED_TOKENS = 0.05, 8


class Measure(Protocol):
    """Counts the output in the target LLM's tokens.

    Attributes:
        original_tokens: Exact number of tokens of the joined sources.
        whole_tokens: The same, in the order of the output.
        separator_tokens: About how many tokens the first word of each document adds.
        estimate_is_close: Whether the words' costs come from the tokenizer itself and not from the text's length.
    """

    @property
    def original_tokens(self) -> int: ...  # noqa: D102

    @property
    def whole_tokens(self) -> int: ...  # noqa: D102

    @property
    def separator_tokens(self) -> int: ...  # noqa: D102

    @property
    def estimate_is_close(self) -> bool: ...  # noqa: D102

    def tokens(self, kept: BoolArray) -> int:
        """Exact number of tokens of the joined output.

        Args:
            kept: True for kept words. Shape: `(words,)`.
        """
        ...


def select(table: Table, order: Order, target: Target, measure: Measure) -> Selection:
    """Choose the words to keep.

    Args:
        table: The words.
        order: By what they are compared, and which documents may stay.
        target: What to aim for.
        measure: Counts exactly; called about `log2(words)` times, less with a close estimate.

    Returns:
        The kept words. With `rate` or `budget_tokens`, `measure` of them is at most the ceiling.
    """
    allowed = order.eligible[table.document_of_word]
    if target.threshold is not None:
        return _above(table, order.level.lifted, allowed, target.threshold)
    value, budget = order.priority.lifted, ceiling(target, measure.original_tokens)
    if measure.whole_tokens <= budget and allowed.all():
        return Selection(np.ones(table.words, bool), True, -np.inf)
    ranked = ranking(value, table.protected, table.cost)
    ranked = ranked[allowed[ranked]]
    separators = _first_of_document(table.document_of_word[ranked]) * measure.separator_tokens
    estimate = np.cumsum(table.cost[ranked] + separators) if measure.estimate_is_close else None

    def exact(count: int) -> int:
        return measure.tokens(_flags(table.words, ranked[:count])) if count else 0

    count, used = longest_prefix(len(ranked), budget, exact, estimate)
    kept = _flags(table.words, ranked[:count])
    warnings = _warnings(budget, used, table.protected & allowed, kept, table.cost, ranked[count:])
    return Selection(kept, False, _cutoff(value, kept & ~table.protected), warnings)


def _above(table: Table, level: FloatArray, allowed: BoolArray, threshold: float) -> Selection:
    kept = allowed & (table.protected | (level >= threshold))
    return Selection(kept, bool(kept.all()), _cutoff(level, kept & ~table.protected))


def _flags(words: int, kept: IntArray) -> BoolArray:
    flags = np.zeros(words, bool)
    flags[kept] = True
    return flags


def ceiling(target: Target, original_tokens: int) -> int:
    """The ceiling in tokens that a `rate` or `budget_tokens` target sets."""
    if target.budget_tokens is not None:
        return target.budget_tokens
    # 1e-9: 0.29 * 100 is 28.999999999999996 in floating point.
    return int((target.rate or 0.0) * original_tokens + 1e-9)


def ranking(value: FloatArray, protected: BoolArray, cost: IntArray) -> IntArray:
    """All words, best first: protected ones, then by value, oversized ones last; ties in source order."""
    oversized = (cost > OVERSIZED_TOKENS) & ~protected
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


def _first_of_document(document: IntArray) -> IntArray:
    """1 where a document occurs for the first time. Shape: `(words,)`."""
    first = np.zeros(len(document), np.int64)
    first[np.unique(document, return_index=True)[1]] = 1
    return first


def _cutoff(value: FloatArray, kept_by_value: BoolArray) -> float:
    return float(value[kept_by_value].min()) if kept_by_value.any() else float("inf")


def _warnings(
    budget: int, used: int, protected: BoolArray, kept: BoolArray, cost: IntArray, rest: IntArray
) -> tuple[Notice, ...]:
    lost = protected & ~kept
    if lost.any():
        text = (
            f"Protected text needs about {int(cost[protected].sum())} tokens and the ceiling is {budget}: "
            f"{int(lost.sum())} of {int(protected.sum())} protected words were dropped."
        )
        return (Notice("protected text dropped", text),)
    unused = budget - used
    if len(rest) and unused >= max(_UNUSED_TOKENS, _UNUSED_SHARE * budget):
        text = f"{unused} of {budget} tokens are unused: the next word in the ranking takes about {int(cost[rest[0]])}."
        return (Notice("budget not filled", text),)
    return ()

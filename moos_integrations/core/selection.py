"""An order of words and a target to kept words, never over the ceiling, and nothing cut that must stay whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from moos_integrations.core.config import Target
from moos_integrations.core.ordering import Order
from moos_integrations.core.steps import Groups, Kept, Steps
from moos_integrations.core.table import Table
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Selection
from moos_integrations.messages import Notice

# Trust in the additive token estimate: outside this band around the budget a try is decided without counting.
_BAND, _BAND_TOKENS = 0.06, 12
# An unused part of the ceiling is reported from this on.
_UNUSED_SHARE, _UNUSED_TOKENS = 0.05, 8
# Where such a share of the ceiling stays unused, units that gain hardly more, in log-odds, give way to the best one
# that did not fit, if that leaves at most half as much unused.
_EXCHANGED_SHARE, _HARDLY_BETTER = 0.25, 1.0
# Steps that do not fit are left out so many times at most; then what is left stays unused. In the first few rounds the
# estimate is trusted within the band only, afterwards as it is: so much cannot be in vain.
_MOST_ROUNDS, _TRUSTING_ROUNDS = 12, 4


class Measure(Protocol):
    """Counts the output in the target LLM's tokens.

    Attributes:
        original_tokens: Exact number of tokens of the joined sources: what a rate is a share of.
        whole_tokens: Exact number of tokens if all is kept.
        empty_tokens: Exact number of tokens if nothing is kept.
        document_tokens: About how many tokens the first word of each document adds. Shape: `(documents,)`.
        estimate_is_close: Whether the words' costs come from the tokenizer itself and not from the text's length.
        mark_tokens: About how many tokens an omission mark costs; 0 without marks. With marks the costs of words alone
            are no estimate, so every try is counted.
    """

    @property
    def original_tokens(self) -> int: ...  # noqa: D102

    @property
    def whole_tokens(self) -> int: ...  # noqa: D102

    @property
    def empty_tokens(self) -> int: ...  # noqa: D102

    @property
    def document_tokens(self) -> IntArray: ...  # noqa: D102

    @property
    def estimate_is_close(self) -> bool: ...  # noqa: D102

    @property
    def mark_tokens(self) -> int: ...  # noqa: D102

    def tokens(self, kept: BoolArray) -> int:
        """Exact number of tokens of the joined output.

        Args:
            kept: True for kept words. Shape: `(words,)`.
        """
        ...


def select(table: Table, order: Order, target: Target, measure: Measure, *, fill: bool = True) -> Selection:
    """Choose the words to keep.

    Groups are taken best first, each with what it needs, up to the first that does not fit. With `fill`, that one is
    left out and the search goes on with what still fits. Without, a larger budget always keeps a superset.

    Args:
        table: The words.
        order: By what they are compared, and which documents may stay.
        target: What to aim for.
        measure: Counts exactly; called about `log2(groups)` times a round, less with a close estimate.
        fill: Whether smaller groups may fill what a larger one has left.

    Returns:
        The kept words. With `rate` or `budget_tokens`, `measure` of them is at most the ceiling.
    """
    budget = ceiling(target, measure.original_tokens)
    if target.threshold is None and measure.whole_tokens <= budget and order.eligible.all():
        return Selection(np.ones(table.words, bool), True, -np.inf)
    values = order.priority if target.threshold is None else order.level
    groups = Groups.of(table, values, order.extra)
    wanted = _wanted(table, groups, order)
    if target.threshold is not None:
        return _above(groups, wanted, target.threshold, may_be_whole=bool(order.eligible.all()))
    search = _Search(groups, measure, budget)
    found = search.run(wanted, rounds=_MOST_ROUNDS if fill else 1)
    if fill and order.gains is not None and search.unused >= _EXCHANGED_SHARE * budget:
        return _exchanged(search, found, groups, wanted, order.gains.gain)
    return found


def _exchanged(search: _Search, found: Selection, groups: Groups, wanted: IntArray, gain: FloatArray) -> Selection:
    """The same with the best unit that did not fit first, if only units that are hardly better had to go for it."""
    left_out, unused = search.left_out, search.unused
    if left_out is None:
        return found
    first = np.concatenate([[left_out], wanted[wanted != left_out]])
    other = search.run(first, rounds=_MOST_ROUNDS)
    gone = found.kept & ~other.kept
    units = groups.table.unit_of_word[gone]
    least = gain[groups.unit[left_out]] + _HARDLY_BETTER
    better = 2 * search.unused <= unused and not (gain[units] > least).any() and not groups.table.protected[gone].any()
    return other if better else found


def _wanted(table: Table, groups: Groups, order: Order) -> IntArray:
    """Groups that may be kept, best first; those with protected words before all others."""
    ranked = groups.best_first
    ranked = ranked[order.eligible[table.document_of_unit[groups.unit[ranked]]]]
    shielded = _shielded(groups)
    return np.concatenate([ranked[shielded[ranked]], ranked[~shielded[ranked]]])


def _shielded(groups: Groups) -> BoolArray:
    """Groups with a protected word. Shape: `(groups,)`."""
    return np.bincount(groups.of_word, weights=groups.table.protected, minlength=len(groups.unit)) > 0


def _above(groups: Groups, wanted: IntArray, threshold: float, *, may_be_whole: bool) -> Selection:
    """All groups whose value reaches a threshold, with what they need."""
    reaches, shielded = groups.value >= threshold, _shielded(groups)
    kept = Kept(groups)
    for group in wanted[(reaches | shielded)[wanted]].tolist():
        kept.add(group)
    flags = kept.flags()
    words, needed = flags[groups.of_word], (flags & ~reaches & ~shielded)[groups.of_word]
    by_value = wanted[reaches[wanted] & ~shielded[wanted]]
    # A document without words has none to lose, and may still be one of those that must go.
    return Selection(words, may_be_whole and bool(words.all()), _least(groups.value[by_value]), needed=needed)


class _Search:
    """Fills a budget with groups."""

    def __init__(self, groups: Groups, measure: Measure, budget: int) -> None:
        self._groups, self._measure, self._budget = groups, measure, budget
        self._shielded = _shielded(groups)
        self.unused = 0
        self.left_out: int | None = None

    def run(self, wanted: IntArray, rounds: int) -> Selection:
        """Rounds of the longest run that fits; each leaves out the group at which the one before stopped."""
        groups, budget = self._groups, self._budget
        kept, drivers = np.zeros(len(groups.unit), bool), np.zeros(len(groups.unit), bool)
        used, cutoff = self._measure.empty_tokens, np.inf
        left_out: int | None = None
        candidates = np.isin(np.arange(len(groups.unit)), wanted)
        for turn in range(rounds):
            steps, count, used = self._longest(wanted, kept, used)
            kept, taken = kept | (steps.of_group < count), steps.driver[:count]
            drivers[taken] = True
            if turn == 0:
                cutoff = _least(groups.value[taken[~self._shielded[taken]]])
            if count == len(steps.driver):
                break
            left_out = int(steps.driver[count]) if left_out is None else left_out
            wanted = self._that_may_fit(steps, kept, count + 1, budget - used, sure=turn >= _TRUSTING_ROUNDS)
            if not len(wanted) or used >= budget:
                break
        words = kept[groups.of_word]
        self.unused, self.left_out = budget - used, left_out
        filled = drivers & (groups.value < cutoff) & ~self._shielded
        return Selection(
            words,
            False,  # all words without the white space around them may still be less than the sources
            cutoff,
            needed=(kept & ~drivers)[groups.of_word],
            filled=filled[groups.of_word],
            warnings=self._warnings(kept, used, left_out, candidates),
        )

    def _longest(self, wanted: IntArray, kept: BoolArray, used: int) -> tuple[Steps, int, int]:
        """The steps of what is wanted, how many of them fit beside what is kept, and the tokens then."""
        steps = Steps.of(self._groups, wanted, Kept(self._groups, np.flatnonzero(kept)))

        def exact(count: int) -> int:
            return self._measure.tokens((kept | (steps.of_group < count))[self._groups.of_word])

        estimate = used + np.cumsum(steps.cost + self._begun(steps, kept))
        close = estimate if self._measure.estimate_is_close and not self._measure.mark_tokens else None
        count, tokens = longest_prefix(len(steps.driver), self._budget, exact, close) if len(steps.driver) else (0, 0)
        return steps, count, tokens if count else used

    def _begun(self, steps: Steps, kept: BoolArray) -> IntArray:
        """Tokens of separators and of a prompt's format: those of documents that begin with it. Shape: `(steps,)`."""
        groups = self._groups
        document = groups.table.document_of_unit[groups.unit]
        first = np.full(groups.table.documents, len(steps.driver), np.int64)
        np.minimum.at(first, document, np.where(kept, -1, steps.of_group))
        begins = np.flatnonzero((first >= 0) & (first < len(steps.driver)))
        tokens = np.bincount(first[begins], weights=self._measure.document_tokens[begins], minlength=len(steps.driver))
        return tokens.astype(np.int64)

    def _that_may_fit(self, steps: Steps, kept: BoolArray, first: int, room: int, *, sure: bool) -> IntArray:
        """Groups of the steps from one on that do not take too many tokens already, what they need included.

        What a step takes is least while all steps before it are taken, so that none is left out that would fit.
        """
        rest, costs = steps.driver[first:], (steps.cost + self._begun(steps, kept))[first:]
        if not self._measure.estimate_is_close:
            return rest
        room += self._measure.mark_tokens  # what fills a gap saves its mark
        return rest[costs <= (room if sure else room * (1 + _BAND) + _BAND_TOKENS)]

    def _warnings(self, kept: BoolArray, used: int, left_out: int | None, candidates: BoolArray) -> tuple[Notice, ...]:
        groups, budget = self._groups, self._budget
        protected = groups.table.protected & candidates[groups.of_word]
        lost = protected & ~kept[groups.of_word]
        if lost.any():
            needs = int(groups.cost[self._shielded & candidates].sum())
            text = (
                f"Protected text needs about {needs} tokens and the ceiling is {budget}: "
                f"{int(lost.sum())} of {int(protected.sum())} protected words were dropped."
            )
            return (Notice("protected text dropped", text),)
        unused = budget - used
        if left_out is not None and unused >= max(_UNUSED_TOKENS, _UNUSED_SHARE * budget):
            text = (
                f"{unused} of {budget} tokens are unused: nothing is cut, and the best sentence or line that does not "
                f"fit takes about {int(groups.cost[left_out])}."
            )
            return (Notice("budget not filled", text),)
        return ()


def _least(values: FloatArray) -> float:
    return float(values.min()) if len(values) else np.inf


def ceiling(target: Target, original_tokens: int) -> int:
    """The ceiling in tokens that a `rate` or `budget_tokens` target sets."""
    if target.budget_tokens is not None:
        return target.budget_tokens
    # 1e-9: 0.29 * 100 is 28.999999999999996 in floating point.
    return int((target.rate or 0.0) * original_tokens + 1e-9)


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

"""Text and vectors under one budget: which tokens stay text, and how many tokens each vector takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from moos_integrations.comi.method import comparable, marginal_gains
from moos_integrations.comi.settings import Method
from moos_integrations.errors import ConfigError


def unit_gains(states: Tensor, query_states: Tensor, units: Sequence[tuple[int, int]], method: Method) -> list[float]:
    """The gain of each unit of a segment: MIG of the units' mean states.

    Args:
        states: Shape: `(n, d)`.
        query_states: Shape: `(q, d)`.
        units: Start and end of each unit, in tokens.
        method: The settings.
    """
    with torch.no_grad():
        centred, query = comparable(states.float(), query_states.float(), method)
        means = torch.stack([centred[start:end].mean(0) for start, end in units])
        return [float(own) for own in marginal_gains(means, query, method.redundancy)]


def text_units(
    units: Sequence[Sequence[int]], gains: Sequence[Sequence[float]], budget: int, merge_size: int
) -> list[list[bool]]:
    """Which units stay text: those of highest gain, as long as all positions fit into the budget.

    A unit that does not fit is passed over, and smaller ones of lower gain may follow.

    Args:
        units: Tokens of each unit of each segment.
        gains: Gain of each unit of each segment.
        budget: Most positions, of text and vectors together.
        merge_size: Tokens per vector; a segment with r tokens left takes `ceil(r / merge_size)` vectors.

    Raises:
        ConfigError: If even the vectors alone exceed the budget.
    """
    rest = [sum(own) for own in units]
    used = sum(_vectors(own, merge_size) for own in rest)
    if used > budget:
        raise ConfigError(
            f"The contexts take {used} positions at `merge_size={merge_size}`, more than `budget_positions={budget}`. "
            "Raise one of them, or leave `merge_size` out."
        )
    chosen = [[False] * len(own) for own in units]
    places = [(segment, unit) for segment, own in enumerate(units) for unit in range(len(own))]
    for segment, unit in sorted(places, key=lambda place: -gains[place[0]][place[1]]):
        size = units[segment][unit]
        after = _vectors(rest[segment] - size, merge_size)
        cost = size + after - _vectors(rest[segment], merge_size)
        if used + cost <= budget:
            chosen[segment][unit] = True
            used += cost
            rest[segment] -= size
    return chosen


def smallest_merge_size(lengths: Sequence[int], budget: int) -> int:
    """The smallest merge size with which segments of these lengths take at most `budget` vectors.

    Raises:
        ConfigError: If there are more segments than positions.
    """
    filled = [own for own in lengths if own]
    if budget < len(filled):
        raise ConfigError(
            f"{len(filled)} segments take at least one position each, more than `budget_positions` leaves: {budget}. "
            "Pass fewer documents, or raise it."
        )
    low, high = 1, max(filled, default=1)
    while low < high:
        middle = (low + high) // 2
        if sum(_vectors(own, middle) for own in filled) <= budget:
            high = middle
        else:
            low = middle + 1
    return low


def _vectors(tokens: int, merge_size: int) -> int:
    return math.ceil(tokens / merge_size)

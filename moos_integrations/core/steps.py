"""What is kept together: groups of words, each with all that it needs to be true, in the order in which they enter.

A unit of text is kept whole or not at all, and never without what it is under (heading, header row, key, opening line,
speaker), the other half of its pair, or, if it introduces something, the first unit of that. Where a sentence is
thinned, the words that it must not lose are one group, and each other word is one more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from moos_integrations.core.table import Table
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Kind


@dataclass(frozen=True, eq=False)
class Groups:
    """The words of a request in groups that are never cut; a unit's own group has the unit's index.

    Attributes:
        table: The request.
        of_word: The group of each word. Shape: `(words,)`.
        unit: The unit of each group. Shape: `(groups,)`.
        value: What the groups are ordered by, higher first. Shape: `(groups,)`.
        cost: About how many tokens each group costs. Shape: `(groups,)`.
        size: Words in each group; a unit without words is an empty group. Shape: `(groups,)`.
    """

    table: Table
    of_word: IntArray
    unit: IntArray
    value: FloatArray
    cost: IntArray
    size: IntArray

    @classmethod
    def of(cls, table: Table, values: FloatArray, extra: BoolArray) -> Groups:
        """Groups of words.

        Args:
            table: The request.
            values: Of each word. Shape: `(words,)`.
            extra: Words that may enter after the rest of their unit. Shape: `(words,)`.
        """
        words = np.flatnonzero(extra)
        begins = ~table.attached[words] if len(words) else np.zeros(0, bool)
        begins[:1] = True
        of_word = table.unit_of_word.copy()
        of_word[words] = table.units + np.cumsum(begins) - 1
        unit = np.concatenate([np.arange(table.units), table.unit_of_word[words[begins]]])
        value = np.full(len(unit), -np.inf)
        np.maximum.at(value, table.unit_of_word, values)  # what a sentence must not lose enters with its best word
        value[table.units :] = values[words[begins]]
        cost = np.bincount(of_word, weights=table.cost, minlength=len(unit)).astype(np.int64)
        return cls(table, of_word, unit, value, cost, np.bincount(of_word, minlength=len(unit)))

    @cached_property
    def best_first(self) -> IntArray:
        """Groups with words by their value, ties in source order and a unit's group before its extra words."""
        groups = np.lexsort((np.arange(len(self.value)), -self.value))
        return groups[self.size[groups] > 0]

    @cached_property
    def links(self) -> Links:
        """What units need, made once for all rounds."""
        table = self.table
        return Links(
            self.unit.tolist(),
            table.parents.tolist(),
            table.partners.tolist(),
            table.leads_to.tolist(),
            table.needs_first.tolist(),
            (table.kinds == Kind.RULE).tolist(),
            self.cost.tolist(),
        )


class Links(NamedTuple):
    """What units need, as lists: reading single numbers from arrays is slow.

    Attributes:
        unit: The unit of each group.
        parents: The unit that each unit is under; -1 for none.
        partners: Its other half; -1 for none.
        first: The first unit of what it introduces; -1 for nothing.
        needs_first: Whether it says nothing without that.
        separates: Whether it is the rule under a table's head.
        cost: About how many tokens each group costs.
    """

    unit: list[int]
    parents: list[int]
    partners: list[int]
    first: list[int]
    needs_first: list[bool]
    separates: list[bool]
    cost: list[int]


class Kept:
    """Groups that are kept, grown one after another, each with all that it needs."""

    def __init__(self, groups: Groups, kept: IntArray | None = None) -> None:
        """Start with groups that have all that they need already.

        Args:
            groups: All groups of a request.
            kept: Those to start with; None for none. Shape: `(kept,)`.
        """
        self._unit, self._parents, self._partners, self._first, self._needs_first, self._separates, _ = groups.links
        self._taken = bytearray(len(groups.unit))
        self._below = [0] * groups.table.units
        for group in [] if kept is None else kept.tolist():
            self._taken[group] = 1
            if self._unit[group] == group:
                self._count(group, 1)

    def flags(self) -> BoolArray:
        """Which groups are kept. Shape: `(groups,)`."""
        return np.frombuffer(bytes(self._taken), np.uint8).astype(bool)

    def add(self, group: int) -> list[int]:
        """Keep a group and all that it needs; what is new of it."""
        if self._taken[group]:
            return []
        unit = self._unit[group]
        found = [] if unit == group else [group]
        if found:
            self._taken[group] = 1
        waiting: list[int] = [unit]
        leads: list[int] = []
        while waiting or leads:
            while waiting:
                other = waiting.pop()
                if not self._taken[other]:
                    self._take(other)
                    found.append(other)
                    leads.append(other)
                    waiting += [own for own in (self._parents[other], self._partners[other]) if own >= 0]
            if leads:
                lead = leads.pop()
                if self._misses_what_it_introduces(lead):
                    waiting.append(self._first[lead])
        return found

    def _take(self, unit: int) -> None:
        self._taken[unit] = 1
        self._count(unit, 1)

    def _count(self, unit: int, change: int) -> None:
        """Count a unit for the one that it is under, unless that introduces other things: a closing half, a rule."""
        parent = self._parents[unit]
        if parent >= 0 and self._partners[unit] != parent and not self._separates[unit]:
            self._below[parent] += change

    def _misses_what_it_introduces(self, lead: int) -> bool:
        first = self._first[lead]
        if first < 0 or self._taken[first]:
            return False
        return self._needs_first[lead] or not self._below[lead]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """An order of groups in steps: each brings a group and what it needs that no step before has brought.

    Attributes:
        driver: The group that each step is taken for. Shape: `(steps,)`.
        cost: About how many tokens each step costs, separators apart. Shape: `(steps,)`.
        of_group: The step that brings each group; `len(driver)` for groups that none brings. Shape: `(groups,)`.
    """

    driver: IntArray
    cost: IntArray
    of_group: IntArray

    @classmethod
    def of(cls, groups: Groups, wanted: IntArray, kept: Kept) -> Steps:
        """Steps for groups in their order; afterwards all of them are kept.

        Args:
            groups: All groups.
            wanted: Those to take, best first. Shape: `(wanted,)`.
            kept: What is there already.
        """
        costs = groups.links.cost
        driver: list[int] = []
        cost: list[int] = []
        of_group = np.full(len(groups.unit), len(wanted), np.int64)
        for group in wanted.tolist():
            new = kept.add(group)
            if new:
                of_group[new] = len(driver)
                driver.append(group)
                cost.append(sum(map(costs.__getitem__, new)))
        of_group[of_group == len(wanted)] = len(driver)
        return cls(np.array(driver, np.int64), np.array(cost, np.int64), of_group)

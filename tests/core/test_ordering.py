"""The order in which words and documents are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from test_marginal_gain import BRIDGE, COPY, gains
from tiny import table_of

from moos_integrations.core.marginal_gain import UnitGains, marginal_gains
from moos_integrations.core.ordering import word_priority
from moos_integrations.core.text import segment
from moos_integrations.core.types import SegmentedText, WordScores


def order_of(
    documents: Sequence[SegmentedText], metric: Sequence[Sequence[float]], found: UnitGains, **settings: float
) -> list[tuple[int, int]]:
    table = table_of(documents, [WordScores.from_preserve(values) for values in metric])
    values = word_priority(table, found, **{"temperature": 1.0, "whole_from": 1.0, **settings})  # type: ignore[arg-type]
    return [
        (int(table.document_of_word[word]), int(word - table.word_borders[table.document_of_word[word]]))
        for word in np.argsort(-values, kind="stable")
    ]


@given(st.integers(0, 10_000), st.floats(0.05, 20), st.floats(0.0, 1.0), st.integers(1, 60))
def test_a_prefix_of_the_order_gives_every_unit_its_share(seed: int, heat: float, whole: float, count: int) -> None:
    """The definition of the budget: `min(length, level * exp(gain / T))`, for one level common to all units."""
    rng = np.random.default_rng(seed)
    documents = [BRIDGE, COPY]
    found = gains(documents, [rng.normal(size=3), rng.normal(size=2)])
    found = replace(found, repeated=np.zeros(5, bool))
    metric = [rng.random(len(document)) for document in documents]
    order = order_of(documents, metric, found, temperature=heat, whole_from=whole)[:count]
    owner = [document.unit_of_word for document in documents]
    kept, sizes = np.zeros(5), np.bincount(np.concatenate([owner[0], owner[1] + 3]))
    for index, word in order:
        kept[owner[index][word] + 3 * index] += 1
    weight = np.exp((found.gain - found.gain.max()) / heat)
    threshold = np.maximum(whole * sizes, 1.0) if whole else sizes
    # The level at which the last word of each unit came in, and at which its next one would: one level parts them.
    last = np.max([min(k, t) / w for k, t, w in zip(kept, threshold, weight, strict=True) if k], initial=0)
    following = np.min(
        [min(k + 1, t) / w for k, t, n, w in zip(kept, threshold, sizes, weight, strict=True) if k < n], initial=np.inf
    )
    if whole:
        assert last <= following * (1 + 1e-9)


def test_inside_a_unit_words_come_by_their_metric() -> None:
    found = gains([BRIDGE], [[0.0, 0.0, 0.0]])
    metric = np.linspace(0, 1, len(BRIDGE))
    order = [word for _, word in order_of([BRIDGE], [metric], found)]
    owner = BRIDGE.unit_of_word
    for unit in range(3):
        own = [word for word in order if owner[word] == unit]
        assert own == sorted(own, reverse=True)


def test_a_low_temperature_takes_unit_after_unit() -> None:
    found = gains([BRIDGE, COPY], [[0.0, 2.0, 1.0], [3.0, -1.0]])
    metric = [np.full(len(document), 0.5) for document in (BRIDGE, COPY)]
    for whole in (0.0, 0.5, 1.0):
        order = order_of([BRIDGE, COPY], metric, found, temperature=0.001, whole_from=whole)
        units = [(index, int((BRIDGE, COPY)[index].unit_of_word[word])) for index, word in order]
        assert list(dict.fromkeys(units)) == [(1, 0), (0, 1), (0, 2), (0, 0), (1, 1)]


def test_repetitions_come_last() -> None:
    found = gains([BRIDGE, COPY], [[9.0, 0.0, -20.0], [0.0, 9.0]])
    order = order_of([BRIDGE, COPY], [np.ones(len(BRIDGE)), np.ones(len(COPY))], found)
    again = [place for place, (index, word) in enumerate(order) if index == 1 and COPY.unit_of_word[word] == 1]
    assert again == list(range(len(order) - len(again), len(order)))


def test_lines_of_code_are_kept_whole_or_not_at_all() -> None:
    document = segment("The bridge was closed to all carts.\n- It rained on that day\nNobody swims there.")
    table = table_of([document], [WordScores.from_preserve(np.linspace(0, 1, len(document)))])
    assert table.structured.tolist() == [False, True, False]
    found = marginal_gains(table, np.zeros(3), weight=0.0)
    priority = word_priority(table, found, temperature=1.0, whole_from=1.0)
    for unit in range(3):
        assert (len(np.unique(priority[table.unit_of_word == unit])) == 1) == table.structured[unit]
    thinned = word_priority(table, found, temperature=1.0, whole_from=1.0, lines_whole=False)
    assert len(np.unique(thinned[table.unit_of_word == 1])) > 1

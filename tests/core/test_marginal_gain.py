from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moos_integrations.core import marginal_gain
from moos_integrations.core.marginal_gain import (
    DOCUMENT_WEIGHT,
    UnitGains,
    log_odds,
    marginal_gains,
    unit_relevance,
    word_priority,
)
from moos_integrations.core.text import segment
from moos_integrations.core.types import FloatArray, SegmentedText, WordScores

BRIDGE = segment("The bridge was built by Ada Byron. It rained a lot that year. The baker slept well all night.")
COPY = segment("A new start is here now. The bridge was built by Ada Byron.")


def gains(
    documents: Sequence[SegmentedText], relevance: Sequence[Sequence[float]], vectors: object = None, **settings: object
) -> UnitGains:
    told = [np.array(own, float) for own in relevance]
    known = [None] * len(documents) if vectors is None else [np.array(own, float) for own in vectors]  # type: ignore[attr-defined]
    return marginal_gains(documents, told, known, **{"weight": 4.0, **settings})  # type: ignore[arg-type]


# --- relevance -----------------------------------------------------------------------------------------------------


def test_relevance_adds_log_odds_of_words_and_of_what_is_known_of_the_question() -> None:
    owner = BRIDGE.unit_of_word
    scores = WordScores.from_preserve(np.where(owner == 0, 0.8, 0.2))
    assert unit_relevance(BRIDGE, scores).tolist() == pytest.approx([math.log(4), -math.log(4), -math.log(4)])
    near = np.array([1.0, 2.0, 3.0])
    told = replace(scores, relevance=0.9)
    words = np.array([math.log(4), -math.log(4), -math.log(4)])
    assert unit_relevance(BRIDGE, told).tolist() == pytest.approx(words + DOCUMENT_WEIGHT * math.log(9))
    told = replace(told, unit_similarity=near)
    assert unit_relevance(BRIDGE, told, document_weight=0.0).tolist() == pytest.approx(words + near)
    assert unit_relevance(BRIDGE, told, document_weight=2.0).tolist() == pytest.approx(words + near + 2 * math.log(9))


def test_certain_probabilities_stay_finite() -> None:
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    empty = segment("")
    assert len(unit_relevance(empty, WordScores.from_preserve([]))) == len(empty.unit_starts)


# --- redundancy ----------------------------------------------------------------------------------------------------


def test_the_same_text_in_another_document_is_a_repetition() -> None:
    found = gains([BRIDGE, COPY], [[3.0, 1.0, 0.0], [0.0, 3.0]])
    assert found.repeated.tolist() == [False, False, False, False, True]  # equal relevance: the earlier one stays
    assert found.against[4] == 0
    assert found.redundancy[4] == 1.0
    assert found.gain[4] == 3.0 - 4.0
    found = gains([BRIDGE, COPY], [[2.0, 1.0, 0.0], [0.0, 3.0]])
    assert found.repeated.tolist() == [True, False, False, False, False]  # the better one stays


def test_a_sentence_cut_by_its_chunk_is_a_repetition() -> None:
    cut = segment("built by Ada Byron. Then the river rose again and again.")
    found = gains([BRIDGE, cut], [[3.0, 1.0, 0.0], [2.0, 0.0]])
    assert found.repeated.tolist() == [False, False, False, True, False]


def test_a_document_may_repeat_itself() -> None:
    lines = segment("total = total + value[i]\nother(x, y)\ntotal = total + value[i]\n")
    assert not gains([lines], [[1.0, 1.0, 1.0]]).repeated.any()


def test_redundancy_is_the_largest_cosine_around_the_mean() -> None:
    vectors = [[[2.0, 1.0], [2.0, 1.1], [-4.0, -2.1]], [[0.0, 5.0], [0.0, -5.0]]]
    found = gains([BRIDGE, COPY], [[3.0, 2.0, 1.0], [0.0, -9.0]], vectors, redundancy="symmetric")
    units = np.concatenate([np.array(own) for own in vectors])
    units = (units - units.mean(0)) / np.linalg.norm(units - units.mean(0), axis=1, keepdims=True)
    cosine = units @ units.T - 3 * np.eye(5)
    cosine[:, 4] = -3  # the copied sentence is a repetition, which nothing is compared with
    assert found.redundancy[:4].tolist() == pytest.approx(cosine.max(1)[:4].tolist(), abs=1e-5)
    assert found.against[0] == 1
    assert found.against[1] == 0
    assert found.gain[0] == pytest.approx(3.0 - 4.0 * max(cosine[0].max(), 0), abs=1e-4)


def test_greedy_redundancy_spares_the_better_of_two_alike() -> None:
    vectors = [[[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]]]
    found = gains([BRIDGE], [[3.0, 2.9, 0.0]], vectors)
    assert found.gain[0] == 3.0
    assert found.gain[1] == pytest.approx(2.9 - 4.0, abs=0.01)
    assert (found.against[0], found.against[1]) == (-1, 0)
    both = gains([BRIDGE], [[3.0, 2.9, 0.0]], vectors, redundancy="symmetric")
    assert both.gain[0] < 0  # as published, each takes the other's place


def naive_greedy(units: FloatArray, relevance: FloatArray, weight: float) -> list[float]:
    chosen: list[int] = []
    gain = np.zeros(len(units))
    while len(chosen) < len(units):
        best, value = -1, -np.inf
        for unit in range(len(units)):
            if unit not in chosen:
                most = max([float(units[unit] @ units[other]) for other in chosen], default=0.0)
                if relevance[unit] - weight * max(most, 0.0) > value:
                    best, value = unit, relevance[unit] - weight * max(most, 0.0)
        gain[best] = value
        chosen.append(best)
    return gain.tolist()


@given(st.integers(1, 12), st.integers(0, 10_000), st.floats(0.1, 5))
def test_greedy_selection_is_that_of_the_definition(count: int, seed: int, weight: float) -> None:
    rng = np.random.default_rng(seed)
    document = segment(" ".join(f"Word{index} is number {rng.integers(10**9)} here." for index in range(count)))
    assert len(document.unit_starts) == count
    relevance, vectors = rng.normal(size=count), rng.normal(size=(count, 3))
    found = gains([document], [relevance], [vectors], weight=weight)
    expected = naive_greedy(marginal_gain._centred(vectors).astype(float), relevance, weight)
    assert found.gain.tolist() == pytest.approx(expected, abs=1e-4)


def test_many_units_are_compared_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marginal_gain, "_COMPARED_UNITS", 2)
    monkeypatch.setattr(marginal_gain, "_BLOCK", 1)
    vectors = [[[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]]]
    found = gains([BRIDGE], [[3.0, 0.0, 2.9]], vectors)
    assert found.gain[0] == 3.0
    assert found.redundancy[1] == pytest.approx(1.0, abs=1e-3)  # the far unit is compared with the chosen ones
    assert found.against[1] == 0
    both = gains([BRIDGE], [[3.0, 0.0, 2.9]], vectors, redundancy="symmetric")
    assert both.against.tolist() == [2, 0, 0]  # unit 1, the least relevant, is nobody's match, though it is the nearest


# --- budgets -------------------------------------------------------------------------------------------------------


def order_of(
    documents: Sequence[SegmentedText], metric: Sequence[Sequence[float]], found: UnitGains, **settings: float
) -> list[tuple[int, int]]:
    scores = [WordScores.from_preserve(own) for own in metric]
    costs = [np.ones(len(document), np.int64) for document in documents]
    values = word_priority(documents, scores, costs, found, **{"temperature": 1.0, "whole_from": 1.0, **settings})
    flat = [(-value, index, word) for index, own in enumerate(values) for word, value in enumerate(own.tolist())]
    return [(index, word) for _, index, word in sorted(flat)]


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
    found = gains([BRIDGE], [[0.0, 0.0, 0.0]])
    metric = np.linspace(0, 1, len(BRIDGE))
    costs, scores = [np.ones(len(BRIDGE), np.int64)], [WordScores.from_preserve(metric)]
    lines = np.array([True, False, True])
    (priority,) = word_priority([BRIDGE], scores, costs, found, temperature=1.0, whole_from=1.0, structured=[lines])
    owner = BRIDGE.unit_of_word
    for unit in range(3):
        assert (len(np.unique(priority[owner == unit])) == 1) == lines[unit]
    (whole,) = word_priority([BRIDGE], scores, costs, found, temperature=1.0, whole_from=0.0)
    assert (priority[lines[owner]] == whole[lines[owner]]).all()

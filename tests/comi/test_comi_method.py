"""The steps of the method against a slow reference in NumPy, written from the formulas, one token at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moos_integrations.comi import method as steps
from moos_integrations.comi.settings import ABLATIONS, Method

# --- the reference ---------------------------------------------------------------------------------------------------


def cosine(left, right):
    size = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / size) if size else 0.0


def gain(i, vectors, query, weight):
    others = [cosine(vectors[i], vectors[j]) for j in range(len(vectors)) if j != i]
    return cosine(vectors[i], query) - weight * (max(others) if others else 0.0)


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def sizes_of(gains, n, temperature):
    exact = [n * share for share in softmax([-own / temperature for own in gains])]
    sizes = [math.floor(own + 1e-9) for own in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (-(exact[i] - sizes[i]), i))
    for i in by_remainder[: n - sum(sizes)]:
        sizes[i] += 1
    return sizes


def densities(gains, groups, count, temperature):
    """Vectors per token: in proportion to exp(G / T), none above 1."""
    shares = [max(own, 1e-12) for own in softmax([own / temperature for own in gains])]
    weights = [shares[group] for group in groups]
    capped = set()
    while True:
        rest = sum(own for i, own in enumerate(weights) if i not in capped)
        scale = (count - len(capped)) / rest if rest else 0.0
        above = {i for i, own in enumerate(weights) if i not in capped and own * scale > 1}
        if not above:
            return [1.0 if i in capped else own * scale for i, own in enumerate(weights)]
        capped |= above


def reference(states, query_states, method, merge_size):
    """The memory vectors, as a list of (tokens, weights, vector)."""
    n, query = len(states), np.mean(query_states, 0)
    own, compared = states, query
    if method.centre:
        own, compared = states - states.mean(0), query - states.mean(0)
    if method.coarse:
        count = math.ceil(n / merge_size)
        groups = [list(range(start, min(start + merge_size, n))) for start in range(0, n, merge_size)]
        if count > 1:
            groups = reallocated(own, compared, groups, method, n)
    else:
        count = max(1, round(n / merge_size)) if method.round_without_coarse else math.ceil(n / merge_size)
        groups = [[i for i in range(n) if i * count // n == k] for k in range(count)]
    return [merged(states, own, compared, group, max(map(len, groups)), method) for group in groups]


def reallocated(own, query, groups, method, n):
    chosen = [max(group, key=lambda i: (round(cosine(own[i], query), 12), -i)) for group in groups]
    gains = [gain(k, own[chosen], query, method.redundancy) for k in range(len(groups))]
    if method.layout == "cumulative":
        sizes = sizes_of(gains, n, method.coarse_temperature)
        ends = np.cumsum(sizes).tolist()
        return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True) if size]
    of_token = [k for k, group in enumerate(groups) for _ in group]
    passed, new = 0.0, {}
    density = densities(gains, of_token, len(groups), method.coarse_temperature)
    for i in range(n):
        passed += density[i]
        new.setdefault(min(max(math.ceil(passed - 1e-6), 1), len(groups)), []).append(i)
    return list(new.values())


def merged(states, own, query, group, largest, method):
    weights = [1 / len(group)] * len(group)
    if method.fine:
        gains = []
        for i in group:
            others = [cosine(own[i], own[j]) for j in group if j != i]
            redundancy = max(others) if others else 0.0
            if method.floor_padded and len(group) < largest:
                redundancy = max(redundancy, 0.0)
            gains.append((cosine(own[i], query) - method.redundancy * redundancy) / method.fine_temperature)
        share = method.mean_residual
        weights = [(1 - share) * a + share * b for a, b in zip(softmax(gains), weights, strict=True)]
    return group, weights, sum(w * states[i] for w, i in zip(weights, group, strict=True))


# --- comparisons -----------------------------------------------------------------------------------------------------


def sample(n, seed, width=6, tokens=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)) + 0.5, rng.normal(size=(tokens, width)) + 0.5


METHODS = {
    "ours": Method(),
    "published": Method.published(),
    **{f"ours {name}": Method().changed(**change) for name, change in ABLATIONS.items()},
    **{f"published {name}": Method.published(**change) for name, change in ABLATIONS.items()},
    "sharp": Method(coarse_temperature=0.02, fine_temperature=0.05, mean_residual=0.3),
    "uncentred": Method(centre=False, redundancy=0.5),
    "laid out": Method(layout="cumulative", coarse_temperature=0.1),
}


@pytest.mark.parametrize("name", METHODS)
def test_vectors_are_those_of_the_formulas(name):
    method = METHODS[name]
    for seed, (n, merge_size) in enumerate([(1, 4), (3, 4), (16, 4), (37, 5), (40, 16), (9, 1), (23, 40)]):
        states, query = sample(n, seed)
        expected = reference(states, query, method, merge_size)
        ours = torch.tensor(states), torch.tensor(query)
        groups = steps.reallocate(*ours, method, merge_size)
        assert groups.tolist() == [k for k, (tokens, _, _) in enumerate(expected) for _ in tokens]
        _, weights = steps.merge_weights(*ours, groups, method)
        for row, (tokens, own, _) in zip(weights, expected, strict=True):
            np.testing.assert_allclose(row[: len(tokens)], own, atol=1e-6)
            assert not row[len(tokens) :].any()
        vectors = steps.compress_segment(*ours, method, merge_size)
        np.testing.assert_allclose(vectors, np.array([vector for _, _, vector in expected]), atol=1e-5)


def test_representatives_and_gains_are_those_of_the_formulas():
    states, query = sample(14, 7)
    groups = steps.equal_groups(14, 4, 4)
    mean = query.mean(0)
    chosen = steps.representatives(torch.tensor(states), torch.tensor(mean), groups).tolist()
    assert chosen == [max(range(k, min(k + 4, 14)), key=lambda i: cosine(states[i], mean)) for k in range(0, 14, 4)]
    gains = steps.marginal_gains(torch.tensor(states), torch.tensor(mean), 0.7)
    np.testing.assert_allclose(gains, [gain(i, states, mean, 0.7) for i in range(14)], atol=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.001])
def test_sizes_sum_to_the_tokens_and_shrink_with_gain(temperature):
    gains = torch.tensor([0.3, -0.2, 0.3, 0.9, -1.0])
    sizes = steps.group_sizes(gains, 64, temperature)
    assert sizes.tolist() == sizes_of(gains.tolist(), 64, temperature)
    assert sizes.sum() == 64
    assert sizes[4] >= sizes[1] >= sizes[0] >= sizes[3]


def test_equal_gains_leave_equal_groups():
    assert steps.group_sizes(torch.zeros(5), 20).tolist() == [4] * 5
    groups = steps.equal_groups(20, 5, 4)
    assert steps.groups_in_place(torch.zeros(5), groups, 5).tolist() == groups.tolist()


def test_in_place_the_tokens_of_high_gain_get_the_smaller_groups():
    groups = steps.equal_groups(80, 10, 8)
    gains = torch.full((10,), -0.5)
    gains[6] = 0.5
    new = steps.groups_in_place(gains, groups, 10, 0.25)
    sizes = torch.bincount(new)
    inside = sizes[new[48:56]]
    outside = torch.cat([sizes[new[:40]], sizes[new[64:]]])
    assert inside.double().mean() < outside.double().mean() / 2
    cumulative = steps.groups_of_sizes(steps.group_sizes(gains, 80, 0.25))
    inside_cumulative = torch.bincount(cumulative)[cumulative[48:56]].double().mean()
    assert inside.double().mean() < inside_cumulative  # there the boundaries have moved away


@given(
    n=st.integers(1, 60),
    merge_size=st.integers(1, 70),
    seed=st.integers(0, 99),
    temperature=st.sampled_from([1e-4, 0.05, 1.0, 50.0]),
    layout=st.sampled_from(["in_place", "cumulative"]),
    same=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_laws_of_groups(n, merge_size, seed, temperature, layout, same):
    states, query = (torch.tensor(own) for own in sample(n, seed))
    states = states[:1].expand(n, -1) if same else states
    method = Method(layout=layout, coarse_temperature=temperature, fine_temperature=temperature)
    groups = steps.reallocate(states, query, method, merge_size)
    assert groups.shape == (n,)
    assert groups[0] == 0
    assert set(groups.diff().tolist()) <= {0, 1}  # consecutive, every token in one group
    most = math.ceil(n / merge_size)
    assert int(groups[-1]) + 1 == most if layout == "in_place" else int(groups[-1]) + 1 <= most
    vectors = steps.merge(states, query, groups, method)
    assert vectors.isfinite().all()
    assert (vectors.amax(0) <= states.amax(0) + 1e-6).all()  # means, with weights that sum to 1


def test_zero_states_have_cosine_zero():
    states, query = torch.zeros(6, 4), torch.ones(2, 4)
    assert steps.compress_segment(states, query, Method(), 2).tolist() == [[0.0] * 4] * 3


def test_gradients_reach_states_and_query():
    states, query = (torch.tensor(own, requires_grad=True) for own in sample(20, 3))
    steps.compress_segment(states, query, Method(), 4).square().sum().backward()
    assert states.grad.isfinite().all()
    assert query.grad.abs().sum() > 0


def test_gradients_are_finite_in_groups_of_one_token():
    states, query = (torch.tensor(own, requires_grad=True) for own in sample(5, 3))
    steps.compress_segment(states, query, Method(), 1).square().sum().backward()
    assert states.grad.isfinite().all()

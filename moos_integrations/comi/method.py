"""COMI's compression of one segment, as functions of tensors (arXiv 2602.01719).

    states, query states -> q_bar -> gains of groups -> group of each token -> gains of tokens -> vectors

n is the number of tokens of a segment, d the width of a state, K the number of groups, L the size of the largest one.
All functions work on all groups at once. Gradients flow through weights and states, not through group boundaries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from moos_integrations.comi.settings import Method


def compress_segment(states: Tensor, query_states: Tensor, method: Method, merge_size: int | None = None) -> Tensor:
    """The memory vectors of a segment, in the order of its tokens, before the fusion layer.

    Args:
        states: Of the segment's tokens. Shape: `(n, d)`.
        query_states: Of the query's tokens, which follow the segment. Shape: `(q, d)`.
        method: The settings.
        merge_size: Instead of the method's.

    Returns:
        Shape: `(K, d)`.
    """
    groups = reallocate(states, query_states, method, merge_size or method.merge_size)
    return merge(states, query_states, groups, method)


def reallocate(states: Tensor, query_states: Tensor, method: Method, merge_size: int) -> Tensor:
    """The group of each token: consecutive numbers from 0, ascending. Shape: `(n,)`.

    Coarse-grained group reallocation: groups of equal size get a gain each, and the boundaries move so that groups of
    high gain have fewer tokens per vector.
    """
    n = len(states)
    count = group_count(n, merge_size, method)
    equal = equal_groups(n, count if not method.coarse else math.ceil(n / merge_size), merge_size, method.coarse)
    equal = equal.to(states.device)
    if not method.coarse or count == 1:
        return equal
    with torch.no_grad():
        centred, query = comparable(states, query_states, method)
        chosen = representatives(centred, query, equal)
        gains = marginal_gains(centred[chosen], query, method.redundancy)
        if method.layout == "cumulative":
            sizes = group_sizes(gains, n, method.coarse_temperature)
            return groups_of_sizes(sizes)
        return groups_in_place(gains, equal, count, method.coarse_temperature)


def group_count(n: int, merge_size: int, method: Method) -> int:
    """K: `ceil(n / merge_size)`; the published code rounds to nearest, halves to even, without the coarse step."""
    if method.round_without_coarse and not method.coarse:
        return max(1, round(n / merge_size))
    return math.ceil(n / merge_size)


def equal_groups(n: int, count: int, merge_size: int, fixed: bool = True) -> Tensor:
    """The group of each token in equal groups. Shape: `(n,)`.

    Args:
        n: Number of tokens.
        count: Number of groups.
        merge_size: Tokens per group.
        fixed: Groups have `merge_size` tokens, the last one fewer. Else sizes differ by at most 1.
    """
    if fixed:
        return torch.arange(n) // merge_size
    return torch.arange(n) * count // n


def query_mean(query_states: Tensor) -> Tensor:
    """q_bar: the mean of the query's states. Shapes: `(q, d) -> (d,)`."""
    return query_states.mean(0)


def comparable(states: Tensor, query_states: Tensor, method: Method) -> tuple[Tensor, Tensor]:
    """States and q_bar as cosines compare them: less the mean of the states with `centre`.

    Shapes: `(n, d), (q, d) -> (n, d), (d,)`.
    """
    query = query_mean(query_states)
    if not method.centre:
        return states, query
    mean = states.mean(0)
    return states - mean, query - mean


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Cosines of all pairs; 0 for a zero vector. Shapes: `(..., n, d), (..., m, d) -> (..., n, m)`."""
    return functional.normalize(left, dim=-1) @ functional.normalize(right, dim=-1).transpose(-1, -2)


def marginal_gains(vectors: Tensor, query: Tensor, redundancy: float = 1.0) -> Tensor:
    """MIG: `G_i = cos(x_i, q) - redundancy * max_{j != i} cos(x_i, x_j)`; the redundancy of a single vector is 0.

    Shapes: `(n, d), (d,) -> (n,)`.
    """
    relevance = cosines(vectors, query[None])[:, 0]
    if len(vectors) == 1:
        return relevance
    pairs = cosines(vectors, vectors)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    return relevance - redundancy * pairs.masked_fill(itself, -math.inf).amax(1)


def representatives(states: Tensor, query: Tensor, groups: Tensor) -> Tensor:
    """r_i: the index of the token with the highest cosine to the query in each group, the first one of equals.

    Shapes: `(n, d), (d,), (n,) -> (K,)`.
    """
    index, real = padded_groups(groups)
    relevance = cosines(states, query[None])[:, 0]
    return index.gather(1, relevance[index].masked_fill(~real, -math.inf).argmax(1, keepdim=True))[:, 0]


def group_sizes(gains: Tensor, n: int, temperature: float = 1.0) -> Tensor:
    """New sizes: `n * P_i` with `P = softmax(-G / temperature)`, rounded down; the largest remainders get one more.

    Sizes sum to n; a size may be 0. Of equal remainders the first ones count as larger.

    Shapes: `(K,) -> (K,)`.
    """
    exact = n * torch.softmax(-gains.double() / temperature, 0)
    # Without the tolerance, n / K equal shares would depend on the last bit.
    sizes = (exact + 1e-9).floor().long()
    missing = n - int(sizes.sum())
    order = torch.argsort(exact - sizes, descending=True, stable=True)
    sizes[order[:missing]] += 1
    return sizes


def groups_of_sizes(sizes: Tensor) -> Tensor:
    """The group of each token when groups of these sizes follow each other; empty ones are dropped.

    Shapes: `(K,) -> (n,)`.
    """
    kept = sizes[sizes > 0]
    return torch.repeat_interleave(torch.arange(len(kept), device=sizes.device), kept)


def groups_in_place(gains: Tensor, groups: Tensor, count: int, temperature: float = 1.0) -> Tensor:
    """The new group of each token, with boundaries that follow the gains of the places where they are.

    A token of the old group i stands for `exp(G_i / temperature)` vectors, scaled so that all tokens have `count`,
    and at most for 1. This is the inverse of the published size `exp(-G_i)`, but applied where the group is.

    Args:
        gains: Of the old groups. Shape: `(K,)`.
        groups: The old group of each token. Shape: `(n,)`.
        count: Number of new groups, from 1 to n.
        temperature: Of the gains.

    Returns:
        `count` groups, none empty. Shape: `(n,)`.
    """
    share = torch.softmax(gains.double() / temperature, 0).clamp(min=1e-12)  # at low temperatures some are 0
    density = _capped(share[groups], count)
    passed = density.cumsum(0)
    passed = passed * (count / passed[-1])
    # Tokens after k and up to k + 1 make group k. No step is above 1, so that none is empty.
    new: Tensor = torch.unique_consecutive((passed - 1e-7).ceil().clamp(1, count), return_inverse=True)[1]
    return new


def _capped(density: Tensor, total: int) -> Tensor:
    """Scaled to a sum of `total`, with at most 1 each: what is above goes to the others in proportion."""
    if total >= len(density):
        return torch.ones_like(density)
    order = torch.argsort(density, descending=True)
    ranked = density[order]
    rest = ranked.flip(0).cumsum(0).flip(0)  # sum from each rank on
    scale = (total - torch.arange(len(density), device=density.device)) / rest
    full = int((ranked * scale > 1).long().cumprod(0).sum())  # so many are capped
    return (density * scale[full]).clamp(max=1)


def padded_groups(groups: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of each group, padded to the largest: indices, and which of them are real.

    Shapes: `(n,) -> (K, L), (K, L)`.
    """
    sizes = torch.bincount(groups)
    starts = sizes.cumsum(0) - sizes
    place = torch.arange(int(sizes.max()), device=groups.device)[None]
    real = place < sizes[:, None]
    return torch.where(real, starts[:, None] + place, starts[:, None]), real


def gains_in_groups(states: Tensor, query: Tensor, real: Tensor, method: Method) -> Tensor:
    """Gains of the tokens of each group: redundancy counts within the group only.

    Args:
        states: Of the tokens in padded groups. Shape: `(K, L, d)`.
        query: Shape: `(d,)`.
        real: Which tokens are real. Shape: `(K, L)`.
        method: Its `redundancy` and `floor_padded` are used.

    Returns:
        -inf for padding. Shape: `(K, L)`.
    """
    relevance = cosines(states, query[None])[..., 0]
    pairs = cosines(states, states)
    others = real[:, None] & ~torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
    highest = pairs.masked_fill(~others, -math.inf).amax(2)
    highest = highest.masked_fill(~others.any(2), 0.0)  # a token alone repeats nothing
    if method.floor_padded:
        highest = torch.where(real.all(1)[:, None], highest, highest.clamp(min=0))
    return (relevance - method.redundancy * highest).masked_fill(~real, -math.inf)


def merge_weights(states: Tensor, query_states: Tensor, groups: Tensor, method: Method) -> tuple[Tensor, Tensor]:
    """The tokens of each group and their weights, which sum to 1.

    `w_k = softmax_k(G(h_k, q_bar, S_i) / temperature)`; with `fine` off all are equal. `mean_residual` mixes the two.

    Shapes: `(n, d), (q, d), (n,) -> (K, L), (K, L)`.
    """
    index, real = padded_groups(groups)
    equal = real / real.sum(1, keepdim=True)
    if not method.fine:
        return index, equal.to(states.dtype)
    centred, query = comparable(states, query_states, method)
    gains = gains_in_groups(centred[index], query, real, method)
    weights = torch.softmax(gains.float() / method.fine_temperature, 1)
    return index, ((1 - method.mean_residual) * weights + method.mean_residual * equal).to(states.dtype)


def merge(states: Tensor, query_states: Tensor, groups: Tensor, method: Method) -> Tensor:
    """Fine-grained token merging: `h_i = sum_k w_k h_k` in each group.

    Shapes: `(n, d), (q, d), (n,) -> (K, d)`.
    """
    return weighted_means(states, *merge_weights(states, query_states, groups, method))


def weighted_means(vectors: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """A mean of the vectors of each group. Shapes: `(n, d), (K, L), (K, L) -> (K, d)`."""
    return torch.einsum("kl,kld->kd", weights, vectors[index])

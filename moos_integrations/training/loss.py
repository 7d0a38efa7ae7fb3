"""The MOOSComp training loss: cross-entropy plus `beta` times the inter-class cosine similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""Label of positions outside the loss: special tokens and padding."""


def inter_class_cosine(hidden: Tensor, labels: Tensor) -> Tensor:
    """Mean cosine between the states of preserve and discard pieces (MOOSComp's over-smoothing metric `S^l`).

    The mean over all pairs equals the dot product of the two classes' mean unit vectors, so the cost is linear in the
    number of pieces. It is taken per sequence and averaged over the sequences that have both classes.

    Args:
        hidden: States of one layer. Shape: `(batch, pieces, width)`.
        labels: 1 preserve, 0 discard, `IGNORED` elsewhere. Shape: `(batch, pieces)`.

    Returns:
        A scalar in [-1, 1]; 0 with zero gradient where no sequence has both classes.
    """
    units = functional.normalize(hidden.float(), dim=-1)
    preserve, discard = (labels == 1).float(), (labels == 0).float()  # (B, T)
    counts = preserve.sum(1), discard.sum(1)  # (B,)
    means = (
        torch.einsum("btw,bt->bw", units, mask) / count.clamp(min=1).unsqueeze(1)
        for mask, count in zip((preserve, discard), counts, strict=True)
    )
    cosine = torch.mul(*means).sum(1)  # (B,)
    both = ((counts[0] > 0) & (counts[1] > 0)).float()
    return (cosine * both).sum() / both.sum().clamp(min=1)


def moos_loss(logits: Tensor, hidden: Tensor, labels: Tensor, beta: float) -> Tensor:
    """`L = L_CE + beta * L_CS` with `L_CS` the inter-class cosine of the last layer (MOOSComp, training objective).

    Args:
        logits: Shape: `(batch, pieces, 2)`.
        hidden: Last-layer states. Shape: `(batch, pieces, width)`.
        labels: 1 preserve, 0 discard, `IGNORED` elsewhere. Shape: `(batch, pieces)`.
        beta: Weight of the cosine term; 0 gives the plain token classifier (LLMLingua-2's objective).

    Returns:
        A scalar, computed in fp32 whatever the autocast dtype.
    """
    cross_entropy = functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    return cross_entropy + beta * inter_class_cosine(hidden, labels) if beta else cross_entropy

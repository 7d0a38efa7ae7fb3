"""The MOOSComp training loss: cross-entropy plus `beta` times the inter-class cosine similarity."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

IGNORED = -100.0
"""Label of positions outside the loss: special tokens and padding."""


def inter_class_cosine(hidden: Tensor, labels: Tensor) -> Tensor:
    """Mean cosine between the states of preserve and discard pieces (MOOSComp's over-smoothing metric `S^l`).

    The mean over all pairs equals the dot product of the two classes' mean unit vectors, so the cost is linear in the
    number of pieces. It is taken per sequence and averaged over the sequences that have both classes.

    Args:
        hidden: States of one layer. Shape: `(batch, pieces, width)`.
        labels: Target preserve probability: from 0.5 on preserve, below it discard, `IGNORED` for pieces that are
            left out. Shape: `(batch, pieces)`.

    Returns:
        A scalar in [-1, 1], fp32 also under autocast; 0 with zero gradient where no sequence has both classes.
    """
    preserve, discard = (labels >= 0.5).float(), ((labels >= 0) & (labels < 0.5)).float()  # (B, T)
    counts = preserve.sum(1), discard.sum(1)  # (B,)
    with torch.autocast(hidden.device.type, enabled=False):
        units = functional.normalize(hidden.float(), dim=-1)
        means = (
            torch.einsum("btw,bt->bw", units, mask) / count.clamp(min=1).unsqueeze(1)
            for mask, count in zip((preserve, discard), counts, strict=True)
        )
        cosine = torch.mul(*means).sum(1)  # (B,)
    both = ((counts[0] > 0) & (counts[1] > 0)).float()
    return (cosine * both).sum() / both.sum().clamp(min=1)


class MOOSLoss(nn.Module):
    """`L = L_CE + beta * L_CS` (MOOSComp, training objective), with a term for the relevance of the whole passage.

    `L_CE` is the cross-entropy of the pieces, `L_CS` the inter-class cosine of the last layer. Passage relevance is
    learnt by the first piece (`[CLS]`), with the same two labels: `passage_weight` times its own cross-entropy.
    """

    def __init__(self, beta: float, *, passage_weight: float = 0.0, preserve_weight: float = 1.0) -> None:
        """Fix the weights.

        Args:
            beta: Weight of the inter-class cosine; 0 gives the plain token classifier (LLMLingua-2's objective).
            passage_weight: Weight of the first piece's cross-entropy.
            preserve_weight: Weight of the label "preserve" in the pieces' cross-entropy, against 1 for "discard".
        """
        super().__init__()
        self.beta = beta
        self.passage_weight = passage_weight
        self.preserve_weight = preserve_weight

    def forward(self, logits: Tensor, hidden: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            logits: Discard and preserve. Shape: `(batch, pieces, 2)`.
            hidden: Last-layer states. Shape: `(batch, pieces, width)`.
            labels: Target preserve probability in [0, 1], `IGNORED` elsewhere; in the first column the relevance of
                the passage, or `IGNORED`. Shape: `(batch, pieces)`.

        Returns:
            A scalar, computed in fp32 whatever the autocast dtype.
        """
        pieces = labels.clone()
        pieces[:, 0] = IGNORED
        loss = self._cross_entropy(logits, pieces, self.preserve_weight)
        if self.passage_weight:
            loss = loss + self.passage_weight * self._cross_entropy(logits[:, :1], labels[:, :1], 1.0)
        if self.beta:
            loss = loss + self.beta * inter_class_cosine(hidden, pieces)
        return loss

    @staticmethod
    def _cross_entropy(logits: Tensor, labels: Tensor, preserve_weight: float) -> Tensor:
        """Mean over the positions with a label; 0 if there is none."""
        real = labels >= 0
        log_odds = (logits[..., 1] - logits[..., 0]).float()[real]
        target = labels[real].float()
        weight = 1 + (preserve_weight - 1) * target
        losses = functional.binary_cross_entropy_with_logits(log_odds, target, weight=weight, reduction="sum")
        return losses / weight.sum().clamp(min=1e-6)

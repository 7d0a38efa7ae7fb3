"""The MOOSComp training loss: cross-entropy plus `beta` times the inter-class cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from moos_integrations.core.pooling import QUESTION, question_similarity, unit_means

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


def unit_relevance(logits: Tensor, hidden: Tensor, units: Tensor, similarity_scale: float) -> tuple[Tensor, Tensor]:
    """Relevance of each unit to the question in log-odds, with gradients.

    It is the mean log-odds of the unit's pieces, plus the log-odds of the first piece (the passage), plus
    `similarity_scale` times the cosine between question and unit. `core.marginal_gain` computes it from scores.

    Args:
        logits: Discard and preserve. Shape: `(batch, pieces, 2)`.
        hidden: Last-layer states. Shape: `(batch, pieces, width)`.
        units: Unit of each piece; see `core.pooling`. Shape: `(batch, pieces)`.
        similarity_scale: Weight of the cosine.

    Returns:
        Relevance, and the number of pieces of each unit. Shape of each: `(batch, units)`.
    """
    count = max(int(units.max()) + 1, 1)
    log_odds = (logits[..., 1] - logits[..., 0]).float()
    means, sizes = unit_means(log_odds, units, count)
    return means + log_odds[:, :1] + similarity_scale * question_similarity(hidden, units, count), sizes


def ranking_loss(relevance: Tensor, needed: Tensor, question: Tensor) -> Tensor:
    """Listwise loss: `-log softmax` of each needed unit against the units of its question that are not needed.

    Args:
        relevance: Of units of all passages. Shape: `(units,)`.
        needed: Whether the unit answers its question or supports the answer. Shape: `(units,)`.
        question: Index of the unit's question. Shape: `(units,)`.

    Returns:
        Mean over the needed units of a question, then over the questions that have units of both kinds. Without such
        a question, 0 with zero gradient. A scalar in fp32; lower is better.
    """
    losses, ranked = ranking_losses(relevance, needed, question)
    return losses.sum() / ranked.sum().clamp(min=1)


def ranking_losses(relevance: Tensor, needed: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each question in `ranking_loss`, which has the arguments.

    Returns:
        The losses, 0 where there is nothing to rank, and whether the question has units of both kinds. Shape of each:
        `(questions,)`; the last question with a unit ends them.
    """
    if not len(relevance):
        return relevance, needed
    count = int(question.max()) + 1
    relevance = relevance.float()
    other, of = relevance[~needed], question[~needed]
    highest = other.new_full((count,), -torch.inf).scatter_reduce(0, of, other.detach(), "amax")
    sums = other.new_zeros(count).index_add(0, of, (other - highest[of]).exp())
    both = needed & (sums > 0)[question]
    own, index = relevance[both], question[both]
    losses = torch.logaddexp(sums[index].log() + highest[index], own) - own
    sizes = torch.bincount(index, minlength=count)
    return losses.new_zeros(count).index_add(0, index, losses / sizes[index]), sizes > 0


class MOOSLoss(nn.Module):
    """`L = L_CE + beta * L_CS` (MOOSComp, training objective), with two terms for relevance to a question.

    `L_CE` is the cross-entropy of the pieces, `L_CS` the inter-class cosine of the last layer. The first piece
    (`[CLS]`) learns the passage probability with the same two labels, by `passage_weight` times its cross-entropy. The
    order of the units of all passages of a question is learnt by `ranking_weight` times `ranking_loss`.
    """

    def __init__(
        self,
        beta: float,
        *,
        passage_weight: float = 0.0,
        preserve_weight: float = 1.0,
        ranking_weight: float = 0.0,
        similarity_scale: float = 0.0,
        distillation_weight: float = 0.0,
    ) -> None:
        """Set the weights.

        Args:
            beta: Weight of the inter-class cosine; 0 is the plain token classifier (LLMLingua-2's objective).
            passage_weight: Weight of the first piece's cross-entropy.
            preserve_weight: Weight of the label "preserve" in the pieces' cross-entropy, against 1 for "discard".
            ranking_weight: Weight of the ranking loss.
            similarity_scale: Weight of the cosine between question and unit in a unit's relevance.
            distillation_weight: Weight of the squared difference of that cosine from a sentence encoder's.
        """
        super().__init__()
        self.beta = beta
        self.passage_weight = passage_weight
        self.preserve_weight = preserve_weight
        self.ranking_weight = ranking_weight
        self.similarity_scale = similarity_scale
        self.distillation_weight = distillation_weight

    def forward(
        self,
        logits: Tensor,
        hidden: Tensor,
        labels: Tensor,
        units: Tensor | None = None,
        groups: Tensor | None = None,
        similarities: Tensor | None = None,
        base: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            logits: Discard and preserve. Shape: `(batch, pieces, 2)`.
            hidden: Last-layer states. Shape: `(batch, pieces, width)`.
            labels: Target preserve probability in [0, 1], `IGNORED` elsewhere; in the first column the target passage
                probability, or `IGNORED`. Shape: `(batch, pieces)`.
            units: Unit of each piece; see `core.pooling`. None leaves the ranking out. Shape: `(batch, pieces)`.
            groups: Index of each row's question; rows without one are not ranked. Shape: `(batch,)`.
            similarities: A sentence encoder's cosine of question and unit, NaN elsewhere. Shape: `(batch, units)`.
            base: What the units' relevance has before the model adds to it, in log-odds: the gated cosines of the
                encoder stage. None for nothing. Shape: `(batch, units)`.

        Returns:
            A scalar, computed in fp32 also under autocast.
        """
        return sum_of(self.parts(logits, hidden, labels, units, groups, similarities, base))

    def parts(
        self,
        logits: Tensor,
        hidden: Tensor,
        labels: Tensor,
        units: Tensor | None = None,
        groups: Tensor | None = None,
        similarities: Tensor | None = None,
        base: Tensor | None = None,
    ) -> LossParts:
        """The weighted terms of the loss, and what each row and question has of them; arguments as for `forward`."""
        pieces = labels.clone()
        pieces[:, 0] = IGNORED
        words, by_row = self._cross_entropy(logits, pieces, self.preserve_weight)
        terms, rows = {"words": words}, {"words": by_row}
        if self.passage_weight:
            passage, rows["passage"] = self._cross_entropy(logits[:, :1], labels[:, :1], 1.0)
            terms["passage"] = self.passage_weight * passage
        if self.beta:
            terms["inter_class"] = self.beta * inter_class_cosine(hidden, pieces)
        if self.ranking_weight and units is not None and groups is not None:
            losses, ranked = self._ranking(logits, hidden, pieces, units, groups, base)
            terms["ranking"] = self.ranking_weight * losses.sum() / ranked.sum().clamp(min=1)
            rows["ranking"] = torch.where(ranked, losses.detach(), torch.nan)
        if self.distillation_weight and units is not None and similarities is not None:
            terms["distillation"] = self.distillation_weight * self._distance(hidden, units, similarities)
        return LossParts(terms, rows)

    @staticmethod
    def _distance(hidden: Tensor, units: Tensor, similarities: Tensor) -> Tensor:
        """Mean squared difference over the units that have pieces and a wanted similarity."""
        count = max(int(units.max()) + 1, similarities.shape[1], 1)
        wanted = functional.pad(similarities.float(), (0, count - similarities.shape[1]), value=torch.nan)
        _, sizes = unit_means(units.float(), units, count)
        real = (sizes > 0) & ~wanted.isnan()
        found = question_similarity(hidden, units, count)[real]
        return (found - wanted[real]).square().sum() / real.sum().clamp(min=1)

    def _ranking(
        self, logits: Tensor, hidden: Tensor, pieces: Tensor, units: Tensor, groups: Tensor, base: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        relevance, sizes = unit_relevance(logits, hidden, units, self.similarity_scale)
        if base is not None:
            relevance = relevance + fitted(base, relevance.shape[1])
        wanted, _ = unit_means((pieces > 0).float(), units, relevance.shape[1])
        labelled, _ = unit_means((pieces >= 0).float(), units, relevance.shape[1])
        real = (sizes > 0) & (units == QUESTION).any(1, keepdim=True)
        real = real & (labelled > 0)
        return ranking_losses(relevance[real], wanted[real] > 0, groups[:, None].expand_as(real)[real])

    @staticmethod
    def _cross_entropy(logits: Tensor, labels: Tensor, preserve_weight: float) -> tuple[Tensor, Tensor]:
        """Mean over the positions with a label, 0 if there is none; and the mean of each row, NaN if it has none."""
        real = labels >= 0
        log_odds, target = (logits[..., 1] - logits[..., 0]).float(), labels.float().clamp(min=0)
        weight = torch.where(real, 1 + (preserve_weight - 1) * target, 0.0)
        losses = functional.binary_cross_entropy_with_logits(log_odds, target, weight=weight, reduction="none").sum(1)
        sizes = weight.sum(1)
        return losses.sum() / sizes.sum().clamp(min=1e-6), losses.detach() / torch.where(real.any(1), sizes, torch.nan)


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """The terms of a loss.

    Attributes:
        terms: Weighted scalars by name; their sum is the loss.
        rows: By name, without weight and gradient: `words` and `passage` of each row, shape `(batch,)`; `ranking` of
            each question, shape `(questions,)`. NaN where there is nothing to learn.
    """

    terms: dict[str, Tensor]
    rows: dict[str, Tensor]


def sum_of(parts: LossParts) -> Tensor:
    """The loss of these parts."""
    return torch.stack(list(parts.terms.values())).sum()


def fitted(values: Tensor, units: int) -> Tensor:
    """Numbers of units with as many columns as another tensor has; NaN and what was not there become 0.

    Args:
        values: Shape: `(batch, other)`.
        units: Wanted columns.

    Returns:
        In fp32. Shape: `(batch, units)`.
    """
    values = torch.nan_to_num(values.float())[:, :units]
    return functional.pad(values, (0, units - values.shape[1]))

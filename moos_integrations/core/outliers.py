"""Hidden states to outlier scores: how far a piece lies from what its class usually looks like (MOOSComp, run time).

The paper computes a Z-score based outlier score after classification and mixes it into the metric; which statistic it
uses is not public, so it is a named option here:

* `class_diag`: `s_k = mean_j |h_kj - mu_cj| / (sd_cj + eps)`, over the class `c` that the piece was put in;
* `class_dist`: Z-score of `||h_k - mu_c||_2` among the pieces of its class;
* `global_diag`: as the first, with all pieces as one class.

Statistics are taken per window, special tokens, question and padding left out, and normalised to [0, 1] by min-max
after clipping at the 99th percentile (a few huge activations would flatten everything else).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moos_integrations.core.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

_EPS = 1e-6
_CLIP_QUANTILE = 0.99


def outlier_scores(hidden: Tensor, preserve: Tensor, mask: Tensor, statistic: str) -> Tensor:
    """Raw outlier score per piece.

    Args:
        hidden: Last-layer states, fp32. Shape: `(batch, pieces, width)`.
        preserve: Preserve probability. Shape: `(batch, pieces)`.
        mask: True for the passage's pieces, False for all others. Shape: `(batch, pieces)`.
        statistic: "class_diag", "class_dist" or "global_diag".

    Returns:
        Scores, from 0 on for the `diag` statistics; 0 where `mask` is False or a class has a single piece.
        Shape: `(batch, pieces)`.
    """
    if statistic == "global_diag":
        return _deviation(hidden, mask) * mask
    score = _deviation if statistic == "class_diag" else _distance
    preserved = preserve >= 0.5
    scores = [score(hidden, members) * members for members in (mask & preserved, mask & ~preserved)]
    return scores[0] + scores[1]


def _deviation(hidden: Tensor, members: Tensor) -> Tensor:
    """Mean absolute Z-score over the dimensions; shape `(batch, pieces)`."""
    centred, weight = _centre(hidden, members)
    deviation = ((centred.square() * weight).sum(1, keepdim=True) / _count(members)).sqrt()  # (B, 1, H)
    scores: Tensor = centred.abs_().div_(deviation + _EPS).mean(-1)
    return scores


def _distance(hidden: Tensor, members: Tensor) -> Tensor:
    """Z-score of the distance to the class mean; shape `(batch, pieces)`."""
    centred, _ = _centre(hidden, members)
    distance, weight, count = centred.norm(dim=-1), members.float(), _count(members)[..., 0]
    mean = (distance * weight).sum(1, keepdim=True) / count
    deviation = (((distance - mean).square() * weight).sum(1, keepdim=True) / count).sqrt()
    scores: Tensor = (distance - mean) / (deviation + _EPS)
    return scores


def _centre(hidden: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    weight = members.unsqueeze(-1).float()  # (B, T, 1)
    mean = (hidden * weight).sum(1, keepdim=True) / _count(members)  # (B, 1, H)
    return hidden - mean, weight


def _count(members: Tensor) -> Tensor:
    return members.sum(1).clamp(min=1)[:, None, None].float()


def normalise(scores: FloatArray) -> FloatArray:
    """Min-max to [0, 1] after clipping at the 99th percentile; all zeros where all scores are equal.

    Args:
        scores: Raw scores of one window's pieces. Shape: `(pieces,)`.
    """
    if len(scores) == 0:
        return scores
    low, high = float(scores.min()), float(np.quantile(scores, _CLIP_QUANTILE))
    return np.clip((scores - low) / (high - low), 0.0, 1.0) if high - low > _EPS else np.zeros_like(scores)

"""Pieces to units: means of states, and how near a unit is to the question that was read with it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

OUTSIDE, QUESTION = -1, -2
"""Marks of pieces that belong to no unit: special tokens and padding, and the question."""


def unit_means(values: Tensor, units: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean over the pieces of each unit.

    Args:
        values: One number or vector per piece. Shape: `(batch, pieces)` or `(batch, pieces, width)`.
        units: Index of each piece's unit in its row; `OUTSIDE` and `QUESTION` pieces are left out.
            Shape: `(batch, pieces)`.
        count: Units in the row that has the most.

    Returns:
        The means in fp32, 0 where a unit has no pieces, shape `(batch, count)` or `(batch, count, width)`; and the
        number of pieces of each unit, shape `(batch, count)`.
    """
    rows, places = torch.nonzero(units >= 0, as_tuple=True)
    slots = rows * count + units[rows, places]
    own = values[rows, places].float()
    sums = own.new_zeros(len(units) * count, *own.shape[1:]).index_add(0, slots, own)
    sizes = torch.bincount(slots, minlength=len(units) * count)
    shape = (-1,) + (1,) * (own.ndim - 1)
    means = sums / sizes.clamp(min=1).reshape(shape)
    return means.reshape(len(units), count, *own.shape[1:]), sizes.reshape(len(units), count)


def question_similarity(hidden: Tensor, units: Tensor, count: int) -> Tensor:
    """Cosine between the mean state of the question and the mean state of each unit, from one pass over both.

    A sentence encoder that is trained on gives this from the first step, where a relevance read from the first piece
    alone has to be learnt from nothing; the attention between question and passage then sharpens it.

    Args:
        hidden: Last-layer states. Shape: `(batch, pieces, width)`.
        units: As for `unit_means`, with `QUESTION` at the question's pieces. Shape: `(batch, pieces)`.
        count: Units in the row that has the most.

    Returns:
        In [-1, 1], 0 for units without pieces and rows without a question, fp32. Shape: `(batch, count)`.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        means, _ = unit_means(hidden, units, count)
        asked = torch.einsum("bt,btw->bw", (units == QUESTION).float(), hidden.float())
        # The mean's length falls out when it is made a unit vector.
        return torch.einsum("bw,buw->bu", functional.normalize(asked, dim=-1), functional.normalize(means, dim=-1))

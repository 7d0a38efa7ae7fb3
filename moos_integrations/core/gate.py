"""The learnt gate in training: how much a sentence encoder's cosines count for a question and a passage.

Relevance of a unit = what the reader says + gate x cosine of the question with the passage + gate x cosine with the
unit. Search-engine questions want a large weight, questions of several steps a small one, because their second step
does not look like the question. At run time `core.voices` computes the same from the saved weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from moos_integrations.core.voices import FIRST, MOST

GATE = "relevance_gate"
"""The attribute of a classifier under which its gate is; its weights are saved with the others."""


class RelevanceGate(nn.Module):
    """Two weights from the state of the reader's first piece, which has read question and passage."""

    def __init__(self, width: int) -> None:
        """`width` is that of the states. Before training the weights are the same for all inputs."""
        super().__init__()
        self.linear = nn.Linear(width, 2)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            shares = [first / most for first, most in zip(FIRST, MOST, strict=True)]
            self.linear.bias.copy_(torch.tensor([_logit(share) for share in shares]))

    def forward(self, first: Tensor) -> Tensor:
        """The weights of the cosines of passage and unit, in log-odds, from 0 on.

        Args:
            first: Last-layer states of the first piece. Shape: `(batch, width)`.

        Returns:
            In fp32. Shape: `(batch, 2)`.
        """
        with torch.autocast(first.device.type, enabled=False):
            most = torch.tensor(MOST, device=first.device)
            dtype = self.linear.weight.dtype
            open_by: Tensor = self.linear(first.to(dtype)).float().sigmoid()
            return most * open_by


def gated(gates: Tensor, passages: Tensor, units: Tensor) -> Tensor:
    """What the encoder's cosines add to the relevance of units.

    Args:
        gates: See `RelevanceGate`. Shape: `(batch, 2)`.
        passages: Cosine of the question and each passage; NaN counts as 0. Shape: `(batch,)`.
        units: Cosine of the question and each unit; NaN counts as 0. Shape: `(batch, units)`.

    Returns:
        In log-odds. Shape: `(batch, units)`.
    """
    passages, units = torch.nan_to_num(passages.float()), torch.nan_to_num(units.float())
    return gates[:, :1] * passages[:, None] + gates[:, 1:] * units


def _logit(share: float) -> float:
    return math.log(share / (1 - share))

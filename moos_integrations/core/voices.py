"""How much a sentence encoder's cosines count beside the reader. Pure numpy.

Relevance of a unit = what the reader says + weight x cosine of the question with the unit's passage + weight x cosine
with the unit. Search-engine questions want large weights, questions of several steps small ones, because their second
step does not look like the question. A model that was trained so has a learnt gate, which sees question and passage;
beside any other model, the weights are the same for all questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moos_integrations.core.types import FloatArray

MOST = (40.0, 20.0)
"""Largest weights, in log-odds, of the cosine of the passage and of the unit."""
FIRST = (15.0, 5.0)
"""The weights of a gate before training."""
BESIDE = (10.0, 5.0)
"""The weights beside a reader that was trained without an encoder. No weights that depend on the shape of the cosines,
on the reader's scores or on the question's length kept more answers (`cookbook/benchmarks/results/two_stages.json`):
search-engine questions want larger ones, questions of several steps smaller ones, and these signs do not tell them
apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A learnt gate: two weights from the state of the reader's first piece, which has read question and passage.

    Attributes:
        weight: Shape: `(2, width)`.
        bias: Shape: `(2,)`.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def of(self, first: npt.NDArray[np.float32]) -> FloatArray:
        """The weights of the cosines of passage and unit, in log-odds, from 0 on.

        Args:
            first: Last-layer states of the first piece. Shape: `(windows, width)`.

        Returns:
            Shape: `(windows, 2)`.
        """
        return _opened((first @ self.weight.T + self.bias).astype(np.float64))


def _opened(values: FloatArray) -> FloatArray:
    """A share of the largest weights for any real numbers. Shape as that of the values: `(..., 2)`."""
    return np.asarray(np.array(MOST) / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))))


def encoder_voice(cosines: FloatArray, gates: FloatArray | None, *, reads: bool = True) -> FloatArray:
    """What the encoder's cosines add to the relevance of the units of a request.

    Args:
        cosines: Of the question with each unit's passage, and with the unit. Shape: `(units, 2)`.
        gates: Their weights by a learnt gate; None for a model without one. Shape: `(units, 2)`.
        reads: Whether the reader has read the question. If not, the encoder has the largest weights.

    Returns:
        In log-odds, 0 for the unit with most: the cosines say which unit is better, not that one is good. Shape:
        `(units,)`.
    """
    if not len(cosines):
        return np.zeros(0)
    weights = np.array(BESIDE if reads else MOST) if gates is None else gates
    voice = (weights * cosines).sum(1)
    return np.asarray(voice - voice.max())

"""How much a sentence encoder's cosines count beside the reader. Pure numpy.

Relevance of a unit = what the reader says + weight x cosine of the question with the unit's passage + weight x cosine
with the unit. Search-engine questions want large weights, questions of several steps small ones, because their second
step does not look like the question. A model that was trained so has a learnt gate, which sees question and passage;
beside any other model, the weights depend on the shape of the cosines and of the reader's scores over the request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moos_integrations.core.types import FloatArray, IntArray

MOST = (40.0, 20.0)
"""Largest weights, in log-odds, of the cosine of the passage and of the unit."""
FIRST = (15.0, 5.0)
"""The weights where nothing says more; a fixed sum of this size is better than none with every kind of question."""

_LONGEST = 40  # words of a question; longer ones are no search
_WIDEST = 20.0  # log-odds by which the reader's best passage can lead
_WEIGHT = ((0.0,) * 7, (0.0,) * 7)
_BIAS = (-0.5108, -1.0986)


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


def encoder_voice(
    cosines: FloatArray,
    gates: FloatArray | None,
    documents: IntArray,
    reader: FloatArray,
    *,
    reads: bool = True,
    asked: int = 0,
) -> FloatArray:
    """What the encoder's cosines add to the relevance of the units of a request.

    Args:
        cosines: Of the question with each unit's passage, and with the unit. Shape: `(units, 2)`.
        gates: Their weights by a learnt gate; None for a model without one. Shape: `(units, 2)`.
        documents: The document of each unit. Shape: `(units,)`.
        reader: Relevance of the units by the reader alone. Shape: `(units,)`.
        reads: Whether the reader has read the question.
        asked: Words of the question.

    Returns:
        In log-odds, 0 for the unit with most: the cosines say which unit is better, not that one is good. Shape:
        `(units,)`.
    """
    if not len(cosines):
        return np.zeros(0)
    weights = gates
    if weights is None:
        weights = request_weights(request_features(cosines, documents, reader, asked)) if reads else np.array(MOST)
    voice = (weights * cosines).sum(1)
    return np.asarray(voice - voice.max())


def request_weights(features: FloatArray) -> FloatArray:
    """Weights of the cosines beside a reader that was not trained with an encoder. Shape: `(2,)`."""
    return _opened(np.array(_WEIGHT) @ features + np.array(_BIAS))


def request_features(cosines: FloatArray, documents: IntArray, reader: FloatArray, asked: int) -> FloatArray:
    """What tells a question that one passage answers from one that needs several: how cosines and reader are spread.

    Args:
        cosines: As in `encoder_voice`.
        documents: As in `encoder_voice`.
        reader: As in `encoder_voice`.
        asked: As in `encoder_voice`.

    Returns:
        The best passage's cosine, how much the second has less, and their standard deviation; how much the reader's
        second passage has less than its best, and the correlation of both over passages; the logarithms of the
        numbers of passages and of words of the question. Shape: `(7,)`.
    """
    if not len(cosines):
        return np.zeros(7)
    passage = np.unique(np.stack([documents, cosines[:, 0]], 1), axis=0, return_inverse=True)[1].reshape(-1)
    count, words = int(passage.max()) + 1, math.log(max(min(asked, _LONGEST), 1))
    near, read = np.full(count, -np.inf), np.full(count, -np.inf)
    np.maximum.at(near, passage, cosines[:, 0])
    np.maximum.at(read, passage, reader)
    if count == 1:
        return np.array([near[0], 0.0, 0.0, 0.0, 0.0, 0.0, words])
    best, lead = np.sort(near)[::-1], np.sort(read)[::-1]
    spread = near.std() * read.std()
    agree = float(((near - near.mean()) * (read - read.mean())).mean() / spread) if spread > 0 else 0.0
    gap = min(float(lead[0] - lead[1]), _WIDEST)
    return np.array([best[0], best[0] - best[1], near.std(), gap, agree, np.log(count), words])

"""How likely a document answers the question: one scale for all questions, calibrated on development data. Pure numpy.

Relevance orders what is there; it does not say whether anything answers. For that, a model's config.json has a logistic
regression over a document's best sentence and passage, fitted on questions with and without an answer in the text
(`cookbook/benchmarks/results/answering.json`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moos_integrations.core.types import FloatArray

READER, ENCODER = "reader", "encoder"
FEATURES = {READER: 2, ENCODER: 4}
"""Numbers of features without and with an encoder: the best sentence's relevance by the reader and the passage's
log-odds; with an encoder also the best cosines of passage and sentence."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A calibration.

    Attributes:
        bias: In log-odds.
        weights: Of the features; see `FEATURES`.
    """

    bias: float
    weights: tuple[float, ...]

    def of(self, features: FloatArray) -> FloatArray:
        """Log-odds that each document answers.

        Args:
            features: See `features_of`. Shape: `(documents, weights)`.

        Returns:
            Shape: `(documents,)`.
        """
        return np.asarray(features @ np.array(self.weights) + self.bias)


def calibrations(entry: Any) -> dict[str, Answering]:
    """The calibrations in a model's config.json, by what they need.

    Args:
        entry: `{"reader": [bias, weight, weight], "encoder": [bias, weight, weight, weight, weight]}`, or a part of it.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(entry, Mapping):
        raise ValueError("it must be an object")
    found = {}
    for name, values in entry.items():
        if name not in FEATURES or not isinstance(values, list) or len(values) != FEATURES[name] + 1:
            raise ValueError(
                f"it must have a bias and {FEATURES[READER]} weights under `reader`, {FEATURES[ENCODER]} "
                "under `encoder`"
            )
        if not all(
            isinstance(own, (int, float)) and not isinstance(own, bool) and math.isfinite(own) for own in values
        ):
            raise ValueError("its values must be finite numbers")
        found[name] = Answering(float(values[0]), tuple(map(float, values[1:])))
    return found


def probability(value: FloatArray | float) -> FloatArray:
    """Log-odds as probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(value, -700.0, 700.0))))

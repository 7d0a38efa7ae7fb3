"""Measuring: readers of the data sets, metrics, what readers make of contexts, and the parts of `moos evaluate`.

For one's own questions: `calibrate` finds a target, `rate_curves` draws what every rate leaves.
"""

from moos_integrations.evaluation.calibration import Calibration, calibrate
from moos_integrations.evaluation.curves import RateCurves, rate_curves
from moos_integrations.evaluation.metrics import exact_match, measure_answers, rouge, survives, token_f1
from moos_integrations.evaluation.readers import (
    CausalReader,
    ChatReader,
    LlamaCppReader,
    Readers,
    SpanReader,
    log_likelihoods,
)

__all__ = [
    "Calibration",
    "CausalReader",
    "ChatReader",
    "LlamaCppReader",
    "RateCurves",
    "Readers",
    "SpanReader",
    "calibrate",
    "exact_match",
    "log_likelihoods",
    "measure_answers",
    "rate_curves",
    "rouge",
    "survives",
    "token_f1",
]

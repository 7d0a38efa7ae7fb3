"""Measure compression on your questions, with their documents and answers.

`evaluate` compares targets with baselines at equal tokens (`moos evaluate`), `calibrate` finds the smallest target
that keeps the answers, `rate_curves` has readers answer from the compressed text. Only the names below are public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moos_integrations.lazy import on_first_use

if TYPE_CHECKING:
    from moos_integrations.evaluation.calibration import Calibration as Calibration
    from moos_integrations.evaluation.calibration import calibrate as calibrate
    from moos_integrations.evaluation.comparison import Comparison as Comparison
    from moos_integrations.evaluation.comparison import Row as Row
    from moos_integrations.evaluation.comparison import evaluate as evaluate
    from moos_integrations.evaluation.curves import RateCurves as RateCurves
    from moos_integrations.evaluation.curves import rate_curves as rate_curves
    from moos_integrations.evaluation.metrics import exact_match as exact_match
    from moos_integrations.evaluation.metrics import measure_answers as measure_answers
    from moos_integrations.evaluation.metrics import rouge as rouge
    from moos_integrations.evaluation.metrics import survives as survives
    from moos_integrations.evaluation.metrics import token_f1 as token_f1
    from moos_integrations.evaluation.readers import CausalReader as CausalReader
    from moos_integrations.evaluation.readers import ChatReader as ChatReader
    from moos_integrations.evaluation.readers import LlamaCppReader as LlamaCppReader
    from moos_integrations.evaluation.readers import Readers as Readers
    from moos_integrations.evaluation.readers import SpanReader as SpanReader
    from moos_integrations.evaluation.readers import log_likelihoods as log_likelihoods
    from moos_integrations.records import Document as Document
    from moos_integrations.records import Question as Question
    from moos_integrations.records import read_questions as read_questions

_HOMES = {
    "Calibration": "evaluation.calibration",
    "CausalReader": "evaluation.readers",
    "ChatReader": "evaluation.readers",
    "Comparison": "evaluation.comparison",
    "Document": "records",
    "LlamaCppReader": "evaluation.readers",
    "Question": "records",
    "RateCurves": "evaluation.curves",
    "Readers": "evaluation.readers",
    "Row": "evaluation.comparison",
    "SpanReader": "evaluation.readers",
    "calibrate": "evaluation.calibration",
    "evaluate": "evaluation.comparison",
    "exact_match": "evaluation.metrics",
    "log_likelihoods": "evaluation.readers",
    "measure_answers": "evaluation.metrics",
    "rate_curves": "evaluation.curves",
    "read_questions": "records",
    "rouge": "evaluation.metrics",
    "survives": "evaluation.metrics",
    "token_f1": "evaluation.metrics",
}

__all__ = [
    "Calibration",
    "CausalReader",
    "ChatReader",
    "Comparison",
    "Document",
    "LlamaCppReader",
    "Question",
    "RateCurves",
    "Readers",
    "Row",
    "SpanReader",
    "calibrate",
    "evaluate",
    "exact_match",
    "log_likelihoods",
    "measure_answers",
    "rate_curves",
    "read_questions",
    "rouge",
    "survives",
    "token_f1",
]

__getattr__, __dir__ = on_first_use(__name__, _HOMES, __all__)

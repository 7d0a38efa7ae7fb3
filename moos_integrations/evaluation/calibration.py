"""`calibrate`: the smallest target that keeps the answers of one's own questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.errors import InputError
from moos_integrations.evaluation.metrics import normalise, survives, wilson_interval

_STEPS = 12  # halvings of the range: rates to 1/4096, thresholds to a factor of 1.005
_LOWEST_THRESHOLD = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `calibrate` found.

    Attributes:
        config: The compressor's settings with the target that was found, ready to be saved.
        recall: Share of the answers in the full documents that survive with it.
        kept: Mean share of the tokens that it keeps.
        questions: Questions whose answer stands in their documents; the others say nothing and are left out.
        tried: Every target that was tried: its name, its value, recall and share kept.
        interval: 95 % Wilson interval of `recall` over the questions. The target was chosen on the same questions, so
            that on others somewhat less may survive.
    """

    config: CompressorConfig
    recall: float
    kept: float
    questions: int
    tried: tuple[tuple[str, float, float, float], ...]
    interval: tuple[float, float]


def calibrate(
    compressor: ContextCompressor,
    questions: Sequence[str],
    documents: Sequence[Sequence[str]],
    answers: Sequence[Sequence[str]],
    *,
    min_recall: float = 0.99,
) -> Calibration:
    """Find the target that keeps fewest tokens and still `min_recall` of the answers.

    `rate` and `threshold` are both tried; the one that keeps fewer tokens is taken. Recall grows with the rate and with
    a falling threshold, so that halving finds each. The compressor's cache saves scoring a question more than once.

    Args:
        compressor: Whose target is to be found; its other settings stay.
        questions: The questions.
        documents: Per question, the texts that its retriever gives.
        answers: Per question, its accepted answers.
        min_recall: Share of the answers to keep, in (0, 1].

    Returns:
        The settings and how they were found. With a `rate` of 1 nothing less keeps enough.

    Raises:
        InputError: If the three are not of one length, no answer stands in its documents, or `min_recall` is out of
            range.
    """
    if not len(questions) == len(documents) == len(answers):
        raise InputError(
            "`questions`, `documents` and `answers` must be of one length, got "
            f"{len(questions)}, {len(documents)} and {len(answers)}."
        )
    if isinstance(min_recall, bool) or not isinstance(min_recall, (int, float)) or not 0 < min_recall <= 1:
        raise InputError(f"`min_recall` must be a number in (0, 1], got {min_recall!r}.")
    rows = [
        (question, list(texts), tuple(accepted))
        for question, texts, accepted in zip(questions, documents, answers, strict=True)
        if survives(accepted, normalise(compressor.config.separator.join(texts)))
    ]
    if not rows:
        raise InputError("No answer stands in its documents as whole words: there is nothing to calibrate on.")
    trial = _Trial(compressor, rows)
    found = [trial.smallest(name, min_recall) for name in ("rate", "threshold")]
    name, value, recall, kept = min(found, key=lambda own: own[3])
    targets: dict[str, Any] = {"rate": None, "budget_tokens": None, "threshold": None, name: value}
    config = compressor.config.model_copy(update=targets)
    interval = wilson_interval(round(recall * len(rows)), len(rows))
    return Calibration(config, recall, kept, len(rows), tuple(trial.tried), interval)


class _Trial:
    def __init__(self, compressor: ContextCompressor, rows: Sequence[tuple[str, list[str], tuple[str, ...]]]) -> None:
        self._compressor, self._rows = compressor, rows
        self.tried: list[tuple[str, float, float, float]] = []

    def smallest(self, name: str, min_recall: float) -> tuple[str, float, float, float]:
        """Halve the range of the target: `amount` 0 keeps nearly nothing, 1 everything."""
        low, high = 0.0, 1.0
        best = self._measure(name, 1.0)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            outcome = self._measure(name, middle)
            if outcome[2] >= min_recall:
                high, best = middle, outcome
            else:
                low = middle
        return best

    def _measure(self, name: str, amount: float) -> tuple[str, float, float, float]:
        value = amount if name == "rate" else _LOWEST_THRESHOLD**amount
        if name == "threshold" and amount == 1.0:
            value = 0.0
        survived, kept = 0, 0.0
        for question, texts, accepted in self._rows:
            result = self._compressor.compress(texts, question, **{name: value})  # type: ignore[arg-type]
            survived += survives(accepted, normalise(result.text))
            kept += result.rate
        outcome = (name, value, survived / len(self._rows), kept / len(self._rows))
        self.tried.append(outcome)
        return outcome

"""`rate_curves`: what every rate leaves of the answers to one's own questions, with how sure that is, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.evaluation.measuring import METRICS, Method, joined, measure, ours
from moos_integrations.evaluation.metrics import containment, wilson_interval
from moos_integrations.evaluation.plot import draw, new_axes
from moos_integrations.evaluation.readers import Readers
from moos_integrations.records import Document, Question

RATES = (0.03125, 0.0625, 0.125, 0.25, 0.5, 0.75)
SHARES_OF_QUESTIONS = ("recall", "exact_match")
"""Metrics that are 0 or 1 for each question."""
LABELS = {
    "recall": "answers that stand in what is kept",
    "exact_match": "exact match of the reader's answer",
    "f1": "F1 of the reader's answer",
    "log_likelihood": "log-likelihood of the answer, nats per token",
}


@dataclass(frozen=True, slots=True)
class Point:
    """A metric at one rate.

    Attributes:
        rate: The rate that was asked for.
        kept: Mean share of the tokens that was kept.
        value: The metric; shares in [0, 1], log-likelihoods in nats per token.
        low: Lower end of its 95 % interval over questions: Wilson's for shares of questions ("recall",
            "exact_match"), else by bootstrap.
        high: Upper end.
    """

    rate: float
    kept: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RateCurves:
    """What `rate_curves` found.

    Attributes:
        questions: Questions whose answer stands in their documents; the others say nothing and are left out.
        curves: Points from the lowest rate up, by metric and method.
        whole: Each metric on the uncompressed documents.
    """

    questions: int
    curves: dict[str, dict[str, tuple[Point, ...]]]
    whole: dict[str, float]

    def smallest_rate(self, share: float = 0.95, *, metric: str = "recall", method: str = "moos") -> float | None:
        """The lowest measured rate from which on the metric is at least `share` of its value on all of the text.

        Args:
            share: Of the value on the uncompressed documents, in (0, 1].
            metric: "recall", "exact_match" or "f1".
            method: Whose curve.

        Returns:
            The rate, or None if none of the measured ones is enough.

        Raises:
            ConfigError: On a metric that was not measured or is no share, or an unknown method.
        """
        if metric == "log_likelihood" or method not in self.curves.get(metric, {}):
            known = ", ".join(name for name in self.curves if name != "log_likelihood")
            raise ConfigError(f"Expected a metric out of {known} and a measured method; got {metric!r}, {method!r}.")
        enough = None
        for point in reversed(self.curves[metric][method]):
            if point.value < share * self.whole[metric]:
                break
            enough = point.rate
        return enough

    def plot(self, metric: str = "recall", axes: Any = None) -> Any:
        """Draw a metric against the tokens kept, with its intervals, and its value on all of the text as a line.

        Args:
            metric: One of `curves`.
            axes: Matplotlib axes to draw on; None for new ones.

        Returns:
            The axes.

        Raises:
            ConfigError: On a metric that was not measured.
            MissingExtraError: If matplotlib is not installed.
        """
        if metric not in self.curves:
            raise ConfigError(f"Expected one of the measured metrics {', '.join(self.curves)}; got {metric!r}.")
        axes = axes if axes is not None else new_axes()
        lines = {
            name: [(point.kept, point.value, point.low, point.high) for point in points]
            for name, points in self.curves[metric].items()
            if points
        }
        draw(axes, lines, self.whole[metric])
        axes.set(xlabel="share of tokens kept", ylabel=LABELS[metric], title=f"{self.questions} questions")
        return axes


def rate_curves(
    compressor: ContextCompressor,
    questions: Sequence[str],
    documents: Sequence[Sequence[str]],
    answers: Sequence[Sequence[str]],
    *,
    rates: Sequence[float] = RATES,
    readers: Readers | None = None,
    others: Mapping[str, Method] | None = None,
) -> RateCurves:
    """Measure the compressor on one's own questions at several rates; its cache saves reading a question twice.

    Args:
        compressor: What is measured; its target does not matter.
        questions: The questions.
        documents: Per question, the texts that its retriever gives.
        answers: Per question, its accepted answers.
        rates: Shares of the tokens, each in (0, 1].
        readers: Who reads the contexts; None to measure answer recall alone.
        others: More methods, by name, to be drawn beside it.

    Raises:
        ConfigError: On a rate outside (0, 1], or none.
        InputError: If the three are not of one length, or no answer stands in its documents.
    """
    if not len(questions) == len(documents) == len(answers):
        raise InputError(
            "`questions`, `documents` and `answers` must be of one length, got "
            f"{len(questions)}, {len(documents)} and {len(answers)}."
        )
    shares = sorted(set(rates))
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ConfigError(f"Expected rates in (0, 1], got {list(rates)!r}.")
    rows = [
        Question(question, tuple(accepted), tuple(Document(text, "", is_gold=True) for text in texts), str(number))
        for number, (question, texts, accepted) in enumerate(zip(questions, documents, answers, strict=True))
    ]
    asked = [row for row in rows if containment(joined(row), row.answers)]
    if not asked:
        raise InputError("No answer stands in its documents as whole words: there is nothing to measure.")
    methods = {"moos": ours(compressor)["moos"], **(others or {})}
    counter = compressor.counter
    everywhere = max(shares, default=1.0)
    table = measure(asked, methods, counter, readers or Readers(), shares=shares, judged_share=everywhere)
    metrics = [name for name in METRICS if name in table["bounds"]["whole"]]
    return RateCurves(
        questions=len(asked),
        curves={
            metric: {name: _points(table["methods"][name], metric, len(asked)) for name in methods}
            for metric in metrics
        },
        whole={metric: table["bounds"]["whole"][metric]["value"] for metric in metrics},
    )


def _points(cells: Mapping[str, Any], metric: str, questions: int) -> tuple[Point, ...]:
    return tuple(
        Point(float(rate), cell["tokens"], cell[metric]["value"], *_interval(cell[metric], metric, questions))
        for rate, cell in cells.items()
        if metric in cell and cell[metric]["value"] is not None
    )


def _interval(cell: Mapping[str, Any], metric: str, questions: int) -> Sequence[float]:
    if metric in SHARES_OF_QUESTIONS:
        return wilson_interval(round(cell["value"] * questions), questions)
    interval: Sequence[float] = cell["interval"]
    return interval

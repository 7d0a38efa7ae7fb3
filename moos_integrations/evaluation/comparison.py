"""`evaluate`: how many answers a compressor keeps at several targets, beside plain baselines at equal tokens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.evaluation.baselines import BASELINES, baseline
from moos_integrations.evaluation.metrics import normalise, survives, wilson_interval
from moos_integrations.records import Question

RATES = (0.5, 0.25, 0.125)
DEFAULT = "default"
"""Name of the compressor's configured target."""
OURS, WHOLE = "moos", "whole text"
Watch = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """What a method left of the answers at one target.

    Attributes:
        method: "moos", a baseline, or "whole text" (nothing compressed; all answers are in it).
        target: The compressor's target: "rate 0.25", "400 tokens" or "default". Baselines get as many tokens as it
            kept. Empty for all of the text.
        answers: Share of the questions with an answer in the compressed text; higher is better.
        low: Lower end of its 95 % Wilson interval.
        high: Upper end.
        kept: Mean share of the tokens that was kept; lower is cheaper.
        tokens: Mean number of tokens kept per question.
        seconds: Median seconds of a call, scoring included; None where nothing is computed.
    """

    method: str
    target: str
    answers: float
    low: float
    high: float
    kept: float
    tokens: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `evaluate` found; `evaluation.report` prints and saves it.

    Attributes:
        model: Name of the model, for the report; may be empty.
        tokenizer: What counted the tokens.
        questions: Questions that were measured.
        left_out: Questions without an answer in their full documents; they say nothing of compression.
        rows: By target, the compressor first.
    """

    model: str
    tokenizer: str
    questions: int
    left_out: int
    rows: tuple[Row, ...]


def evaluate(
    compressor: ContextCompressor,
    questions: Sequence[Question],
    *,
    rates: Sequence[float] = RATES,
    budgets: Sequence[int] = (),
    default: bool = True,
    baselines: Sequence[str] = tuple(BASELINES),
    model: str = "",
    watch: Watch = iter,
) -> Comparison:
    """Measure a compressor on questions with documents and answers.

    An answer is kept if the output contains it as whole words, without regard to case, punctuation and articles. Each
    baseline gets, question by question, the number of tokens that the compressor kept.

    Args:
        compressor: What is measured.
        questions: With documents and answers, as `read_questions` reads them.
        rates: Shares of the tokens to keep, each in (0, 1].
        budgets: Ceilings in tokens, each from 1 on.
        default: Also measure the target in the compressor's settings.
        baselines: Out of "bm25" (best sentences) and "lead" (the beginning).
        model: Name of the model, for the report.
        watch: Wraps the loop over the questions, to show progress.

    Raises:
        ConfigError: On a target out of range, none at all, or an unknown baseline.
        InputError: If an item is no `Question`, or no question has an answer in its documents.
        MissingExtraError: If bm25s is needed and missing.
    """
    targets = _targets(rates, budgets, default=default)
    for own in questions:
        if not isinstance(own, Question):
            raise InputError(f"`questions` must hold `Question` values, as `read_questions` gives; got {own!r:.60}.")
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise ConfigError(f"Expected baselines out of {', '.join(BASELINES)}; got {', '.join(unknown)}.")
    separator = compressor.config.separator
    asked = [own for own in questions if _kept(own, separator.join(_texts(own)))]
    if not asked:
        raise InputError(
            f"Nothing to measure: of {len(questions)} questions, none has an answer in its documents as whole words."
        )
    _, counter = compressor.load()  # before a clock runs
    others = {name: baseline(name, compressor.config) for name in baselines}
    trials = _Trials(counter, [max(counter.count(separator.join(_texts(own))), 1) for own in asked])
    for row, question in enumerate(watch(asked)):
        _measure(trials, row, question, compressor, others, targets)
    name = compressor.config.tokenizer
    return Comparison(
        model,
        name if isinstance(name, str) else type(name).__name__,
        len(asked),
        len(questions) - len(asked),
        trials.rows(),
    )


def _targets(rates: Sequence[float], budgets: Sequence[int], *, default: bool) -> dict[str, dict[str, Any]]:
    if not all(0 < rate <= 1 for rate in rates):
        raise ConfigError(f"`rates` must be shares in (0, 1], got {list(rates)!r}.")
    if not all(isinstance(budget, int) and budget >= 1 for budget in budgets):
        raise ConfigError(f"`budgets` must be whole numbers of tokens from 1 on, got {list(budgets)!r}.")
    targets: dict[str, dict[str, Any]] = {DEFAULT: {}} if default else {}
    targets |= {f"rate {rate:g}": {"rate": rate} for rate in sorted(set(rates), reverse=True)}
    targets |= {f"{budget} tokens": {"budget_tokens": budget} for budget in sorted(set(budgets), reverse=True)}
    if not targets:
        raise ConfigError("Expected at least one target: `rates`, `budgets` or `default`.")
    return targets


def _measure(
    trials: _Trials,
    row: int,
    question: Question,
    compressor: ContextCompressor,
    others: dict[str, ContextCompressor],
    targets: dict[str, dict[str, Any]],
) -> None:
    """One question at all targets, by all methods."""
    texts = _texts(question)
    trials.add(WHOLE, "", row, question, compressor.config.separator.join(texts), None)
    # Later targets find the scores of the first in the cache: its time is that of them all.
    first: float | None = None
    for target, settings in targets.items():
        text, seconds = _timed(compressor, texts, question.question, settings)
        first = seconds if first is None else first
        trials.add(OURS, target, row, question, text, first)
        for name, other in others.items():
            budget = {"budget_tokens": max(trials.counter.count(text), 1)}
            trials.add(name, target, row, question, *_timed(other, texts, question.question, budget))


def _timed(
    compressor: ContextCompressor, texts: list[str], question: str, settings: dict[str, Any]
) -> tuple[str, float]:
    start = time.perf_counter()
    text = compressor.compress(texts, question, **settings).text
    return text, time.perf_counter() - start


class _Trials:
    """Collects one outcome per method, target and question."""

    def __init__(self, counter: TokenCounter, whole: Sequence[int]) -> None:
        """`whole` holds the tokens of each question's documents."""
        self.counter, self._whole = counter, whole
        self._found: dict[tuple[str, str], list[tuple[bool, int, float, float | None]]] = {}

    def add(self, method: str, target: str, row: int, question: Question, text: str, seconds: float | None) -> None:
        tokens = self.counter.count(text)
        outcome = (_kept(question, text), tokens, tokens / self._whole[row], seconds)
        self._found.setdefault((method, target), []).append(outcome)

    def rows(self) -> tuple[Row, ...]:
        """By target, as they were measured."""
        order = list(dict.fromkeys(target for _, target in self._found))
        return tuple(
            self._row(method, target) for wanted in order for method, target in self._found if target == wanted
        )

    def _row(self, method: str, target: str) -> Row:
        kept, tokens, shares, seconds = zip(*self._found[method, target], strict=True)
        known = [value for value in seconds if value is not None]
        return Row(
            method,
            target,
            sum(kept) / len(kept),
            *wilson_interval(sum(kept), len(kept)),
            kept=statistics.mean(shares),
            tokens=statistics.mean(tokens),
            seconds=statistics.median(known) if known else None,
        )


def _texts(question: Question) -> list[str]:
    return [document.text for document in question.documents]


def _kept(question: Question, text: str) -> bool:
    return survives(question.answers, normalise(text))

"""Metrics of answers and of kept text, and how sure they are.

Does an answer survive; exact match, containment, F1 and ROUGE of a reader's answer; ratios with bootstrap intervals,
paired differences.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from moos_integrations.core.types import FloatArray
from moos_integrations.errors import MissingExtraError

DRAWS = 2000
"""Bootstrap samples behind an interval."""
_NORMAL_95 = 1.959963984540054  # quantile of the normal distribution that leaves 2.5 % above
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: SQuAD's normalisation, padded for whole-word search."""
    text = unicodedata.normalize("NFKC", text).lower().translate(_NO_PUNCTUATION)
    return f" {' '.join(_ARTICLES.sub(' ', text).split())} "


# Answers are looked for again and again: once per method, rate and budget.
_normalised_answer = lru_cache(maxsize=65_536)(normalise)


def survives(answers: Sequence[str], text: str) -> bool:
    """Whether one of the answers stands in a text as whole words.

    Args:
        answers: As written; one of which nothing is left by `normalise` never survives.
        text: Already normalised.
    """
    return any((answer := _normalised_answer(each)).strip() and answer in text for each in answers)


def exact_match(given: str, accepted: Sequence[str]) -> float:
    """1 if an answer is one of the accepted ones after `normalise`, else 0 (SQuAD)."""
    return float(any(normalise(given) == _normalised_answer(each) for each in accepted))


def containment(given: str, accepted: Sequence[str]) -> float:
    """1 if one of the accepted answers stands in the given one as whole words, else 0."""
    return float(survives(accepted, normalise(given)))


def token_f1(given: str, accepted: Sequence[str]) -> float:
    """Best F1 over the accepted answers of the words that both have, after `normalise` (SQuAD); in [0, 1]."""
    return max((_f1(normalise(given).split(), _normalised_answer(each).split()) for each in accepted), default=0.0)


def _f1(given: list[str], accepted: list[str]) -> float:
    if not given or not accepted:
        return float(given == accepted)
    shared = sum((Counter(given) & Counter(accepted)).values())
    return 2 * shared / (len(given) + len(accepted))


def rouge(given: str, accepted: Sequence[str], kind: str = "rouge2") -> tuple[float, float]:
    """Best ROUGE recall and F1 over the references, by the package rouge-score with stemming; each in [0, 1].

    Args:
        given: A summary, or the text that is left to be summarised: then recall is what matters.
        accepted: The references.
        kind: "rouge1", "rouge2" or "rougeL".

    Raises:
        MissingExtraError: If rouge-score is not installed.
    """
    scorer = _rouge_scorer(kind)
    scores = [scorer.score(reference, given)[kind] for reference in accepted]
    return max((own.recall for own in scores), default=0.0), max((own.fmeasure for own in scores), default=0.0)


@lru_cache(maxsize=4)
def _rouge_scorer(kind: str) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("rouge_score", extra="eval") from error
    return RougeScorer([kind], use_stemmer=True)


def measure_answers(given: Sequence[str], accepted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Exact match, containment and F1 of a reader's answers, each with its interval, and how many there are."""
    found: dict[str, Any] = {"questions": len(given)}
    for name, metric in (("exact_match", exact_match), ("containment", containment), ("f1", token_f1)):
        found[name] = estimate([metric(own, right) for own, right in zip(given, accepted, strict=True)])
    return found


def ratio(hits: npt.ArrayLike, totals: npt.ArrayLike | None = None) -> float | None:
    """`sum(hits) / sum(totals)`; None if the totals are all zero.

    Args:
        hits: One number per passage or question.
        totals: How many there were to hit; 1 each if None.
    """
    hit = np.asarray(hits, np.float64)
    total = float(len(hit) if totals is None else np.sum(totals))
    return round(float(hit.sum()) / total, 4) if total else None


def bootstrap_interval(
    hits: npt.ArrayLike, totals: npt.ArrayLike | None = None, *, draws: int = DRAWS, seed: int = 0
) -> list[float] | None:
    """95 % percentile interval of `ratio`, the passages (or questions) resampled; None where the ratio is None.

    Args:
        hits: One number per passage or question.
        totals: As for `ratio`.
        draws: How many samples.
        seed: Of the samples. Equal lengths get equal samples.
    """
    hit = np.asarray(hits, np.float64)
    total = np.ones(len(hit)) if totals is None else np.asarray(totals, np.float64)
    if not total.sum():
        return None
    weights = _resampled(len(hit), draws, seed)
    sums = weights @ total
    some = sums > 0  # a sample may consist of passages without a question
    return [round(float(edge), 4) for edge in np.quantile((weights @ hit)[some] / sums[some], [0.025, 0.975])]


@lru_cache(maxsize=4)
def _resampled(count: int, draws: int, seed: int) -> FloatArray:
    """How often each of `count` items is drawn in each sample. Shape: `(draws, count)`."""
    sampler = np.random.default_rng(seed)
    return sampler.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson's score); unlike a bootstrap's it has a width where all or none are hits.

    Args:
        hits: How many of `total`.
        total: From 1 on.
    """
    share, spread = hits / total, _NORMAL_95**2 / total
    middle = share + spread / 2
    half = _NORMAL_95 * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    low, high = ((middle - half) / (1 + spread), (middle + half) / (1 + spread))
    return (0.0 if hits == 0 else low), (1.0 if hits == total else high)


def estimate(hits: npt.ArrayLike, totals: npt.ArrayLike | None = None) -> dict[str, Any]:
    """A ratio with its interval, ready for JSON: `{"value", "interval"}`."""
    return {"value": ratio(hits, totals), "interval": bootstrap_interval(hits, totals)}


def paired(left: npt.ArrayLike, right: npt.ArrayLike, totals: npt.ArrayLike | None = None) -> dict[str, Any]:
    """Difference of two ratios over the same passages, with its interval: `{"difference", "interval"}`."""
    difference = np.asarray(left, np.float64) - np.asarray(right, np.float64)
    return {"difference": ratio(difference, totals), "interval": bootstrap_interval(difference, totals)}

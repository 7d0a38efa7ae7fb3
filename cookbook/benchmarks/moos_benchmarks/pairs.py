"""Google sentence compression: does the model keep the words that people kept?

Labels and predictions are per word (`core.text`), counted over all sentences; the positive class is "preserve". F1 at a
threshold of 0.5 also says whether the model keeps as much as people did; F1 at the matched keep rate, where the words
with the highest scores are kept until there are as many as people kept, says how well it ranks (there precision, recall
and F1 are the same number). Intervals are 95 % bootstrap over sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moos_benchmarks.data import Pair, data_file, pairs_held_out, read_pairs
from moos_integrations.core.text import segment
from moos_integrations.core.types import BoolArray, FloatArray, Scorer, SegmentedText
from moos_integrations.evaluation.metrics import estimate, ratio
from moos_integrations.records import Records

SET = "google_compression_cased"
THRESHOLD = 0.5


def read_held_out(data: Path, limit: int | None = None, *, skip_bad: bool = False) -> Records[Pair]:
    """The pairs that training leaves out, at most `limit` of them."""
    records = read_pairs(data_file(data, SET), skip_bad=skip_bad)
    return Records(tuple(pairs_held_out(records.items)[:limit]), records.problems)


def kept_by_people(pair: Pair) -> tuple[SegmentedText, BoolArray] | None:
    """The words of the sentence, and True for those that the compression kept.

    Returns:
        None where the compression is no subsequence, or the tokens do not spell the text (quotes rewritten by the
        source's tokeniser).
    """
    if pair.keep is None:
        return None
    kept_characters = np.zeros(len(pair.text) + 1, np.int64)  # one more, so that sums up to an end can be looked up
    position = 0
    for token, keep in zip(pair.tokens, pair.keep, strict=True):
        found = pair.text.find(token, position)
        if found < 0 or pair.text[position:found].strip():
            return None
        position = found + len(token)
        kept_characters[found + 1 : position + 1] = keep
    until, document = np.cumsum(kept_characters), segment(pair.text)
    return document, np.asarray(until[document.word_ends] > until[document.word_starts])


def measure_pairs(pairs: Sequence[Pair], scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    """Preserve-F1 and keep rate of each scorer, ready for JSON.

    Args:
        pairs: The sentences; those without word labels are left out and counted.
        scorers: What scores them, each sentence as a document, without a query.
    """
    labelled = [found for pair in pairs if (found := kept_by_people(pair)) is not None]
    documents = [document for document, _ in labelled]
    labels = [kept for _, kept in labelled]
    return {
        "sentences": len(labelled),
        "unlabelled": len(pairs) - len(labelled),
        "words": sum(map(len, labels)),
        "keep_rate_of_people": ratio([kept.sum() for kept in labels], [len(kept) for kept in labels]),
        "methods": {
            name: agreement(labels, [scores.preserve for scores in scorer.score(documents, None)])
            for name, scorer in scorers.items()
        },
    }


def agreement(labels: Sequence[BoolArray], preserve: Sequence[FloatArray]) -> dict[str, Any]:
    """F1 of "preserve", precision, recall and keep rate at the threshold; F1 at the matched keep rate.

    Args:
        labels: Per sentence, True for the words that people kept. Shape of each: `(words,)`.
        preserve: Per sentence, the preserve probabilities. Shape of each: `(words,)`.
    """
    at_threshold = [scores >= THRESHOLD for scores in preserve]
    hits, kept, wanted = _counts(labels, at_threshold)
    matched_hits, matched_kept, _ = _counts(labels, _best(preserve, int(wanted.sum())))
    return {
        "f1": estimate(2 * hits, kept + wanted),  # 2 TP / (2 TP + FP + FN)
        "precision": ratio(hits, kept),
        "recall": ratio(hits, wanted),
        "keep_rate": ratio(kept, [len(flags) for flags in labels]),
        "f1_at_matched_keep_rate": estimate(2 * matched_hits, matched_kept + wanted),
    }


def _counts(labels: Sequence[BoolArray], kept: Sequence[BoolArray]) -> FloatArray:
    """Hits, words kept and words to keep. Shape: `(3, sentences)`."""
    rows = [((want & have).sum(), have.sum(), want.sum()) for want, have in zip(labels, kept, strict=True)]
    return np.array(rows, np.float64).reshape(-1, 3).T


def _best(preserve: Sequence[FloatArray], count: int) -> list[BoolArray]:
    """True for the `count` words with the highest scores over all sentences; ties in source order."""
    if not preserve:
        return []
    flags = np.zeros(sum(map(len, preserve)), bool)
    flags[np.argsort(-np.concatenate(preserve), kind="stable")[:count]] = True
    return np.split(flags, np.cumsum([len(scores) for scores in preserve])[:-1])

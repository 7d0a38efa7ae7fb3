"""Which share of the answers survives query-free compression, beside baselines; and the sweep behind `alpha`.

    python cookbook/benchmarks/run_answer_recall.py --data DIR

`answer_recall(rate)`: of the questions whose answer stands in the passage (whole words, normalised), the share whose
answer still stands in the compressed passage. Every passage is compressed alone, to the same ceiling of o200k_base
tokens, by the same selection; only the word scores differ:

* `moos`: the bundled model with the default `alpha` and outlier statistic;
* `classifier`: the same model with `alpha = 1`;
* `random`, `lead` (the first words), `idf` (rare words first; document frequencies from the measured passages).

None of the sets was trained on. Intervals are 95 % bootstrap over passages.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Passage, bootstrap_interval, normalise, read_passages, survives, write_result
from tqdm import tqdm

from moos_integrations import ContextCompressor, SegmentedText, WordScores
from moos_integrations.core.config import DEFAULT_ALPHA, DEFAULT_STATISTIC
from moos_integrations.core.encoder import TokenClassifierScorer
from moos_integrations.core.hub import load_classifier
from moos_integrations.core.text import segment

PROSE = ("squadshifts_new_wiki", "squadshifts_reddit", "squadshifts_amazon_reviews", "xquad_en")
OTHER = ("covidqa_long", "tatqa_tables", "code_functions", "loghub_logs")
RATES = (0.5, 0.33)
ALPHAS = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
STATISTICS = ("class_diag", "class_dist", "global_diag")
# Long texts hold few questions per second of compute.
LIMITS = {"covidqa_long": 40, "code_functions": 60, "loghub_logs": 60, "tatqa_tables": 100}


class Given:
    """A scorer that hands out scores computed before, by text."""

    def __init__(self, metric: Callable[[SegmentedText], Sequence[float]]) -> None:
        """`metric` gives one number per word."""
        self._metric = metric

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Look the scores up."""
        return [WordScores.from_preserve(self._metric(document)) for document in documents]


def model_scores(passages: Sequence[Passage], statistic: str) -> dict[str, WordScores]:
    """Preserve probabilities and outlier scores of every passage, one pass of the bundled model."""
    scorer = TokenClassifierScorer(
        load_classifier("moos-minilm-en"),
        alpha=0.5,
        outlier_statistic=statistic,
        word_reduction="mean",
        max_batch_pieces=4096,
    )
    documents = [segment(passage.text) for passage in passages]
    return {document.text: scores for document, scores in zip(documents, scorer.score(documents, None), strict=True)}


def mixed(scores: dict[str, WordScores], alpha: float) -> Callable[[SegmentedText], Sequence[float]]:
    """`m_k = alpha * p_k + (1 - alpha) * s_k^norm` from stored scores."""

    def metric(document: SegmentedText) -> Sequence[float]:
        own = scores[document.text]
        return own.preserve if alpha == 1 else alpha * own.preserve + (1 - alpha) * own.outlier

    return metric


def baselines(passages: Sequence[Passage]) -> dict[str, Callable[[SegmentedText], Sequence[float]]]:
    """The scorers without a model."""
    frequency = Counter(word for passage in passages for word in {w.lower() for w in segment(passage.text).words()})

    def idf(document: SegmentedText) -> Sequence[float]:
        rarest = math.log(len(passages) + 1)
        return [math.log((len(passages) + 1) / frequency[word.lower()]) / rarest for word in document.words()]

    def lead(document: SegmentedText) -> Sequence[float]:
        return 1 - np.arange(len(document)) / max(len(document), 1)

    def shuffled(document: SegmentedText) -> Sequence[float]:
        generator = random.Random(document.text)
        return [generator.random() for _ in range(len(document))]

    return {"random": shuffled, "lead": lead, "idf": idf}


def recall(
    passages: Sequence[Passage], metric: Callable[[SegmentedText], Sequence[float]], rate: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Per passage: answers that survived and answers there were; and the achieved rate over all."""
    compressor = ContextCompressor(Given(metric))
    survived, present, kept, original = [], [], 0, 0
    for passage in passages:
        source = normalise(passage.text)
        answers = [answer for answer in passage.answers if survives(answer, source)]
        result = compressor.compress(passage.text, rate=rate)
        text = normalise(result.text)
        survived.append(sum(survives(answer, text) for answer in answers))
        present.append(len(answers))
        kept, original = kept + result.kept_tokens, original + result.original_tokens
    return np.array(survived), np.array(present), kept / original


def summary(survived: np.ndarray, present: np.ndarray, rate: float) -> dict[str, Any]:
    """Recall over questions with its interval over passages."""
    some = present > 0
    # The ratio of sums as a mean, so that passages can be resampled: each weighs by its number of questions.
    values = survived[some] * (some.sum() / present.sum())
    return {
        "answer_recall": round(float(survived.sum() / present.sum()), 4),
        "interval": bootstrap_interval(values),
        "kept": round(rate, 4),
    }


def paired(left: np.ndarray, right: np.ndarray, present: np.ndarray) -> dict[str, Any]:
    """Difference of two recalls on the same passages."""
    some = present > 0
    values = (left - right)[some] * (some.sum() / present.sum())
    return {"difference": round(float(values.mean()), 4), "interval": bootstrap_interval(values)}


def run(data: Path, limit: int | None, sweep_limit: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table of methods, and the sweep."""
    table: dict[str, Any] = {}
    sweep: dict[str, Any] = {}
    for name in tqdm((*PROSE, *OTHER), desc="data sets"):
        passages = read_passages(data, name, limit or LIMITS.get(name))
        statistics = STATISTICS if sweep_limit else (DEFAULT_STATISTIC,)
        scores = {statistic: model_scores(passages, statistic) for statistic in statistics}
        methods = {
            "moos": mixed(scores[DEFAULT_STATISTIC], DEFAULT_ALPHA),
            "classifier": mixed(scores[DEFAULT_STATISTIC], 1.0),
            **baselines(passages),
        }
        table[name] = {"passages": len(passages), "questions": sum(len(passage.answers) for passage in passages)}
        for rate in RATES:
            raw = {method: recall(passages, metric, rate) for method, metric in methods.items()}
            table[name][str(rate)] = {method: summary(*values) for method, values in raw.items()}
            table[name][str(rate)]["moos - classifier"] = paired(raw["moos"][0], raw["classifier"][0], raw["moos"][1])
        if sweep_limit:
            sweep[name] = sweep_of(passages[:sweep_limit], scores)
    return table, sweep


def sweep_of(passages: Sequence[Passage], scores: dict[str, dict[str, WordScores]]) -> dict[str, Any]:
    """Recall for every statistic, alpha and rate."""
    cells: dict[str, Any] = {}
    for rate in RATES:
        plain = recall(passages, mixed(scores[STATISTICS[0]], 1.0), rate)
        cells[str(rate)] = {"classifier": summary(*plain)["answer_recall"]}
        for statistic in STATISTICS:
            cells[str(rate)][statistic] = {
                str(alpha): summary(*recall(passages, mixed(scores[statistic], alpha), rate))["answer_recall"]
                for alpha in ALPHAS
                if alpha < 1
            }
    return cells


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the JSONL data sets")
    parser.add_argument("--limit", type=int, help="passages per set (default: all, fewer of the long ones)")
    parser.add_argument("--sweep-limit", type=int, default=150, help="passages per set in the alpha sweep; 0: none")
    options = parser.parse_args()
    table, sweep = run(options.data, options.limit, options.sweep_limit)
    settings = {"alpha": DEFAULT_ALPHA, "outlier_statistic": DEFAULT_STATISTIC, "tokenizer": "o200k_base"}
    fingerprint = load_classifier("moos-minilm-en").fingerprint
    print(write_result("answer_recall", {"model": fingerprint, "settings": settings, "sets": table}))
    if sweep:
        print(
            write_result("alpha_sweep", {"model": fingerprint, "passages_per_set": options.sweep_limit, "sets": sweep})
        )


if __name__ == "__main__":
    main()

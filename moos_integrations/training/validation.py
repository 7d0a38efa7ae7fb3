"""What a training run is judged by: what the model keeps of records that it does not learn, not the labels it fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.encoder import TokenClassifierScorer
from moos_integrations.core.hub import classifier_of
from moos_integrations.core.text import segment
from moos_integrations.evaluation.metrics import normalise, survives
from moos_integrations.training.alignment import align
from moos_integrations.training.examples import TrainingRecords

RATE = 0.25
"""Share of the words to which the documents of a question are cut."""
_MOST = 200  # records of each kind: what a checkpoint is measured on


class HeldOut:
    """What a model in training keeps of held-out records.

    * `answers_kept`: share of the questions whose answer survives when their documents are cut to a quarter of their
      words; higher is better.
    * `words_f1`: F1 of the words that the model would keep (from a probability of 0.5 on) against those that the
      compressed texts keep; higher is better.
    """

    def __init__(self, records: TrainingRecords) -> None:
        """Align the compressed texts."""
        self._questions = records.questions[:_MOST]
        self._pairs = [(segment(own.text), align(own.text, own.compressed).preserve) for own in records.pairs[:_MOST]]

    def __call__(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Measure a model where it is; its mode is restored.

        Returns:
            Of the two numbers those for which there are records, and their mean `score`; empty without records.
        """
        if not self._questions and not self._pairs:
            return {}
        was_training = model.training
        try:
            scorer = TokenClassifierScorer(
                classifier_of("in training", model, tokenizer),
                alpha=1.0,
                outlier_statistic="class_diag",
                word_reduction="mean",
                max_batch_pieces=4096,
            )
            found = {}
            if self._questions:
                found["answers_kept"] = self._answers_kept(scorer)
            if self._pairs:
                found["words_f1"] = self._words_f1(scorer)
        finally:
            model.train(was_training)
        return {**found, "score": float(np.mean(list(found.values())))}

    def _answers_kept(self, scorer: TokenClassifierScorer) -> float:
        compressor = ContextCompressor(scorer, CompressorConfig(tokenizer=_words))
        results = compressor.compress_many(
            [[document.text for document in own.documents] for own in self._questions],
            [own.question for own in self._questions],
            rate=RATE,
        )
        kept = [
            survives(own.answers, normalise(result.text)) for own, result in zip(self._questions, results, strict=True)
        ]
        return float(np.mean(kept))

    def _words_f1(self, scorer: TokenClassifierScorer) -> float:
        scores = scorer.score([document for document, _ in self._pairs], None)
        kept = np.concatenate([own.preserve >= 0.5 for own in scores])
        wanted = np.concatenate([labels for _, labels in self._pairs])
        both = kept.sum() + wanted.sum()
        return float(2 * (kept & wanted).sum() / both) if both else 1.0


def _words(text: str) -> int:
    return len(text.split())

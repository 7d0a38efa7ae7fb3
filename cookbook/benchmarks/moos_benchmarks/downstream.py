"""What a training run is judged by: answers that survive on articles it does not see, not the labels it fits.

The literature on prompt compression agrees that token F1 does not predict what a reader can still answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from moos_benchmarks.data import SquadPassage
from moos_benchmarks.negatives import nearest_by_words
from moos_benchmarks.ranking import Pool, model_sentence_scores, reduction_of, survivals
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.encoder import TokenClassifierScorer
from moos_integrations.core.hub import classifier_of
from moos_integrations.evaluation.metrics import normalise, survives
from moos_integrations.records import Document, Question

_PASSAGES, _QUESTIONS, _POOL = 120, 120, 10
_RATE, _BUDGET = 0.5, 0.125


class DownstreamRecall:
    """Answer recall of a model in training, on held-out passages.

    Query-free: share of the answers that survive when each passage is cut to half of its words. Query-aware: share of
    the questions whose answer survives when, of its passage among the nine that BM25 finds nearest, the best sentences
    are kept until an eighth of the words is used up.
    """

    def __init__(self, passages: Sequence[SquadPassage], *, query_aware: bool, seed: int = 0) -> None:
        """Choose passages and questions, the same ones for the same seed."""
        rng = random.Random(seed)
        chosen = rng.sample(list(passages), min(_PASSAGES, len(passages)))
        self._texts = [(p.context, [tuple(a.text for a in q.answers) for q in p.questions]) for p in chosen]
        self._pools = self._build(passages, rng) if query_aware else []

    @staticmethod
    def _build(passages: Sequence[SquadPassage], rng: random.Random) -> list[Pool]:
        asked = [(index, question) for index, passage in enumerate(passages) for question in passage.questions]
        asked = rng.sample(asked, min(_QUESTIONS, len(asked)))
        near = nearest_by_words([q.question for _, q in asked], [p.context for p in passages], _POOL)
        pools = []
        for (own, question), row in zip(asked, near.tolist(), strict=True):
            members = [own, *[index for index in row if index != own][: _POOL - 1]]
            documents = tuple(Document(passages[index].context, "", index == own) for index in members)
            answers = tuple(answer.text for answer in question.answers)
            pools.append(Pool.of(Question(question.question, answers, documents, question.id)))
        return pools

    def __call__(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Measure a model where it is; its mode is restored.

        Returns:
            `recall_query_free`, `recall_query_aware` where the model reads questions, and their mean `score`.
        """
        was_training = model.training
        try:
            scorer = TokenClassifierScorer(
                classifier_of("in training", model, tokenizer),
                alpha=1.0,
                outlier_statistic="class_diag",
                word_reduction="mean",
                max_batch_pieces=4096,
            )
            found = {"recall_query_free": self._query_free(scorer)}
            if self._pools:
                rankings = model_sentence_scores(scorer, self._pools)
                scores = rankings[reduction_of(rankings)]
                found["recall_query_aware"] = float(survivals(self._pools, scores, _BUDGET).mean())
        finally:
            model.train(was_training)
        return {**found, "score": float(np.mean(list(found.values())))}

    def _query_free(self, scorer: TokenClassifierScorer) -> float:
        compressor = ContextCompressor(scorer, CompressorConfig(tokenizer=_words))
        results = compressor.compress_many([text for text, _ in self._texts], rate=_RATE)
        kept = [
            survives(answers, normalise(result.text))
            for result, (_, questions) in zip(results, self._texts, strict=True)
            for answers in questions
        ]
        return float(np.mean(kept)) if kept else 0.0


def _words(text: str) -> int:
    return len(text.split())

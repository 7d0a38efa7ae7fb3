"""Query-free answer recall: which share of the answers survives when each passage is compressed alone.

`recall(rate)`: of the questions whose answer stands in the passage (whole words, normalised), the share whose answer
still stands in the compressed passage. Every method goes through the same compressor, to the same ceiling of o200k_base
tokens; only the word scores differ. *Rare-word recall* is the share of the passage's numbers, names and identifiers
that are kept: the words that outlier scores are meant to save. Intervals are 95 % bootstrap over passages.

A method is any `Scorer`.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from moos_benchmarks.data import (
    Passage,
    articles_held_out,
    data_file,
    passage_of,
    read_passages,
    read_squad,
)
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.protection import protected_words
from moos_integrations.core.result import CompressedDocument
from moos_integrations.core.text import segment
from moos_integrations.core.types import BoolArray, IntArray, Scorer, SegmentedText, WordScores
from moos_integrations.evaluation.metrics import estimate, normalise, paired, ratio, survives
from moos_integrations.records import Records

if TYPE_CHECKING:
    from moos_integrations.core.hub import Classifier

VALIDATION = "squad_validation"
"""The articles of `squad_train` that are held out from training."""
IN_DOMAIN = (VALIDATION, "xquad_en", "squadshifts_new_wiki")
"""Wikipedia paragraphs, as in training."""
OUT_OF_DOMAIN = (
    "squadshifts_reddit",
    "squadshifts_amazon_reviews",
    "covidqa_long",
    "tatqa_tables",
    "code_functions",
    "loghub_logs",
)
SETS = (*IN_DOMAIN, *OUT_OF_DOMAIN)
RATES = (0.5, 0.33)
ALPHAS = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
STATISTICS = ("class_diag", "class_dist", "global_diag")
RARE = ("numbers", "names", "identifiers")
"""Detectors whose words count as rare."""
DIFFERENCES = (("moos", "classifier"), ("moos", "baseline"), ("classifier", "baseline"))
"""Pairs of methods whose paired difference is reported, where both were measured."""
# Long texts hold few questions per second of compute.
LIMITS = {"covidqa_long": 40, "code_functions": 60, "loghub_logs": 60, "tatqa_tables": 100}
# Characters scored before the remembered states are let go: about 80 MB of them at a width of 384.
_CHUNK = 200_000


def read_set(data: Path, name: str, limit: int | None = None, *, skip_bad: bool = False) -> Records[Passage]:
    """The passages of a set; by default fewer of the long ones, see `LIMITS`.

    Raises:
        InputError: If the file is missing or a record is malformed.
    """
    if name != VALIDATION:
        return read_passages(data_file(data, name), limit=limit or LIMITS.get(name), skip_bad=skip_bad)
    records = read_squad(data_file(data, "squad_train"), skip_bad=skip_bad)
    titles = articles_held_out(record.title for record in records)
    held_out = [passage_of(record) for record in records if record.title in titles]
    return Records(tuple(held_out[:limit]), records.problems)


# --- methods ---------------------------------------------------------------------------------------------------------


class ByMetric:
    """A scorer from a function that gives one number per word."""

    def __init__(self, metric: Callable[[SegmentedText], npt.ArrayLike]) -> None:
        """Wrap the function."""
        self._metric = metric

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Call the function for each document."""
        return [WordScores.from_preserve(self._metric(document)) for document in documents]


class Stored:
    """A scorer that hands out scores computed before, by text, with a metric mixed anew."""

    def __init__(self, scores: Mapping[str, WordScores], alpha: float) -> None:
        """`alpha` is the weight of the preserve probability in the metric; 1 leaves the outlier scores out."""
        self._scores, self._alpha = scores, alpha

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        """Look the scores up."""
        return [self._mixed(self._scores[document.text]) for document in documents]

    def _mixed(self, scores: WordScores) -> WordScores:
        if self._alpha == 1:
            return replace(scores, metric=scores.preserve)
        return replace(scores, metric=self._alpha * scores.preserve + (1 - self._alpha) * scores.outlier)


def model_scores(
    classifier: Classifier, texts: Sequence[str], statistics: Sequence[str]
) -> dict[str, dict[str, WordScores]]:
    """Preserve probabilities, and outlier scores by each statistic, from one forward pass per text.

    Returns:
        Per statistic, the scores by text.
    """
    from moos_integrations.core.encoder import TokenClassifierScorer

    remembering = _Remembering(classifier.model)
    scorers = {
        statistic: TokenClassifierScorer(
            replace(classifier, model=remembering),  # type: ignore[arg-type] # what it is called for, it does
            alpha=0.5,  # any but 1, which would leave the outlier scores out
            outlier_statistic=statistic,
            word_reduction="mean",
            max_batch_pieces=4096,
        )
        for statistic in statistics
    }
    found: dict[str, dict[str, WordScores]] = {statistic: {} for statistic in statistics}
    for chunk in _chunks(list(dict.fromkeys(texts))):
        documents = [segment(text) for text in chunk]
        for statistic, scorer in scorers.items():
            found[statistic].update(zip(chunk, scorer.score(documents, None), strict=True))
        remembering.outputs.clear()
    return found


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for text in texts:
        if chunk and sum(map(len, chunk)) + len(text) > _CHUNK:
            yield chunk
            chunk = []
        chunk.append(text)
    if chunk:
        yield chunk


class _Remembering:
    """A model that answers the same batch a second time from memory: the statistics differ, the states do not."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.outputs: dict[tuple[bytes, ...], SimpleNamespace] = {}

    def __call__(self, *, output_hidden_states: bool, **inputs: Any) -> SimpleNamespace:
        key = tuple(tensor.cpu().numpy().tobytes() for tensor in inputs.values())
        if key not in self.outputs:
            outputs = self._model(**inputs, output_hidden_states=True)
            # Only the last layer is asked for; the others would be most of the memory.
            self.outputs[key] = SimpleNamespace(logits=outputs.logits, hidden_states=outputs.hidden_states[-1:])
        return self.outputs[key]


def without_model(passages: Sequence[Passage], seed: int = 0) -> dict[str, Scorer]:
    """The methods that need no model: `random`, `lead` (the first words) and `idf` (rare words first).

    Args:
        passages: What is measured; the document frequencies of `idf` come from it.
        seed: Of `random`.
    """
    frequency = Counter(word for passage in passages for word in {w.lower() for w in _prepared(passage).words})

    def idf(document: SegmentedText) -> list[float]:
        rarest = math.log(len(passages) + 1)
        return [math.log((len(passages) + 1) / frequency[word.lower()]) / rarest for word in document.words()]

    def lead(document: SegmentedText) -> npt.ArrayLike:
        return 1 - np.arange(len(document)) / max(len(document), 1)

    def shuffled(document: SegmentedText) -> list[float]:
        generator = random.Random(f"{seed} {document.text}")
        return [generator.random() for _ in range(len(document))]

    return {"random": ByMetric(shuffled), "lead": ByMetric(lead), "idf": ByMetric(idf)}


# --- measuring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Recall:
    """What one method kept at one rate. Shape of each array: `(passages,)`.

    Attributes:
        survived: Answers that survived.
        present: Answers that stood in the passage.
        rare_kept: Per detector in `RARE`, words kept.
        rare_present: Per detector, words there were.
        kept_tokens: Over all passages.
        original_tokens: Over all passages.
    """

    survived: IntArray
    present: IntArray
    rare_kept: dict[str, IntArray]
    rare_present: dict[str, IntArray]
    kept_tokens: int
    original_tokens: int

    @property
    def value(self) -> float | None:
        """Answer recall; None if no passage holds an answer."""
        return ratio(self.survived, self.present)

    @property
    def kept(self) -> float:
        """Share of the tokens that was kept."""
        return round(self.kept_tokens / max(self.original_tokens, 1), 4)

    def rare_words(self) -> dict[str, float | None]:
        """Rare-word recall per detector, and over `all` of them (a word may be of several kinds)."""
        kinds = {kind: ratio(self.rare_kept[kind], self.rare_present[kind]) for kind in RARE}
        return {"all": ratio(sum(self.rare_kept.values()), sum(self.rare_present.values())), **kinds}

    def summary(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        found = estimate(self.survived, self.present)
        return {
            "answer_recall": found["value"],
            "interval": found["interval"],
            "kept": self.kept,
            "rare_words": self.rare_words(),
        }


def measure_recall(passages: Sequence[Passage], scorer: Scorer, rate: float) -> Recall:
    """Compress every passage alone to `rate` and look which answers and rare words are left.

    Args:
        passages: The texts and their answers.
        scorer: The method; anything that scores words.
        rate: Share of o200k_base tokens to keep, a ceiling per passage.
    """
    # By the metric alone: no shared terms, no redundancy.
    compressor = ContextCompressor(scorer, CompressorConfig(gains={"budgets": "words"}))
    results = [compressor.compress(passage.text, rate=rate) for passage in passages]
    prepared = [_prepared(passage) for passage in passages]
    kept = [kept_words(own.document, result.documents[0]) for own, result in zip(prepared, results, strict=True)]
    texts = [normalise(result.text) for result in results]
    pairs = list(zip(prepared, texts, strict=True))
    return Recall(
        np.array([sum(survives(answers, text) for answers in own.answers) for own, text in pairs], np.int64),
        np.array([len(own.answers) for own in prepared], np.int64),
        {k: np.array([(own.rare[k] & flags).sum() for own, flags in zip(prepared, kept, strict=True)]) for k in RARE},
        {k: np.array([own.rare[k].sum() for own in prepared]) for k in RARE},
        sum(result.kept_tokens for result in results),
        sum(result.original_tokens for result in results),
    )


def kept_words(document: SegmentedText, compressed: CompressedDocument) -> BoolArray:
    """True for each word of the source that the output has. Shape: `(words,)`."""
    spans = np.array(compressed.spans, np.int64).reshape(-1, 2)
    before = np.searchsorted(spans[:, 0], document.word_starts, side="right") - 1
    ends = np.append(spans[:, 1], -1)  # before the first span: index -1, an end that no word reaches
    return np.asarray(document.word_ends <= ends[before])


def rare_words(document: SegmentedText) -> dict[str, BoolArray]:
    """Per detector in `RARE`, True for the words that it finds. Shape of each: `(words,)`.

    Names count only inside a sentence: its first word is capitalised anyway.
    """
    unit = document.unit_of_word
    inside = np.diff(unit, prepend=-1) == 0
    found = {kind: protected_words(document, (kind,)) for kind in RARE}
    return {**found, "names": found["names"] & inside}


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """What every measurement of a passage needs: its words, the rare ones, and the answers that stand in it."""

    document: SegmentedText
    words: list[str]
    rare: dict[str, BoolArray]
    answers: tuple[tuple[str, ...], ...]


@lru_cache(maxsize=4096)
def _prepared(passage: Passage) -> _Prepared:
    document, source = segment(passage.text), normalise(passage.text)
    present = tuple(answers for answers in passage.answers if survives(answers, source))
    return _Prepared(document, document.words(), rare_words(document), present)


def compare(
    passages: Sequence[Passage], scorers: Mapping[str, Scorer], rates: Sequence[float] = RATES
) -> dict[str, Any]:
    """The table of methods: per rate, each method's summary and the paired differences in `DIFFERENCES`."""
    table: dict[str, Any] = {
        "passages": len(passages),
        "questions": sum(len(passage.answers) for passage in passages),
        "answers_present": sum(len(_prepared(passage).answers) for passage in passages),
    }
    for rate in rates:
        found = {name: measure_recall(passages, scorer, rate) for name, scorer in scorers.items()}
        table[str(rate)] = {name: own.summary() for name, own in found.items()}
        for left, right in DIFFERENCES:
            if left in found and right in found:
                present = found[left].present
                difference = paired(found[left].survived, found[right].survived, present)
                table[str(rate)][f"{left} - {right}"] = difference
    return table


def sweep(
    passages: Sequence[Passage],
    scores: Mapping[str, Mapping[str, WordScores]],
    alphas: Sequence[float] = ALPHAS,
    rates: Sequence[float] = RATES,
) -> dict[str, Any]:
    """Answer recall, and rare-word recall under `rare_words`, for every rate, statistic and alpha.

    Args:
        passages: What is measured.
        scores: Per statistic, the scores by text (see `model_scores`).
        alphas: Weights of the preserve probability; 1 needs no statistic and stands as `classifier`.
        rates: Shares of tokens to keep.
    """
    table: dict[str, Any] = {"passages": len(passages)}
    for rate in rates:
        plain = measure_recall(passages, Stored(next(iter(scores.values())), 1.0), rate)
        cell: dict[str, Any] = {"classifier": plain.value, "rare_words": {"classifier": plain.rare_words()["all"]}}
        for statistic, own in scores.items():
            found = {str(alpha): measure_recall(passages, Stored(own, alpha), rate) for alpha in alphas if alpha < 1}
            cell[statistic] = {alpha: each.value for alpha, each in found.items()}
            cell["rare_words"][statistic] = {alpha: each.rare_words()["all"] for alpha, each in found.items()}
        table[str(rate)] = cell
    return table

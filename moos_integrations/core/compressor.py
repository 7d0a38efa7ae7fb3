"""`ContextCompressor`: wires the stages, nothing else."""

from __future__ import annotations

import asyncio
import numbers
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from typing_extensions import Unpack

from moos_integrations.core.cache import DirectoryStore, MemoryStore, ScoreStore, cached
from moos_integrations.core.config import CompressorConfig, SettingKeywords, Target
from moos_integrations.core.documents import RISING, rise, with_relevance
from moos_integrations.core.embeddings import Embeddings, EmbeddingScorer, UnitEmbedder
from moos_integrations.core.explain import Explanation
from moos_integrations.core.language import script_is_unread, unread, without_model
from moos_integrations.core.marginal_gain import standardised
from moos_integrations.core.ordering import Order, order
from moos_integrations.core.output import Output, joined, whole
from moos_integrations.core.prepared import PreparedText, TextCache
from moos_integrations.core.result import CompressedDocument, CompressionResult
from moos_integrations.core.selection import select
from moos_integrations.core.table import Table
from moos_integrations.core.tokens import TokenCounter, token_counter
from moos_integrations.core.tracing import traced
from moos_integrations.core.types import FloatArray, Scorer, SegmentedText, Selection, WordScores
from moos_integrations.errors import (
    CompressionError,
    ConfigError,
    InputError,
    MoosError,
    PassthroughWarning,
)
from moos_integrations.messages import Notice, warn_once

_NO_ROOM = (
    "The ceiling leaves no room for text with omission marks of about {tokens} tokens each: they were not written. Raise "
    "the ceiling, or set a shorter `omission` such as '[...]'."
)
_SHARE_OF_TEXTS = 0.25  # of `cache_bytes`; the rest is for scores


class ContextCompressor:
    """Prunes retrieved texts to the words that matter, under one target for all of them together.

    Example:
        >>> from moos_integrations import ContextCompressor
        >>> compressor = ContextCompressor.from_pretrained(rate=0.5)
        >>> result = compressor.compress(["The meeting, which was long, ended at 17:30 on 3 May."])
        >>> result.kept_tokens <= result.original_tokens // 2
        True

    Instances are safe to share between threads.
    """

    def __init__(self, scorer: Scorer | Callable[[], Scorer], config: CompressorConfig | None = None) -> None:
        """Build a compressor on a custom scorer; see `from_pretrained` for the usual way.

        Args:
            scorer: A `Scorer`, or a function that makes one on first use.
            config: The settings; defaults if None.
        """
        self.config = config or CompressorConfig()
        self._scorer = scorer if hasattr(scorer, "score") else None
        self._make_scorer = scorer
        self._counter: TokenCounter | None = None
        self._texts = TextCache(int(_SHARE_OF_TEXTS * self.config.cache_bytes))
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        model: str | None = None,
        *,
        lazy: bool = False,
        config: CompressorConfig | None = None,
        **settings: Unpack[SettingKeywords],
    ) -> ContextCompressor:
        """Load a token classifier and build a compressor on it.

        Args:
            model: "moos-minilm-en" (in the package, the default), a folder in Hugging Face layout, or a hub id.
            lazy: Load on first use instead of now.
            config: The settings as one value. `model` replaces the one in it.
            **settings: The settings as keywords, in place of `config`: the fields of `CompressorConfig`.

        Raises:
            ConfigError: On an unusable or unknown setting; with `lazy` too.
            ModelError: If the model cannot be loaded or used.
            TokenizerError: If the target LLM's tokenizer cannot be loaded.
        """
        config = _one_config(model, config, settings)
        compressor = cls(partial(_load_scorer, config), config)
        if not lazy:
            compressor.load()
        return compressor

    def __deepcopy__(self, memo: dict[int, Any]) -> ContextCompressor:
        """Copies share the compressor: it never changes after it is built, and its weights are large."""
        return self

    # --- public calls ------------------------------------------------------------------------------------------------

    def compress(
        self,
        documents: str | Sequence[str],
        query: str | None = None,
        *,
        document_scores: Sequence[float | None] | None = None,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> CompressionResult:
        """Compress documents together, under one target.

        Args:
            documents: One text or several; they are not changed.
            query: The question, if there is one. A query-aware model (`"moos": {"query_aware": true}` in its
                config.json) scores the words for it; any other model scores as without it.
            document_scores: A retriever's or reranker's score of each document, higher is better; None for a document
                without one. They add to relevance with the weight `gains.retriever_weight`. Four or more that rise from
                the first to the last look like distances. They are left out, and this is logged.
            rate: Share of the tokens to keep, in place of the configured target. See `Target` for all three.
            budget_tokens: Hard ceiling over the joined output in tokens, in place of the configured target.
            threshold: Adaptive, in place of the configured target.

        Returns:
            One compressed document per input document, in order, and the counts.

        Raises:
            InputError: If the documents are not strings, the query is not a string, or the scores are not one number
                or None per document.
            ConfigError: If two targets are passed, or one is out of range.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        return self.compress_many(
            [documents],
            [query],
            document_scores=[document_scores],
            rate=rate,
            budget_tokens=budget_tokens,
            threshold=threshold,
        )[0]

    @traced
    def compress_many(
        self,
        requests: Sequence[str | Sequence[str]],
        queries: Sequence[str | None] | None = None,
        *,
        document_scores: Sequence[Sequence[float | None] | None] | None = None,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> list[CompressionResult]:
        """Compress several independent sets of documents; the target applies to each set alone.

        All sets are scored in shared batches.

        Args:
            requests: The sets; each is the `documents` of one `compress` call.
            queries: One query or None per set; None for no queries at all.
            document_scores: Per set as in `compress`; None for none at all.
            rate: As in `compress`.
            budget_tokens: As in `compress`.
            threshold: As in `compress`.

        Returns:
            The result of `compress` for each set; `seconds` is the time of the whole call.
        """
        start = time.perf_counter()
        target = Target.of(rate, budget_tokens, threshold)
        texts = [_checked_texts(request) for request in requests]
        checked = _checked_queries(queries, len(texts))
        retrieved = _checked_document_scores(document_scores, texts)
        try:
            counter = self.counter
            prepared = [[self._texts.prepare(text, counter) for text in request] for request in texts]
            alone = [target is None and self._leaves_alone(request) for request in prepared]
            large = [index for index, is_alone in enumerate(alone) if not is_alone]
            scores = self._scores([prepared[index] for index in large], [checked[index] for index in large])
            found = {
                index: self._finish(
                    Table.of(prepared[index], own, self.config.protect),
                    checked[index],
                    retrieved[index],
                    target,
                    counter,
                    start,
                )
                for index, own in zip(large, scores, strict=True)
            }
            results = [
                found.get(index)
                or self._left_alone(request, checked[index], (document_scores or [None] * len(texts))[index], start)
                for index, request in enumerate(prepared)
            ]
        except (ConfigError, InputError):
            raise
        except Exception as error:
            if self.config.on_error == "passthrough":
                return self._pass_all_through(texts, error, start)
            if isinstance(error, MoosError):
                raise
            raise CompressionError(f"Compression failed: {type(error).__name__}: {error}") from error
        for notice in dict.fromkeys(notice for result in results for notice in result.warnings):
            warn_once(notice)
        return results

    async def acompress(
        self,
        documents: str | Sequence[str],
        query: str | None = None,
        *,
        document_scores: Sequence[float | None] | None = None,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> CompressionResult:
        """`compress` in a worker thread, so that the event loop goes on."""
        return await asyncio.to_thread(
            self.compress,
            documents,
            query,
            document_scores=document_scores,
            rate=rate,
            budget_tokens=budget_tokens,
            threshold=threshold,
        )

    def precompute(self, documents: str | Sequence[str]) -> None:
        """Score texts without a question and cache the scores, as at ingestion.

        Later calls without a question, or with `embeddings`, need no forward pass for these texts. A query-aware model
        without `embeddings` reads each question with the text, so this saves nothing there.

        Raises:
            InputError: If the documents are not strings.
            ModelError: If the model cannot be loaded.
            ConfigError: If `cache_bytes` is 0 and `cache_dir` is not set.
        """
        if not self.config.cache_bytes and not self.config.cache_dir:
            raise ConfigError("`precompute` has nowhere to keep scores: set `cache_bytes` or `cache_dir`.")
        scorer, counter = self.load()
        prepared = [self._texts.prepare(text, counter) for text in _checked_texts(documents)]
        _checked_scores(scorer, [text.document for text in prepared], None)

    # --- stages ------------------------------------------------------------------------------------------------------

    def load(self) -> tuple[Scorer, TokenCounter]:
        """Load the weights and the tokenizer now, unless they are loaded, so that no request waits for them.

        Returns:
            The scorer and the token counter.

        Raises:
            ModelError: If the model cannot be loaded.
            TokenizerError: If the target LLM's tokenizer cannot be loaded.
        """
        with self._lock:
            if self._scorer is None:
                self._scorer = self._make_scorer()  # type: ignore[operator]
            return self._scorer, self._loaded_counter()

    def _loaded_counter(self) -> TokenCounter:
        if self._counter is None:
            self._counter = token_counter(self.config.tokenizer)
        return self._counter

    @property
    def scorer(self) -> Scorer:
        """The `Scorer` in use; loaded on first use."""
        return self.load()[0]

    @property
    def counter(self) -> TokenCounter:
        """The counter of the target LLM's tokens; loaded on first use, without the weights."""
        with self._lock:
            return self._loaded_counter()

    def _scores(self, requests: Sequence[list[PreparedText]], queries: Sequence[str | None]) -> list[list[WordScores]]:
        """Scores of the words of all requests; the model loads only if there are any."""
        documents = [[text.document for text in request] for request in requests]
        return _score(self.scorer, documents, queries) if documents else []

    def _leaves_alone(self, request: list[PreparedText]) -> bool:
        return self.config.leaves_alone(sum(text.tokens for text in request), len(request))

    def _finish(
        self,
        table: Table,
        query: str | None,
        retrieved: FloatArray,
        target: Target | None,
        counter: TokenCounter,
        start: float,
    ) -> CompressionResult:
        """Order, select, render and count; `target` is None for that of the settings."""
        wanted = target or self.config.target(asked=table.reads_question)
        language = _unread(self._scorer, [text.document for text in table.texts], query)
        if language and not retrieved.any():
            retrieved = standardised([float(-place) for place in range(table.documents)])
        ordered = order(table, _for_unread(self.config) if language else self.config, query, retrieved)
        output, selection = self._selected(table, ordered, wanted, counter)
        documents, text = output.render(selection)
        return CompressionResult(
            documents=with_relevance(documents, table, ordered.gains, query),
            text=text,
            original_tokens=output.original_tokens,
            kept_tokens=output.whole_tokens if selection.whole else counter.count(text),
            protected_tokens=_protected_tokens(table, ordered.priority, selection) if wanted.threshold is None else 0,
            seconds=time.perf_counter() - start,
            warnings=(*selection.warnings, *([language] if language else [])),
            order=output.order,
            _explanation=Explanation(
                table,
                ordered,
                selection,
                threshold=wanted.threshold is not None,
                temperature=self.config.gains.temperature,
            ),
        )

    def _selected(
        self, table: Table, ordered: Order, wanted: Target, counter: TokenCounter
    ) -> tuple[Output, Selection]:
        """What is kept. Where a budget has no room for anything with omission marks, they are not written."""
        outputs = partial(Output, table, counter, self.config.separator, ordered.documents)
        output = outputs(self.config.omission)
        selection = output.completed(select(table, ordered, wanted, output, fill=self.config.gains.fill))
        # With `fill=False` a larger budget keeps a superset, which this could break. Earlier marks would be cut as text.
        may_go = self.config.omission is not None and self.config.gains.fill and not output.has_earlier_marks
        if selection.kept.any() or not table.words or not may_go:
            return output, selection
        plain = outputs()
        unmarked = select(table, ordered, wanted, plain)
        if not unmarked.kept.any():
            return output, selection
        notice = Notice("no room for omission marks", _NO_ROOM.format(tokens=output.mark_tokens))
        return plain, replace(unmarked, warnings=(*unmarked.warnings, notice))

    def _left_alone(
        self, request: list[PreparedText], query: str | None, scores: Sequence[float | None] | None, start: float
    ) -> CompressionResult:
        """The documents as they are, because they are too small to compress."""
        texts = [text.document.text for text in request]
        text = joined(texts, self.config.separator)
        tokens = self.counter.count(text)
        return CompressionResult(
            tuple(
                CompressedDocument(index, text.document.text, whole(text.document.text), text.tokens, text.tokens, ())
                for index, text in enumerate(request)
            ),
            text,
            tokens,
            tokens,
            protected_tokens=0,
            seconds=time.perf_counter() - start,
            order=tuple(range(len(request))),
            left_alone=True,
            _explanation=partial(self._explained, texts, query, scores),
        )

    def _explained(self, texts: list[str], query: str | None, scores: Sequence[float | None] | None) -> Explanation:
        """The scores of a request of which all is kept."""
        return self.compress(texts, query, document_scores=scores, rate=1.0).explain()

    def _pass_all_through(self, requests: list[list[str]], error: Exception, start: float) -> list[CompressionResult]:
        text = f"Compression failed, the documents are returned unchanged: {type(error).__name__}: {error}"
        notice = Notice("passed through", text)
        warnings.warn(text, PassthroughWarning, stacklevel=4)
        warn_once(notice)
        return [self._pass_through(request, notice, start) for request in requests]

    def _pass_through(self, texts: list[str], notice: Notice, start: float) -> CompressionResult:
        def count(text: str) -> int:
            return self._counter.count(text) if self._counter else 0

        text = joined(texts, self.config.separator)
        documents = tuple(
            CompressedDocument(index, source, whole(source), count(source), count(source), ())
            for index, source in enumerate(texts)
        )
        tokens = count(text)
        order = tuple(range(len(texts)))
        return CompressionResult(documents, text, tokens, tokens, 0, time.perf_counter() - start, (notice,), order)


def _one_config(model: str | None, config: CompressorConfig | None, settings: Mapping[str, Any]) -> CompressorConfig:
    """The settings, from a config or from keywords."""
    if config is not None and settings:
        raise ConfigError(f"Pass the settings either as `config` or as keywords, not both; got {', '.join(settings)}.")
    named = {} if model is None else {"model": model}
    return CompressorConfig.from_settings({**settings, **named}) if config is None else config.model_copy(update=named)


def _load_scorer(config: CompressorConfig) -> Scorer:
    """The model of the settings, with their embeddings if there are any, behind caches."""
    from moos_integrations.core.encoder import TokenClassifierScorer
    from moos_integrations.core.hub import load_classifier

    scores, stores = config.scores, _stores(config)
    scorer = TokenClassifierScorer(
        load_classifier(config.model, device=config.device, dtype=config.dtype, preserve_label=scores.preserve_label),
        alpha=scores.alpha,
        outlier_statistic=scores.outlier_statistic,
        word_reduction=scores.word_reduction,
        max_batch_pieces=scores.max_batch_pieces,
    )
    words = cached(scorer, scorer.fingerprint, stores)
    if config.embeddings is None:
        return words
    known = Embeddings(config.embeddings)
    units = cached(UnitEmbedder(known), known.fingerprint, stores)
    return EmbeddingScorer(words, units, known, config.gains.similarity_scale)


def _stores(config: CompressorConfig) -> list[ScoreStore]:
    scores = int((1 - _SHARE_OF_TEXTS) * config.cache_bytes)
    stores: list[ScoreStore] = [MemoryStore(scores)] if scores else []
    return [*stores, DirectoryStore(config.cache_dir)] if config.cache_dir else stores


def _protected_tokens(table: Table, value: FloatArray, selection: Selection) -> int:
    """Tokens of protected words that their value alone would not have kept."""
    if selection.whole:
        return 0
    return int(table.cost[selection.kept & table.protected & (value < selection.cutoff)].sum())


def _score(
    scorer: Scorer, requests: Sequence[list[SegmentedText]], queries: Sequence[str | None]
) -> list[list[WordScores]]:
    """Score all requests; those with the same query share their batches. The model does not see what it cannot read."""
    scores: list[list[WordScores]] = [[] for _ in requests]
    for query in dict.fromkeys(queries):
        members = [index for index, other in enumerate(queries) if other == query]
        languages = getattr(scorer, "languages", None)
        foreign = [
            index for index in members if script_is_unread(languages, [own.text for own in requests[index]], query)
        ]
        for index in foreign:
            scores[index] = [without_model(document, query) for document in requests[index]]
        members = [index for index in members if index not in foreign]
        documents = [document for index in members for document in requests[index]]
        found = iter(_checked_scores(scorer, documents, query))
        for index in members:
            scores[index] = [next(found) for _ in requests[index]]
    return scores


def _unread(scorer: Any, documents: Sequence[SegmentedText], query: str | None) -> Notice | None:
    return unread(getattr(scorer, "languages", None), [document.text for document in documents], query)


def _for_unread(config: CompressorConfig) -> CompressorConfig:
    """The settings for text that the model does not read: sentences are kept whole."""
    gains = config.gains
    if gains.whole_from == 0 and gains.budgets == "gain":
        return config
    return config.model_copy(update={"gains": gains.model_copy(update={"whole_from": 0.0, "budgets": "gain"})})


def _checked_scores(scorer: Scorer, documents: list[SegmentedText], query: str | None) -> list[WordScores]:
    scores = list(scorer.score(documents, query)) if documents else []
    if len(scores) != len(documents):
        raise CompressionError(
            f"The scorer must return one `WordScores` per document: expected {len(documents)}, got {len(scores)}."
        )
    for index, (document, score) in enumerate(zip(documents, scores, strict=True)):
        if len(score.metric) != len(document) or not np.isfinite(score.metric).all():
            raise CompressionError(
                f"The scorer must return {len(document)} finite metrics for document {index}; got {len(score.metric)}, "
                f"{int(np.isfinite(score.metric).sum())} of them finite."
            )
    return scores


def _checked_texts(documents: Any) -> list[str]:
    if isinstance(documents, str):
        return [documents]
    if not isinstance(documents, Sequence) or isinstance(documents, (bytes, bytearray)):
        raise InputError(f"`documents` must be a string or a sequence of strings, got {type(documents).__name__}.")
    for index, text in enumerate(documents):
        if not isinstance(text, str):
            raise InputError(
                f"`documents` must hold strings; item {index} is a {type(text).__name__}. For LangChain documents use "
                "`moos_integrations.langchain.MOOSCompressor`, for LlamaIndex nodes "
                "`moos_integrations.llama_index.MOOSNodePostprocessor`."
            )
    return list(documents)


def _checked_document_scores(scores: Any, texts: list[list[str]]) -> list[FloatArray]:
    """Standardised scores per request; zeros where there are none."""
    if scores is None:
        return [np.zeros(len(own)) for own in texts]
    if isinstance(scores, str) or not isinstance(scores, Sequence) or len(scores) != len(texts):
        raise InputError(f"`document_scores` must hold a list or None per request: expected {len(texts)} of them.")
    for own, request in zip(scores, texts, strict=True):
        if own is None:
            continue
        if isinstance(own, str) or not isinstance(own, Sequence) or len(own) != len(request):
            raise InputError(
                f"`document_scores` must hold one number or None per document: expected {len(request)}, got {own!r}."
            )
        for score in own:
            if score is not None and (isinstance(score, bool) or not isinstance(score, numbers.Real)):
                raise InputError(f"`document_scores` must hold numbers or None, got {score!r}.")
    if any(map(rise, scores)):
        warn_once(RISING)
    return [
        np.zeros(len(request)) if own is None or rise(own) else standardised(own)
        for own, request in zip(scores, texts, strict=True)
    ]


def _checked_queries(queries: Any, count: int) -> list[str | None]:
    if queries is None:
        return [None] * count
    if isinstance(queries, str) or len(queries) != count:
        raise InputError(f"`queries` must hold one query or None per request: expected {count}, got {queries!r}.")
    for query in queries:
        if query is not None and not isinstance(query, str):
            raise InputError(f"`query` must be a string or None, got {type(query).__name__}.")
    return list(queries)

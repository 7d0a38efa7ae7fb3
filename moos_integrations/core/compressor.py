"""`ContextCompressor`: wires the stages, nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from moos_integrations.core.config import BUNDLED_MODEL, CompressorConfig, Target
from moos_integrations.core.explain import Explanation
from moos_integrations.core.protection import protected_words
from moos_integrations.core.rendering import Renderer
from moos_integrations.core.selection import select
from moos_integrations.core.text import segment
from moos_integrations.core.tokens import TokenCounter, token_counter
from moos_integrations.core.types import (
    BoolArray,
    CompressedDocument,
    CompressionResult,
    IntArray,
    Scorer,
    SegmentedText,
    Selection,
    Span,
    WordScores,
)
from moos_integrations.errors import (
    CompressionError,
    ConfigError,
    InputError,
    MoosError,
    PassthroughWarning,
)


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
        """Build a compressor on a scorer of one's own; see `from_pretrained` for the usual way.

        Args:
            scorer: What scores the words, or a function that makes it when it is first needed.
            config: The settings; defaults if None.
        """
        self.config = config or CompressorConfig()
        self._scorer = scorer if hasattr(scorer, "score") else None
        self._make_scorer = scorer
        self._counter: TokenCounter | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        model: str = BUNDLED_MODEL,
        *,
        device: str = "auto",
        dtype: str = "auto",
        preserve_label: str | int | None = None,
        lazy: bool = False,
        config: CompressorConfig | None = None,
        **settings: Any,
    ) -> ContextCompressor:
        """Load a token classifier and build a compressor on it.

        Args:
            model: "moos-minilm-en" (in the package), a folder in Hugging Face layout, or a hub id.
            device: "auto" (cuda over mps over cpu) or a torch device.
            dtype: "auto", "float32", "bfloat16" or "float16".
            preserve_label: Name or index of the label that means keep, if it is not recognised by its name.
            lazy: Load on first use instead of now.
            config: The settings as one value, or
            **settings: the fields of `CompressorConfig` as keywords.

        Raises:
            ConfigError: On an unusable or unknown setting.
            ModelError: If the model cannot be loaded or used.
            TokenizerError: If the target LLM's tokenizer cannot be loaded.
        """
        if config is not None and settings:
            raise ConfigError(
                f"Give the settings either as `config` or as keywords, not both; got {', '.join(settings)}."
            )
        config = config or CompressorConfig.from_settings(settings)

        def load() -> Scorer:
            from moos_integrations.core.encoder import TokenClassifierScorer
            from moos_integrations.core.hub import load_classifier

            return TokenClassifierScorer(
                load_classifier(model, device=device, dtype=dtype, preserve_label=preserve_label),
                alpha=config.alpha,
                outlier_statistic=config.outlier_statistic,
                word_reduction=config.word_reduction,
                max_batch_pieces=config.max_batch_pieces,
            )

        compressor = cls(load, config)
        if not lazy:
            compressor._load()
        return compressor

    def __deepcopy__(self, memo: dict[int, Any]) -> ContextCompressor:
        """Copies share the compressor: it is never changed after it is built, and holds the weights."""
        return self

    # --- public calls ------------------------------------------------------------------------------------------------

    def compress(
        self,
        documents: str | Sequence[str],
        query: str | None = None,
        *,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> CompressionResult:
        """Compress documents together, under one target.

        Args:
            documents: One text or several; they are not changed.
            query: The question, if there is one. A query-aware model (`"moos": {"query_aware": true}` in its
                config.json) scores the words for it; any other model scores as without it.
            rate: Overrides the configured target for this call; likewise
            budget_tokens: (a hard ceiling over the joined output) and
            threshold: (adaptive). See `Target`.

        Returns:
            One compressed document per input document, in order, and the counts.

        Raises:
            InputError: If the documents are no strings, or the query is none.
            ConfigError: If two targets are given, or one is out of range.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        return self.compress_many([documents], [query], rate=rate, budget_tokens=budget_tokens, threshold=threshold)[0]

    def compress_many(
        self,
        requests: Sequence[str | Sequence[str]],
        queries: Sequence[str | None] | None = None,
        *,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> list[CompressionResult]:
        """Compress several independent sets of documents, each under its own target, scored in shared batches.

        Args:
            requests: The sets; each is what `compress` takes.
            queries: One query or None per set; None for no queries at all.
            rate: As in `compress`.
            budget_tokens: As in `compress`.
            threshold: As in `compress`.

        Returns:
            What `compress` returns for each set alone; `seconds` is the time of the whole call.
        """
        start = time.perf_counter()
        target = Target.of(rate, budget_tokens, threshold) or self.config.target
        texts = [_checked_texts(request) for request in requests]
        checked = _checked_queries(queries, len(texts))
        try:
            scorer, counter = self._load()
            documents = [[segment(text) for text in request] for request in texts]
            scores = _score(scorer, documents, checked)
            return [self._finish(*item, target, counter, start) for item in zip(documents, scores, strict=True)]
        except (ConfigError, InputError):
            raise
        except Exception as error:
            if self.config.on_error == "passthrough":
                message = f"Compression failed, the documents are returned unchanged: {type(error).__name__}: {error}"
                warnings.warn(message, PassthroughWarning, stacklevel=3)
                return [self._pass_through(request, message, start) for request in texts]
            if isinstance(error, MoosError):
                raise
            raise CompressionError(f"Compression failed: {type(error).__name__}: {error}") from error

    async def acompress(
        self,
        documents: str | Sequence[str],
        query: str | None = None,
        *,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
    ) -> CompressionResult:
        """`compress` in a worker thread, so that the event loop goes on."""
        return await asyncio.to_thread(
            self.compress, documents, query, rate=rate, budget_tokens=budget_tokens, threshold=threshold
        )

    # --- stages ------------------------------------------------------------------------------------------------------

    def _load(self) -> tuple[Scorer, TokenCounter]:
        with self._lock:
            if self._scorer is None:
                self._scorer = self._make_scorer()  # type: ignore[operator]
            if self._counter is None:
                self._counter = token_counter(self.config.tokenizer)
            return self._scorer, self._counter

    def _finish(
        self,
        documents: list[SegmentedText],
        scores: list[WordScores],
        target: Target,
        counter: TokenCounter,
        start: float,
    ) -> CompressionResult:
        """Select, render and count."""
        output = _Output(documents, counter, self.config.separator)
        protected = [protected_words(document, self.config.protect) for document in documents]
        selection = select(
            scores,
            protected,
            output.costs,
            target,
            output.original_tokens,
            output.measure,
            separator_tokens=counter.count(self.config.separator),
            estimate_is_close=counter.locates,
        )
        compressed, text = output.render(selection)
        return CompressionResult(
            documents=compressed,
            text=text,
            original_tokens=output.original_tokens,
            kept_tokens=output.original_tokens if selection.whole else counter.count(text),
            protected_tokens=_protected_tokens(scores, output.costs, selection),
            seconds=time.perf_counter() - start,
            warnings=selection.warnings,
            _explanation=Explanation(documents, scores, selection),
        )

    def _pass_through(self, texts: list[str], message: str, start: float) -> CompressionResult:
        def count(text: str) -> int:
            return self._counter.count(text) if self._counter else 0

        text = _joined(texts, self.config.separator)
        documents = tuple(
            CompressedDocument(index, source, _whole(source), count(source), count(source), ())
            for index, source in enumerate(texts)
        )
        tokens = count(text)
        return CompressionResult(documents, text, tokens, tokens, 0, time.perf_counter() - start, (message,))


class _Output:
    """Renders and counts the documents of one request."""

    def __init__(self, documents: list[SegmentedText], counter: TokenCounter, separator: str) -> None:
        self._documents, self._counter, self._separator = documents, counter, separator
        self._renderers = [Renderer(document) for document in documents]
        starts = [counter.starts(document.text) for document in documents]
        self._document_tokens = [len(tokens) for tokens in starts]
        self.costs = [_word_costs(*item) for item in zip(documents, starts, strict=True)]
        self.original_tokens = counter.count(_joined([document.text for document in documents], separator))

    def measure(self, kept: list[BoolArray]) -> int:
        """Tokens of the joined output."""
        texts = [renderer.text(words) for renderer, words in zip(self._renderers, kept, strict=True)]
        return self._counter.count(_joined(texts, self._separator))

    def render(self, selection: Selection) -> tuple[tuple[CompressedDocument, ...], str]:
        """The compressed documents, and their texts joined."""
        documents = tuple(self._document(index, selection) for index in range(len(self._documents)))
        return documents, _joined([document.text for document in documents], self._separator)

    def _document(self, index: int, selection: Selection) -> CompressedDocument:
        document, kept, tokens = self._documents[index], selection.kept[index], self._document_tokens[index]
        if selection.whole:
            return CompressedDocument(index, document.text, _whole(document.text), tokens, tokens, ())
        spans = self._renderers[index].spans(kept)
        text = "".join([document.text[start:end] for start, end in spans])
        return CompressedDocument(
            index, text, tuple(spans), tokens, self._counter.count(text), _dropped_units(document, kept)
        )


def _joined(texts: Sequence[str], separator: str) -> str:
    return separator.join([text for text in texts if text])


def _whole(text: str) -> tuple[Span, ...]:
    return ((0, len(text)),) if text else ()


def _word_costs(document: SegmentedText, token_starts: IntArray) -> IntArray:
    """Tokens per word in the source; a token counts for the word in which, or before which, it starts."""
    owners = np.searchsorted(document.word_ends, token_starts, side="right")
    return np.bincount(owners, minlength=len(document) + 1)[: len(document)]


def _dropped_units(document: SegmentedText, kept: BoolArray) -> tuple[Span, ...]:
    first = document.unit_of_word
    # A word may straddle the end of a unit; kept, it saves the unit in which it ends as well.
    last = np.searchsorted(document.unit_starts, document.word_ends - 1, side="right") - 1
    empty = np.bincount(first, minlength=len(document.unit_starts)) > 0
    empty[first[kept]] = empty[last[kept]] = False
    dropped = np.flatnonzero(empty)
    return tuple(zip(document.unit_starts[dropped].tolist(), document.unit_ends[dropped].tolist(), strict=True))


def _protected_tokens(scores: Sequence[WordScores], costs: Sequence[IntArray], selection: Selection) -> int:
    if selection.whole:
        return 0
    return sum(
        int(cost[kept & protected & (score.metric < selection.cutoff)].sum())
        for score, cost, kept, protected in zip(scores, costs, selection.kept, selection.protected, strict=True)
    )


def _score(
    scorer: Scorer, requests: Sequence[list[SegmentedText]], queries: Sequence[str | None]
) -> list[list[WordScores]]:
    """Score all requests; those with the same query share their batches."""
    scores: list[list[WordScores]] = [[] for _ in requests]
    for query in dict.fromkeys(queries):
        members = [index for index, other in enumerate(queries) if other == query]
        documents = [document for index in members for document in requests[index]]
        found = iter(_checked_scores(scorer, documents, query))
        for index in members:
            scores[index] = [next(found) for _ in requests[index]]
    return scores


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


def _checked_queries(queries: Any, count: int) -> list[str | None]:
    if queries is None:
        return [None] * count
    if isinstance(queries, str) or len(queries) != count:
        raise InputError(f"`queries` must hold one query or None per request: expected {count}, got {queries!r}.")
    for query in queries:
        if query is not None and not isinstance(query, str):
            raise InputError(f"`query` must be a string or None, got {type(query).__name__}.")
    return list(queries)

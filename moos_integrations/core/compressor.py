"""`ContextCompressor`: wires the stages, and says what is done where one fails."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from typing_extensions import Unpack

from moos_integrations.core.answering import Answering, probability
from moos_integrations.core.cache import DirectoryStore, FrameworkStore, MemoryStore, ScoreStore, cached
from moos_integrations.core.checks import check_number
from moos_integrations.core.config import PACKAGED_ENCODER, CompressorConfig, SettingKeywords, Target
from moos_integrations.core.documents import answer_log_odds, relevances
from moos_integrations.core.embeddings import Embeddings, EmbeddingScorer, UnitEmbedder
from moos_integrations.core.explain import Explanation
from moos_integrations.core.failures import NEVER_PASSED_THROUGH, guarded, isolated
from moos_integrations.core.language import script_is_unread, unread, without_model
from moos_integrations.core.marginal_gain import standardised
from moos_integrations.core.ordering import Order, order
from moos_integrations.core.output import Output, joined, whole
from moos_integrations.core.prepared import PreparedText, TextCache
from moos_integrations.core.prompt import PromptFormat
from moos_integrations.core.request import Call, checked_texts
from moos_integrations.core.result import NOTHING_RELEVANT, PASSED_THROUGH, CompressedDocument, CompressionResult
from moos_integrations.core.selection import select
from moos_integrations.core.table import Table
from moos_integrations.core.text import segment
from moos_integrations.core.threads import (
    Lock,
    Stop,
    check_stop,
    in_spare_thread,
    in_thread,
    stopping,
    without_collection,
)
from moos_integrations.core.tokens import TokenCounter, estimated, token_counter
from moos_integrations.core.tracing import traced
from moos_integrations.core.types import FloatArray, Scorer, SegmentedText, Selection, WordScores
from moos_integrations.errors import (
    CompressionError,
    CompressionTimeoutError,
    ConfigError,
    MoosError,
    PassthroughWarning,
)
from moos_integrations.messages import Notice, stack_level, warn_once

if TYPE_CHECKING:
    from moos_integrations.core.hub import Classifier

_NO_ROOM = (
    "The ceiling leaves no room for text with omission marks of about {tokens} tokens each: they were not written. "
    "Raise the ceiling, or set a shorter `omission` such as '[...]'."
)
_FORMAT_TOO_LARGE = (
    "What the prompt shows beside the text (metadata, template, separators) needs about {least} tokens, and the "
    "ceiling is {budget}: no text was kept. Raise `budget_tokens`, or show less metadata."
)
_METADATA_OUTWEIGH = (
    "Of {context} tokens that the prompt shows, {more} are not text but metadata, template or separators. Show less "
    "metadata, limit the documents with `top_n`, or raise `budget_tokens`."
)
_NO_CALIBRATION = (
    "`min_relevance` was not used: the model has no calibration of how likely a document answers "
    '(`"moos": {"answering": ...}` in its config.json).'
)
_NOTHING_RELEVANT = (
    "No document reaches `min_relevance={floor:g}`, so that nothing is kept: the best one answers the question with a "
    "probability of {best:.3f}."
)
_NO_SCORER = (
    "`scorer` must have the method `score(documents, query)`, or be a function that makes such an object, got {kind}. "
    "For a model use `ContextCompressor.from_pretrained`."
)
_SHARE_OF_TEXTS = 0.25  # of `cache_bytes`; the rest is for scores


class ContextCompressor:
    """Prunes retrieved texts to the words that matter, under one target for all of them together.

    Examples:
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

        Raises:
            ConfigError: If the scorer is neither, or `config` is of another type.
        """
        self.config = CompressorConfig() if config is None else _checked_config(config)
        self._scorer = cast(Scorer, scorer) if _is_scorer(scorer) else None
        if self._scorer is None and not callable(scorer):
            raise ConfigError(_NO_SCORER.format(kind=type(scorer).__name__))
        self._make_scorer = scorer
        self._counter: TokenCounter | None = None
        self._texts = _text_cache(self.config)
        self._lock = Lock()

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

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> ContextCompressor:
        """Copies share the compressor: it never changes after it is built, and its weights are large."""
        return self

    __copy__ = __deepcopy__

    def __getstate__(self) -> dict[str, Any]:
        """State for pickling, without loaded weights and known texts: they are loaded and read again on first use.

        A scorer that was passed as an object is part of the state.
        """
        kept = self._scorer if self._scorer is self._make_scorer else None
        return {**self.__dict__, "_scorer": kept, "_counter": None, "_texts": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state, with an empty cache of texts."""
        self.__dict__.update(state)
        self._texts = _text_cache(self.config)

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
        timeout: float | None = None,
        prompt: PromptFormat | None = None,
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
            timeout: Seconds for this call, in place of the configured ones. Checked between texts and before each
                batch of the model, so that this call may take one batch longer; `acompress` returns on time.
            prompt: How the prompt shows the documents, so that `budget_tokens` counts their titles or metadata too;
                None to count the joined texts alone.

        Returns:
            One compressed document per input document, in order, and the counts.

        Raises:
            InputError: If the documents are not strings, the query is not a string, the scores are not one number or
                None per document, or `prompt` is not a `PromptFormat`.
            ConfigError: If two targets are passed, or one is out of range.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
            CompressionTimeoutError: If the time is over (with `on_error="raise"`).
        """
        return self.compress_many(
            [documents],
            [query],
            document_scores=[document_scores],
            rate=rate,
            budget_tokens=budget_tokens,
            threshold=threshold,
            timeout=timeout,
            prompts=[prompt],
        )[0]

    def compress_many(
        self,
        requests: Sequence[str | Sequence[str]],
        queries: Sequence[str | None] | None = None,
        *,
        document_scores: Sequence[Sequence[float | None] | None] | None = None,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
        timeout: float | None = None,
        prompts: Sequence[PromptFormat | None] | None = None,
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
            timeout: As in `compress`, for all sets together.
            prompts: Per set as in `compress`; None for none at all.

        Returns:
            The result of `compress` for each set; `seconds` is the time of the whole call.
        """
        call = Call.of(requests, queries, document_scores, Target.of(rate, budget_tokens, threshold), prompts)
        with stopping(self._stop(timeout)):
            results = self._run(call)
        _report(results)
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
        timeout: float | None = None,
        prompt: PromptFormat | None = None,
    ) -> CompressionResult:
        """`compress` in a thread of the package, so that the event loop and its own threads go on.

        A task that is cancelled, or whose `timeout` is over, goes on at once. Its work stops before the next batch of
        the model.
        """
        results = await self.acompress_many(
            [documents],
            [query],
            document_scores=[document_scores],
            rate=rate,
            budget_tokens=budget_tokens,
            threshold=threshold,
            timeout=timeout,
            prompts=[prompt],
        )
        return results[0]

    async def acompress_many(
        self,
        requests: Sequence[str | Sequence[str]],
        queries: Sequence[str | None] | None = None,
        *,
        document_scores: Sequence[Sequence[float | None] | None] | None = None,
        rate: float | None = None,
        budget_tokens: int | None = None,
        threshold: float | None = None,
        timeout: float | None = None,
        prompts: Sequence[PromptFormat | None] | None = None,
    ) -> list[CompressionResult]:
        """`compress_many` in a thread of the package; see `acompress`."""
        call = Call.of(requests, queries, document_scores, Target.of(rate, budget_tokens, threshold), prompts)
        try:
            results = await in_thread(partial(self._run, call), self._stop(timeout))
        except CompressionTimeoutError as error:
            if self.config.on_error == "raise":
                raise
            results = await in_spare_thread(partial(self._pass_all_through, call, error))
        _report(results)
        return results

    def precompute(self, documents: str | Sequence[str]) -> None:
        """Score texts without a question and cache the scores, as at ingestion.

        Later calls without a question, or with `embeddings`, need no forward pass for these texts. With an `encoder`,
        or a model that has its own, its vectors of the texts are kept too; a question then needs one short pass of the
        encoder. A query-aware model without `embeddings` still reads each question with the text.

        Raises:
            InputError: If the documents are not strings.
            ModelError: If the model cannot be loaded.
            ConfigError: If `cache_bytes` is 0 and neither `cache_dir` nor `cache_store` is set.
        """
        if not (self.config.cache_bytes or self.config.cache_dir or self.config.cache_store is not None):
            raise ConfigError(
                "`precompute` has nowhere to keep scores: set `cache_bytes`, `cache_dir` or `cache_store`."
            )
        texts = checked_texts(documents)
        scorer, counter = self.load()
        with guarded():
            prepared = [self._texts.prepare(text, counter) for text in texts]
            known = [text.document for text in prepared]
            if hasattr(scorer, "precompute"):
                scorer.precompute(known)
            else:
                _checked_scores(scorer, known, None)

    # --- stages ------------------------------------------------------------------------------------------------------

    def load(self) -> tuple[Scorer, TokenCounter]:
        """Load the weights and the tokenizer now, unless they are loaded, so that no request waits for them.

        Returns:
            The scorer and the token counter.

        Raises:
            ModelError: If the model cannot be loaded.
            TokenizerError: If the target LLM's tokenizer cannot be loaded.
        """
        with self._lock, guarded():
            if self._scorer is None:
                made = self._make_scorer()  # type: ignore[operator]
                if not _is_scorer(made):
                    raise ConfigError(_NO_SCORER.format(kind=f"a function that made {type(made).__name__}"))
                self._scorer = cast(Scorer, made)
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

    def _leaves_alone(self, call: Call, index: int, request: list[PreparedText]) -> bool:
        if call.target is not None or (self.config.min_relevance is not None and _asks(call.queries[index])):
            return False
        return self.config.leaves_alone(sum(text.tokens for text in request), len(request))

    def _stop(self, timeout: float | None) -> Stop:
        if timeout is not None:
            check_number("timeout", timeout, above=0)
        return Stop(self.config.timeout if timeout is None else timeout)

    @traced
    def _run(self, call: Call) -> list[CompressionResult]:
        """The results, with a warning if their tokens are only estimated."""
        results = self._run_guarded(call)
        notices = () if self._counter is None else estimated(self._counter)
        return [replace(result, warnings=(*result.warnings, *notices)) for result in results] if notices else results

    def _run_guarded(self, call: Call) -> list[CompressionResult]:
        """All stages, and what the settings say of failures."""
        try:
            with guarded():
                return self._run_all(call)
        except NEVER_PASSED_THROUGH:
            raise
        except Exception as error:
            if self.config.on_error == "passthrough":
                return self._run_failed(call, error)
            if isinstance(error, MoosError):
                raise
            raise CompressionError(f"Compression failed: {type(error).__name__}: {error}") from error

    def _run_all(self, call: Call) -> list[CompressionResult]:
        """All stages, for all requests together; the model loads only if a request is large enough for it."""
        counter = self.counter
        prepared = [[self._prepare(text, counter) for text in request] for request in call.texts]
        large = [index for index, request in enumerate(prepared) if not self._leaves_alone(call, index, request)]
        scores = self._scores([prepared[index] for index in large], [call.queries[index] for index in large])
        results: dict[int, CompressionResult] = {}
        for index, found in zip(large, scores, strict=True):
            check_stop()
            with without_collection(sum(map(len, call.texts[index]))):
                table = Table.of(prepared[index], found, protect=self.config.protect)
                results[index] = self._finish(table, call, index, counter)
        return [
            results[index] if index in results else self._left_alone(call, index, request)
            for index, request in enumerate(prepared)
        ]

    def _run_failed(self, call: Call, error: Exception) -> list[CompressionResult]:
        if isinstance(error, CompressionTimeoutError):
            return self._pass_all_through(call, error)
        try:
            return self._run_each(call)
        except NEVER_PASSED_THROUGH:
            raise
        except Exception as again:  # nothing can be loaded, or the time is over
            return self._pass_all_through(call, again)

    def _finish(
        self,
        table: Table,
        call: Call,
        index: int,
        counter: TokenCounter,
        unchanged: Sequence[CompressedDocument] = (),
    ) -> CompressionResult:
        """Order, select, render and count.

        A ceiling in tokens is less by what `unchanged` documents of the request need.
        """
        query, retrieved, prompt = call.queries[index], call.retrieved[index], call.prompts[index]
        wanted = call.target or self.config.target(asked=table.reads_question)
        if unchanged and prompt is not None:
            prompt = prompt.without([document.index for document in unchanged])
        if unchanged and wanted.budget_tokens is not None:
            wanted = self._beside(unchanged, wanted.budget_tokens, prompt)
        known = getattr(self._scorer, "answering", {})
        ordered, judged, language = self._ordered(table, query, retrieved, known)
        outputs = partial(
            Output,
            table,
            counter,
            self.config.separator,
            ordered.documents,
            prompt=None if wanted.budget_tokens is None else prompt,
            relevance=relevances(table, ordered.gains, query, known),
        )
        output, selection = self._selected(table, ordered, wanted, outputs)
        documents, text = output.render(selection)
        kept_tokens = output.original_tokens if selection.whole else counter.count(text)
        formatted = _formatted(prompt, documents, output.order, counter.count)
        warnings = selection.warnings
        if formatted is not None and wanted.budget_tokens is not None:
            warnings = _of_format(warnings, output, wanted.budget_tokens, kept_tokens, formatted[1])
        return CompressionResult(
            documents=documents,
            text=text,
            original_tokens=output.original_tokens,
            kept_tokens=kept_tokens,
            protected_tokens=_protected_tokens(table, ordered.priority, selection) if wanted.threshold is None else 0,
            seconds=time.perf_counter() - call.start,
            warnings=(*judged, *warnings, *language),
            order=output.order,
            _formatted=formatted,
            _explanation=Explanation(
                table,
                ordered,
                selection,
                threshold=wanted.threshold is not None,
                temperature=self.config.gains.temperature,
                target=wanted,
                question=query,
            ),
        )

    def _ordered(
        self, table: Table, query: str | None, retrieved: FloatArray, known: Mapping[str, Answering]
    ) -> tuple[Order, Sequence[Notice], Sequence[Notice]]:
        """The order, what is to say of relevance, and what is to say of the language."""
        language = _unread(self._scorer, [text.document for text in table.texts], query)
        if language and not retrieved.any():
            retrieved = standardised([float(-place) for place in range(table.documents)])
        ordered = order(table, _for_unread(self.config) if language else self.config, query, retrieved)
        ordered, judged = _above_floor(table, ordered, None if language else self.config.min_relevance, query, known)
        return ordered, judged, [language] if language else []

    def _selected(
        self, table: Table, ordered: Order, wanted: Target, outputs: Callable[..., Output]
    ) -> tuple[Output, Selection]:
        """What is kept. Where a budget has no room for anything with omission marks, they are not written."""
        output = outputs(omission=self.config.omission)
        selection = output.completed(select(table, ordered, wanted, output, fill=self.config.gains.fill))
        # With `fill=False` a larger budget keeps a superset, which this could break. Earlier marks would be cut.
        may_go = self.config.omission is not None and self.config.gains.fill and not output.has_earlier_marks
        if selection.kept.any() or not table.words or not ordered.eligible.any() or not may_go:
            return output, selection
        plain = outputs()
        unmarked = select(table, ordered, wanted, plain)
        if not unmarked.kept.any():
            return output, selection
        notice = Notice("no room for omission marks", _NO_ROOM.format(tokens=output.mark_tokens))
        return plain, replace(unmarked, warnings=(*unmarked.warnings, notice))

    def _left_alone(self, call: Call, index: int, request: list[PreparedText]) -> CompressionResult:
        """The documents as they are, because they are too small to compress."""
        texts = [text.document.text for text in request]
        text = joined(texts, self.config.separator)
        tokens = self.counter.count(text)
        documents = tuple(
            CompressedDocument(place, text.document.text, whole(text.document.text), text.tokens, text.tokens, ())
            for place, text in enumerate(request)
        )
        return CompressionResult(
            documents,
            text,
            tokens,
            tokens,
            protected_tokens=0,
            seconds=time.perf_counter() - call.start,
            order=tuple(range(len(request))),
            left_alone=True,
            _explanation=partial(self._explained, texts, call.queries[index], call.scores[index]),
            _formatted=_formatted(call.prompts[index], documents, range(len(request)), self.counter.count),
        )

    def _explained(self, texts: list[str], query: str | None, scores: Sequence[float | None] | None) -> Explanation:
        """The scores of a request of which all is kept."""
        return self.compress(texts, query, document_scores=scores, rate=1.0).explain()

    # --- failures ----------------------------------------------------------------------------------------------------

    def _run_each(self, call: Call) -> list[CompressionResult]:
        """The results, where the call as a whole failed: what fails alone is passed through alone."""
        scorer, counter = self.load()
        texts = list(dict.fromkeys(text for request in call.texts for text in request))
        found, failed = isolated(lambda own: [self._prepare(text, counter) for text in own], texts)
        prepared = {texts[index]: text for index, text in found.items()}
        errors = {texts[index]: error for index, error in failed.items()}
        results: list[CompressionResult | None] = [None] * len(call.texts)
        for query in dict.fromkeys(call.queries):
            members = [index for index, other in enumerate(call.queries) if other == query]
            scores, unscored = self._scores_of_each(scorer, query, prepared, [call.texts[own] for own in members])
            for index in members:
                results[index] = self._finish_some(call, index, prepared, scores, {**errors, **unscored})
        return [result for result in results if result is not None]

    def _prepare(self, text: str, counter: TokenCounter) -> PreparedText:
        check_stop()
        return self._texts.prepare(text, counter)

    @staticmethod
    def _scores_of_each(
        scorer: Scorer, query: str | None, prepared: Mapping[str, PreparedText], requests: Sequence[Sequence[str]]
    ) -> tuple[dict[str, WordScores], dict[str, Exception]]:
        """Scores by text, and errors by text."""
        texts = list(dict.fromkeys(text for request in requests for text in request if text in prepared))
        found, failed = isolated(
            lambda own: _checked_scores(scorer, [prepared[text].document for text in own], query), texts
        )
        return {texts[own]: score for own, score in found.items()}, {texts[own]: error for own, error in failed.items()}

    def _finish_some(
        self,
        call: Call,
        index: int,
        prepared: Mapping[str, PreparedText],
        scores: Mapping[str, WordScores],
        errors: Mapping[str, Exception],
    ) -> CompressionResult:
        """The result of one request: the texts with errors unchanged, the others compressed.

        A ceiling leaves the others what the unchanged texts do not take; a rate is that of the others alone.
        """
        texts, counter = call.texts[index], self.counter
        bad = [place for place, text in enumerate(texts) if text in errors]
        if bad and len(bad) == len(texts):
            return self._pass_through(call, index, _notice(errors[texts[0]]))
        try:
            empty = PreparedText(segment(""), counter)  # in the place of a text that is not compressed
            own = [empty if text in errors else prepared[text] for text in texts]
            known = [WordScores.from_preserve([]) if text in errors else scores[text] for text in texts]
            with guarded():
                table = Table.of(own, known, protect=self.config.protect)
                result = self._finish(
                    table, call, index, counter, [self._unchanged(place, texts[place]) for place in bad]
                )
        except (*NEVER_PASSED_THROUGH, CompressionTimeoutError):
            raise
        except Exception as error:
            return self._pass_through(call, index, _notice(error))
        return self._with_unchanged(result, call, index, bad, errors) if bad else result

    def _beside(self, unchanged: Sequence[CompressedDocument], budget: int, prompt: PromptFormat | None) -> Target:
        """What a ceiling in tokens leaves the other documents."""
        separator = self.config.separator if prompt is None else prompt.separator
        text = (
            joined([document.text for document in unchanged], separator) if prompt is None else prompt.joined(unchanged)
        )
        taken = self._count(text)
        return Target(budget_tokens=max(budget - taken - self._count(separator) * bool(taken), 0))

    def _with_unchanged(
        self,
        result: CompressionResult,
        call: Call,
        index: int,
        bad: Sequence[int],
        errors: Mapping[str, Exception],
    ) -> CompressionResult:
        texts, documents = call.texts[index], list(result.documents)
        for place in bad:
            documents[place] = self._unchanged(place, texts[place])
        text = joined([documents[place].text for place in result.order], self.config.separator)
        return replace(
            result,
            documents=tuple(documents),
            text=text,
            original_tokens=self._count(joined([texts[place] for place in result.order], self.config.separator)),
            kept_tokens=self._count(text),
            _formatted=_formatted(call.prompts[index], documents, result.order, self._count),
            warnings=(*result.warnings, _notice(errors[texts[bad[0]]], bad)),
        )

    def _pass_all_through(self, call: Call, error: Exception) -> list[CompressionResult]:
        notice = _notice(error)
        return [self._pass_through(call, index, notice) for index in range(len(call.texts))]

    def _pass_through(self, call: Call, index: int, notice: Notice) -> CompressionResult:
        texts = call.texts[index]
        text = joined(texts, self.config.separator)
        documents = tuple(self._unchanged(index, source) for index, source in enumerate(texts))
        tokens = self._count(text)
        order = tuple(range(len(texts)))
        try:
            formatted = _formatted(call.prompts[index], documents, order, self._count)
        except Exception:  # what failed may be the format
            formatted = None
        seconds = time.perf_counter() - call.start
        return CompressionResult(documents, text, tokens, tokens, 0, seconds, (notice,), order, _formatted=formatted)

    def _unchanged(self, index: int, text: str) -> CompressedDocument:
        tokens = self._count(text)
        return CompressedDocument(index, text, whole(text), tokens, tokens, (), passed_through=True)

    def _count(self, text: str) -> int:
        """Tokens of a text that is passed through; 0 where they cannot be counted."""
        try:
            with guarded():
                return self._counter.count(text) if self._counter else 0
        except Exception:  # what failed may be the tokenizer
            return 0


def _asks(query: str | None) -> bool:
    return bool(query and query.strip())


def _above_floor(
    table: Table, ordered: Order, floor: float | None, query: str | None, known: Mapping[str, Answering]
) -> tuple[Order, list[Notice]]:
    """The order without documents that are not likely enough to answer, and what is to be said of that."""
    if floor is None or not _asks(query) or not table.documents:
        return ordered, []
    answers = answer_log_odds(table, known)
    if answers is None:
        return ordered, [Notice("no calibration", _NO_CALIBRATION)]
    likely = probability(answers)
    ordered = ordered.only(likely >= floor)
    if ordered.eligible.any():
        return ordered, []
    return ordered, [Notice(NOTHING_RELEVANT, _NOTHING_RELEVANT.format(floor=floor, best=likely.max()))]


def _formatted(
    prompt: PromptFormat | None,
    documents: Sequence[CompressedDocument],
    order: Sequence[int],
    count: Callable[[str], int],
) -> tuple[str, int] | None:
    """The documents as the prompt shows them, and the tokens of that."""
    if prompt is None:
        return None
    text = prompt.joined([documents[index] for index in order])
    return text, count(text)


def _of_format(
    warnings: Sequence[Notice], output: Output, budget: int, kept_tokens: int, context_tokens: int
) -> tuple[Notice, ...]:
    """The warnings of a budget that counts a prompt's format."""
    least = output.empty_tokens + int(output.document_tokens.min(initial=budget))
    if context_tokens > budget or (not kept_tokens and least >= budget):
        text = _FORMAT_TOO_LARGE.format(least=max(least, context_tokens), budget=budget)
        others = [notice for notice in warnings if notice.kind != "budget not filled"]
        return (*others, Notice("budget too small for the format", text))
    if kept_tokens and context_tokens > 2 * kept_tokens:
        text = _METADATA_OUTWEIGH.format(context=context_tokens, more=context_tokens - kept_tokens)
        return (*warnings, Notice("metadata outweigh the text", text))
    return tuple(warnings)


def _notice(error: Exception, bad: Sequence[int] = ()) -> Notice:
    what = f"on documents {', '.join(map(str, bad))}, which" if bad else "the documents"
    comma = "" if bad else ","
    text = f"Compression failed{comma} {what} are returned unchanged: {type(error).__name__}: {error}"
    return Notice(PASSED_THROUGH, text)


def _report(results: Sequence[CompressionResult]) -> None:
    """Log the warnings of the results; in the thread of the caller, whose line they name."""
    for notice in dict.fromkeys(notice for result in results for notice in result.warnings):
        if notice.kind == PASSED_THROUGH:
            warnings.warn(str(notice), PassthroughWarning, stacklevel=stack_level())
        warn_once(notice)


def _text_cache(config: CompressorConfig) -> TextCache:
    return TextCache(int(_SHARE_OF_TEXTS * config.cache_bytes))


def _is_scorer(scorer: Any) -> bool:
    return callable(getattr(scorer, "score", None)) and not isinstance(scorer, type)  # a class makes scorers


def _checked_config(config: Any) -> CompressorConfig:
    if not isinstance(config, CompressorConfig):
        raise ConfigError(
            f"`config` must be a `CompressorConfig`, got {type(config).__name__}. Write `CompressorConfig(rate=0.5)`, "
            "or pass the settings as keywords to `from_pretrained`."
        )
    return config


def _one_config(model: str | None, config: CompressorConfig | None, settings: Mapping[str, Any]) -> CompressorConfig:
    """The settings, from a config or from keywords."""
    if config is not None and settings:
        raise ConfigError(f"Pass the settings either as `config` or as keywords, not both; got {', '.join(settings)}.")
    named = {} if model is None else {"model": model}
    if config is None:
        return CompressorConfig.from_settings({**settings, **named})
    return _checked_config(config).model_copy(update=named)


def _load_scorer(config: CompressorConfig) -> Scorer:
    """The model of the settings, with an encoder or embeddings if there are any, behind caches."""
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
        return _with_encoder(words, scorer.classifier, config, stores)
    known = Embeddings(config.embeddings)
    units = cached(UnitEmbedder(known), known.fingerprint, stores)
    return EmbeddingScorer(words, units, known, config.gains.similarity_scale)


def _with_encoder(
    words: Scorer, classifier: Classifier, config: CompressorConfig, stores: Sequence[ScoreStore]
) -> Scorer:
    """The reader, and an encoder before it: of the settings, of the model's folder, or the model itself."""
    from moos_integrations.core.hub import encoder_beside
    from moos_integrations.core.passages import PassageEncoder
    from moos_integrations.core.stages import PassageScorer, TwoStageScorer

    name = config.encoder or encoder_beside(config.model)
    if name is None and classifier.gate is None:
        return words
    if name is None:
        encoder = PassageEncoder.of(classifier)
    else:
        encoder = PassageEncoder(name, device=config.device, dtype=config.dtype)
    vectors = PassageScorer(encoder)
    calibrated = (config.encoder or PACKAGED_ENCODER).lower() == PACKAGED_ENCODER.lower()
    return TwoStageScorer(words, cached(vectors, vectors.fingerprint, stores), encoder, calibrated=calibrated)


def _stores(config: CompressorConfig) -> list[ScoreStore]:
    scores = int((1 - _SHARE_OF_TEXTS) * config.cache_bytes)
    stores: list[ScoreStore] = [MemoryStore(scores)] if scores else []
    stores += [DirectoryStore(config.cache_dir, config.cache_dir_bytes)] if config.cache_dir else []
    return [*stores, FrameworkStore(config.cache_store)] if config.cache_store is not None else stores


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
        wrong = score.misfit(document)
        if wrong:
            raise CompressionError(
                f"The scorer must return finite numbers, one per word or unit; `{wrong}` of document {index} does not."
            )
    return scores

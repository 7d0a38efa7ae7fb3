"""LangChain: `MOOSCompressor` prunes retrieved documents in a retriever, in a pipeline or anywhere in a chain."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from moos_integrations.errors import ConfigError, InputError, MissingExtraError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain_core", extra="langchain") from error

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    CallbackManagerForChainRun,
    Callbacks,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.documents import BaseDocumentCompressor, BaseDocumentTransformer, Document
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented, try_neq_default
from langchain_core.prompts import BasePromptTemplate, format_document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableLambda, RunnableSerializable
from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self, Unpack

from moos_integrations.adapter import (
    METADATA_KEY,
    PER_CALL,
    TARGETS,
    AddedMetadata,
    CompressorFields,
    citations_in,
    copied,
    entry_of,
    origin_in,
    pays_off,
    warnings_entry,
    without_entry,
)
from moos_integrations.core.checks import stages
from moos_integrations.core.config import AllKeywords
from moos_integrations.core.prompt import PromptFormat
from moos_integrations.core.provenance import Origin
from moos_integrations.core.result import Citation, CompressedDocument, CompressionResult
from moos_integrations.messages import Notice, warn_once
from moos_integrations.question import QUESTION_KEYS, as_mapping, checked_question, question_in

__all__ = ["COMPRESSION_EVENT", "METADATA_KEY", "BoundCompressor", "MOOSCompressor", "cite", "origin_of"]

COMPRESSION_EVENT = "moos_compression"
"""Name of the custom event that carries the counts of a call (`on_custom_event`, `astream_events`)."""

DOCUMENT_KEYS = ("context", "documents", "input_documents")
"""Keys of a dict that may have the documents: the names that LangChain's chains use."""

SCORE_KEY = "relevance_score"
"""Metadata key of rerankers' scores; higher is better there."""

_START_KEY = "start_index"  # of LangChain's text splitters; -1 where they do not know it
_UNKNOWN_START = -1
_MOST_FRAMES = 2 + 16  # two of this module, and those up to the `invoke` of a retriever
_NO_QUESTION = (
    "The model reads questions, and the input has none: looked under {keys}. Documents are compressed without it, and "
    "fewer answers are kept. Name its key with `query_key`, or pass a list of documents if there is none."
)


class MOOSCompressorKeywords(AllKeywords, total=False):
    """The fields of `MOOSCompressor` as keywords, for type checkers."""

    name: str | None
    documents_key: str | None
    query_key: str | None
    keep_empty: bool
    document_prompt: BasePromptTemplate[str] | None
    document_format: Callable[[Document], str] | None
    document_separator: str | None
    added_metadata: AddedMetadata
    score_key: str | None


class _Request(dict[str, Any]):
    """Documents and query of `compress_documents`; a dict for traces, whatever the keys of the compressor are."""

    def __init__(self, documents: Any, query: Any) -> None:
        super().__init__(context=documents, question=query)


class _StaysCompressor(Runnable[Any, Any]):
    """What these methods return is a compressor too, so that a `ContextualCompressionRetriever` takes it."""

    def with_fallbacks(self, *args: Any, **kwargs: Any) -> Any:
        """As LangChain's; the fallbacks are compressors, or other Runnables that take the same dict."""
        return BoundCompressor.around(super().with_fallbacks(*args, **kwargs))

    def configurable_fields(self, **kwargs: Any) -> Any:
        """As LangChain's. `config["configurable"]` has the settings of a call without it."""
        return BoundCompressor.around(super().configurable_fields(**kwargs))  # type: ignore[misc]

    def configurable_alternatives(self, *args: Any, **kwargs: Any) -> Any:
        """As LangChain's."""
        return BoundCompressor.around(super().configurable_alternatives(*args, **kwargs))  # type: ignore[misc]


class MOOSCompressor(
    _StaysCompressor,
    CompressorFields,  # first: its `__init__` checks the settings before pydantic coerces them
    RunnableSerializable[list[Document] | dict[str, Any], list[Document]],
    BaseDocumentCompressor,
    BaseDocumentTransformer,
):
    """Prunes retrieved documents to the sentences and lines that matter: compressor, transformer and Runnable in one.

    One document in, at most one document out, in the same order unless `order` changes it. `id`, metadata and extra
    fields are kept; the inputs are never changed. Documents of which nothing is kept are dropped, unless `keep_empty`
    is set; the event `moos_compression` has their positions.

    The metadata get one short string under `moos`, which `origin_of` and `cite` read. It leads back into the source,
    also through earlier passes and text splitters. Some prompts print the metadata, so it is added only where the text
    changed, and only where it costs fewer tokens than compression saved. Where it is left out, a splitter's
    `start_index` becomes -1, since it no longer is where the text begins. `added_metadata="all"` always adds it, and
    also `moos_original_tokens`, `moos_kept_tokens`, `moos_relevance` and `moos_warnings`. All values are strings and
    numbers, as stores with flat metadata need. `score_key` adds the relevance under another name, such as
    `relevance_score`.

    The question is that of a retriever, or in a dict the first one under `question`, `query`, `input`, `user_query`,
    `user_question`, `user_input`, `search_query` and `messages`. None and blank values are skipped. Of messages the
    last human one counts. A query-aware model without a question is reported once.

    The target (`rate`, `budget_tokens` or `threshold`) applies to all documents of a call together, and to each item of
    a batch alone. A call may have another one, and other `on_error`, `order`, `protect`, `separator` and `top_n`: as
    keywords of `invoke`, with `bind`, or in `config["configurable"]`, also inside a retriever or pipeline. A retriever
    does not pass its `configurable` on. It is therefore read from the running `invoke` or `ainvoke` of the nearest
    `BaseRetriever`, at most 16 Python calls up. Where it is not there, the call has the configured settings; `bind`
    needs nothing of this. What `bind`, `with_config`, `with_retry`, `with_fallbacks` and `configurable_fields` return
    is a compressor too.

    `budget_tokens` counts the texts, joined by `separator`. With the chain's `document_prompt` or `document_format`,
    and `document_separator`, it counts what the chain shows of the documents, the metadata that this compressor adds
    included. `moos_warnings` are not added where the chain would show them.

    A reranker's `relevance_score` in the metadata adds to relevance with the weight `gains.retriever_weight`. Higher
    must be better.

    The weights load on first use. `dumps` stores the settings that differ from the defaults. LangChain loads classes of
    other packages only if they are allowed: `loads(text, allowed_objects=[MOOSCompressor],
    valid_namespaces=["moos_integrations"])`. Objects passed as `tokenizer` or `embeddings` cannot be stored; pass the
    tokenizer by name instead.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.

    Examples:
        >>> from langchain_core.documents import Document
        >>> from moos_integrations.langchain import MOOSCompressor
        >>> documents = [Document("The meeting was long. It ended at 17:30.", id="a", metadata={"page": 7})]
        >>> kept = MOOSCompressor(rate=0.7, protect=["numbers"]).compress_documents(documents, "When did it end?")
        >>> kept[0].id, kept[0].metadata["page"], "17:30" in kept[0].page_content
        ('a', 7, True)

        With a retriever: `ContextualCompressionRetriever(base_compressor=MOOSCompressor(), base_retriever=retriever)`.
        In a chain: `RunnablePassthrough.assign(context=MOOSCompressor(budget_tokens=400)) | prompt | llm`.
        In a LangGraph graph: `graph.add_node("compress", MOOSCompressor(budget_tokens=400).as_node())`.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())

    documents_key: str | None = Field(
        default=None,
        description="Key of the documents in a dict; None: the first of `context`, `documents`, `input_documents`.",
    )
    query_key: str | None = Field(
        default=None,
        description="Key of the query in a dict; None: the first of `question`, `query`, `input`, `user_query`, "
        "`user_question`, `user_input`, `search_query` and `messages` that has one.",
    )
    keep_empty: bool = Field(
        default=False,
        description="Keep documents of which nothing is left, with empty text. `budget_tokens` counts what a prompt "
        "shows of them, separators at least.",
    )
    document_prompt: BasePromptTemplate[str] | None = Field(
        default=None,
        description="The template by which the chain shows each document: `budget_tokens` then counts all of it, also "
        "titles and metadata. None: the text alone.",
    )
    document_format: Callable[[Document], str] | None = Field(
        default=None,
        description="The same as a function, where the chain formats documents by itself. It is called for many texts "
        "of a document. It cannot be saved.",
    )
    document_separator: str | None = Field(
        default=None, description="What the chain puts between the documents that it shows; None: `separator`."
    )
    added_metadata: AddedMetadata = Field(
        default="spans",
        description="What is added to metadata: 'spans' what `cite` needs, where that costs fewer tokens than were "
        "saved; 'all' also token counts, relevance and kinds of warnings; 'none'.",
    )
    score_key: str | None = Field(
        default=None,
        description="Metadata key for each document's relevance, in log-odds, such as `relevance_score`; None: none.",
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[MOOSCompressorKeywords]) -> None: ...  # noqa: D107

    @field_validator("document_prompt", "document_format", mode="before")
    @classmethod
    def _check_kind(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "document_format" and not (value is None or callable(value)):
            raise ConfigError(
                f"`document_format` must be a function from a `Document` to a string, got {type(value).__name__}."
            )
        if info.field_name == "document_prompt" and not (value is None or isinstance(value, BasePromptTemplate)):
            raise ConfigError(
                f"`document_prompt` must be a prompt template, got {type(value).__name__}. Write "
                "PromptTemplate.from_template('{source}: {page_content}')."
            )
        return value

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        if self.document_prompt is not None and self.document_format is not None:
            raise ConfigError("Set either `document_prompt` or `document_format`, not both.")
        if self.document_prompt is not None and "page_content" not in self.document_prompt.input_variables:
            names = ", ".join(self.document_prompt.input_variables) or "none"
            raise ConfigError(f"`document_prompt` must have the variable `page_content`; its variables are: {names}.")
        return self

    # --- as a Runnable -----------------------------------------------------------------------------------------------

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Compress a list of documents, or those in a dict.

        Args:
            input: The documents (no query), or a dict with the documents under `documents_key` and the query under
                `query_key`. Other states (pydantic models, dataclasses) are read like dicts.
            config: LangChain's configuration of the call: callbacks, tags, ... Under `configurable`, it may have the
                settings of `kwargs`.
            **kwargs: `rate`, `budget_tokens` or `threshold`, in place of the configured target; also `timeout`,
                `on_error`, `order`, `protect`, `separator`, `top_n`.

        Returns:
            The compressed documents, never the dict.

        Raises:
            InputError: If the input is neither, or the documents or the query are of the wrong type.
            ConfigError: On an unknown keyword, or an unusable setting.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        kept: list[Document] = self._call_with_config(self._compress, input, config, **_call_settings(kwargs))
        return kept

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """`invoke` with the model in a worker thread, so that the event loop goes on."""
        settings = _call_settings(kwargs)
        kept: list[Document] = await self._acall_with_config(self._acompress, input, config, **settings)
        return kept

    def as_node(self) -> RunnableLambda[Any, dict[str, Any]]:
        """A node of a LangGraph graph: takes the state, and returns an update with the compressed documents.

        They are under the key where the state has the documents. The key must be a plain one: with a reducer that
        appends, the graph would keep the uncompressed documents too.
        """

        def node(state: Any, config: RunnableConfig) -> dict[str, Any]:
            return {self._key_in(state): self.invoke(state, config)}

        async def anode(state: Any, config: RunnableConfig) -> dict[str, Any]:
            return {self._key_in(state): await self.ainvoke(state, config)}

        return RunnableLambda(node, afunc=anode, name=self.get_name())

    def bind(self, **kwargs: Any) -> BoundCompressor:
        """A compressor with other settings for its calls.

        Args:
            **kwargs: As for `invoke`.

        Raises:
            ConfigError: On an unknown keyword, or an unusable setting.
        """
        settings = _call_settings(kwargs)
        self.check_call(settings)
        return BoundCompressor(bound=self, kwargs=settings, config={})

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As LangChain's."""
        return BoundCompressor.around(super().with_config(config, **kwargs))

    def with_retry(self, **kwargs: Any) -> Any:
        """As LangChain's. With `on_error="passthrough"` there is no error to retry after."""
        return BoundCompressor.around(super().with_retry(**kwargs))

    # --- as a document compressor ------------------------------------------------------------------------------------

    def compress_documents(
        self, documents: Sequence[Document], query: str | None = None, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Compress retrieved documents; a trace shows the call as a separate run under the retriever's.

        Args:
            documents: The retrieved documents; they are not changed.
            query: The question, if there is one.
            callbacks: LangChain's callbacks, as a retriever passes them.

        Returns:
            The compressed documents.

        Raises:
            InputError: If the documents are not `Document`s, or the query is not a string.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        return self.invoke(_Request(documents, query), _config_of_call(callbacks))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str | None = None, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """`compress_documents` with the model in a worker thread, so that the event loop goes on."""
        return await self.ainvoke(_Request(documents, query), _config_of_call(callbacks))

    # --- as a document transformer -----------------------------------------------------------------------------------

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """Compress documents without a query, as at ingestion.

        The target applies to all documents of the call together: a `rate` may keep more of one document and drop
        another. To treat each alone, use `threshold` or one call per document.

        Args:
            documents: The documents; they are not changed.
            **kwargs: As for `invoke`.

        Returns:
            The compressed documents.

        Raises:
            InputError: If the documents are not `Document`s.
            ConfigError: On an unknown keyword, or an unusable setting.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        return self.invoke(_Request(documents, None), **kwargs)

    async def atransform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """`transform_documents` with the model in a worker thread, so that the event loop goes on."""
        return await self.ainvoke(_Request(documents, None), **kwargs)

    def precompute(self, documents: Sequence[Document]) -> None:
        """Score documents at ingestion and keep the scores; see `ContextCompressor.precompute`.

        Raises:
            InputError: If the documents are not `Document`s.
            ConfigError: If `cache_bytes` is 0 and `cache_dir` is not set.
            ModelError: If the model cannot be loaded.
        """
        self.compressor.precompute(_texts(_checked_documents(documents, "the documents")))

    # --- serialisation -----------------------------------------------------------------------------------------------

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: `dumps` and `loads` rebuild it from its settings."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """The content of `dumps`: the settings that differ from the defaults; patterns by expression and flags."""
        dumped = super().to_json()
        if dumped["type"] == "constructor":
            changed = {name: value for name, value in self if try_neq_default(value, name, self)}
            plain = {"protect", *stages(type(self))} & set(changed)
            dumped["kwargs"] = {**changed, **self.model_dump(include=plain, exclude_defaults=True)}
        return dumped

    # --- one call ----------------------------------------------------------------------------------------------------

    def _compress(
        self, given: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **settings: Any
    ) -> list[Document]:
        documents, query = self._read(given)
        if not documents:
            return []  # nothing to load a model for
        compressor, target = self.compressor_for(_settings_of_call(config, settings))
        prompt = self._prompt(documents, compressor.config.separator)
        result = compressor.compress(
            _texts(documents), query, document_scores=_scores(documents), prompt=prompt, **target
        )
        result = self._reported(given, query, result)
        _add_to_trace(run_manager, result)
        dispatch_custom_event(COMPRESSION_EVENT, result.summary(), config={"callbacks": run_manager.get_child()})
        return self._output(documents, result)

    async def _acompress(
        self, given: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **settings: Any
    ) -> list[Document]:
        documents, query = self._read(given)
        if not documents:
            return []
        compressor, target = self.compressor_for(_settings_of_call(config, settings))
        prompt = self._prompt(documents, compressor.config.separator)
        result = await compressor.acompress(
            _texts(documents), query, document_scores=_scores(documents), prompt=prompt, **target
        )
        result = self._reported(given, query, result)
        _add_to_trace(run_manager, result)
        await adispatch_custom_event(COMPRESSION_EVENT, result.summary(), config={"callbacks": run_manager.get_child()})
        return self._output(documents, result)

    def _prompt(self, documents: Sequence[Document], separator: str) -> PromptFormat | None:
        """How the chain shows the documents; None if it joins the texts by the separator."""
        if self.document_separator is not None:
            separator = self.document_separator
        elif not self._has_format() and not self.keep_empty:
            return None

        def shown(compressed: CompressedDocument) -> str:
            if not self._has_format():
                return compressed.text
            source = documents[compressed.index]
            if compressed.passed_through:
                document = self._passed_through(source, ())
            else:
                document = self._pruned(source, compressed, ())
            return self._shown(document)

        return PromptFormat(shown, separator, range(len(documents)) if self.keep_empty else ())

    def _shown(self, document: Document) -> str:
        """What the chain shows of a document."""
        if self.document_format is not None:
            return self.document_format(document)
        if self.document_prompt is not None:
            return format_document(document, self.document_prompt)
        return document.page_content

    def _read(self, given: Any) -> tuple[Sequence[Document], str | None]:
        if isinstance(given, _Request):
            documents, query = given.values()
            return _checked_documents(documents, "the documents"), checked_question(query)
        state = None if isinstance(given, Document) else as_mapping(given)
        if state is None:
            return _checked_documents(given, "the input"), None
        key = self._key_in(state)
        return _checked_documents(state[key], f"the documents under {key!r}"), self._query(state)

    def _key_in(self, given: Any) -> str:
        """The key of the documents in a state."""
        state, keys = as_mapping(given), _candidates(self.documents_key, self.query_key, DOCUMENT_KEYS)
        found = next((key for key in keys if key in (state or {})), None)
        if state is None or found is None:
            what = f"one with {_keys_of(state)}" if state is not None else type(given).__name__
            raise InputError(
                f"Expected a dict with the documents under {_either(keys)}, got {what}. Name their key with "
                "`documents_key`."
            )
        return found

    def _query(self, state: Mapping[str, Any]) -> str | None:
        if self.query_key is not None and self.query_key not in state:
            # A named key means that the query must be used; without this error a misspelt name would go unnoticed.
            raise InputError(
                f"Expected a dict with the query under {self.query_key!r} (`query_key`), got one with "
                f"{_keys_of(state)}. Leave `query_key` unset if there may be no query."
            )
        return question_in(state, self._query_keys())

    def _query_keys(self) -> list[str]:
        return _candidates(self.query_key, self.documents_key, QUESTION_KEYS)

    def _reported(self, given: Any, query: str | None, result: CompressionResult) -> CompressionResult:
        """The result with a warning if a dict has no question for a model that reads one."""
        lost = query is None and not isinstance(given, _Request) and as_mapping(given) is not None
        if not lost or result.passed_through or result.left_alone:  # left alone without loading the model
            return result
        if not getattr(self.compressor.scorer, "query_aware", False):
            return result
        notice = Notice("no question", _NO_QUESTION.format(keys=_either(self._query_keys())))
        warn_once(notice)
        return replace(result, warnings=(*result.warnings, notice))

    def _output(self, documents: Sequence[Document], result: CompressionResult) -> list[Document]:
        """The compressed documents; without the kinds of warnings where the LLM would see them, uncounted."""
        found = self._copies(documents, result, result.warnings)
        added = self.added_metadata == "all" and result.warnings and not result.passed_through
        if not added or not self._has_format():
            return found
        plain = self._copies(documents, result, ())
        return found if [*map(self._shown, found)] == [*map(self._shown, plain)] else plain

    def _has_format(self) -> bool:
        return self.document_prompt is not None or self.document_format is not None

    def _copies(
        self, documents: Sequence[Document], result: CompressionResult, warnings: Sequence[Notice]
    ) -> list[Document]:
        if result.passed_through:  # unchanged is unchanged, empty documents included
            return [self._passed_through(document, warnings) for document in documents]
        pairs = [(documents[index], result.documents[index]) for index in result.order]
        kept = [pair for pair in pairs if self.keep_empty or not pair[1].dropped or pair[1].passed_through]
        return [
            self._passed_through(source, warnings) if own.passed_through else self._pruned(source, own, warnings)
            for source, own in kept
        ]

    def _pruned(self, source: Document, compressed: CompressedDocument, warnings: Sequence[Notice]) -> Document:
        """A copy with the new text; deep, so that metadata and a subclass's fields are not shared with the input."""
        document: Document = copied(source)
        document.page_content = compressed.text
        document.metadata = self._metadata(source, document.metadata, compressed, warnings)
        if self.score_key is not None and compressed.relevance is not None:
            document.metadata[self.score_key] = round(compressed.relevance, 4)
        return document

    def _metadata(
        self, source: Document, metadata: dict[str, Any], compressed: CompressedDocument, warnings: Sequence[Notice]
    ) -> dict[str, Any]:
        """The metadata of a compressed document."""
        start, unchanged = _start(metadata), compressed.text == source.page_content
        origin = origin_in(metadata, source.page_content, start)
        if unchanged and self.added_metadata == "spans" and (METADATA_KEY not in metadata or origin.within != "text"):
            return metadata
        rest = without_entry(metadata)
        entry = entry_of(metadata, compressed, origin, start, warnings)
        if self.added_metadata == "all":
            return rest | entry
        entry = {METADATA_KEY: entry[METADATA_KEY]}
        if self.added_metadata == "spans" and pays_off(entry, compressed, self._fast_count()):
            return rest | entry
        return rest if start is None or unchanged else rest | {_START_KEY: _UNKNOWN_START}

    def _fast_count(self) -> Callable[[str], int] | None:
        """The counter of the LLM's tokens, if it is not the user's: that may be slow, or have its price."""
        return self.compressor.counter.count if isinstance(self.tokenizer, str) else None

    def _passed_through(self, source: Document, warnings: Sequence[Notice]) -> Document:
        """A copy with the same text and, with `added_metadata="all"`, a warning."""
        document: Document = copied(source)
        if self.added_metadata == "all":
            document.metadata |= warnings_entry(warnings)
        return document


class BoundCompressor(_StaysCompressor, RunnableBinding[Any, Any], BaseDocumentCompressor, BaseDocumentTransformer):
    """A `MOOSCompressor` with settings, retries or fallbacks: what its methods `bind`, `with_retry`, ... return.

    It is a compressor too, for retrievers and pipelines, and a transformer.

    Examples:
        >>> from langchain_core.documents import Document
        >>> from moos_integrations.langchain import MOOSCompressor
        >>> short = MOOSCompressor().bind(budget_tokens=12).with_retry(stop_after_attempt=2)
        >>> len(short.compress_documents([Document("The meeting was long. It ended at 17:30.")], "When did it end?"))
        1
    """

    @classmethod
    def around(cls, runnable: Any) -> BoundCompressor:
        """The compressor around what LangChain made of one."""
        if isinstance(runnable, cls):
            return runnable
        if type(runnable) is RunnableBinding:
            names = ("bound", "kwargs", "config", "config_factories")
            return cls(**{name: getattr(runnable, name) for name in names})
        return cls(bound=runnable, kwargs={}, config={})

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where `loads` finds the class."""
        return cls.__module__.split(".")

    def compress_documents(
        self, documents: Sequence[Document], query: str | None = None, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """As `MOOSCompressor.compress_documents`."""
        return list(self.invoke(_Request(documents, query), _config_of_call(callbacks)))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str | None = None, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """As `MOOSCompressor.acompress_documents`."""
        return list(await self.ainvoke(_Request(documents, query), _config_of_call(callbacks)))

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """As `MOOSCompressor.transform_documents`."""
        return list(self.invoke(_Request(documents, None), **kwargs))

    async def atransform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """As `MOOSCompressor.atransform_documents`."""
        return list(await self.ainvoke(_Request(documents, None), **kwargs))


def cite(quote: str, documents: Sequence[Document], *, min_coverage: float = 0.5) -> list[Citation]:
    """Find the source of a quoted piece of an answer in compressed or uncompressed documents.

    Args:
        quote: A piece of an answer; words are compared, without case and punctuation. "..." stands for any words, and
            the quote may begin in one document and end in another.
        documents: Output of `MOOSCompressor`.
        min_coverage: Smallest share of the quote's words that a place must have.

    Returns:
        Places, those with most of the quote first. `within` says what `start` and `end` count in: "document" the text
        before a text splitter cut it (its `start_index` is in the metadata), "node" the document before compression,
        "text" the document as it is now. `document` is the position in the list, `id` the document's id.

    Raises:
        InputError: If the quote is not a string, or the documents are not `Document`s.
    """
    checked = _checked_documents(documents, "the documents")
    origins = [origin_of(document) for document in checked]
    return citations_in(quote, _texts(checked), [document.id for document in checked], origins, min_coverage)


def origin_of(document: Document) -> Origin:
    """Where the text of a document comes from: what `MOOSCompressor` wrote, read from the metadata.

    Returns:
        `spans` of the source, and `within`, what the source is: see `cite`.
    """
    return origin_in(document.metadata, document.page_content, _start(document.metadata))


# --- one call ---------------------------------------------------------------------------------------------------------


def _call_settings(kwargs: dict[str, Any]) -> dict[str, Any]:
    unknown = [name for name in kwargs if name not in PER_CALL]
    if unknown:
        raise ConfigError(
            f"Unknown argument {', '.join(map(repr, unknown))}; a call takes {_either(PER_CALL)}. Pass other "
            "settings to `MOOSCompressor(...)`."
        )
    return kwargs


def _settings_of_call(config: RunnableConfig, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a call: its keywords, and those in `config["configurable"]`. A target replaces the other ones."""
    configurable = config.get("configurable") or {}
    settings = {name: configurable[name] for name in PER_CALL if configurable.get(name) is not None}
    if any(keywords.get(name) is not None for name in TARGETS):
        settings = {name: value for name, value in settings.items() if name not in TARGETS}
    return settings | dict(keywords)


def _config_of_call(callbacks: Callbacks | None) -> RunnableConfig:
    """The configuration that a retriever's compressor runs with.

    A retriever passes on its callbacks only. `configurable` of its own call is in the frame of its `invoke`; around it,
    a chain has set it already. Where a LangChain has it elsewhere, the call has the compressor's own settings.
    """
    config, frame = RunnableConfig(callbacks=callbacks), inspect.currentframe()
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        if frame.f_code in _RETRIEVING:
            given = frame.f_locals.get("config")
            configurable = given.get("configurable") if isinstance(given, dict) else None
            return RunnableConfig(callbacks=callbacks, configurable=configurable) if configurable else config
        frame = frame.f_back
    return config


_RETRIEVING = [
    method.__code__ for method in (BaseRetriever.invoke, BaseRetriever.ainvoke) if hasattr(method, "__code__")
]


def _add_to_trace(
    run_manager: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun, result: CompressionResult
) -> None:
    """Put the counts into the metadata of the run, where tracers keep them; they do not keep custom events."""
    counts = {f"{METADATA_KEY}_{name}": value for name, value in result.summary().items()}
    for handler in run_manager.handlers:
        run = getattr(handler, "run_map", {}).get(str(run_manager.run_id))
        if run is not None:
            run.add_metadata(counts)


def _candidates(own: str | None, other: str | None, known: Sequence[str]) -> list[str]:
    """The keys to look under, without the key of the other field."""
    return [own] if own is not None else [key for key in known if key != other]


def _checked_documents(documents: Any, where: str) -> Sequence[Document]:
    if isinstance(documents, (str, bytes, bytearray)) or not isinstance(documents, Sequence):
        raise InputError(
            f"Expected {where} to be a list of `Document`s, or a dict with such a list, got "
            f"{type(documents).__name__}. Wrap a text as `[Document(page_content=text)]`, or use "
            "`moos_integrations.ContextCompressor` for strings."
        )
    for index, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InputError(
                f"Expected {where} to be a list of `Document`s; item {index} is a {type(document).__name__}. Wrap a "
                "text as `Document(page_content=text)`, or use `moos_integrations.ContextCompressor` for strings."
            )
    return documents


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def _start(metadata: Mapping[str, Any]) -> int | None:
    """Where a text splitter says that the text begins."""
    start = metadata.get(_START_KEY)
    return start if isinstance(start, int) and not isinstance(start, bool) and start >= 0 else None


def _scores(documents: Sequence[Document]) -> list[float | None]:
    """Scores that rerankers put into the metadata; retrievers do not pass theirs on."""
    scores = [document.metadata.get(SCORE_KEY) for document in documents]
    return [float(score) if isinstance(score, Real) and not isinstance(score, bool) else None for score in scores]


def _either(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _keys_of(given: Mapping[str, Any]) -> str:
    return "the keys " + ", ".join(repr(key) for key in given) if given else "no keys"
